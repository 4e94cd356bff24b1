"""The host for Cheshire Cat 2: asynchronous agents from a registry, which get the conversation with each request."""

import asyncio
import hmac
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from starlette.requests import HTTPConnection, Request
from starlette.routing import BaseRoute

from ...domain.conversation import Capability
from ...domain.events import Event, Text
from ...domain.json_instruction import json_instruction
from ...domain.model_ids import CAT_MODEL
from ...domain.people import KEY_HOLDER, Access, Caller, Person, is_key_holder_name, key_holder_name
from ...errors import InsufficientPermissions, InvalidApiKey, UpstreamError
from ..detect import IS_CAT_2
from ..port import Embedder, Host, Run
from ..shared.bearer import bearer_credential
from ..shared.erasures import Erasures
from ..shared.event_channel import EventChannel
from ..shared.sql import SqlStorage
from ..shared.sql_usage import SqlUsageTable
from ..shared.storage import storage_failures
from ..shared.transcript import transcript_keys
from ..shared.turn_notes import load_turn_notes, save_turn_notes
from ..storage import request_began
from .embedder import EmbedderSetting
from .finish import finishes_by_itself
from .guest import GuestUser
from .llm import RunLLM, run_llm
from .messages import ClientMessage
from .providers import ModelProviders
from .questions import QuestionReader
from .settings import CachedSettings
from .state import messages_with_state, save_state
from .store import CatDatabase, LegacyKeyValues, delete_memories
from .stream_listener import StreamListener, text_of
from .tools import ClientTools
from .web_server import accept_websockets

if IS_CAT_2 or TYPE_CHECKING:
    from cat import config, log
    from cat.ambient import auth
    from cat.ambient.context_vars import Ctx, ctx, set_ctx
    from cat.ambient.runtime import ccat
    from cat.auth.user import User
    from cat.services.directives.base import Directive
    from cat.services.model_providers.default import DefaultModelProvider
    from cat.services.model_providers.openai_compatible import OpenAICompatibleProvider
    from cat.types import Task
else:
    Directive = object

if TYPE_CHECKING:
    from ....settings import Settings

END_USERS = UUID("6b1c7d0e-52f5-5c0a-9d52-3a4f0c1d8e77")
"""Namespace of the UUIDs of end users. It must never change: the Cat stores their memory under these UUIDs."""

KEY_HOLDERS = UUID("0c1f6a5e-3c43-5b0e-8a43-3a0f1a5f1d0b")
"""The same for the holders of keys that are for no end user."""

DEFAULT_AGENT = "default"


class Cat2(Host):
    embedder_setting = "the Cat's settings: Core Settings, Default Embedder"

    def __init__(self) -> None:
        database = CatDatabase()
        self.storage = SqlStorage(database, LegacyKeyValues(database), self.log_error)
        self.usage = SqlUsageTable(database, self.log_error)
        self._erasures = Erasures()
        self._settings = CachedSettings()
        self._providers = ModelProviders()
        self._embedder_setting = EmbedderSetting()
        self._refuse_websockets = accept_websockets()

    async def settings(self) -> "Settings":
        return await self._settings.get()

    async def authenticate(self, connection: HTTPConnection, access: Access) -> Caller:
        """The Cat's middleware has checked the credential. Every user that it knows may read and write; an admin is a
        user with the role of that name.

        The middleware accepts a cookie as well, which a browser sends with requests of any site, so the header is
        required here. It lets WebSockets pass, so those are authenticated here, and get the context that it makes.
        """
        credential = bearer_credential(connection.headers.get("authorization", ""))
        if not credential:
            raise InvalidApiKey("You did not provide an API key. Send it as: Authorization: Bearer <key>.")
        if connection.scope["type"] == "websocket":
            request: HTTPConnection = _as_request(connection)
            user = await _authenticate(request)
        else:
            request, user = connection, ctx().user
        user = user or await _user_of(request, credential)
        if user is None:
            raise InvalidApiKey("Incorrect API key provided.")
        key = config.API_KEY
        is_service = key is not None and hmac.compare_digest(credential.encode(), key.encode())
        if access is Access.ADMIN and not (is_service or user.is_admin()):
            raise InsufficientPermissions("Your user may not do this: it needs the role admin.")
        return Caller(_person(user), is_service, request)

    def api_key(self) -> str | None:
        return config.API_KEY or None

    def end_user(self, name: str) -> Person:
        return _person(User(id=uuid5(END_USERS, name), name=name, roles=["user"]))

    def key_holder(self, key_id: str) -> Person:
        return _person(User(id=uuid5(KEY_HOLDERS, key_id), name=key_holder_name(key_id), roles=["user"]))

    def people(self, name: str) -> Sequence[Person]:
        if is_key_holder_name(name):
            return [self.key_holder(name.removeprefix(KEY_HOLDER))]
        people = [self.end_user(name)]
        with suppress(ValueError):
            people.append(_person(User(id=UUID(name), name=name)))
        return people

    async def erase(self, person: Person) -> Mapping[str, int]:
        """What plugins have stored for an end user with `user.save` goes too: there are end users, and holders of keys,
        only by this plugin. What they have stored for a user of the Cat belongs to the Cat's own chats as well, and
        stays."""
        self._erasures.add(person.key)
        counts = {**await self.storage.delete_all(person.key)}
        if self._is_known_by_plugin_only(person):
            with storage_failures(self.log_error):
                counts["memories"] = await delete_memories(person.identity)
        return counts

    def _is_known_by_plugin_only(self, person: Person) -> bool:
        holder = self.key_holder(person.name.removeprefix(KEY_HOLDER))
        return person.key in (self.end_user(person.name).key, holder.key)

    def models(self) -> Sequence[str]:
        slugs = sorted(ccat().registry.classes["agents"], key=lambda slug: (slug != DEFAULT_AGENT, slug))
        return [_model_id(slug) for slug in slugs]

    def routes(self) -> list[BaseRoute]:
        routes: list[BaseRoute] = ccat().fastapi_app.routes
        return routes

    async def has_llm(self) -> bool:
        provider = await _provider(await ccat().get("agents", DEFAULT_AGENT))
        if isinstance(provider, OpenAICompatibleProvider):
            return await provider.client() is not None
        return provider is not None and not isinstance(provider, DefaultModelProvider)

    def rewrites_replies(self, model: str) -> bool:
        """Hooks, the agent and its directives may change a result. 2.0.22 renamed the hook `after_agent_execution`, and
        removed `after_{slug}_agent_execution`."""
        has_hook = any(
            name == "after_agent_run" or (name.startswith("after_") and name.endswith("agent_execution"))
            for name, hooks in ccat().mad_hatter.hooks.items()
            if hooks
        )
        agent_class = ccat().registry.classes["agents"].get(_agent_slug(model))
        return has_hook or (agent_class is not None and finishes_by_itself(agent_class()))

    async def supports(self, model: str, capability: Capability) -> bool:
        """Messages of Cat 2 can hold every kind."""
        return True

    async def run(self, run: Run, *, live: bool) -> AsyncGenerator[list[Event], None]:
        slug = _agent_slug(run.model)
        agent = await ccat().get("agents", slug)
        channel = EventChannel(run)
        llm = RunLLM(run, channel, live=live)
        instructions = await _instructions(run, agent)
        client_tools = ClientTools(agent, llm, run.functions, without_own_tools=run.conversation_only)
        keys = transcript_keys(run.person, run.model, run.conversation.turns)
        questions = QuestionReader(run, slug, await load_turn_notes(self.storage, run.person, keys))
        messages = await messages_with_state(self.storage, run, keys, questions.turns())
        listener = StreamListener(agent, channel, llm, include_steps=run.include_steps)
        agent.directives = [
            self._DirectivesBegin(listener, questions),
            *agent.directives,
            self._ClientDirective(instructions, client_tools, self._providers, listener, questions),
        ]

        async def run_agent() -> list[Any]:
            # A task has a context of its own: user, stream and LLM are set for this run only.
            stream = listener.feed if live else None
            user = run.person.identity
            set_ctx(Ctx(user=user if run.remember else GuestUser.copy_of(user), request=run.context, stream=stream))
            run_llm.set(llm)
            try:
                with self._providers.stand_ins():
                    await questions.read_earlier(messages)
                    result = await agent(Task(messages=messages, stream=live))
                questions.run_ended()
                return [message for message in result.messages if not isinstance(message, ClientMessage)]
            finally:
                listener.end()
                channel.end()
                await llm.close()

        running = asyncio.create_task(run_agent())
        channel.on_abort(running.cancel)
        try:
            # Without `live` there are no texts in the channel, only steps.
            async for events in channel.events():
                yield events
            await asyncio.wait([running])
            try:
                reply = text_of(running.result())
            except (Exception, asyncio.CancelledError) as error:
                log.error(f"OpenAI API: the agent {slug} failed: {type(error).__name__}")
                raise UpstreamError from error
            calls = [] if llm.has_sent_calls else llm.calls.as_deltas()
            yield [*([Text(reply)] if reply and not live else []), *calls, llm.end_event(reply)]
        finally:
            channel.close()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            if run.remember:
                is_complete = not running.cancelled() and running.exception() is None
                # Of a reply that was cut the client has the beginning.
                received = run.receipt.text() or channel.text()
                added = running.result() if is_complete else client_tools.messages
                is_known = not is_complete or text_of(added).strip().startswith(received.strip())
                await save_state(self.storage, run, received, llm.calls.returned_calls(), added, is_known=is_known)
            await self._end_run(run, questions)

    async def _end_run(self, run: Run, questions: QuestionReader) -> None:
        """Store what plugins made of messages, or erase what a run has stored whose person was erased meanwhile."""
        if run.remember and not await save_turn_notes(self.storage, run.person, questions.new_notes()):
            log.error("OpenAI API: what plugins made of a message cannot be stored, they read it once more")
        if self._erasures.has(run.person.key, request_began.get()):
            await self.erase(run.person)

    async def embedder(self) -> Embedder | None:
        return await self._embedder_setting.embedder()

    async def close(self) -> None:
        self._refuse_websockets()
        self._providers.close()
        await super().close()

    def log_info(self, message: str) -> None:
        log.info(message)

    def log_warning(self, message: str) -> None:
        log.warning(message)

    def log_error(self, message: str) -> None:
        log.error(message)

    # Inside the class, where the Cat's loader does not find them: the loader would offer them to every agent.
    class _DirectivesBegin(Directive):
        """The first of an agent's directives."""

        slug = "openai_api_begin"

        def __init__(self, listener: StreamListener, questions: QuestionReader) -> None:
            self._listener = listener
            self._questions = questions

        async def start(self, agent: Any) -> None:
            self._questions.hooks_ended(agent)
            self._listener.in_directives = True

        async def step(self, agent: Any) -> None:
            self._listener.in_directives = True

        async def finish(self, agent: Any) -> None:
            self._listener.in_directives = True

    class _ClientDirective(Directive):
        """The last of an agent's directives: what the client adds to an agent, texts behind the agent's system prompt
        and functions to its tools."""

        slug = "openai_api_client"

        def __init__(
            self,
            texts: Sequence[str],
            tools: ClientTools,
            providers: ModelProviders,
            listener: StreamListener,
            questions: QuestionReader,
        ) -> None:
            self._texts = texts
            self._tools = tools
            self._providers = providers
            self._listener = listener
            self._questions = questions

        async def start(self, agent: Any) -> None:
            self._questions.directives_started()
            self._listener.in_directives = False
            agent.system_prompt = "\n\n".join(filter(None, [agent.system_prompt, *self._texts]))
            self._tools.add_to_agent()

        async def step(self, agent: Any) -> None:
            self._questions.step_begins()
            self._listener.in_directives = False
            self._tools.before_step()
            self._providers.register()


async def _user_of(connection: HTTPConnection, credential: str) -> Any:
    """The user of a credential whose scheme is spelled in another way than "Bearer", which the Cat's middleware takes
    for a part of the credential. None for an unknown credential."""
    bearer = f"Bearer {credential}".encode("latin-1")
    if (b"authorization", bearer) in connection.scope["headers"]:
        return None
    others = [(name, value) for name, value in connection.scope["headers"] if name != b"authorization"]
    return await auth(HTTPConnection({**connection.scope, "headers": [*others, (b"authorization", bearer)]}))


async def _instructions(run: Run, agent: Any) -> list[str]:
    """The client's, and one for the format of the reply where the LLM's provider has no field for it."""
    instructions = [*run.conversation.instructions]
    if run.format and not isinstance(await _provider(agent), OpenAICompatibleProvider):
        instructions.append(json_instruction(run.format))
    return instructions


def _as_request(websocket: HTTPConnection) -> Request:
    """The handshake of a WebSocket as the request that it is on the wire: what the Cat and its plugins know."""
    return Request({**websocket.scope, "type": "http", "method": "GET"})


async def _authenticate(request: HTTPConnection) -> Any:
    """The Cat's user, as its `RequestContextMiddleware` finds it, with the same context; None for no valid credential.

    The context is that of the current task, which is one of the WebSocket's.
    """
    try:
        user = await auth(request)
    except Exception:  # the middleware does the same, whatever an auth handler of a plugin raises
        user = None
    set_ctx(Ctx(user=user, request=request))
    return user


async def _provider(agent: Any) -> Any:
    """The model provider of an agent's LLM; None if no provider of that name is registered."""
    core = await ccat().get("config", "core")
    slug = agent.model or (await core.load_settings()).default_llm
    return await ccat().get("model_providers", slug.partition(":")[0], raise_error=False)


def _person(user: Any) -> Person:
    return Person(key=str(user.id), name=user.name, identity=user)


def _model_id(slug: str) -> str:
    return CAT_MODEL if slug == DEFAULT_AGENT else f"{CAT_MODEL}:{slug}"


def _agent_slug(model: str) -> str:
    return model.removeprefix(f"{CAT_MODEL}:") if model != CAT_MODEL else DEFAULT_AGENT

"""Cheshire Cat 2: agents from a registry, asynchronous, a conversation that comes with each request."""

import asyncio
import hmac
import json
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from starlette.requests import HTTPConnection

from ....settings import Settings as PluginSettings
from ...domain.conversation import Capability
from ...domain.events import Event, Text
from ...domain.json_instruction import json_instruction
from ...domain.model_ids import CAT_MODEL
from ...domain.people import Access, Caller, Person
from ...errors import InsufficientPermissions, InvalidApiKey, UpstreamError
from ..detect import IS_CAT_2
from ..port import Embedder, Host, Run
from ..shared.client_calls import ClientCalls, step_of
from ..shared.event_channel import EventChannel
from ..shared.storage import storage_failures
from .embedder import configured_embedder
from .llm import LLMOfRun, llm_of_run, step_into
from .state import keep, recalled
from .store import load, update
from .tools import ClientTools

if IS_CAT_2 or TYPE_CHECKING:
    from cat import config, log
    from cat.ambient.context_vars import Ctx, ctx, set_ctx
    from cat.ambient.runtime import ccat
    from cat.auth.user import User
    from cat.protocols.agui import events as agui
    from cat.services.directives.base import Directive
    from cat.services.model_providers.default import DefaultModelProvider
    from cat.services.model_providers.openai_compatible import OpenAICompatibleProvider
    from cat.services.service import Service
    from cat.types import Task
else:
    Directive = Service = User = object

END_USERS = UUID("6b1c7d0e-52f5-5c0a-9d52-3a4f0c1d8e77")
"""Namespace of the UUIDs of end users: it must never change, their memory hangs on it."""

DEFAULT_AGENT = "default"

SETTINGS_SECONDS = 1.0


class OpenAIAPI(Service):
    """The plugin's entry in the Cat's Settings page."""

    service_type = "config"
    slug = "openai_api"
    name = "OpenAI API"
    description = "The OpenAI API of this Cat, at /custom/v1."

    Settings = PluginSettings

    _known: tuple[float, PluginSettings] | None = None
    _reading = asyncio.Lock()

    @classmethod
    async def save_settings(cls, payload: Any) -> PluginSettings:
        async with cls._reading:
            saved = await super().save_settings(payload)
            cls._known = None
        return saved

    @classmethod
    async def current_settings(cls) -> PluginSettings:
        """What was saved last. A change by another Cat on the same database is seen within `SETTINGS_SECONDS`.

        Reading them opens a database connection in a thread of its own, which takes longer than all else that
        the plugin does before a run.
        """
        if not cls._is_known():
            async with cls._reading:
                if not cls._is_known():
                    cls._known = time.monotonic(), await cls._read()
        assert cls._known is not None
        return cls._known[1]

    @classmethod
    async def _read(cls) -> PluginSettings:
        """Those of before when they cannot be read: a busy SQLite file says so instead of waiting."""
        try:
            return await cls.load_settings()
        except Exception:
            if cls._known is None:
                raise
            log.error("OpenAI API: the settings cannot be read, those of before stay in force")
            return cls._known[1]

    @classmethod
    def _is_known(cls) -> bool:
        return cls._known is not None and time.monotonic() - cls._known[0] < SETTINGS_SECONDS


class Cat2(Host):
    embedder_setting = "the Cat's settings: Core Settings, Default Embedder"

    async def settings(self) -> PluginSettings:
        return await OpenAIAPI.current_settings()

    async def authenticate(self, connection: HTTPConnection, access: Access) -> Caller:
        """The host has looked at the credential already; any user it knows may read and write, and an admin is one
        by the role of that name.

        It would take a cookie too, which a browser sends along from any site, so the header is asked for.
        """
        header = connection.headers.get("authorization")
        if not header:
            raise InvalidApiKey("You did not provide an API key. Send it as: Authorization: Bearer <key>.")
        user = ctx().user
        if user is None:
            raise InvalidApiKey("Incorrect API key provided.")
        key = header.removeprefix("Bearer ").encode()
        is_service = config.API_KEY is not None and hmac.compare_digest(key, config.API_KEY.encode())
        if access is Access.ADMIN and not (is_service or user.is_admin()):
            raise InsufficientPermissions("Your user may not do this: it needs the role admin.")
        return Caller(_person(user), is_service, connection)

    def end_user(self, name: str) -> Person:
        return _person(User(id=uuid5(END_USERS, name), name=name, roles=["user"]))

    def models(self) -> Sequence[str]:
        slugs = sorted(ccat().registry.classes["agents"], key=lambda slug: (slug != DEFAULT_AGENT, slug))
        return [_model_id(slug) for slug in slugs]

    async def has_llm(self) -> bool:
        provider = await _provider(await ccat().get("agents", DEFAULT_AGENT))
        if isinstance(provider, OpenAICompatibleProvider):
            return await provider.client() is not None
        return provider is not None and not isinstance(provider, DefaultModelProvider)

    def rewrites_replies(self) -> bool:
        """2.0.22 renamed the hook and dropped the one that each agent had of its own."""
        return any(
            name == "after_agent_run" or (name.startswith("after_") and name.endswith("agent_execution"))
            for name, hooks in ccat().mad_hatter.hooks.items()
            if hooks
        )

    async def takes(self, model: str, kind: Capability) -> bool:
        """Its messages have a place for each."""
        return True

    async def run(self, run: Run, *, live: bool) -> AsyncGenerator[list[Event], None]:
        slug = _agent_slug(run.model)
        agent = await ccat().get("agents", slug)
        channel = EventChannel(run)
        llm = LLMOfRun(run, channel, live=live)
        instructions = [*run.conversation.instructions]
        if run.format and not isinstance(await _provider(agent), OpenAICompatibleProvider):
            instructions.append(json_instruction(run.format))
        client_tools = ClientTools(agent, llm, run.functions)
        agent.directives = [*agent.directives, self._AddedByClient(instructions, client_tools)]
        task = Task(messages=await recalled(run), stream=live)
        voice = StreamListener(agent, channel, llm.calls, with_steps=run.with_steps)
        await _step_into_providers()

        async def answer() -> str:
            # This task has a context of its own, so the person and the stream are this run's alone.
            stream = voice.feed if live else None
            user = run.person.identity
            set_ctx(Ctx(user=user if run.remember else _Guest.of(user), request=run.context, stream=stream))
            llm_of_run.set(llm)
            try:
                result = await agent(task)
                return _join(message.text for message in result.messages if message.role == "assistant")
            finally:
                channel.end()
                await llm.close()

        answering = asyncio.create_task(answer())
        channel.when_cut(answering.cancel)
        try:
            # Not live there are no texts, only steps and the end.
            async for events in channel.events():
                yield events
            await asyncio.wait([answering])
            try:
                reply = answering.result()
            except (Exception, asyncio.CancelledError) as error:
                log.error(f"OpenAI API: the agent {slug} failed: {type(error).__name__}")
                raise UpstreamError from error
            # What an agent says without its LLM, such as the note that none is configured, has no tokens.
            calls = [] if llm.has_told_calls else llm.calls.whole()
            yield [*channel.remaining_events(reply), *calls, llm.end()]
        finally:
            channel.close()
            answering.cancel()
            (answer_or_end,) = await asyncio.gather(answering, return_exceptions=True)
            if run.remember:
                # Of a reply that was cut the client may have the beginning.
                said = answer_or_end if isinstance(answer_or_end, str) else channel.said()
                await keep(run, said, llm.calls.all(), client_tools.said)

    async def embedder(self) -> Embedder | None:
        return await configured_embedder()

    async def load(self, key: str) -> Any:
        with storage_failures(log.error):
            return await load(key)

    async def update(self, key: str, change: Callable[[Any], Any]) -> None:
        with storage_failures(log.error):
            await update(key, change)

    def log_info(self, message: str) -> None:
        log.info(message)

    def log_error(self, message: str) -> None:
        log.error(message)

    # Inside the class, where the Cat's loader does not look: it would offer it to every agent.
    class _AddedByClient(Directive):
        """What the client adds to an agent: its texts behind the agent's own prompt, its functions beside its
        tools."""

        slug = "openai_api_client"

        def __init__(self, texts: Sequence[str], tools: ClientTools) -> None:
            self.texts = texts
            self.tools = tools

        async def start(self, agent: Any) -> None:
            agent.system_prompt = "\n\n".join(filter(None, [agent.system_prompt, *self.texts]))
            self.tools.offer()

        async def step(self, agent: Any) -> None:
            self.tools.next_step()
            # Saving its settings makes a new provider, also while the run is under way.
            await _step_into_providers()


class _Guest(User):
    """A person who leaves no trace: what plugins keep for them can be read as ever, and nothing is added to it."""

    @classmethod
    def of(cls, user: Any) -> "_Guest":
        return cls.model_construct(**dict(user))

    async def save(self, key: str, value: Any) -> Any:
        return value

    async def delete(self, key: str) -> bool:
        return False


class StreamListener:
    """What the agent says while it runs.

    It may speak several times in a run, before and after it uses its tools; what agents say that it calls as
    tools is no part of its reply.
    """

    def __init__(self, agent: Any, channel: EventChannel, calls: ClientCalls, *, with_steps: bool) -> None:
        self.channel = channel
        self._calls = calls
        self._with_steps = with_steps
        self._tools_running = 0
        self._new_message = False
        self._call_tool = agent.call_tool
        agent.call_tool = self._call_tool_unheard

    async def feed(self, event: dict[str, Any]) -> None:
        """The host's stream callback: called for each event, so for each token."""
        if self._tools_running:
            return
        kind = event["type"]
        if kind == agui.EventType.TEXT_MESSAGE_CONTENT:
            delta = event["delta"]
            if self._new_message:
                self._new_message = False
                delta = _gap(self.channel.last(), delta) + delta
            self.channel.put(Text(delta))
            await self.channel.wait_for_reader()
        elif kind == agui.EventType.TEXT_MESSAGE_START:
            self._new_message = True

    async def _call_tool_unheard(self, call: Any, *args: Any, **kwargs: Any) -> Any:
        if self._with_steps and not self._calls.is_clients(call.name):
            self.channel.put(step_of(call.name, json.dumps(call.args, ensure_ascii=False)))
        self._tools_running += 1
        try:
            return await self._call_tool(call, *args, **kwargs)
        finally:
            self._tools_running -= 1


def _join(messages: Iterable[str]) -> str:
    said = ""
    for message in messages:
        if message:
            said += _gap(said, message) + message
    return said


def _gap(before: str, after: str) -> str:
    """A paragraph between two messages of one reply, unless they bring white space of their own."""
    return "" if not before or before[-1].isspace() or after[0].isspace() else "\n\n"


async def _step_into_providers() -> None:
    providers = await ccat().get_all("model_providers")
    step_into(provider for provider in providers.values() if isinstance(provider, OpenAICompatibleProvider))


async def _provider(agent: Any) -> Any:
    """The model provider that an agent's LLM comes from; None where there is none of that name."""
    core = await ccat().get("config", "core")
    slug = agent.model or (await core.load_settings()).default_llm
    return await ccat().get("model_providers", slug.partition(":")[0], raise_error=False)


def _person(user: Any) -> Person:
    return Person(key=str(user.id), name=user.name, identity=user)


def _model_id(slug: str) -> str:
    return CAT_MODEL if slug == DEFAULT_AGENT else f"{CAT_MODEL}:{slug}"


def _agent_slug(model: str) -> str:
    return model.removeprefix(f"{CAT_MODEL}:") if model != CAT_MODEL else DEFAULT_AGENT

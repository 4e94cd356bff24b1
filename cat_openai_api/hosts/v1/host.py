"""Cheshire Cat 1.9: a synchronous pipeline, `StrayCat.run`, made for every request and run in a thread."""

import asyncio
import hmac
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute

from ....settings import Settings
from ...domain.conversation import Audio, Capability, File, Functions, Image, Part
from ...domain.events import Event, Step
from ...domain.model_ids import CAT_MODEL
from ...domain.people import Access, Caller, Person, key_holder_name
from ...errors import InsufficientPermissions, InvalidApiKey, UpstreamError
from ..collections import STATES
from ..detect import IS_CAT_1, missing_of_running_cat_1
from ..names.required import problem_for_clients, problem_for_log
from ..port import Embedder, Host, Run
from ..shared.bearer import bearer_credential
from ..shared.erasures import Erasures
from ..shared.event_channel import EventChannel
from ..shared.sql import SqlStorage
from ..shared.sql_usage import SqlUsageTable
from ..shared.storage import storage_failures
from ..shared.transcript import transcript_keys
from ..shared.turn_notes import load_turn_notes
from .chat_models import accepts, supports_functions
from .embedder import configured_embedder
from .main_prompt import mark_main_prompt, subclass_that_marks
from .memory import confine_vector_memory, forget
from .replacement import Replacement
from .session import Session
from .state import StoredOfRun, delete_from_cache
from .storage import LegacyCache, SqliteFile, storage_path
from .tokens import LimitedTiktoken

if IS_CAT_1 or TYPE_CHECKING:
    import jwt
    from cat.agents import main_agent
    from cat.agents.memory_agent import MemoryAgent
    from cat.auth.auth_utils import is_jwt
    from cat.auth.permissions import AuthPermission, AuthResource, AuthUserInfo
    from cat.db.crud import get_users
    from cat.env import get_env
    from cat.factory.custom_llm import LLMDefault
    from cat.log import log
    from cat.looking_glass import callbacks, stray_cat
    from cat.looking_glass.cheshire_cat import CheshireCat
    from cat.mad_hatter.decorators import hook, plugin
    from cat.startup import cheshire_cat_api

    @plugin
    def settings_model() -> type[Settings]:
        return Settings

    @hook(priority=-1000)
    def agent_prompt_prefix(prefix: str, cat: Any) -> str:
        """Runs after all other plugins' hooks: adds the client's system and developer messages."""
        return prefix + getattr(cat, "openai_api_instructions", "")

    @hook(priority=1000)
    def before_agent_starts(agent_input: Any, cat: Any) -> Any:
        """Runs before all other plugins' hooks: adds the results of the Cat's own tools, where these have run in an
        earlier request of the same turn."""
        if tools_output := getattr(cat, "openai_api_tools_output", ""):
            agent_input.tools_output = tools_output
        return agent_input

    PERMISSIONS = {
        Access.READ: (AuthResource.CONVERSATION, AuthPermission.READ),
        Access.WRITE: (AuthResource.CONVERSATION, AuthPermission.WRITE),
        # Whoever may read the plugin's settings; new users may not.
        Access.ADMIN: (AuthResource.PLUGINS, AuthPermission.READ),
    }

T = TypeVar("T")

MAX_THREADS = 1000
"""Runs beyond that wait until another one ends. Each run has a thread of its own, which ends with it."""

EXAMPLES: Mapping[Capability, Part] = {
    Image: Image("data:image/png;base64,iVBORw0KGgo="),
    Audio: Audio("", "wav"),
    File: File("data:application/pdf;base64,"),
}
"""A part of each kind that every LLM accepts that accepts the kind at all."""

STOP_SECONDS = 1.0
"""How long the end of a run waits for a thread that does something else than wait for its LLM."""


class Cat1(Host):
    embedder_setting = "the Cat's admin panel: Settings, Embedder"
    is_open_without_key = True

    def __init__(self) -> None:
        file = SqliteFile(storage_path())
        self.storage = SqlStorage(file, LegacyCache(), self.log_error)
        self.usage = SqlUsageTable(file, self.log_error)
        self._erasures = Erasures()
        self._settings = Settings()
        self._free_threads = asyncio.Semaphore(MAX_THREADS)
        self._replacements = (
            Replacement(MemoryAgent, "execute", mark_main_prompt),
            Replacement(main_agent, "MemoryAgent", subclass_that_marks),
            Replacement(callbacks, "tiktoken", LimitedTiktoken),
            Replacement(stray_cat, "tiktoken", LimitedTiktoken),
        )
        self._acquire_replacements()
        self._endings: set[asyncio.Task[None]] = set()
        self._is_active = True
        # The Cat loads plugins before it has made all that they use. Where it imports one in a thread, it has started.
        if loop := super().event_loop():
            loop.call_soon(self._check_running_cat)

    def _check_running_cat(self) -> None:
        if missing := missing_of_running_cat_1():
            self.problem = problem_for_clients(missing)
            log.error(problem_for_log(missing))

    async def settings(self) -> Settings:
        """The saved ones, or the last known while the host has no plugins: while an LLM is saved in the panel it
        loads them anew. What the host stores is what was sent to it, which need not be valid."""
        plugin = _plugin()
        if plugin is None:
            return self._settings
        self._settings = Settings()
        with suppress(ValidationError):
            self._settings = Settings.model_validate(plugin.load_settings())
            return self._settings
        # Logged outside of the `except` block: the traceback would contain the values, and a URL may have a password.
        log.error("OpenAI API: the saved settings are not valid, the defaults are in force")
        return self._settings

    async def authenticate(self, connection: HTTPConnection, access: Access) -> Caller:
        credential = bearer_credential(connection.headers.get("authorization", "")) or None
        resource, permission = PERMISSIONS[access]
        user_id = connection.headers.get("user_id") or "user"
        custom, core = _auth_handlers(connection)
        for handler in (custom, core):
            user = handler.authorize_user_from_credential("http", credential, resource, permission, user_id=user_id)
            if user:
                return Caller(_person(user), handler is core and _is_master_key(credential))
        if _is_known(custom, credential, user_id):
            raise InsufficientPermissions(f"Your user may not do this: it needs a permission for {resource.value}.")
        if credential is None:
            raise InvalidApiKey("You did not provide an API key. Send it as: Authorization: Bearer <key>.")
        raise InvalidApiKey("Incorrect API key provided.")

    def api_key(self) -> str | None:
        key: str | None = get_env("CCAT_API_KEY")
        return key or None

    def end_user(self, name: str) -> Person:
        return _person(AuthUserInfo(id=name, name=name))

    def key_holder(self, key_id: str) -> Person:
        """This Cat stores memory by name."""
        return self.end_user(key_holder_name(key_id))

    def people(self, name: str) -> Sequence[Person]:
        return [self.end_user(name)]

    async def erase(self, person: Person) -> Mapping[str, int]:
        """On this Cat a name is one person: an end user and a user of the Cat with that name have one memory."""
        self._erasures.add(person.key)
        for key in await self.storage.keys(STATES, person.key):
            delete_from_cache(CheshireCat().cache, key)
        counts = {**await self.storage.delete_all(person.key)}
        with storage_failures(self.log_error):
            counts["memories"] = await asyncio.to_thread(forget, person.name)
        return counts

    def models(self) -> Sequence[str]:
        return [CAT_MODEL]

    def routes(self) -> list[BaseRoute]:
        routes: list[BaseRoute] = cheshire_cat_api.routes
        return routes

    async def has_llm(self) -> bool:
        return not isinstance(CheshireCat()._llm, LLMDefault)

    def rewrites_replies(self, model: str) -> bool:
        hooks = CheshireCat().mad_hatter.hooks.get("before_cat_sends_message", [])
        return any(hook.plugin_id != "core_plugin" for hook in hooks)

    async def supports(self, model: str, capability: Capability) -> bool:
        llm = CheshireCat()._llm
        return supports_functions(llm) if capability is Functions else accepts(llm, EXAMPLES[capability])

    async def run(self, run: Run, *, live: bool) -> AsyncGenerator[list[Event], None]:
        loop = asyncio.get_running_loop()
        channel = EventChannel(run)
        confine_vector_memory()
        keys = transcript_keys(run.person, run.model, run.conversation.turns)
        notes = await load_turn_notes(self.storage, run.person, keys)
        stored = StoredOfRun(self.storage, self._erasures, run, loop)
        session = Session(run, notes, loop, channel, stored)
        channel.on_abort(session.bridge.end)
        pipeline = self._start_pipeline(session)
        pipeline.add_done_callback(lambda _: channel.end())
        try:
            async for events in channel.events():
                if shown := [event for event in events if live or isinstance(event, Step)]:
                    yield shown
            await asyncio.wait([pipeline])
            message = pipeline.result()
            if isinstance(message, dict):
                log.error("OpenAI API: the Cat failed")
                raise UpstreamError
            yield [*([] if live else session.reply_events(message.text)), session.end(message.text)]
        finally:
            channel.close()
            session.bridge.end()
            # A task of its own: what awaits it may be cancelled.
            ending = asyncio.create_task(self._end_run(session, pipeline))
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)
            await asyncio.wait([ending], timeout=STOP_SECONDS)

    async def _end_run(self, session: Session, pipeline: asyncio.Task[Any]) -> None:
        """Wait for the end of the run's thread, and store what the run leaves."""
        await asyncio.wait([pipeline], timeout=STOP_SECONDS / 2)
        if not pipeline.done():
            session.bridge.end_all()
            await asyncio.wait([pipeline])
        await session.save(self.storage)

    def _start_pipeline(self, session: Session) -> asyncio.Task[Any]:
        """The replacements stay until the thread has ended, also where the plugin is switched off before that."""
        self._acquire_replacements()
        pipeline = asyncio.create_task(self._run_in_thread(session.run_pipeline))
        pipeline.add_done_callback(lambda _: self._release_replacements())
        return pipeline

    async def _run_in_thread(self, function: Callable[[], T]) -> T:
        async with self._free_threads:
            executor = ThreadPoolExecutor(1, thread_name_prefix="openai-api")
            try:
                return await asyncio.get_running_loop().run_in_executor(executor, function)
            finally:
                executor.shutdown(wait=False)

    async def embedder(self) -> Embedder | None:
        return configured_embedder(self._run_in_thread)

    def deactivate(self) -> None:
        """Put back what the plugin has replaced in the Cat, before the Cat may switch it on again. Runs that are under
        way delay that to their end."""
        if self._is_active:
            self._is_active = False
            self._release_replacements()

    def event_loop(self) -> asyncio.AbstractEventLoop | None:
        """The Cat imports a plugin that is uploaded in a worker thread; at its start it has not noted its loop yet."""
        return super().event_loop() or getattr(cheshire_cat_api.state, "event_loop", None)

    async def close(self) -> None:
        self.deactivate()
        await super().close()

    def _acquire_replacements(self) -> None:
        for replacement in self._replacements:
            replacement.acquire()

    def _release_replacements(self) -> None:
        for replacement in self._replacements:
            replacement.release()

    def log_info(self, message: str) -> None:
        log.info(message)

    def log_warning(self, message: str) -> None:
        log.warning(message)

    def log_error(self, message: str) -> None:
        log.error(message)


def _plugin() -> Any:
    """This plugin, as the host knows it: its id is its folder's name, `cat.plugins.<folder>.…`."""
    return CheshireCat().mad_hatter.plugins.get(__name__.split(".")[2])


def _auth_handlers(connection: HTTPConnection) -> tuple[Any, Any]:
    """The one that the admin has chosen, and the Cat's own."""
    cat = connection.app.state.ccat
    return cat.custom_auth_handler, cat.core_auth_handler


def _is_master_key(credential: str | None) -> bool:
    """Whether the caller could act for any user: with the API key, or because this Cat has none and is open to all."""
    if credential is not None and is_jwt(credential):
        return False
    key = get_env("CCAT_API_KEY")
    return not key or hmac.compare_digest((credential or "").encode(), key.encode())


def _is_known(custom: Any, credential: str | None, user_id: str) -> bool:
    """Whether the credential belongs to a user who has other permissions. `custom`: the admin's auth handler."""
    if credential is None:
        return False
    try:
        claims = jwt.decode(credential, get_env("CCAT_JWT_SECRET"), algorithms=[get_env("CCAT_JWT_ALGORITHM")])
    except jwt.InvalidTokenError:
        return any(
            custom.authorize_user_from_credential("http", credential, resource, permission, user_id=user_id)
            for resource in AuthResource
            for permission in AuthPermission
        )
    return claims.get("sub") in get_users()


def _person(user: Any) -> Person:
    return Person(key=user.name, name=user.name, identity=user)

"""Cheshire Cat 1.9: a synchronous pipeline, `StrayCat.run`, made for every request and run in a thread."""

import asyncio
import hmac
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from starlette.requests import HTTPConnection

from ....settings import Settings
from ...domain.conversation import Audio, Capability, File, Functions, Image, Part
from ...domain.events import Event, Step
from ...domain.model_ids import CAT_MODEL
from ...domain.people import Access, Caller, Person
from ...errors import InsufficientPermissions, InvalidApiKey, UpstreamError
from ..detect import IS_CAT_1
from ..port import Embedder, Host, Run
from ..shared.event_channel import EventChannel
from ..shared.storage import storage_failures
from .chat_models import calls_functions, takes
from .embedder import configured_embedder
from .llm_bridge import AsyncLLMBridge
from .memory import confine_vector_memory
from .session import Session
from .state import kept_in, update_in

if IS_CAT_1 or TYPE_CHECKING:
    import jwt
    from cat.auth.auth_utils import is_jwt
    from cat.auth.permissions import AuthPermission, AuthResource, AuthUserInfo
    from cat.db.crud import get_users
    from cat.env import get_env
    from cat.factory.custom_llm import LLMDefault
    from cat.log import log
    from cat.looking_glass.cheshire_cat import CheshireCat
    from cat.mad_hatter.decorators import hook, plugin

    @plugin
    def settings_model() -> type[Settings]:
        return Settings

    @hook(priority=-1000)
    def agent_prompt_prefix(prefix: str, cat: Any) -> str:
        """Last of all, the client's system and developer texts."""
        return prefix + getattr(cat, "openai_api_instructions", "")

    @hook(priority=1000)
    def before_agent_starts(agent_input: Any, cat: Any) -> Any:
        """First of all, what the Cat's tools said before the client's functions were called."""
        if said := getattr(cat, "openai_api_tools_output", ""):
            agent_input.tools_output = said
        return agent_input

    PERMISSIONS = {
        Access.READ: (AuthResource.CONVERSATION, AuthPermission.READ),
        Access.WRITE: (AuthResource.CONVERSATION, AuthPermission.WRITE),
        # Whoever may read the plugin's settings; new users may not.
        Access.ADMIN: (AuthResource.PLUGINS, AuthPermission.READ),
    }


MAX_THREADS = 1000
"""Runs beyond that wait for one that ends. Each has a thread of its own, which ends with it."""

free_threads = asyncio.Semaphore(MAX_THREADS)

EXAMPLES: Mapping[Capability, Part] = {
    Image: Image("data:image/png;base64,iVBORw0KGgo="),
    Audio: Audio("", "wav"),
    File: File("data:application/pdf;base64,"),
}
"""Of each kind one that the LLMs take that take any."""

STOP_SECONDS = 1.0
"""How long the end of a run waits for a thread that is busy with something else than its LLM."""


async def _in_a_thread(work: Callable[[], Any]) -> Any:
    async with free_threads:
        thread = ThreadPoolExecutor(1, thread_name_prefix="openai-api")
        try:
            return await asyncio.get_running_loop().run_in_executor(thread, work)
        finally:
            thread.shutdown(wait=False)


class Cat1(Host):
    embedder_setting = "the Cat's admin panel: Settings, Embedder"

    _known = Settings()

    async def settings(self) -> Settings:
        """The host checks what is saved but stores it as it was sent. For a moment, while an LLM is saved in the
        panel, it has no plugins: the settings of before are in force then."""
        plugin = _plugin()
        if plugin is None:
            return self._known
        self._known = Settings()
        with suppress(ValidationError):
            self._known = Settings.model_validate(plugin.load_settings())
            return self._known
        # Not while the error is handled: its traceback would have the values in it, and a URL may have a password.
        log.error("OpenAI API: the saved settings are not valid, the defaults are in force")
        return self._known

    async def authenticate(self, connection: HTTPConnection, access: Access) -> Caller:
        header = connection.headers.get("authorization", "")
        credential = header.removeprefix("Bearer ") or None
        resource, permission = PERMISSIONS[access]
        named = connection.headers.get("user_id") or "user"
        custom, core = _auth_handlers(connection)
        for handler in (custom, core):
            user = handler.authorize_user_from_credential("http", credential, resource, permission, user_id=named)
            if user:
                return Caller(_person(user), handler is core and _is_master_key(credential))
        if _is_known(custom, credential, named):
            raise InsufficientPermissions(f"Your user may not do this: it needs a permission for {resource.value}.")
        if credential is None:
            raise InvalidApiKey("You did not provide an API key. Send it as: Authorization: Bearer <key>.")
        raise InvalidApiKey("Incorrect API key provided.")

    def end_user(self, name: str) -> Person:
        return _person(AuthUserInfo(id=name, name=name))

    def models(self) -> Sequence[str]:
        return [CAT_MODEL]

    async def has_llm(self) -> bool:
        return not isinstance(CheshireCat()._llm, LLMDefault)

    def rewrites_replies(self) -> bool:
        hooks = CheshireCat().mad_hatter.hooks.get("before_cat_sends_message", [])
        return any(hook.plugin_id != "core_plugin" for hook in hooks)

    async def takes(self, model: str, kind: Capability) -> bool:
        llm = CheshireCat()._llm
        return calls_functions(llm) if kind is Functions else takes(llm, EXAMPLES[kind])

    async def run(self, run: Run, *, live: bool) -> AsyncGenerator[list[Event], None]:
        loop = asyncio.get_running_loop()
        channel = EventChannel(run)
        confine_vector_memory()
        session = Session(run, AsyncLLMBridge(loop, channel.unread), loop, channel)
        channel.when_cut(session.bridge.end)
        answering = asyncio.create_task(_in_a_thread(session.answer))
        answering.add_done_callback(lambda _: channel.end())
        try:
            async for events in channel.events():
                told = [event for event in events if live or isinstance(event, Step)]
                if told:
                    yield told
            await asyncio.wait([answering])
            reply = answering.result()
            if isinstance(reply, dict):
                log.error("OpenAI API: the Cat failed")
                raise UpstreamError
            rest = channel.remaining_events(reply.text) if live else session.whole(reply.text)
            yield [*rest, session.end()]
        finally:
            channel.close()
            session.bridge.end()
            await asyncio.wait([answering], timeout=STOP_SECONDS)

    async def embedder(self) -> Embedder | None:
        return configured_embedder(_in_a_thread)

    async def load(self, key: str) -> Any:
        return kept_in(CheshireCat().cache, key)

    async def update(self, key: str, change: Callable[[Any], Any]) -> None:
        with storage_failures(log.error):
            update_in(CheshireCat().cache, key, change, seconds=-1)

    def log_info(self, message: str) -> None:
        log.info(message)

    def log_error(self, message: str) -> None:
        log.error(message)


def _plugin() -> Any:
    """This plugin, as the host knows it: its id is its folder's name, `cat.plugins.<folder>.…`."""
    return CheshireCat().mad_hatter.plugins.get(__name__.split(".")[2])


def _auth_handlers(connection: HTTPConnection) -> tuple[Any, Any]:
    cat = connection.app.state.ccat
    return cat.custom_auth_handler, cat.core_auth_handler


def _is_master_key(credential: str | None) -> bool:
    """Whether the caller could name any user: by the key, or because this Cat is open to all."""
    if credential is not None and is_jwt(credential):
        return False
    key = get_env("CCAT_API_KEY")
    return not key or hmac.compare_digest((credential or "").encode(), key.encode())


def _is_known(custom: Any, credential: str | None, named: str) -> bool:
    """Whether the credential is somebody's who may do something else."""
    if credential is None:
        return False
    try:
        claims = jwt.decode(credential, get_env("CCAT_JWT_SECRET"), algorithms=[get_env("CCAT_JWT_ALGORITHM")])
    except jwt.InvalidTokenError:
        return any(
            custom.authorize_user_from_credential("http", credential, resource, permission, user_id=named)
            for resource in AuthResource
            for permission in AuthPermission
        )
    return claims.get("sub") in get_users()


def _person(user: Any) -> Person:
    return Person(key=user.name, name=user.name, identity=user)

"""Cheshire Cat 1.9: a synchronous pipeline, `StrayCat.run`, made for every request and run in a thread."""

import asyncio
import hmac
import threading
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError
from starlette.requests import Request

from ...settings import Settings
from ..conversation import Turn
from ..errors import InsufficientPermissions, InvalidApiKey, UpstreamError
from .detect import IS_CAT_1
from .mailbox import Mailbox
from .port import THE_CAT, Access, Caller, Host, Person, Run, Text
from .v1_llm import Asker, LLMOfRun, RunEnded
from .v1_state import SECONDS_KEPT, key_of, restore, state_of

if IS_CAT_1 or TYPE_CHECKING:
    import jwt
    from cat.auth.auth_utils import is_jwt
    from cat.auth.permissions import AuthPermission, AuthResource, AuthUserInfo
    from cat.cache.cache_item import CacheItem
    from cat.convo.messages import CatMessage, UserMessage
    from cat.db.crud import get_users
    from cat.env import get_env
    from cat.factory.custom_llm import LLMDefault
    from cat.log import log
    from cat.looking_glass.cheshire_cat import CheshireCat
    from cat.looking_glass.stray_cat import StrayCat
    from cat.mad_hatter.decorators import hook, plugin
    from cat.memory.working_memory import WorkingMemory
    from langchain_core.language_models.chat_models import BaseChatModel
    from langchain_openai.chat_models.base import BaseChatOpenAI

    @plugin
    def settings_model() -> type[Settings]:
        return Settings

    @plugin
    def deactivated(_: Any) -> None:
        threads.close()
        _unguard_memory()

    @hook(priority=-1000)
    def agent_prompt_prefix(prefix: str, cat: Any) -> str:
        """Last of all, the client's system and developer texts."""
        return prefix + getattr(cat, "openai_api_instructions", "")
else:
    StrayCat = WorkingMemory = object

MOST_THREADS = 1000

memory_lock = threading.RLock()

GUARDED = (
    "add_point",
    "recall_memories_from_embedding",
    "get_points",
    "get_all_points",
    "delete_points",
    "delete_points_by_metadata_filter",
)
"""Methods of the vector memory's collections that use its database."""

STOP_SECONDS = 1.0
"""How long the end of a run waits for a thread that is busy with something else than its LLM."""


class _Threads:
    """The threads that runs wait in: they come as they are needed, and their number follows the settings."""

    def __init__(self) -> None:
        self._size = 0
        self._pool: ThreadPoolExecutor | None = None

    def pool(self, places: int) -> ThreadPoolExecutor:
        """For that many runs at once; 0 is as many as there may be."""
        size = min(places or MOST_THREADS, MOST_THREADS)
        if self._pool is None or size != self._size:
            self.close()
            self._size = size
            self._pool = ThreadPoolExecutor(size, thread_name_prefix="openai-api")
        return self._pool

    def close(self) -> None:
        """Threads that are at work end with it."""
        if self._pool is not None:
            self._pool.shutdown(wait=False)
            self._pool = None


threads = _Threads()


def _guard_memory() -> None:
    """Have the Cat's memory used by one thread at a time, by its own chat too.

    The embedded vector database is not made for threads: two chats at once break it, for all users, until the
    Cat is started again. The collections are new ones after the embedder was changed, so each run looks.
    """
    for collection in CheshireCat().memory.vectors.collections.values():
        for name in GUARDED:
            if name not in vars(collection) and hasattr(collection, name):
                setattr(collection, name, _one_at_a_time(getattr(collection, name)))


def _unguard_memory() -> None:
    for collection in CheshireCat().memory.vectors.collections.values():
        for name in GUARDED:
            vars(collection).pop(name, None)


def _one_at_a_time(method: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        with memory_lock:
            return method(*args, **kwargs)

    return call


class Cat1(Host):
    async def settings(self) -> Settings:
        """The host checks what is saved but stores it as it was sent."""
        saved = _plugin().load_settings()
        try:
            return Settings.model_validate(saved)
        except ValidationError:
            log.error("OpenAI API: the saved settings are not valid, the defaults are in force")
            return Settings()

    async def authenticate(self, request: Request, access: Access) -> Caller:
        header = request.headers.get("authorization", "")
        credential = header.removeprefix("Bearer ") or None
        permission = AuthPermission.READ if access is Access.READ else AuthPermission.WRITE
        named = request.headers.get("user_id") or "user"
        custom, core = _auth_handlers(request)
        for handler in (custom, core):
            user = handler.authorize_user_from_credential(
                "http", credential, AuthResource.CONVERSATION, permission, user_id=named
            )
            if user:
                return Caller(_person(user), handler is core and _is_master_key(credential))
        if _is_known(custom, credential, named):
            raise InsufficientPermissions("Your user may not do this: it needs a permission for CONVERSATION.")
        if credential is None:
            raise InvalidApiKey("You did not provide an API key. Send it as: Authorization: Bearer <key>.")
        raise InvalidApiKey("Incorrect API key provided.")

    def end_user(self, name: str) -> Person:
        return _person(AuthUserInfo(id=name, name=name))

    def models(self) -> Sequence[str]:
        return [THE_CAT]

    async def has_llm(self) -> bool:
        return not isinstance(CheshireCat()._llm, LLMDefault)

    def rewrites_replies(self) -> bool:
        hooks = CheshireCat().mad_hatter.hooks.get("before_cat_sends_message", [])
        return any(hook.plugin_id != "core_plugin" for hook in hooks)

    async def run(self, run: Run, *, live: bool) -> AsyncGenerator[list[Text], None]:
        loop = asyncio.get_running_loop()
        mailbox = Mailbox(run.timeout)
        _guard_memory()
        session = _Session(run, Asker(loop), loop, mailbox)
        *_, question = run.conversation.turns
        message = {"text": "".join(question.texts), "user_id": run.person.name}
        places = (await self.settings()).max_concurrent_requests
        answering = loop.run_in_executor(threads.pool(places), session.answer, message)
        answering.add_done_callback(lambda _: mailbox.end())
        try:
            async for texts in mailbox.texts():
                if live:
                    yield texts
            await asyncio.wait([answering])
            reply = answering.result()
            if isinstance(reply, dict):
                log.error("OpenAI API: the Cat failed")
                raise UpstreamError
            session.keep_state(reply.text)
            if not live:
                yield [Text(reply.text)]
            elif rest := mailbox.rest_of(reply.text):
                yield rest
        finally:
            mailbox.close()
            session.asker.end()
            await asyncio.wait([answering], timeout=STOP_SECONDS)

    async def kept_turns(self, person: Person) -> list[Turn]:
        kept = CheshireCat().cache.get_value(_conversation_key(person)) or []
        return [Turn(role, (text,)) for role, text in kept]

    async def keep_turns(self, person: Person, turns: Sequence[Turn]) -> None:
        kept = [(turn.role, "".join(turn.texts)) for turn in turns]
        CheshireCat().cache.insert(CacheItem(_conversation_key(person), kept, -1))

    def log_info(self, message: str) -> None:
        log.info(message)

    def log_error(self, message: str) -> None:
        log.error(message)


class _Memory(WorkingMemory):
    """The working memory of one run. The Cat's own forgets all but the last 20 messages."""

    history: list[Any] = Field(default_factory=list)

    def update_history(self, message: Any) -> None:
        self.history = [*self.history, message]

    def langchainfy_chat_history(self, latest_n: int | None = None) -> list[Any]:
        return [message.langchainfy() for message in self.history]


class _Session(StrayCat):
    """A session of one run: the conversation is the client's, and what it sends goes to nobody's web socket."""

    def __init__(self, run: Run, asker: Asker, loop: asyncio.AbstractEventLoop, mailbox: Mailbox) -> None:
        self.asker = asker
        self.openai_api_instructions = _as_template(run.conversation.instructions)
        self._loop = loop
        self._mailbox = mailbox
        self._sampling = run.sampling
        self._person = run.person
        self._turns = run.conversation.turns
        super().__init__(run.person.identity)

    def answer(self, message: dict[str, Any]) -> Any:
        """In a thread: the Cat's message, or a dict that tells of an error."""
        try:
            return self.run(message, return_message=True)
        except RunEnded:
            return {"error": "ended"}

    def load_working_memory_from_cache(self) -> None:
        *earlier, _ = self._turns
        self.working_memory = _Memory(history=_history(earlier, self.user_id))
        if state := self.cache.get_value(key_of(self._person, earlier)):
            restore(state, self.working_memory, self)

    def update_working_memory_cache(self) -> None:
        """The client keeps the conversation; the user's own chat stays as it is."""

    def keep_state(self, reply: str) -> None:
        """Keep what this turn leaves beside the messages, for the turn after `reply`."""
        try:
            state = state_of(self.working_memory)
        except Exception:  # a plugin may keep anything in there
            log.error("OpenAI API: the working memory cannot be copied, the next turn begins without it")
            return
        if state:
            key = key_of(self._person, [*self._turns, Turn("assistant", (reply,))])
            self.cache.insert(CacheItem(key, state, SECONDS_KEPT))

    def recall_relevant_memories_to_working_memory(self, query: str | None = None) -> Any:
        self.asker.check()
        return super().recall_relevant_memories_to_working_memory(query)

    def _store_user_message_in_episodic_memory(self, user_message_text: str) -> None:
        self.asker.check()
        super()._store_user_message_in_episodic_memory(user_message_text)

    def _StrayCat__send_ws_json(self, data: Any) -> None:
        """All that the Cat and its plugins send, tokens and notifications, comes through here."""
        self.asker.check()
        if data["type"] == "chat_token" and data["content"]:
            self._loop.call_soon_threadsafe(self._mailbox.put, data["content"])

    @property
    def _llm(self) -> Any:
        llm = CheshireCat()._llm
        if not isinstance(llm, BaseChatModel):
            return llm
        return LLMOfRun(model=llm, asker=self.asker, parameters=_parameters(llm, self._sampling))


def _parameters(llm: Any, sampling: Mapping[str, Any]) -> dict[str, Any]:
    """The sampling parameters as the model's class takes them: those of OpenAI's wire format do."""
    if not isinstance(llm, BaseChatOpenAI):
        return {}
    parameters = dict(sampling)
    # Newer than the SDK that comes with Cat 1.9.
    effort = parameters.pop("reasoning_effort", None)
    return {**parameters, "extra_body": {"reasoning_effort": effort}} if effort else parameters


def _history(turns: Sequence[Turn], user_id: str) -> list[Any]:
    """What was said, as the Cat's own messages."""
    return [
        (UserMessage if turn.role == "user" else CatMessage)(user_id=user_id, text="".join(turn.texts))
        for turn in turns
    ]


def _as_template(texts: Sequence[str]) -> str:
    """The Cat's prompt is a template, in which a brace of a text must be doubled."""
    return "".join("\n\n" + text.replace("{", "{{").replace("}", "}}") for text in texts)


def _plugin() -> Any:
    """This plugin, as the host knows it: its id is its folder's name, `cat.plugins.<folder>.…`."""
    return CheshireCat().mad_hatter.plugins[__name__.split(".")[2]]


def _auth_handlers(request: Request) -> tuple[Any, Any]:
    cat = request.app.state.ccat
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


def _conversation_key(person: Person) -> str:
    return f"openai_api_conversation_{person.key}"

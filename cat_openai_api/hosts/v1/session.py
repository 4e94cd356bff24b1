"""A session of Cat 1.9 for one run: its memory, its LLM and its events."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

from pydantic import Field, PrivateAttr

from ...domain.conversation import Turn
from ...domain.events import EARLY_FINISH_REASONS, End, Event, Fingerprint, PluginText, Refusal, Step, Text
from ...domain.json_instruction import json_instruction
from ...domain.usage import total_usage
from ...wire.json import JsonObject
from ..detect import IS_CAT_1
from ..port import Run
from ..shared.client_calls import ClientCalls, step_for
from ..shared.event_channel import EventChannel
from ..shared.transcript import (
    StoredState,
    add_state,
    call_signatures,
    find_state,
    key_of_reply,
    transcript_keys,
    words_before_reply,
)
from ..shared.turn_notes import TurnNote, TurnNotes, save_turn_notes
from ..storage import Storage
from .chat_models import LLMChunk, Parameters, supports_json_format
from .llm_bridge import AsyncLLMBridge, LLMOfRun, RunEnded, TokenSource, TokenSources
from .memory import forget
from .messages import (
    AssistantTurn,
    ToolTurn,
    UserTurn,
    changes_of,
    langchain_messages,
    message_why,
    turn_as_left,
    why_of,
)
from .state import Snapshot, StoredOfRun, load_from_cache, restore, take_snapshot

if IS_CAT_1 or TYPE_CHECKING:
    from cat.log import log
    from cat.looking_glass.cheshire_cat import CheshireCat
    from cat.looking_glass.stray_cat import StrayCat
    from cat.mad_hatter.decorators import CatTool
    from cat.memory.working_memory import WorkingMemory
    from langchain_core.language_models.chat_models import BaseChatModel
else:
    StrayCat = WorkingMemory = object


CORE_PLUGIN = "core_plugin"

READING_HOOK = "before_cat_reads_message"
"""The hook in which plugins may change a user's message."""

PLUGIN_SOURCE = 0
"""Source of the tokens that plugins send without an LLM."""

MAX_QUERY_LENGTH = 2_000
"""Characters of the text that memories are recalled by where the user said nothing."""


class UnknownFunction(Exception):
    """The LLM called a function that it was not offered."""


class Memory(WorkingMemory):
    """The working memory of one run. The Cat's own keeps the last 20 messages only."""

    history: list[Any] = Field(default_factory=list)

    _after_question: list[Any] = PrivateAttr(default_factory=list)
    """Calls of the client's functions and their results, or words of the assistant's, where the run continues after
    these."""

    _question: Any = PrivateAttr(None)
    """The message of the user, when the pipeline has read it."""

    def update_history(self, message: Any) -> None:
        self.history = [*self.history, message]
        if message is self.user_message_json:
            self.history += self._after_question
            self._question = message

    def langchainfy_chat_history(self, latest_n: int | None = None) -> list[Any]:
        return langchain_messages(self.history)


class _OutsideMainPrompt:
    """Stands in for a session: its LLM does not get the client's functions."""

    def __init__(self, session: Any) -> None:
        vars(self)["_session"] = session

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["_session"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(vars(self)["_session"], name, value)

    @property
    def _llm(self) -> Any:
        return vars(self)["_session"].llm_of_run(is_main_prompt=False)

    def __reduce__(self) -> Any:
        return _OutsideMainPrompt, (vars(self)["_session"],)


class _PluginsPrompts:
    """The host's method `llm`, with which plugins send prompts of their own, also while the main prompt is sent.

    A descriptor and not a method: the host's method notes its caller, which a method here would hide. Plugins may put a
    method of their own in its place, in the session.
    """

    def __get__(self, session: Any, owner: Any) -> Any:
        return self if session is None else StrayCat.llm.__get__(_OutsideMainPrompt(session))


class Session(StrayCat):
    """The conversation is the client's, and events go to `channel` instead of the user's web socket.

    The question of the run is the last turn of the user, also where the client's functions were called after it, and
    where the reply goes on from the assistant's words after it. `notes`: of the turns of the conversation. `stored`:
    stores the state.
    """

    def __init__(
        self,
        run: Run,
        notes: TurnNotes,
        loop: asyncio.AbstractEventLoop,
        channel: EventChannel,
        stored: StoredOfRun,
    ) -> None:
        self.bridge = AsyncLLMBridge(loop, channel.unread)
        self.openai_api_instructions = _as_template(_instructions(run))
        self.openai_api_tools_output = ""
        self._loop = loop
        self._channel = channel
        self._run = run
        self._stored = stored
        self._turns = run.conversation.turns
        self._keys = notes.keys
        self._notes = notes
        self._new_notes: dict[int, JsonObject] = {}
        self._why: JsonObject = {}
        self._is_reading_earlier_turns = False
        self._has_dropped_message = False
        self._has_state = False
        self._snapshot: Snapshot | None = None
        self._question = max((index for index, turn in enumerate(self._turns) if turn.role == "user"), default=-1)
        self._main_prompts = 0
        self._sources = TokenSources()
        self._source_numbers = count(PLUGIN_SOURCE + 1)
        self._usages = run.usages
        self._calls = ClientCalls(run.functions)
        self._refusal: list[str] = []
        self._finish_reason: str | None = None
        self._fingerprint: str | None = None
        self._run.questions.are_read = not self._may_change_questions()
        super().__init__(run.person.identity)

    def run_pipeline(self) -> Any:
        """In a thread: returns the Cat's message, or a dict for an error."""
        self.bridge.begin()
        try:
            return self._run_pipeline()
        finally:
            self.bridge.finish()

    def _run_pipeline(self) -> Any:
        try:
            self._restore_state()
            self._build_history()
            reply = self.run(self._question_message(), return_message=True)
            self.bridge.check()
            if self._message() is None:
                self._read_unread_question()
        except RunEnded:
            # The client may have the beginning of the reply.
            self._look_back({})
            return {"error": "ended"}
        except BaseException as error:
            # The Cat catches each Exception; its tokenizer panics with something else at very long words.
            log.error(f"OpenAI API: the Cat's pipeline ended with {type(error).__name__}")
            return {"error": "broken"}
        if not isinstance(reply, dict):
            self._look_back(why_of(reply))
        return reply

    def reply_events(self, text: str) -> list[Event]:
        """The events of the whole reply at once. `text`: as the pipeline's hooks left it."""
        refusal = "".join(self._refusal)
        return [
            *([Fingerprint(self._fingerprint)] if self._fingerprint else []),
            *([Text(text)] if text else []),
            *([Refusal(refusal)] if refusal else []),
            *self._calls.as_deltas(),
        ]

    def end(self, text: str) -> End:
        """`text`: the final text."""
        return End(EARLY_FINISH_REASONS.get(self._finish_reason), total_usage(self._usages), text)

    @property
    def _question_turn(self) -> Turn:
        return self._turns[self._question] if self._question >= 0 else Turn("user", ())

    @property
    def _continues_turn(self) -> bool:
        """Whether an earlier request began this turn and ended with calls of the client's functions."""
        return any(turn.role == "tool" for turn in self._turns[self._question + 1 :])

    def load_working_memory_from_cache(self) -> None:
        self.working_memory = Memory()

    def update_working_memory_cache(self) -> None:
        """Nothing: the client has the conversation, and the user's own chat with the Cat stays as it is."""

    def _build_history(self) -> None:
        """The messages of the conversation, as the pipeline left them where that is known.

        The hooks of plugins read a user's message of which it is not known, before the LLM does.
        """
        functions: dict[str, str] = {}
        history: list[Any] = []
        after_question: list[Any] = []
        input = ""
        for place, turn in enumerate(self._turns):
            functions.update((call.id, call.name) for call in turn.calls)
            messages = after_question if place > self._question else history
            if turn.role == "tool":
                messages.append(ToolTurn(turn, self.user_id, functions.get(turn.call_id, "")))
            elif turn.role == "assistant":
                messages.append(self._assistant_message(place, turn, input))
            elif place == self._question:
                input = turn.text
            else:
                message = self._earlier_message(place, turn, history)
                input = message.text or ""
                history.append(message)
        self.working_memory.history = history
        self.working_memory._after_question = after_question

    def _assistant_message(self, place: int, turn: Turn, input: str) -> Any:
        note = self._notes.reply(place, turn)
        text = turn.text
        if note and note.sent is not None and not note.reply.strip().startswith(text.strip()):
            text = note.reply
        return AssistantTurn(turn, self.user_id, text, message_why(input, note.state if note else {}))

    def _earlier_message(self, place: int, turn: Turn, history: list[Any]) -> Any:
        message = UserTurn(turn, self.user_id)
        if turn.sent_digest:
            return message
        changes = self._notes.question(place)
        if changes is not None:
            message.apply(changes)
        elif self._may_change_questions():
            self.working_memory.history = [*history]
            message = self._read(message)
            changes = self._new_notes[place] = changes_of(turn, message)
        if changes is not None:
            self._run.questions.turns[place] = turn_as_left(turn, changes)
        return message

    def _question_message(self) -> Any:
        message = UserTurn(self._question_turn, self.user_id)
        if self._is_question_known():
            message.apply(self._notes.question(self._question) or {})
        return message

    def _is_question_known(self) -> bool:
        """Whether the pipeline has read the question already, in the request that this one continues."""
        if not self._continues_turn or self._question < 0:
            return False
        return bool(self._turns[self._question].sent_digest) or self._notes.question(self._question) is not None

    def _read(self, message: Any) -> Any:
        """The user's message as the hooks of plugins leave it that the pipeline calls before it reads one. What
        plugins send meanwhile is no part of the run."""
        self.bridge.check()
        self._is_reading_earlier_turns = True
        try:
            self.working_memory.user_message_json = message
            changed = self.mad_hatter.execute_hook(READING_HOOK, message, cat=self)
            self.working_memory.user_message_json = changed
            return self.working_memory.user_message_json
        finally:
            self._is_reading_earlier_turns = False

    def _read_unread_question(self) -> None:
        """After a fast reply, which comes before the hooks: what is stored of the question has to be as they leave
        it."""
        if self._run.remember and self._may_change_questions():
            message = self._question_message()
            self._note_question(message if self._is_question_known() else self._read(message))

    def _message(self) -> Any:
        """The message of the user as it is in the history; None while the pipeline has not read it."""
        return getattr(self.working_memory, "_question", None)

    def _note_question(self, message: Any) -> None:
        """What the pipeline's hooks have made of the message by now."""
        if self._question >= 0:
            turn = self._turns[self._question]
            changes = changes_of(turn, message)
            if changes or self._may_change_questions():
                self._run.questions.turns[self._question] = turn_as_left(turn, changes)
                if changes != self._notes.question(self._question) and not turn.sent_digest:
                    self._new_notes[self._question] = changes
        self._run.questions.are_read = True

    @staticmethod
    def _may_change_questions() -> bool:
        return any(hook.plugin_id != CORE_PLUGIN for hook in CheshireCat().mad_hatter.hooks.get(READING_HOOK, ()))

    def _look_back(self, why: JsonObject) -> None:
        """What this run leaves for the requests that continue the conversation. `why`: see `why_of`."""
        if (message := self._message()) is not None:
            # Other hooks than those that are for it may have changed the message meanwhile.
            self._note_question(message)
        self._why = why
        self._snapshot = take_snapshot(self.working_memory, self)

    async def save(self, storage: Storage) -> None:
        """Store the notes and the state. Call it when the client has got all that it gets, and the pipeline has
        ended."""
        if not self._run.remember or self._snapshot is None:
            return
        before = words_before_reply(self._turns)
        reply, sent = before + self._run.receipt.final_text(), before + self._run.receipt.text()
        calls = call_signatures(self._calls.returned_calls())
        turns = tuple(self._run.questions.turns.get(place, turn) for place, turn in enumerate(self._turns))
        keys = [key_of_reply(self._keys, self._turns)]
        if turns != self._turns:
            keys.append(key_of_reply(transcript_keys(self._run.person, self._run.model, turns), turns))
        added = StoredState(reply, calls, self._why, None if sent == reply else sent)
        notes = {self._keys[place + 1]: TurnNote(question) for place, question in self._new_notes.items()}
        if added.sent is not None or added.state:
            for key in keys:
                notes[key] = replace(notes.get(key, TurnNote()), replies=[added])
        if not await save_turn_notes(storage, self._run.person, notes):
            log.error("OpenAI API: what belongs to a turn cannot be stored, the next turn begins without it")
        tools_output = self._tools_output() if calls else ""
        if self._snapshot.has_values() or tools_output or self._has_state:
            await asyncio.to_thread(
                self._store_state, keys, replace(added, state=(self._snapshot.stored, tools_output))
            )

    def _restore_state(self) -> None:
        """The state after the last calls, where the turn continues after them, or else that before the question."""
        replies = [index for index, turn in enumerate(self._turns) if turn.role == "assistant"]
        before = [index for index in replies if index < self._question]
        for index in (replies[-1:] if self._continues_turn else []) + before[-1:]:
            if stored := find_state(_states(load_from_cache(self.cache, self._keys[index])), self._turns[index]):
                self._has_state = True
                state, self.openai_api_tools_output = stored.state
                restore(state, self.working_memory, self)
                return

    def _store_state(self, keys: Sequence[str], added: StoredState) -> None:
        """Store what this run leaves in the working memory beside the messages, for the run after its reply."""

        def add(stored: Any) -> Any:
            return [_plain(each) for each in add_state(_states(stored), added)]

        try:
            for key in keys:
                self._stored.update(self.cache, key, add)
        except Exception:  # the storage's own, whichever it is: the client gets the reply all the same
            log.error("OpenAI API: the working memory cannot be stored, the next turn begins without it")

    def _tools_output(self) -> str:
        return getattr(getattr(self.working_memory, "agent_input", None), "tools_output", "")

    def recall_relevant_memories_to_working_memory(self, query: str | None = None) -> Any:
        self.bridge.check()
        if not self._run.questions.are_read and (message := self._message()) is not None:
            self._note_question(message)
        if self._run.conversation_only:
            return None
        if query is None and not any(self._question_turn.parts):
            query = self._query_without_question()
            if not query:
                return None
        result = super().recall_relevant_memories_to_working_memory(query)
        if self.openai_api_tools_output:
            # The Cat's tools have run in this turn.
            self.working_memory.procedural_memories = []
        return result

    def _store_user_message_in_episodic_memory(self, user_message_text: str) -> None:
        self.bridge.check()
        if (
            self._run.remember
            and not self._continues_turn
            and user_message_text.strip()
            and not self._stored.is_erased()
        ):
            super()._store_user_message_in_episodic_memory(user_message_text)
            if self._stored.is_erased():
                forget(self.user_id)

    def _query_without_question(self) -> str:
        """What memories are recalled by where the user said nothing: the last words of the conversation, or else the
        client's instructions. Embedders refuse an empty text, and a very long one."""
        texts = [*self._run.conversation.instructions, *(turn.text for turn in self._turns)]
        return next((text for text in reversed(texts) if text.strip()), "")[:MAX_QUERY_LENGTH]

    def _StrayCat__send_ws_json(self, data: Any) -> None:
        """All that the Cat and its plugins send passes through here. After the run it goes where the Cat's own chat
        sends it: to the web socket of the user."""
        if self.bridge.is_outside():
            super()._StrayCat__send_ws_json(data)
            return
        self.bridge.check()
        if self._is_reading_earlier_turns:
            return
        if data["type"] == "chat_token":
            if data["content"]:
                self._send(self._text_event(str(data["content"])))
        elif self._run.include_steps:
            if text := _step_text(data):
                self._send(Step(text))
        elif data["type"] == "chat" and not self._has_dropped_message:
            self._has_dropped_message = True
            log.info("OpenAI API: a plugin has sent a message beside the reply; clients get it with show_steps on")

    def _text_event(self, token: str) -> Event:
        """This runs for every token."""
        source = self._sources.current
        if source is None:
            # Tokens of LLMs that are not LangChain's chat models come another way than through `LLMOfRun`.
            if self._main_prompts == 0 or isinstance(CheshireCat()._llm, BaseChatModel):
                return PluginText(token, PLUGIN_SOURCE)
            return Text(token, PLUGIN_SOURCE)
        return Text(token, source.number) if source.is_main_prompt else PluginText(token, source.number)

    @property
    def mad_hatter(self) -> Any:
        """The host's agent that chooses a tool takes the tools from here."""
        mad_hatter = CheshireCat().mad_hatter
        if self.bridge.is_outside():
            return mad_hatter
        if self._is_question_known() and not self._is_reading_earlier_turns:
            mad_hatter = _WithoutReading(mad_hatter)
        return _ToolsWithSteps(mad_hatter, self._send) if self._run.include_steps else mad_hatter

    def _send(self, event: Event) -> None:
        self._loop.call_soon_threadsafe(self._channel.put, event)

    @contextmanager
    def openai_api_main_prompt(self) -> Iterator[None]:
        """While the Cat asks its LLM for the reply itself: see `main_prompt`. It may do so in another thread."""
        self._main_prompts += 1
        try:
            yield
        finally:
            self._main_prompts -= 1

    llm = _PluginsPrompts()

    @property
    def _llm(self) -> Any:
        return self.llm_of_run(is_main_prompt=self._main_prompts > 0)

    def __deepcopy__(self, memo: Any) -> "Session":
        """The Cat copies what it hands to hooks, which may refer to the session."""
        return self

    def llm_of_run(self, *, is_main_prompt: bool) -> Any:
        """The Cat's LLM with the client's sampling parameters; for the main prompt with functions and format too."""
        llm = CheshireCat()._llm
        if not isinstance(llm, BaseChatModel) or self.bridge.is_outside():
            return llm
        run, feed = self._run, None
        parameters = Parameters(sampling=run.sampling)
        if is_main_prompt:
            parameters, feed = Parameters(run.sampling, run.functions, run.format), self._feed
        return LLMOfRun(
            model=llm,
            bridge=self.bridge,
            parameters=parameters,
            usages=self._usages,
            sources=self._sources,
            source=TokenSource(next(self._source_numbers), is_main_prompt),
            feed=feed,
        )

    def _feed(self, chunk: LLMChunk) -> None:
        """A chunk of the LLM's reply to the main prompt: its text goes another way. This runs for every token."""
        if chunk.system_fingerprint and chunk.system_fingerprint != self._fingerprint:
            self._fingerprint = chunk.system_fingerprint
            self._send(Fingerprint(chunk.system_fingerprint))
        if chunk.refusal:
            self._refusal.append(chunk.refusal)
            self._send(Refusal(chunk.refusal))
        for call in chunk.calls:
            if delta := self._calls.feed(*call):
                self._send(delta)
            elif not self._calls.is_client_call(call[0]):
                raise UnknownFunction(call[2])
        self._finish_reason = chunk.finish_reason or self._finish_reason


class _WithoutReading:
    """Stands in for the Cat's MadHatter in a request that continues a turn: the hooks of plugins have read its question
    in the first one."""

    def __init__(self, mad_hatter: Any) -> None:
        self._mad_hatter = mad_hatter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._mad_hatter, name)

    def execute_hook(self, hook_name: str, *args: Any, cat: Any) -> Any:
        return args[0] if hook_name == READING_HOOK else self._mad_hatter.execute_hook(hook_name, *args, cat=cat)


class _ToolsWithSteps:
    """Stands in for the Cat's MadHatter: each of its tools sends a `Step` when it is called."""

    def __init__(self, mad_hatter: Any, send: Callable[[Event], None]) -> None:
        self._mad_hatter = mad_hatter
        self._send = send

    def __getattr__(self, name: str) -> Any:
        return getattr(self._mad_hatter, name)

    @property
    def procedures(self) -> list[Any]:
        return [self._with_step(tool) if isinstance(tool, CatTool) else tool for tool in self._mad_hatter.procedures]

    def _with_step(self, tool: Any) -> Any:
        original = tool.func

        def func(argument: Any, *args: Any, **kwargs: Any) -> Any:
            self._send(step_for(tool.name, str(argument)))
            return original(argument, *args, **kwargs)

        with_step = copy(tool)
        with_step.func = func
        return with_step


def _step_text(data: Any) -> str:
    """The text of what plugins send beside the reply: notifications, messages and errors."""
    if data["type"] == "error":
        return str(data["description"])
    return str(data.get("text") or data.get("content") or "")


def _instructions(run: Run) -> list[str]:
    """The client's, and one for the format of the reply where the LLM's class has no field for it."""
    if run.format is None or supports_json_format(CheshireCat()._llm):
        return list(run.conversation.instructions)
    return [*run.conversation.instructions, json_instruction(run.format)]


def _as_template(texts: list[str]) -> str:
    """The Cat's prompt is a template, in which a brace of a text must be doubled."""
    return "".join("\n\n" + text.replace("{", "{{").replace("}", "}}") for text in texts)


def _states(stored: Any) -> list[StoredState]:
    """From plain types: the Cat's cache may pickle them."""
    return [StoredState(*each) for each in stored or ()]


def _plain(state: StoredState) -> tuple[Any, ...]:
    """See `_states`."""
    return state.reply, state.called, state.state, state.sent

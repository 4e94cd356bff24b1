"""A session of Cat 1.9 for one run: its memory, its LLM, and what comes of it."""

import asyncio
import sys
from collections.abc import Callable
from copy import copy
from typing import TYPE_CHECKING, Any

from pydantic import Field, PrivateAttr

from ...domain.conversation import Turn
from ...domain.events import EARLY_FINISH_REASONS, End, Event, Fingerprint, Refusal, Step, Text
from ...domain.json_instruction import json_instruction
from ...domain.usage import Usage, total_usage
from ..detect import IS_CAT_1
from ..port import Run
from ..shared.client_calls import ClientCalls, step_of
from ..shared.event_channel import EventChannel
from ..shared.transcript import SECONDS_KEPT, Kept, add_state, call_signatures, found, transcript_keys
from .chat_models import LLMChunk, Parameters, takes_json
from .llm_bridge import AsyncLLMBridge, LLMOfRun, RunEnded
from .messages import UserTurn, for_llm, messages_of
from .state import kept_in, restore, state_of, update_in

if IS_CAT_1 or TYPE_CHECKING:
    from cat.agents.memory_agent import MemoryAgent
    from cat.log import log
    from cat.looking_glass.cheshire_cat import CheshireCat
    from cat.looking_glass.stray_cat import StrayCat
    from cat.mad_hatter.decorators import CatTool
    from cat.memory.working_memory import WorkingMemory
    from langchain_core.language_models.chat_models import BaseChatModel
else:
    StrayCat = WorkingMemory = object


class UnknownFunction(Exception):
    """The LLM called what nobody has offered it."""


class Memory(WorkingMemory):
    """The working memory of one run. The Cat's own forgets all but the last 20 messages."""

    history: list[Any] = Field(default_factory=list)

    _after_question: list[Any] = PrivateAttr(default_factory=list)
    """Calls of the client's functions and their results, where the run goes on with those."""

    def update_history(self, message: Any) -> None:
        self.history = [*self.history, message]
        if message is self.user_message_json:
            self.history += self._after_question

    def langchainfy_chat_history(self, latest_n: int | None = None) -> list[Any]:
        return for_llm(self.history)


class Session(StrayCat):
    """The conversation is the client's, and what the Cat sends goes to nobody's web socket.

    The run's question is the last turn of the user, also where the client's functions have been called since.
    """

    def __init__(
        self, run: Run, bridge: AsyncLLMBridge, loop: asyncio.AbstractEventLoop, channel: EventChannel
    ) -> None:
        self.bridge = bridge
        self.openai_api_instructions = _as_template(_instructions(run))
        self.openai_api_tools_output = ""
        self._loop = loop
        self._channel = channel
        self._run = run
        self._turns = run.conversation.turns
        self._keys = transcript_keys(run.person, run.model, self._turns)
        self._has_state = False
        self._asked = max((place for place, turn in enumerate(self._turns) if turn.role == "user"), default=-1)
        self._usages: list[Usage | None] = []
        self._calls = ClientCalls(run.functions)
        self._refusal: list[str] = []
        self._finish_reason: str | None = None
        self._fingerprint: str | None = None
        super().__init__(run.person.identity)

    def answer(self) -> Any:
        """In a thread: the Cat's message, or a dict that tells of an error."""
        question = self._turns[self._asked] if self._asked >= 0 else Turn("user", ())
        try:
            self._find_state()
            reply = self.run(UserTurn(question, self.user_id), return_message=True)
            self.bridge.check()
        except RunEnded:
            # Of a reply that was cut the client may have the beginning.
            self._keep_state(self._channel.said())
            return {"error": "ended"}
        except BaseException as error:
            # The Cat catches each Exception; its tokenizer panics with something else at very long words.
            log.error(f"OpenAI API: the Cat's pipeline ended with {type(error).__name__}")
            return {"error": "broken"}
        if not isinstance(reply, dict):
            self._keep_state(reply.text)
        return reply

    def whole(self, text: str) -> list[Event]:
        """The reply at once, `text` what the hooks left of it."""
        refusal = "".join(self._refusal)
        return [
            *([Fingerprint(self._fingerprint)] if self._fingerprint else []),
            *([Text(text)] if text else []),
            *([Refusal(refusal)] if refusal else []),
            *self._calls.whole(),
        ]

    def end(self) -> End:
        return End(EARLY_FINISH_REASONS.get(self._finish_reason), total_usage(self._usages))

    @property
    def _goes_on(self) -> bool:
        """Whether the turn has been begun by a request before, which the client's functions have answered."""
        return self._asked < len(self._turns) - 1

    def load_working_memory_from_cache(self) -> None:
        messages = messages_of(self._turns, self.user_id)
        self.working_memory = Memory(history=messages[: max(self._asked, 0)])
        self.working_memory._after_question = messages[self._asked + 1 :]

    def update_working_memory_cache(self) -> None:
        """The client keeps the conversation; the user's own chat stays as it is."""

    def _find_state(self) -> None:
        """That after the last calls, where the turn goes on, or else that before the question."""
        concurrency_limit = [place for place, turn in enumerate(self._turns) if turn.role == "assistant"]
        before = [place for place in concurrency_limit if place < self._asked]
        for place in (concurrency_limit[-1:] if self._goes_on else []) + before[-1:]:
            if kept := found(_replies(kept_in(self.cache, self._keys[place])), self._turns[place]):
                self._has_state = True
                state, self.openai_api_tools_output = kept.state
                restore(state, self.working_memory, self)
                return

    def _keep_state(self, reply: str) -> None:
        """Keep what this run leaves beside the messages, for the one after `reply` and its calls."""
        calls = self._calls.all()
        try:
            state = state_of(self.working_memory)
        except Exception:  # a plugin may keep anything in there
            log.error("OpenAI API: the working memory cannot be copied, the next turn begins without it")
            return
        tools_output = self._tools_output() if calls else ""
        if self._run.remember and (state or tools_output or self._has_state):
            kept = Kept(reply, call_signatures(calls), (state, tools_output))

            def with_this(replies: Any) -> Any:
                return [(one.reply, one.called, one.state) for one in add_state(_replies(replies), kept)]

            try:
                update_in(self.cache, self._keys[-1], with_this, SECONDS_KEPT)
            except Exception:  # the storage's own, whichever it is: the reply is there all the same
                log.error("OpenAI API: the working memory cannot be kept, the next turn begins without it")

    def _tools_output(self) -> str:
        return getattr(getattr(self.working_memory, "agent_input", None), "tools_output", "")

    def recall_relevant_memories_to_working_memory(self, query: str | None = None) -> Any:
        self.bridge.check()
        result = super().recall_relevant_memories_to_working_memory(query)
        if self.openai_api_tools_output:
            # The Cat's tools have run in this turn.
            self.working_memory.procedural_memories = []
        return result

    def _store_user_message_in_episodic_memory(self, user_message_text: str) -> None:
        self.bridge.check()
        if self._run.remember and not self._goes_on:
            super()._store_user_message_in_episodic_memory(user_message_text)

    def _StrayCat__send_ws_json(self, data: Any) -> None:
        """All that the Cat and its plugins send, tokens and notifications, comes through here."""
        self.bridge.check()
        if data["type"] == "chat_token" and data["content"]:
            self._send(Text(data["content"]))
        elif data["type"] == "notification" and self._run.with_steps and data["content"]:
            self._send(Step(str(data["content"])))

    @property
    def mad_hatter(self) -> Any:
        """What chooses a tool for a run looks here for those that there are."""
        mad_hatter = CheshireCat().mad_hatter
        return _HeardTools(mad_hatter, self._send) if self._run.with_steps else mad_hatter

    def _send(self, event: Event) -> None:
        self._loop.call_soon_threadsafe(self._channel.put, event)

    @property
    def _llm(self) -> Any:
        """For the main prompt with all that the client wants of it; elsewhere with its sampling alone."""
        llm = CheshireCat()._llm
        if not isinstance(llm, BaseChatModel):
            return llm
        run, feed = self._run, None
        parameters = Parameters(sampling=run.sampling)
        if isinstance(sys._getframe(1).f_locals.get("self"), MemoryAgent):
            parameters, feed = Parameters(run.sampling, run.functions, run.format), self._hear
        return LLMOfRun(model=llm, bridge=self.bridge, parameters=parameters, usages=self._usages, feed=feed)

    def _hear(self, said: LLMChunk) -> None:
        """What the LLM says beside text to the main prompt. This runs for every token."""
        if said.system_fingerprint and said.system_fingerprint != self._fingerprint:
            self._fingerprint = said.system_fingerprint
            self._send(Fingerprint(said.system_fingerprint))
        if said.refusal:
            self._refusal.append(said.refusal)
            self._send(Refusal(said.refusal))
        for call in said.calls:
            if delta := self._calls.feed(*call):
                self._send(delta)
            elif not self._calls.is_clients_at(call[0]):
                raise UnknownFunction(call[2])
        self._finish_reason = said.finish_reason or self._finish_reason


class _HeardTools:
    """Stands in for the Cat's MadHatter: its tools, each of which tells when it is called."""

    def __init__(self, mad_hatter: Any, send: Callable[[Event], None]) -> None:
        self._mad_hatter = mad_hatter
        self._send = send

    def __getattr__(self, name: str) -> Any:
        return getattr(self._mad_hatter, name)

    @property
    def procedures(self) -> list[Any]:
        return [self._heard(tool) if isinstance(tool, CatTool) else tool for tool in self._mad_hatter.procedures]

    def _heard(self, tool: Any) -> Any:
        own = tool.func

        def func(argument: Any, *args: Any, **kwargs: Any) -> Any:
            self._send(step_of(tool.name, str(argument)))
            return own(argument, *args, **kwargs)

        heard = copy(tool)
        heard.func = func
        return heard


def _instructions(run: Run) -> list[str]:
    """The client's, and the form of the reply where the LLM takes it in no other way."""
    if run.format is None or takes_json(CheshireCat()._llm):
        return list(run.conversation.instructions)
    return [*run.conversation.instructions, json_instruction(run.format)]


def _as_template(texts: list[str]) -> str:
    """The Cat's prompt is a template, in which a brace of a text must be doubled."""
    return "".join("\n\n" + text.replace("{", "{{").replace("}", "}}") for text in texts)


def _replies(kept: Any) -> list[Kept]:
    """From plain types: the Cat's cache may pickle them."""
    return [Kept(*one) for one in kept or ()]

"""What plugins make of the user's messages on Cheshire Cat 2, kept for the later requests of the conversation.

Hooks that run before an agent get all messages of the conversation and may change them, and so may the agent's
directives. Many change the last message only, and the client sends the earlier ones again as it sent them first.
"""

from collections.abc import Mapping
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from ...domain.conversation import Image, Part, Turn
from ...wire.json import JsonObject
from ..detect import IS_CAT_2
from ..port import Run
from ..shared.turn_notes import TurnNote, TurnNotes
from .messages import ClientMessage, blocks_of, message_of

if IS_CAT_2 or TYPE_CHECKING:
    from cat.ambient.runtime import ccat
    from cat.services.agents.base import Agent
    from cat.types import Task

BEFORE = 20
"""Messages before an earlier one of the user's that the hooks get with it."""


class QuestionReader:
    """The user's messages of one run. `slug`: of the agent. `notes`: of the turns of the conversation.

    The question of the run is its last turn, where that is the user's.
    """

    def __init__(self, run: Run, slug: str, notes: TurnNotes) -> None:
        self._run = run
        self._turns = run.conversation.turns
        self._question = len(self._turns) - 1
        self._hooks = _reading_hooks(slug)
        self._notes = notes
        self._new_notes: dict[int, JsonObject] = {}
        self._sent: list[_Sent] = []
        self._sent_messages = 0
        self._agent: Any = None
        run.questions.are_read = False

    def turns(self) -> list[Turn]:
        """Those of the conversation, the user's as the pipeline left them where that is known."""
        turns = [*self._turns]
        for place, turn in enumerate(turns):
            if turn.role != "user" or place == self._question:
                continue
            changes = self._notes.question(place)
            if turn.sent_digest or changes:
                turns[place] = turn_as_left(turn, changes or {})
                self._run.questions.turns[place] = turns[place]
        return turns

    async def read_earlier(self, messages: list[Any]) -> None:
        """Have the hooks read the earlier messages of the user's that they have not read yet, as far as is known.

        To be called in the task of the run, before the agent. `messages`: of the conversation, changed in place.
        """
        places = (place for place, turn in enumerate(self._turns) if turn.role == "user")
        found = (at for at, each in enumerate(messages) if isinstance(each, ClientMessage) and each.role == "user")
        for place, at in zip(places, [*found], strict=False):
            is_known = self._turns[place].sent_digest or self._notes.question(place) is not None
            if self._hooks and place != self._question and not is_known:
                await self._read(place, at, messages)
            self._sent.append(_Sent(place, at, messages[at]))
        self._sent_messages = len(messages)

    async def _read(self, place: int, at: int, messages: list[Any]) -> None:
        task = Task(messages=[_copy(message) for message in messages[max(0, at - BEFORE) : at + 1]], stream=False)
        length = len(task.messages)
        for hook in self._hooks:
            task = await ccat().mad_hatter.execute_hook(hook, task)
        if len(task.messages) == length:
            changes = changes_of(self._turns[place], task.messages[-1])
            self._note(place, changes)
            messages[at] = message_of(turn_as_left(self._turns[place], changes))

    def hooks_ended(self, agent: Any) -> None:
        """The hooks have read the messages of the agent's task."""
        self._agent = agent
        now = self._agent.task.messages
        positions = {id(message): at for at, message in enumerate(now)}
        for sent in self._sent:
            message = self._now(sent, positions)
            left = self._run.questions.turns.get(sent.place)
            if message is None or (left is not None and sent.is_unchanged(message)):
                continue
            if sent.place == self._question or left is None:
                self._note(sent.place, self._changes(sent, message))
            elif left.text in message.text:
                # Made again of what had been made of it already. Where a hook removes more than before, that counts.
                now[positions[id(message)]] = message_of(left)

    def directives_started(self) -> None:
        self._read_question(also_added=True)

    def step_begins(self) -> None:
        """Directives that work at each step mostly add to a message, for this step only."""
        self._read_question(also_added=False)

    def run_ended(self) -> None:
        """Also of agents without directives."""
        self._run.questions.are_read = True

    def new_notes(self) -> Mapping[str, TurnNote]:
        """By transcript key."""
        return {
            self._notes.keys[place + 1]: TurnNote(changes)
            for place, changes in self._new_notes.items()
            if changes or self._hooks
        }

    def _read_question(self, *, also_added: bool) -> None:
        self._run.questions.are_read = True
        if not self._sent or self._sent[-1].place != self._question:
            return
        sent, now = self._sent[-1], self._agent.task.messages
        message = self._now(sent, {id(message): at for at, message in enumerate(now)})
        if message is not None:
            left = self._run.questions.turns.get(self._question, self._turns[self._question])
            if also_added or left.text not in message.text:
                self._note(self._question, self._changes(sent, message))

    def _changes(self, sent: "_Sent", message: Any) -> JsonObject:
        """Since the client sent it."""
        turn = self._turns[sent.place]
        is_as_sent = sent.is_unchanged(message) and sent.place not in self._run.questions.turns
        return {} if is_as_sent else changes_of(turn, message)

    def _note(self, place: int, changes: JsonObject) -> None:
        turn = self._turns[place]
        if not turn.sent_digest and changes != self._notes.question(place):
            self._new_notes[place] = changes
        if changes or turn.sent_digest or (self._hooks and place == self._question):
            self._run.questions.turns[place] = turn_as_left(turn, changes)

    def _now(self, sent: "_Sent", positions: Mapping[int, int]) -> Any:
        """The message of the agent's task that was at that place; None if it is not there any more."""
        if id(sent.message) in positions:
            return sent.message
        now = self._agent.task.messages
        return now[sent.at] if len(now) == self._sent_messages and now[sent.at].role == "user" else None


class _Sent:
    """A message of the user's as the hooks get it. `place`: of its turn among the turns. `at`: its place among the
    messages."""

    def __init__(self, place: int, at: int, message: Any) -> None:
        self.place = place
        self.at = at
        self.message = message
        self._content = _parts_of(message)

    def is_unchanged(self, message: Any) -> bool:
        """Without comparing what may be large: images are the same objects still."""
        if message is not self.message:
            return False
        return all(mine is now for mine, now in zip_longest(self._content, _parts_of(message), fillvalue=self))


def _parts_of(message: Any) -> list[Any]:
    """The blocks of a message's content, and what is in them."""
    return [part for block in message.content for part in (block, *vars(block).values())]


def changes_of(turn: Turn, message: Any) -> JsonObject:
    """What plugins have changed in the message of a turn: nothing, or all blocks of its content, those that the client
    has sent by their place."""
    sent, blocks = blocks_of(turn.parts), []
    if list(message.content) == sent:
        return {}
    for block in message.content:
        if block in sent:
            blocks.append({"part": sent.index(block)})
        elif getattr(block, "type", "") == "text":
            blocks.append({"text": block.text})
        else:
            blocks.append(block.model_dump(mode="json"))
    return {"blocks": blocks}


def turn_as_left(turn: Turn, changes: JsonObject) -> Turn:
    """The user's turn with the changes that plugins have made to its message, and no trace of what they removed."""
    parts: list[Part] = []
    for block in changes.get("blocks", [{"part": place} for place in range(len(turn.parts))]):
        if "part" in block:
            parts += turn.parts[block["part"] : block["part"] + 1]
        elif "text" in block:
            parts.append(block["text"])
        elif block.get("type") == "image":
            parts.append(Image(f"data:{block['mimeType']};base64,{block['data']}"))
    return Turn(turn.role, tuple(parts), turn.calls, turn.call_id, turn.sent_digest or turn.digest())


def _reading_hooks(slug: str) -> list[str]:
    """Names of the hooks of plugins that get an agent's task. 2.0.22 renamed the first one and removed the other."""
    is_renamed = "before_agent_run" in Agent.__call__.__code__.co_consts
    names = ["before_agent_run"] if is_renamed else ["before_agent_execution", f"before_{slug}_agent_execution"]
    return [name for name in names if ccat().mad_hatter.hooks.get(name)]


def _copy(message: Any) -> Any:
    return message.model_copy(update={"content": [block.model_copy() for block in message.content]})

"""The state of a conversation beside its messages, found by the messages themselves.

A client sends its conversation with each request, and no id of it. So the state that a turn leaves is stored under a
digest of all messages before the turn's reply, together with the reply. The next request finds it by its own earlier
messages. Therefore an edited or regenerated turn starts from the state before it, two branches do not mix, and a new
conversation has no state.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ...domain.conversation import Audio, Image, ToolCall, Turn
from ...domain.people import Person

MAX_BRANCHES = 4
"""Replies to the same messages whose states are stored side by side."""


@dataclass(frozen=True)
class StoredState:
    """The state after a reply.

    `reply`: its text, of which the client may have got the beginning only. `called`: the signatures of its calls of
    the client's functions. `state`: the host's own. `sent`: the text that the client got, where it is another one.
    """

    reply: str
    called: list[Any]
    state: Any
    sent: str | None = None

    def texts(self) -> list[str]:
        return [text.strip() for text in (self.reply, self.sent) if text is not None]


def transcript_keys(person: Person, model: str, turns: Sequence[Turn]) -> list[str]:
    """A digest of the messages before each of the turns, and as the last one that of all turns.

    The ids of calls do not count: some LLMs use the same ids again and again. Stored states depend on these digests.
    """
    messages = hashlib.sha256(_line([person.key, model]))
    keys = [messages.hexdigest()]
    calls: dict[str, int] = {}
    for turn in turns:
        calls.update((call.id, len(calls) + place) for place, call in enumerate(turn.calls))
        called = call_signatures(turn.calls)
        media = [_digest(part) for part in turn.parts if not isinstance(part, str)]
        # Some clients drop the text beside calls, and some strip texts.
        text = "" if called else turn.text.strip()
        messages.update(_line([turn.role, text, media, called, calls.get(turn.call_id)]))
        keys.append(messages.hexdigest())
    return keys


def call_signatures(calls: Iterable[ToolCall]) -> list[Any]:
    """Names and arguments of calls, the same for a client that parses the arguments and writes them anew."""
    return [[call.name, _canonical(call.arguments)] for call in calls]


def find_state(states: Sequence[StoredState], turn: Turn) -> StoredState | None:
    """The state after the reply that the client sends as this turn, the newest where there are several."""
    called, text = call_signatures(turn.calls), turn.text.strip()
    candidates = [state for state in reversed(states) if state.called == called]
    if called:
        return next(iter(candidates), None)
    whole = (state for state in candidates if text in state.texts())
    cut = (state for state in candidates if text and any(each.startswith(text) for each in state.texts()))
    return next(whole, None) or next(cut, None)


def add_state(states: Sequence[StoredState], state: StoredState) -> list[StoredState]:
    """The states with another one, which replaces that after the same reply."""
    replaced = (state.reply, state.called, state.sent)
    others = [other for other in states if (other.reply, other.called, other.sent) != replaced]
    return [*others, state][-MAX_BRANCHES:]


def _line(data: Any) -> bytes:
    return json.dumps(data).encode() + b"\n"


def _canonical(arguments: str) -> str:
    try:
        return json.dumps(json.loads(arguments), sort_keys=True)
    except (ValueError, RecursionError):
        return arguments


def _digest(part: Any) -> str:
    data = part.url if isinstance(part, Image) else part.data
    kind = part.format if isinstance(part, Audio) else ""
    return f"{type(part).__name__} {kind} {hashlib.sha256(data.encode()).hexdigest()}"

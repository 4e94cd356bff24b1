"""What a Cat keeps beside the messages, found again by the messages themselves.

A client sends its conversation anew with each request, so that is the address: what a turn left is kept under a
digest of all that was said before its reply, with the reply beside it. The next request finds it by its own
earlier messages. So an edited or regenerated turn starts from the state before it, two branches do not mix, and
a new conversation is new.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ...domain.conversation import Audio, Image, ToolCall, Turn
from ...domain.people import Person

SECONDS_KEPT = 24 * 60 * 60

MAX_BRANCHES = 4
"""Replies to the same words whose states are kept side by side."""


@dataclass(frozen=True)
class Kept:
    """`reply`: what the Cat said, of which a client may have got a beginning only. `called`: what it called."""

    reply: str
    called: list[Any]
    state: Any


def transcript_keys(person: Person, model: str, turns: Sequence[Turn]) -> list[str]:
    """Names of the places before each of the turns, and last of that behind all of them.

    The ids of calls count for nothing in it: some LLMs use the same ones again and again.
    """
    said = hashlib.sha256(_line([person.key, model]))
    keys = [said.hexdigest()]
    calls: dict[str, int] = {}
    for turn in turns:
        calls.update((call.id, len(calls) + place) for place, call in enumerate(turn.calls))
        called = call_signatures(turn.calls)
        media = [_digest(part) for part in turn.parts if not isinstance(part, str)]
        # Some clients forget what was said beside calls, and some trim what was said.
        text = "" if called else turn.text.strip()
        said.update(_line([turn.role, text, media, called, calls.get(turn.call_id)]))
        keys.append(said.hexdigest())
    return keys


def call_signatures(calls: Iterable[ToolCall]) -> list[Any]:
    """What was called, alike for clients that parse the arguments and write them anew."""
    return [[call.name, _canonical(call.arguments)] for call in calls]


def found(kept: Sequence[Kept], turn: Turn) -> Kept | None:
    """What was kept with the reply that the client has as this turn; the newest where there are several."""
    called, text = call_signatures(turn.calls), turn.text.strip()
    replies = [one for one in reversed(kept) if one.called == called]
    if called:
        return next(iter(replies), None)
    whole = (one for one in replies if one.reply.strip() == text)
    cut = (one for one in replies if text and one.reply.strip().startswith(text))
    return next(whole, None) or next(cut, None)


def add_state(kept: Sequence[Kept], another: Kept) -> list[Kept]:
    """The same reply again takes the place of the one before."""
    others = [one for one in kept if (one.reply, one.called) != (another.reply, another.called)]
    return [*others, another][-MAX_BRANCHES:]


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

"""What Cat 1.9 keeps beside the messages, found again by the messages themselves.

A form that is being filled in and what plugins put into the working memory belong to the conversation, which is
the client's. After each turn they are kept under a digest of the person and all that was said up to then; the next
request finds them by its own earlier messages. So an edited or regenerated turn starts from the state before it,
two branches do not mix, and a new conversation is new.
"""

import copy
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from ..conversation import Turn
from .port import Person

SECONDS_KEPT = 24 * 60 * 60

DERIVED = {"agent_input"}
"""What the Cat puts into the working memory anew in each turn, beside the fields of its class."""


def key_of(person: Person, turns: Sequence[Turn]) -> str:
    """Name of the state after these turns."""
    said = json.dumps([person.key, [[turn.role, "".join(turn.texts)] for turn in turns]])
    return f"openai_api_state_{hashlib.sha256(said.encode()).hexdigest()}"


def state_of(memory: Any) -> dict[str, Any] | None:
    """A copy of what the memory holds beside the messages; None when that is nothing.

    Raises whatever a value of a plugin raises that cannot be copied.
    """
    state = {name: value for name, value in (memory.model_extra or {}).items() if name not in DERIVED}
    if memory.active_form is not None:
        state["active_form"] = memory.active_form
    return _copy(state, session=None) or None


def restore(state: dict[str, Any], memory: Any, session: Any) -> None:
    """Put a copy of the state into the memory of a session."""
    for name, value in _copy(state, session).items():
        setattr(memory, name, value)


def _copy(state: dict[str, Any], session: Any) -> dict[str, Any]:
    """A deep copy, in which a form belongs to `session`: each run has one of its own."""
    form = copy.copy(state.get("active_form"))
    if form is None:
        return copy.deepcopy(state)
    form._cat = None
    copied = copy.deepcopy({**state, "active_form": form})
    copied["active_form"]._cat = session
    return copied

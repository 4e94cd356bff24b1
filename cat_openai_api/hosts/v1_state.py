"""What Cat 1.9 keeps beside the messages: it belongs to the conversation, which is the client's.

That is a form that is being filled in, and what plugins put into the working memory. A turn that stops for
calls of the client's functions goes on with it too, and with what the Cat's own tools said before the calls.
"""

import copy
from typing import Any

DERIVED = {"agent_input"}
"""What the Cat puts into the working memory anew in each turn, beside the fields of its class."""


def state_of(memory: Any) -> dict[str, Any]:
    """A copy of what the memory holds beside the messages.

    Raises whatever a value of a plugin raises that cannot be copied.
    """
    state = {name: value for name, value in (memory.model_extra or {}).items() if name not in DERIVED}
    if memory.active_form is not None:
        state["active_form"] = memory.active_form
    return _copy(state, session=None)


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

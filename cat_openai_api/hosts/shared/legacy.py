"""What earlier versions of the plugin stored: one JSON value for each person and purpose, now moved into rows.

The names of these entries, and their values:

    openai_api_responses_<person>             {response id: {"response", "input", "at", "size"}}
    openai_api_conversation_<model>_<person>  a list of turns
    openai_api_state_<person>                 {transcript key: {"at", "replies": [{"reply", "called", "state"}]}}
    <one of these>_lock                       the time, while a Cat changed the entry

`<person>` is the `key` of a `Person`, `at` is in seconds since the epoch. The oldest part of a value stands first.
"""

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from ..collections import CONVERSATIONS, RESPONSES, STATES
from ..storage import Collection

PREFIX = "openai_api_"

RESPONSES_PREFIX = f"{PREFIX}responses_"

CONVERSATION_PREFIX = f"{PREFIX}conversation_"

STATE_PREFIX = f"{PREFIX}state_"

LOCK_SUFFIX = "_lock"


class UnreadableEntry(Exception):
    """The value of an entry has not the form that earlier versions gave it."""


@dataclass(frozen=True)
class LegacyRow:
    """`stored_at`: in seconds since the epoch."""

    collection: Collection
    key: str
    value: Any
    stored_at: float
    parent: str | None = None


class LegacyEntries(ABC):
    """The entries in a Cat's storage. Its methods raise what that storage raises."""

    @abstractmethod
    async def list_owners(self) -> list[str]:
        """The persons who have entries now; empty on a Cat that cannot list them."""

    @abstractmethod
    async def names(self, owner: str) -> list[str]:
        """The person's entries."""

    @abstractmethod
    def take(self, name: str) -> AbstractAsyncContextManager[Any]:
        """The value of the entry, or the JSON of it; None where another Cat has taken it.

        The entry is removed when the context ends without an exception, and stays otherwise. No other Cat can take it
        in the meantime.
        """


def legacy_rows(name: str, owner: str, value: Any) -> list[LegacyRow]:
    """The rows that an entry becomes, oldest first. `value`: a text is JSON. Raises `UnreadableEntry`."""
    try:
        return [*_rows(name, owner, json.loads(value) if isinstance(value, str) else value)]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UnreadableEntry from error


def _rows(name: str, owner: str, value: Any) -> Iterator[LegacyRow]:
    if name.endswith(LOCK_SUFFIX):
        return
    if name.startswith(RESPONSES_PREFIX):
        for key, stored in value.items():
            response = stored["response"]
            content = {"response": response, "input": stored["input"]}
            yield LegacyRow(RESPONSES, key, content, float(stored["at"]), response["previous_response_id"])
    elif name.startswith(STATE_PREFIX):
        for key, stored in value.items():
            yield LegacyRow(STATES, key, stored["replies"], float(stored["at"]))
    elif name.startswith(CONVERSATION_PREFIX):
        model = name.removeprefix(CONVERSATION_PREFIX).removesuffix(f"_{owner}")
        yield LegacyRow(CONVERSATIONS, model, value, time.time())

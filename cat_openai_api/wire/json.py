"""What the wire models of all API resources share."""

import json
import math
import re
from typing import Any, NoReturn

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


MAX_VALUES = 100_000
"""In one piece of JSON, about: what takes a second to read for each million of them blocks everybody else."""

MAX_LEVELS = 100
"""Of nesting. Whoever passes JSON on walks through it, and Python bears some hundreds of steps."""

MAX_NUMBER_LENGTH = 400
"""In digits: a double has 309 of them before its point."""

TOO_DEEP = "too deeply nested"


def decode(body: bytes, most_values: int = MAX_VALUES) -> Any:
    """JSON by the standard: no NaN, no half surrogate pairs, numbers that a double can hold, and no more of it than
    can be read at once. Raises ValueError."""
    text = body.decode("utf-8")
    if has_too_many_values(text, most=most_values):
        raise ValueError(f"more than {most_values} values")
    try:
        data = json.loads(text, parse_constant=no_constant, parse_int=_integer, parse_float=_float)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    if _is_deep(data):
        raise ValueError(TOO_DEEP)
    if _SURROGATE.search(text):
        json.dumps(data, ensure_ascii=False).encode("utf-8")
    return data


def has_too_many_values(*texts: str, most: int = MAX_VALUES) -> bool:
    """Whether there are more than so many in pieces of JSON, without reading them."""
    return sum(map(_marks, texts)) > most and sum(_values(text, most) for text in texts) > most


def _values(text: str, most: int) -> int:
    """About how many, where they are no more than `most`."""
    # After each mark there are two strings at most.
    pieces = text.replace(r"\\", "").replace(r"\"", "").split('"', 4 * most)
    return len(pieces) if len(pieces) > 4 * most else _marks("".join(pieces[::2]))


def _marks(text: str) -> int:
    return text.count(",") + text.count("[") + text.count("{")


def is_too_deep(text: str) -> bool:
    """Whether a text is JSON that can be read, but that is nested too deeply to be passed on."""
    if _marks(text) < MAX_LEVELS:
        return False
    try:
        return _is_deep(json.loads(text))
    except (ValueError, RecursionError):
        return False


def _is_deep(data: Any) -> bool:
    level = [data]
    for _ in range(MAX_LEVELS):
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return False
    return True


def _integer(digits: str) -> int:
    if len(digits) > MAX_NUMBER_LENGTH:
        raise ValueError(f"a number of more than {MAX_NUMBER_LENGTH} digits")
    return int(digits)


def _float(digits: str) -> float:
    if len(digits) > MAX_NUMBER_LENGTH:
        raise ValueError(f"a number of more than {MAX_NUMBER_LENGTH} digits")
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits} is out of range")
    return number


def no_constant(name: str) -> NoReturn:
    """For `json.loads`: it takes NaN and Infinity."""
    raise ValueError(f"{name} is not JSON")


def encode(data: Any) -> bytes:
    """JSON in ASCII: an LLM may send half a surrogate pair in one chunk, which has no UTF-8."""
    return json.dumps(data, separators=(",", ":")).encode("ascii")

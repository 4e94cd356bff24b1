"""Decoding JSON within limits, and encoding JSON."""

import json
import math
import re
from typing import Any, NoReturn, TypeAlias

JsonObject: TypeAlias = dict[str, Any]

MAX_VALUES = 100_000
"""Values in one JSON document, approximately. A million values take about a second, which blocks other requests."""

MAX_NESTING = 100
"""Levels of nesting. Code that walks through the data is recursive, and Python allows some hundreds of calls."""

MAX_NUMBER_LENGTH = 400
"""Characters of a number. The largest double has 309 digits before its point."""

TOO_DEEPLY_NESTED = "too deeply nested"

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def decode(body: bytes, max_values: int = MAX_VALUES) -> Any:
    """Decode a JSON document (RFC 8259).

    Raises ValueError, also for what Python's parser accepts beyond the standard (NaN, lone surrogates), for numbers
    outside of the range of a double, and for documents that exceed a limit of this module.
    """
    text = body.decode("utf-8")
    if has_too_many_values(text, max_values=max_values):
        raise ValueError(f"more than {max_values} values")
    try:
        data = json.loads(text, parse_constant=reject_constant, parse_int=_parse_integer, parse_float=_parse_float)
    except RecursionError:
        raise ValueError(TOO_DEEPLY_NESTED) from None
    if _exceeds_max_nesting(data):
        raise ValueError(TOO_DEEPLY_NESTED)
    if _SURROGATE.search(text):
        # Raises UnicodeEncodeError, which is a ValueError, for a lone surrogate.
        json.dumps(data, ensure_ascii=False).encode("utf-8")
    return data


def has_too_many_values(*texts: str, max_values: int = MAX_VALUES) -> bool:
    """Whether JSON documents have more than about `max_values` values in total. They are not parsed."""
    return (
        sum(map(_count_separators, texts)) > max_values
        and sum(_estimate_values(text, max_values) for text in texts) > max_values
    )


def _estimate_values(text: str, max_values: int) -> int:
    """The number of separators outside of strings; a larger number if there are more than `max_values` of them."""
    # At most two strings follow each separator, so `4 * max_values` quotes are enough to look at.
    pieces = text.replace(r"\\", "").replace(r"\"", "").split('"', 4 * max_values)
    return len(pieces) if len(pieces) > 4 * max_values else _count_separators("".join(pieces[::2]))


def _count_separators(text: str) -> int:
    """The number of characters that a value can follow."""
    return text.count(",") + text.count("[") + text.count("{")


def is_too_deeply_nested(text: str) -> bool:
    """Whether `text` is valid JSON that exceeds `MAX_NESTING`."""
    if _count_separators(text) < MAX_NESTING:
        return False
    try:
        return _exceeds_max_nesting(json.loads(text))
    except (ValueError, RecursionError):
        return False


def _exceeds_max_nesting(data: Any) -> bool:
    level = [data]
    for _ in range(MAX_NESTING):
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return False
    return True


def _parse_integer(digits: str) -> int:
    _check_number_length(digits)
    return int(digits)


def _parse_float(digits: str) -> float:
    _check_number_length(digits)
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits} is out of range")
    return number


def _check_number_length(digits: str) -> None:
    if len(digits) > MAX_NUMBER_LENGTH:
        raise ValueError(f"a number of more than {MAX_NUMBER_LENGTH} digits")


def reject_constant(name: str) -> NoReturn:
    """`parse_constant` of `json.loads`, which otherwise accepts NaN, Infinity and -Infinity."""
    raise ValueError(f"{name} is not JSON")


def encode(data: Any) -> bytes:
    """Encode a JSON value in ASCII. A chunk of an LLM may end with half a surrogate pair, which UTF-8 cannot encode."""
    return json.dumps(data, separators=(",", ":")).encode("ascii")

"""The input of custom tools, which is one text, as the arguments of the function that stands for the tool at the LLM.

An LLM calls functions only, and their arguments are a JSON object. So it is offered a function with the one argument
`input` for each custom tool (OpenAI API reference, `tools` of type `custom`).
"""

import json
from typing import Any

INPUT = "input"

_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_WHITE_SPACE = " \t\r\n"
_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")
_UNICODE_ESCAPE_LENGTH = len("\\u0000")


def encode_input(text: str) -> str:
    """The function's arguments for an input."""
    return json.dumps({INPUT: text}, ensure_ascii=False)


def decode_input(arguments: str) -> str:
    """The input in the function's complete arguments; see `InputDecoder`."""
    decoder = InputDecoder()
    return decoder.feed(arguments) + decoder.finish()


class InputDecoder:
    """Decodes the input of one call from the pieces of the function's arguments, as the LLM produces them.

    `{"input": "…"}` is decoded piece by piece. Some LLMs send something else:

    - An object that does not begin with `input`: its `input`, or its only value, or else the object's JSON, at the
      end of the arguments.
    - A JSON string: its text, at the end of the arguments.
    - Anything else is the input itself, piece by piece.

    Escapes that JSON does not have, such as `\\d`, and line breaks in a string are taken for what they look like.
    """

    def __init__(self) -> None:
        self._received = ""
        self._state = "start"
        self._escape = ""
        self._high_surrogate = ""

    @property
    def is_complete(self) -> bool:
        """Whether the input has ended before the end of the arguments."""
        return self._state == "closed"

    def feed(self, piece: str) -> str:
        """The next piece of the input, which may be empty. This runs for every token of a call."""
        if self._state == "start":
            self._received += piece
            piece = self._begin()
        if self._state == "held":
            self._received += piece
            return ""
        if self._state == "string":
            return self._join_surrogates(self._decode(piece))
        return self._join_surrogates(piece) if self._state == "text" else ""

    def finish(self) -> str:
        """The rest of the input at the end of the arguments."""
        if self._state in ("start", "held"):
            return _replace_surrogates(_whole_input(self._received))
        rest = self._high_surrogate + (self._escape if self._state == "string" else "")
        return _replace_surrogates(rest)

    def _begin(self) -> str:
        """Recognise the form of the arguments. Returns what has been received of the input already."""
        rest = self._received.lstrip(_WHITE_SPACE)
        for expected in ("{", f'"{INPUT}"', ":", '"'):
            if rest.startswith(expected):
                rest = rest[len(expected) :].lstrip(_WHITE_SPACE) if expected != '"' else rest[1:]
            elif expected.startswith(rest):
                return ""
            else:
                self._state = "text" if expected == "{" and not rest.startswith('"') else "held"
                received, self._received = self._received, ""
                return received
        self._state, self._received = "string", ""
        return rest

    def _decode(self, piece: str) -> str:
        """Decode characters within a JSON string. An escape that `piece` cuts off is decoded with the next one."""
        piece, self._escape = self._escape + piece, ""
        if "\\" not in piece and '"' not in piece:
            return piece
        texts = []
        place = 0
        while place < len(piece):
            special = _first_special(piece, place)
            texts.append(piece[place:special])
            if special == len(piece):
                break
            if piece[special] == '"':
                self._state = "closed"
                break
            escape = _escape_at(piece, special)
            if escape is None:
                self._escape = piece[special:]
                break
            texts.append(_unescape(escape))
            place = special + len(escape)
        return "".join(texts)

    def _join_surrogates(self, text: str) -> str:
        """`text` with both halves of each character of which the LLM escaped the halves, or sent them apart."""
        if text.isascii() and not self._high_surrogate:
            return text
        text, self._high_surrogate = self._high_surrogate + text, ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._high_surrogate = text[:-1], text[-1]
        return _replace_surrogates(text)


def _first_special(text: str, start: int) -> int:
    """The index of the first quote or backslash; the length of the text if there is none."""
    found = [index for index in (text.find('"', start), text.find("\\", start)) if index >= 0]
    return min(found, default=len(text))


def _escape_at(text: str, start: int) -> str | None:
    """The escape sequence that begins there; None if it is cut off."""
    if len(text) == start + 1:
        return None
    if text[start + 1] != "u":
        return text[start : start + 2]
    sequence = text[start : start + _UNICODE_ESCAPE_LENGTH]
    if not _HEX_DIGITS.issuperset(sequence[2:]):
        return text[start : start + 2]
    return sequence if len(sequence) == _UNICODE_ESCAPE_LENGTH else None


def _unescape(sequence: str) -> str:
    if len(sequence) == _UNICODE_ESCAPE_LENGTH:
        return chr(int(sequence[2:], 16))
    return _ESCAPES.get(sequence[1], sequence)


def _whole_input(arguments: str) -> str:
    try:
        value = json.loads(arguments, strict=False)
    except (ValueError, RecursionError):
        return arguments
    if isinstance(value, dict):
        return _input_in(value, arguments)
    return value if isinstance(value, str) else arguments


def _input_in(fields: dict[str, Any], arguments: str) -> str:
    if len(fields) > 1 and INPUT not in fields:
        return arguments
    value = fields[INPUT] if INPUT in fields else next(iter(fields.values()), None)
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _replace_surrogates(text: str) -> str:
    """Join pairs of surrogates, and replace single ones: no JSON document in UTF-8 can have them."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

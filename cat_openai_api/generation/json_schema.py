"""Replies in JSON: checking a client's schema, and checking a reply against it.

Schemas are not trusted: nothing is downloaded for a reference, and time, depth and sizes are limited.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from itertools import islice
from types import ModuleType
from typing import Any

from ..domain.conversation import JsonFormat, JsonSchema
from ..errors import InvalidModelOutput
from ..packages import ensure_installed
from ..wire.json import reject_constant

# Part of Cat 2, but not of Cat 1.9.
ensure_installed("jsonschema", "jsonschema>=4.18,<5")

from jsonschema import Draft202012Validator, FormatChecker  # noqa: E402
from jsonschema.exceptions import SchemaError, ValidationError  # noqa: E402
from jsonschema.validators import extend  # noqa: E402
from referencing import Registry  # noqa: E402
from referencing.exceptions import Unresolvable  # noqa: E402
from referencing.jsonschema import DRAFT202012  # noqa: E402

CHECK_TIMEOUT = 2.0
"""Seconds for the check of one reply, which runs in a thread and usually takes milliseconds."""

PROBE_TIMEOUT = 0.1
"""Seconds for the check of a small value, with which a schema is tried out."""

MAX_KEYWORDS = 10_000
"""Keywords of a schema, with those of its subschemas. A thousand take about half a second to check. OpenAI accepts
5,000 properties."""

PATTERN_TIMEOUT = 0.2
"""Seconds for one search with a pattern."""

MAX_PATTERN_LENGTH = 1000
"""Characters of a pattern or a reference."""

MAX_PATTERNS = 100

MAX_NESTING = 64
"""Levels of nesting in a schema. OpenAI accepts 10."""

MAX_REFERENCE_DEPTH = 64
"""References that are followed from one to the next. Python's recursion limit is higher, but some libraries crash
before it is reached."""

ANY_OBJECT: JsonSchema = {"type": "object"}


@cache
def _regex() -> ModuleType | None:
    """The package regex, whose searches can have a timeout, unlike those of `re`; None if it cannot be installed.

    It is part of Cat 1.9, and a dependency of tiktoken, which Cat 2 may have.
    """
    try:
        ensure_installed("regex", "regex")
        return import_module("regex")
    except ImportError:
        # Then only schemas with patterns are rejected, in `_check_keyword`.
        return None


class InvalidSchema(ValueError):
    """A schema that is invalid or not supported. The message is for the client."""


class _CheckTimeout(Exception):
    """A check took too long or exceeded `MAX_REFERENCE_DEPTH`."""


async def check_schema(schema: JsonSchema) -> None:
    """Raises `InvalidSchema` unless replies can be checked against the schema."""
    await asyncio.to_thread(_check_schema, schema)


def _check_schema(schema: JsonSchema) -> None:
    try:
        keywords = list(islice(_keywords(schema), MAX_KEYWORDS + 1))
        if len(keywords) > MAX_KEYWORDS:
            raise InvalidSchema(f"the JSON schema has more than {MAX_KEYWORDS} keywords")
        if any(level > MAX_NESTING for level, _, _ in keywords):
            raise InvalidSchema(f"the JSON schema is nested more than {MAX_NESTING} levels deep")
        if sum(keyword == "pattern" for _, keyword, _ in keywords) > MAX_PATTERNS:
            raise InvalidSchema(f"the JSON schema has more than {MAX_PATTERNS} patterns")
        # Without formats: the format "regex" would compile patterns with Python's `re`.
        Draft202012Validator.check_schema(schema, format_checker=FormatChecker(formats=()))
        resolver = Registry().with_resource("", DRAFT202012.create_resource(schema)).resolver()
        for _, keyword, value in keywords:
            _check_keyword(resolver, keyword, value)
        probes: list[Any] = [{}, []]
        for probe in probes:
            _validator(schema, PROBE_TIMEOUT).is_valid(probe)
    except SchemaError as error:
        raise InvalidSchema(f"not a valid JSON schema: {error.message[:200]}") from error
    except _CheckTimeout:
        raise InvalidSchema("the JSON schema takes too long to check; its references may be circular") from None


async def check_json(text: str, format: JsonFormat) -> None:
    """Raises `InvalidModelOutput` unless the reply `text` is JSON of the format."""
    await asyncio.to_thread(_check_json, text, format)


def _check_json(text: str, format: JsonFormat) -> None:
    try:
        value = json.loads(text, parse_constant=reject_constant)
    except (ValueError, RecursionError):
        raise InvalidModelOutput("it is not valid JSON.") from None
    try:
        _validator(ANY_OBJECT if format.schema is None else format.schema, CHECK_TIMEOUT).validate(value)
    except ValidationError as error:
        raise InvalidModelOutput(f"it does not match the schema at {error.json_path[:200]}.") from None
    except _CheckTimeout:
        raise InvalidModelOutput("it could not be checked against the schema in time.") from None


def _validator(schema: JsonSchema, timeout: float) -> Any:
    """A validator of jsonschema's for one check. The timeout, in seconds, begins now."""
    deadline = time.monotonic() + timeout
    follow_reference = Draft202012Validator.VALIDATORS["$ref"]
    depth = 0

    def check_reference(validator: Any, ref: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        nonlocal depth
        depth += 1
        if depth > MAX_REFERENCE_DEPTH or time.monotonic() > deadline:
            raise _CheckTimeout
        yield from follow_reference(validator, ref, instance, schema)
        depth -= 1

    keywords = {"$ref": check_reference, "pattern": _check_pattern}
    validator = extend(Draft202012Validator, keywords)  # type: ignore[no-untyped-call]
    # The default registry would download the schemas that references name.
    return validator(schema, registry=Registry())


def _check_pattern(validator: Any, pattern: str, instance: Any, _: Any) -> Iterator[ValidationError]:
    if validator.is_type(instance, "string"):
        regex = _regex()
        assert regex is not None, "_check_keyword rejects patterns without it"
        try:
            match = regex.search(pattern, instance, timeout=PATTERN_TIMEOUT, concurrent=True)
        except TimeoutError:
            raise _CheckTimeout from None
        if not match:
            yield ValidationError("does not match the pattern")


def _keywords(schema: Any) -> Iterator[tuple[int, str, Any]]:
    """Level, name and value of everything in a schema that may be a keyword.

    Names of properties and keys of constant values are included, because telling them apart would need a parser.
    """
    pending = [(1, schema)]
    while pending:
        level, node = pending.pop()
        if isinstance(node, dict):
            for keyword, value in node.items():
                yield level, keyword, value
            pending.extend((level + 1, value) for value in node.values())
        elif isinstance(node, list):
            pending.extend((level + 1, value) for value in node)


def _check_keyword(resolver: Any, keyword: str, value: Any) -> None:
    if keyword in ("$ref", "pattern") and isinstance(value, str) and len(value) > MAX_PATTERN_LENGTH:
        raise InvalidSchema(f"a '{keyword}' is longer than {MAX_PATTERN_LENGTH} characters")
    if keyword == "$ref" and isinstance(value, str):
        try:
            resolver.lookup(value)
        except Unresolvable:
            message = f"the reference '{value[:100]}' does not lead to a part of the JSON schema"
            raise InvalidSchema(message) from None
    elif keyword == "pattern" and isinstance(value, str):
        regex = _regex()
        if regex is None:
            raise InvalidSchema("'pattern' cannot be used: the package regex is missing in the Cat's environment")
        try:
            regex.compile(value)
        except (regex.error, RecursionError):
            raise InvalidSchema(f"'{value[:100]}' is not a valid regular expression") from None
    elif keyword in ("$dynamicRef", "patternProperties"):
        raise InvalidSchema(f"'{keyword}' is not supported")

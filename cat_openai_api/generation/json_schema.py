"""Replies in JSON: whether a client's schema can be used, and whether a reply fits it.

A schema comes from outside: nothing is fetched for it, and neither its patterns nor its references may keep the Cat
busy.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from itertools import islice
from typing import Any

from ..domain.conversation import JsonFormat
from ..errors import InvalidModelOutput
from ..packages import ensure
from ..wire.json import no_constant

# Cat 2 has it, Cat 1.9 has not.
ensure("jsonschema", "jsonschema>=4.18,<5")

from jsonschema import Draft202012Validator, FormatChecker  # noqa: E402
from jsonschema.exceptions import SchemaError, ValidationError  # noqa: E402
from jsonschema.validators import extend  # noqa: E402
from referencing import Registry  # noqa: E402
from referencing.exceptions import Unresolvable  # noqa: E402
from referencing.jsonschema import DRAFT202012  # noqa: E402

CHECK_SECONDS = 2.0
"""How long the check of one reply may take, in a thread; mostly it takes milliseconds."""

PROBE_SECONDS = 0.1

MAX_KEYWORDS = 10_000
"""In a schema, nested ones included: OpenAI takes 5,000 properties. Half a second of work for each thousand."""

PATTERN_SECONDS = 0.2

MAX_PATTERN_LENGTH = 1000
"""In characters; a reference may be as long."""

MAX_PATTERNS = 100

MAX_LEVELS = 64
"""Of nesting in a schema; OpenAI takes 10."""

MAX_REFERENCES = 64
"""From one to the next. Python's own limit would come later, in libraries that do not bear it."""

ANY_OBJECT = {"type": "object"}


@cache
def _regex() -> Any:
    """Python's own expressions know no time limit. Cat 1.9 has this package, Cat 2 where tiktoken is installed."""
    try:
        ensure("regex", "regex")
        return import_module("regex")
    except ImportError:
        # Without a network the plugin works all the same; `_check_keyword` tells who sends a pattern.
        return None


class SchemaRefused(ValueError):
    """The message is for the client."""


class _TooLong(Exception):
    """The check ran out of time, or went from reference to reference without an end."""


async def check_schema(schema: dict[str, Any]) -> None:
    """Raises `SchemaRefused` unless replies can be checked against the schema."""
    await asyncio.to_thread(_check_schema, schema)


def _check_schema(schema: dict[str, Any]) -> None:
    try:
        keywords = list(islice(_keywords(schema), MAX_KEYWORDS + 1))
        if len(keywords) > MAX_KEYWORDS:
            raise SchemaRefused(f"this JSON schema has more than {MAX_KEYWORDS} keywords")
        if any(level > MAX_LEVELS for level, _, _ in keywords):
            raise SchemaRefused(f"this JSON schema is nested more than {MAX_LEVELS} levels deep")
        if sum(keyword == "pattern" for _, keyword, _ in keywords) > MAX_PATTERNS:
            raise SchemaRefused(f"this JSON schema has more than {MAX_PATTERNS} patterns")
        # No formats: that of patterns would have Python's own module compile them.
        Draft202012Validator.check_schema(schema, format_checker=FormatChecker(formats=()))
        resolver = Registry().with_resource("", DRAFT202012.create_resource(schema)).resolver()
        for _, keyword, value in keywords:
            _check_keyword(resolver, keyword, value)
        probes: list[Any] = [{}, []]
        for probe in probes:
            _validator(schema, PROBE_SECONDS).is_valid(probe)
    except SchemaError as error:
        raise SchemaRefused(f"this is no JSON schema: {error.message[:200]}") from error
    except _TooLong:
        raise SchemaRefused("this JSON schema takes too long to check, or without an end") from None


async def check_json(text: str, wanted: JsonFormat) -> None:
    """Raises `InvalidModelOutput` unless the reply is the JSON that was asked for."""
    await asyncio.to_thread(_check, text, wanted)


def _check(text: str, wanted: JsonFormat) -> None:
    try:
        value = json.loads(text, parse_constant=no_constant)
    except (ValueError, RecursionError):
        raise InvalidModelOutput("it is no valid JSON.") from None
    try:
        _validator(ANY_OBJECT if wanted.schema is None else wanted.schema, CHECK_SECONDS).validate(value)
    except ValidationError as error:
        raise InvalidModelOutput(f"it does not fit the schema at {error.json_path[:200]}.") from None
    except _TooLong:
        raise InvalidModelOutput("it could not be checked against the schema in time.") from None


def _validator(schema: dict[str, Any], seconds: float) -> Any:
    """For one check, whose time begins now."""
    end = time.monotonic() + seconds
    follow = Draft202012Validator.VALIDATORS["$ref"]
    depth = 0

    def reference(validator: Any, ref: Any, instance: Any, parent: Any) -> Iterator[ValidationError]:
        nonlocal depth
        depth += 1
        if depth > MAX_REFERENCES or time.monotonic() > end:
            raise _TooLong
        yield from follow(validator, ref, instance, parent)
        depth -= 1

    # An empty registry: the default one would fetch what a reference names.
    validator = extend(Draft202012Validator, {"$ref": reference, "pattern": _pattern})  # type: ignore[no-untyped-call]
    return validator(schema, registry=Registry())


def _pattern(validator: Any, pattern: str, instance: Any, _: Any) -> Iterator[ValidationError]:
    if validator.is_type(instance, "string"):
        try:
            fits = _regex().search(pattern, instance, timeout=PATTERN_SECONDS, concurrent=True)
        except TimeoutError:
            raise _TooLong from None
        if not fits:
            yield ValidationError("does not match the pattern")


def _keywords(schema: Any) -> Iterator[tuple[int, str, Any]]:
    """All that may be a keyword, whatever it stands in, and how deep: rather one too many than one too few."""
    waiting = [(1, schema)]
    while waiting:
        level, here = waiting.pop()
        if isinstance(here, dict):
            for keyword, value in here.items():
                yield level, keyword, value
            waiting.extend((level + 1, value) for value in here.values())
        elif isinstance(here, list):
            waiting.extend((level + 1, value) for value in here)


def _check_keyword(resolver: Any, keyword: str, value: Any) -> None:
    if keyword in ("$ref", "pattern") and isinstance(value, str) and len(value) > MAX_PATTERN_LENGTH:
        raise SchemaRefused(f"a '{keyword}' is longer than {MAX_PATTERN_LENGTH} characters")
    if keyword == "$ref" and isinstance(value, str):
        try:
            resolver.lookup(value)
        except Unresolvable:
            message = f"'{value[:100]}' refers to nothing in this schema, and nothing is fetched"
            raise SchemaRefused(message) from None
    elif keyword == "pattern" and isinstance(value, str):
        regex = _regex()
        if regex is None:
            raise SchemaRefused("'pattern' cannot be checked: the package regex is missing in the Cat's environment")
        try:
            regex.compile(value)
        except (regex.error, RecursionError):
            raise SchemaRefused(f"'{value[:100]}' is no regular expression") from None
    elif keyword in ("$dynamicRef", "patternProperties"):
        raise SchemaRefused(f"'{keyword}' is not supported")

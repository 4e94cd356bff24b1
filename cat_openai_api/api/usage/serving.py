"""Serving usage in OpenAI's form."""

import asyncio
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ...domain.usage import UsageKind
from ...errors import StorageFailed, invalid
from ...hosts.usage_table import DAY, HOUR, MINUTE, GroupBy, UsageQuery, UsageSum
from ...runtime import runtime
from ...wire.json import encode
from .protocol import MAX_FILTERS, CompletionsUsage, EmbeddingsUsage, UsageBucket, UsagePage, UsageParameters

WIDTHS = {"1m": MINUTE, "1h": HOUR, "1d": DAY}

LIMITS = {"1m": (60, 1440), "1h": (24, 168), "1d": (7, 31)}
"""Buckets of a page: the default, and the most."""

LABELS: Mapping[str, GroupBy] = {"user_id": "name", "api_key_id": "key_id", "model": "model"}
"""The fields by which the usage of a Cat differs, by OpenAI's names."""

SAME_EVERYWHERE: Mapping[UsageKind, Mapping[str, object]] = {
    "completions": {"project_id": None, "batch": False, "service_tier": "default"},
    "embeddings": {"project_id": None},
}
"""The other fields of `group_by`, with their value."""

PAGE_PREFIX = "page_"


@dataclass(frozen=True)
class Page:
    """A page of buckets, from `start` to `end` (exclusive). `next_start`: of the page after it; None where it is the
    last."""

    query: UsageQuery
    next_start: int | None


async def read_usage(kind: UsageKind, parameters: UsageParameters, query: Mapping[str, Sequence[str]]) -> bytes:
    """An encoded `UsagePage`. `query`: all values of each list, by its name.

    Raises `InvalidRequest` or `StorageFailed`.
    """
    group_by = _parse_group_by(kind, query["group_by"])
    page = _parse_page(kind, parameters, query, group_by)
    sums: list[UsageSum] = []
    if not query["project_ids"] and not parameters.batch:
        with suppress(StorageFailed):  # What is written already can perhaps be read.
            await runtime.usage.flush()
        sums = await runtime.host.usage.sums(page.query)
    return await asyncio.to_thread(_encode_page, page, sums, group_by)


def _parse_group_by(kind: UsageKind, names: Sequence[str]) -> Sequence[str]:
    known = [*LABELS, *SAME_EVERYWHERE[kind]]
    for name in names:
        if name not in known:
            raise invalid("group_by", f"'{name[:100]}' is none of {', '.join(known)}")
    return names


def _parse_page(
    kind: UsageKind, parameters: UsageParameters, query: Mapping[str, Sequence[str]], group_by: Sequence[str]
) -> Page:
    for name, values in query.items():
        if len(values) > MAX_FILTERS:
            raise invalid(name, f"more than {MAX_FILTERS} values")
    width = WIDTHS[parameters.bucket_width]
    default, most = LIMITS[parameters.bucket_width]
    limit = parameters.limit or default
    if limit > most:
        raise invalid("limit", f"at most {most} where bucket_width is {parameters.bucket_width}")
    now = int(time.time()) + 1
    end_time = now if parameters.end_time is None else parameters.end_time
    if parameters.end_time is not None and end_time <= parameters.start_time:
        raise invalid("end_time", "must be later than start_time")
    first = parameters.start_time - parameters.start_time % width
    # Buckets that have not begun are left out.
    last = -(-min(end_time, now) // width) * width
    start = first if parameters.page is None else _parse_cursor(parameters.page, first, last, width)
    end = max(start, min(last, start + limit * width))
    return Page(
        UsageQuery(
            kind,
            width,
            start,
            end,
            group_by=[LABELS[name] for name in LABELS if name in group_by],
            key_ids=query["api_key_ids"] or None,
            names=query["user_ids"] or None,
            models=query["models"] or None,
        ),
        end if end < last else None,
    )


def _cursor(start: int) -> str:
    return PAGE_PREFIX + urlsafe_b64encode(start.to_bytes(8, "big")).decode()


def _parse_cursor(page: str, first: int, last: int, width: int) -> int:
    """The start of the page. Raises `InvalidRequest` for what is no cursor of the same query."""
    with suppress(ValueError):
        decoded = urlsafe_b64decode(page.removeprefix(PAGE_PREFIX))
        start = int.from_bytes(decoded[:8], "big")
        if _cursor(start) == page and first <= start < last and start % width == 0:
            return start
    raise invalid("page", "send `next_page` of the page before, with the same parameters")


def _encode_page(page: Page, sums: Sequence[UsageSum], group_by: Sequence[str]) -> bytes:
    results: defaultdict[int, list[CompletionsUsage | EmbeddingsUsage]] = defaultdict(list)
    for each in sums:
        results[each.start].append(_result(page.query.kind, each, group_by))
    query = page.query
    buckets = [
        UsageBucket(start_time=start, end_time=start + query.width, results=results[start])
        for start in range(query.start, query.end, query.width)
    ]
    next_page = None if page.next_start is None else _cursor(page.next_start)
    return encode(UsagePage(data=buckets, has_more=next_page is not None, next_page=next_page).wire())


def _result(kind: UsageKind, each: UsageSum, group_by: Sequence[str]) -> CompletionsUsage | EmbeddingsUsage:
    counts = each.counts
    labels = {name: each.labels[label] or None for name, label in LABELS.items() if label in each.labels}
    same = {name: value for name, value in SAME_EVERYWHERE[kind].items() if name in group_by}
    if kind == "embeddings":
        return EmbeddingsUsage.model_validate(
            {"input_tokens": counts.input, "num_model_requests": counts.requests, **labels, **same}
        )
    return CompletionsUsage.model_validate(
        {
            "input_tokens": counts.input,
            "input_cached_tokens": counts.cached,
            "input_uncached_tokens": counts.input - counts.cached,
            "output_tokens": counts.output,
            "output_reasoning_tokens": counts.reasoning,
            "num_model_requests": counts.requests,
            **labels,
            **same,
        }
    )

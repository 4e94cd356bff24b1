"""The table of usage in an SQL database."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple
from functools import partial
from itertools import chain
from secrets import token_hex
from typing import Any

from ...domain.usage import UsageCounts, UsageLabels
from ..usage_table import HOUR, LIFETIMES, MINUTE, UsageQuery, UsageSum, UsageTable
from .sql import Database, Record, Table, digest
from .storage import retry, storage_failures

MAX_ROWS = 100
"""Of one statement."""

COLUMNS = (
    *("width", "bucket", "kind", "key_id", "person", "name", "model", "writer", "batch"),
    *("requests", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"),
)

COUNTED = COLUMNS[9:]

CREATE = (
    """CREATE TABLE IF NOT EXISTS openai_api_usage (
        width BIGINT NOT NULL,
        bucket BIGINT NOT NULL,
        kind TEXT NOT NULL,
        key_id TEXT NOT NULL,
        person TEXT NOT NULL,
        name TEXT NOT NULL,
        model TEXT NOT NULL,
        writer TEXT NOT NULL,
        batch BIGINT NOT NULL,
        requests BIGINT NOT NULL,
        input_tokens BIGINT NOT NULL,
        output_tokens BIGINT NOT NULL,
        cached_tokens BIGINT NOT NULL,
        reasoning_tokens BIGINT NOT NULL,
        PRIMARY KEY (width, bucket, kind, key_id, person, model, writer)
    )""",
    "CREATE INDEX IF NOT EXISTS openai_api_usage_person ON openai_api_usage (person)",
    "CREATE INDEX IF NOT EXISTS openai_api_usage_name ON openai_api_usage (name)",
)

ADD = f"""INSERT INTO openai_api_usage ({", ".join(COLUMNS)}) VALUES {{rows}}
    ON CONFLICT (width, bucket, kind, key_id, person, model, writer) DO UPDATE SET
        {", ".join(f"{name} = openai_api_usage.{name} + excluded.{name}" for name in COUNTED)},
        name = excluded.name, batch = excluded.batch
    WHERE openai_api_usage.batch < excluded.batch"""

SUMS = f"""SELECT bucket - bucket % {{width}} AS start{{labels}},
        {", ".join(f"CAST(SUM({name}) AS BIGINT) AS {name}" for name in COUNTED)}
    FROM openai_api_usage WHERE {{conditions}} GROUP BY {{places}} ORDER BY {{places}}"""

PERSONS = "SELECT DISTINCT person FROM openai_api_usage WHERE {condition}"

FORGET = "UPDATE openai_api_usage SET person = ?, name = '' WHERE person = ? RETURNING width"

SWEEP = "DELETE FROM openai_api_usage WHERE width = ? AND bucket < ?"


class SqlUsageTable(UsageTable):
    """A row for each bucket, labels and writer. Writers never change each other's rows, and a row has the number of the
    batch that was added to it last, so a statement that is executed twice counts once."""

    def __init__(self, database: Database, log_error: Callable[[str], object]) -> None:
        self._database = database
        self._log_error = log_error
        self._table = Table(database, "openai_api_usage", CREATE)

    async def add(self, writer: str, batch: int, counts: Mapping[tuple[int, UsageLabels], UsageCounts]) -> None:
        rows = _rows(writer, batch, counts)
        with storage_failures(self._log_error):
            for first in range(0, len(rows), MAX_ROWS):
                values = rows[first : first + MAX_ROWS]
                statement = ADD.format(rows=", ".join(f"({_places(COLUMNS)})" for _ in values))
                await self._execute(statement, *chain.from_iterable(values))

    async def sums(self, query: UsageQuery) -> list[UsageSum]:
        conditions: dict[str, list[Any]] = {"width": [min(query.width, HOUR)], "kind": [query.kind]}
        filters = {"key_id": query.key_ids, "name": query.names, "model": query.models}
        conditions |= {name: [*values] for name, values in filters.items() if values is not None}
        if not all(conditions.values()):
            return []
        wanted = [f"{name} IN ({_places(values)})" for name, values in conditions.items()]
        statement = SUMS.format(
            width=query.width,
            labels="".join(f", {name}" for name in query.group_by),
            conditions=" AND ".join([*wanted, "bucket >= ?", "bucket < ?"]),
            places=", ".join(str(place + 1) for place in range(1 + len(query.group_by))),
        )
        values = chain.from_iterable(conditions.values())
        with storage_failures(self._log_error):
            return [_sum(record, query) for record in await self._execute(statement, *values, query.start, query.end)]

    async def forget(self, persons: Sequence[str], name: str | None) -> int:
        conditions = {"person": [digest(person) for person in persons], "name": [name] if name else []}
        wanted = [f"{column} IN ({_places(values)})" for column, values in conditions.items() if values]
        if not wanted:
            return 0
        with storage_failures(self._log_error):
            statement = PERSONS.format(condition=" OR ".join(wanted))
            found = await self._execute(statement, *chain.from_iterable(conditions.values()))
            rows = 0
            for record in found:
                # Each gets another stand-in, as two of them may have rows of the same labels.
                rows += len(await self._execute(FORGET, f"forgotten:{token_hex(8)}", record["person"]))
            return rows

    async def sweep(self) -> None:
        with storage_failures(self._log_error):
            for width, lifetime in LIFETIMES.items():
                await self._execute(SWEEP, width, int(time.time()) - lifetime)

    async def _execute(self, statement: str, *values: Any) -> Sequence[Record]:
        await self._table.create()
        return await retry(partial(self._database.execute, statement, *values))


def _rows(writer: str, batch: int, counts: Mapping[tuple[int, UsageLabels], UsageCounts]) -> list[tuple[Any, ...]]:
    """The rows of minutes and of hours, with a value for each of `COLUMNS`."""
    summed: defaultdict[tuple[Any, ...], UsageCounts] = defaultdict(UsageCounts)
    names: dict[str, str] = {}
    for (minute, labels), added in counts.items():
        person = digest(labels.person) if labels.person else ""
        names[person] = labels.name.replace("\0", "\N{REPLACEMENT CHARACTER}")
        for width in (MINUTE, HOUR):
            summed[width, minute - minute % width, labels.kind, labels.key_id, person, labels.model] += added
    return [
        (width, bucket, kind, key_id, person, names[person], model, writer, batch, *astuple(total))
        for (width, bucket, kind, key_id, person, model), total in summed.items()
    ]


def _sum(record: Record, query: UsageQuery) -> UsageSum:
    labels = {name: record[name] for name in query.group_by}
    return UsageSum(record["start"], labels, UsageCounts(*(record[name] for name in COUNTED)))


def _places(values: Sequence[Any]) -> str:
    return ", ".join("?" for _ in values)

"""Checks of the versions of rows, and of rows that were written without one."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, Final

from backtest_mongo.cli.doctor.findings import Deployment, Finding, Severity, Size
from backtest_mongo.cli.doctor.sqlite_checks import DatabaseFile
from backtest_mongo.cli.doctor.stored_data_checks import list_collections, measure_size
from backtest_mongo.cli.formatting import format_bytes
from backtest_mongo.core.history import find_history
from backtest_mongo.core.retention import Retention
from backtest_mongo.core.slots import SLOTS
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.core.wording import format_count
from backtest_mongo.errors import ConfigError
from backtest_mongo.mongo.collection import aggregate
from backtest_mongo.sqlite.change_log import quote
from backtest_mongo.sqlite.stored_keys import name_key_columns
from backtest_mongo.sqlite.whole_layout import find_columns

__all__ = ["check_history", "check_history_of_file"]

#: How many rows of a slot are compared with their versions.
MAX_ROWS: Final = 200_000
#: How many versions of a slot are counted in an SQLite file, and how many are sampled for their mean size.
_MAX_VERSIONS: Final = 1_000_000
_SAMPLE: Final = 1_000
_SPECS: Final = [spec for spec in SLOTS if not spec.immutable]


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """What is kept of a slot.

    Attributes:
        spec: the slot.
        retention: what the settings say, ``None`` if they don't name the slot.
        versions: how many versions there are.
        bytes: their size, ``None`` if it is not known.
        rows: how many rows were compared with their versions.
        never: how many of these have no version.
        since: how many were written since their latest version.
        has_more: whether there are more rows.
        counted: what follows the number of versions, such as `` or more``.
        sized: what precedes their size, such as ``about ``.
    """

    spec: SlotSpec
    retention: Retention | None
    versions: int
    bytes: int | None
    rows: int
    never: int
    since: int
    has_more: bool
    counted: str = ""
    sized: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "keep": None if self.retention is None else str(self.retention) or "all",
            "versions": self.versions,
            "bytes": self.bytes,
            "rows": self.rows,
            "rows_without_version": self.never,
            "rows_written_since": self.since,
            "more_rows": self.has_more,
        }


async def check_history(deployment: Deployment) -> AsyncIterator[Finding]:
    """Report the versions of each slot, rows that others wrote since, and settings that a standalone can't follow."""
    hello = await deployment.hello()
    settings = {spec.name: find_history(spec) for spec in _SPECS}
    named = [name for name, retention in settings.items() if retention is not None]
    if named and "setName" not in hello and hello.get("msg") != "isdbgrid":
        yield Finding(
            "history",
            "problem",
            f"versions of {', '.join(named)} should be kept, but a standalone can't keep them: it has no transactions",
            "make it a replica set, of one member if you like: mongod --replSet NAME, and rs.initiate() once; or take "
            "them out of CC_HISTORY",
        )
        return
    there = await list_collections(deployment)
    for spec in _SPECS:
        retention = settings[spec.name]
        if retention is not None or spec.versions in there:
            kept = await _measure(deployment, spec, retention, spec.versions in there)
            yield _judge(kept, deployment.facts)


async def _measure(deployment: Deployment, spec: SlotSpec, retention: Retention | None, is_there: bool) -> _Kept:
    size = await measure_size(deployment, spec.versions) if is_there else Size(spec.versions, 0, 0)
    documents = deployment.hub.database[spec.collection]
    has_version: Any = {"$isNumber": "$origin.when"}
    is_stale = {"$and": [has_version, {"$ne": ["$origin.written", "$updatedDate"]}]}
    pipeline: list[dict[str, Any]] = [
        {"$limit": MAX_ROWS},
        {"$project": {"_id": 0, "never": {"$not": [has_version]}, "since": is_stale}},
        {
            "$group": {
                "_id": None,
                "rows": {"$sum": 1},
                "never": {"$sum": {"$cond": ["$never", 1, 0]}},
                "since": {"$sum": {"$cond": ["$since", 1, 0]}},
            }
        },
    ]
    (found,) = await aggregate(documents, pipeline) or [{"rows": 0, "never": 0, "since": 0}]
    return _Kept(
        spec=spec,
        retention=retention,
        versions=size.rows,
        bytes=None if size.data_bytes is None else size.data_bytes,
        rows=found["rows"],
        never=found["never"],
        since=found["since"],
        has_more=found["rows"] == MAX_ROWS and await documents.estimated_document_count() > MAX_ROWS,
    )


def check_history_of_file(file: DatabaseFile) -> Iterator[Finding]:
    """Report the same for a file."""
    for spec in _SPECS:
        try:
            retention = find_history(spec)
        except ConfigError as error:
            yield Finding("history", "problem", error.message, error.hint or "")
            return
        is_there = bool(find_columns(file.connection, spec.versions))
        if retention is not None or is_there:
            kept = _measure_table(file.connection, spec, retention, is_there)
            if is_there:
                file.diagnosis.sizes.append(Size(spec.versions, kept.versions, kept.bytes))
            yield _judge(kept, file.facts)


def _measure_table(
    connection: sqlite3.Connection, spec: SlotSpec, retention: Retention | None, is_there: bool
) -> _Kept:
    versions = size = 0
    if is_there:
        table = quote(spec.versions)
        some = f"SELECT 1 FROM {table} LIMIT {_MAX_VERSIONS}"
        (versions,) = connection.execute(f"SELECT count(*) FROM ({some})").fetchone()
        payload = quote(find_columns(connection, spec.versions)[len(spec.key) + 1])
        sample = f"SELECT {payload} AS text FROM {table} LIMIT {_SAMPLE}"
        mean = connection.execute(f"SELECT avg(length(CAST(text AS BLOB))) FROM ({sample})").fetchone()[0] or 0.0
        size = round(mean * versions)
    rows = never = since = 0
    has_more = False
    if find_columns(connection, spec.collection):
        rows, never, since, has_more = _compare_rows(connection, spec, is_there)
    return _Kept(
        spec=spec,
        retention=retention,
        versions=versions,
        bytes=size,
        rows=rows,
        never=never,
        since=since,
        has_more=has_more,
        counted=" or more" if versions == _MAX_VERSIONS else "",
        sized="about " if versions > _SAMPLE else "",
    )


def _compare_rows(connection: sqlite3.Connection, spec: SlotSpec, has_versions: bool) -> tuple[int, int, int, bool]:
    """Return how many rows were compared, have no version, and were written since, and whether there are more."""
    keys = [*name_key_columns(spec).values()]
    rows = f"SELECT {', '.join(keys)}, written FROM {quote(spec.collection)} LIMIT {MAX_ROWS + 1}"
    match = " AND ".join(f"v.{key}=r.{key}" for key in keys)
    latest = (
        f"(SELECT v.written FROM {quote(spec.versions)} AS v WHERE {match} ORDER BY v.[when] DESC LIMIT 1)"
        if has_versions
        else "NULL"
    )
    compared = f"SELECT r.written AS written, {latest} AS latest FROM ({rows}) AS r"
    count, never, since = connection.execute(
        f"SELECT count(*), coalesce(sum(latest IS NULL), 0), coalesce(sum(latest<>written), 0) FROM ({compared})"
    ).fetchone()
    return min(count, MAX_ROWS), never, since, count > MAX_ROWS


def _judge(kept: _Kept, facts: dict[str, Any]) -> Finding:
    spec = kept.spec
    facts.setdefault("history", {})[spec.name] = kept.to_json()
    size = "" if kept.bytes is None else f", {kept.sized}{format_bytes(kept.bytes)}"
    looked = f" of the first {MAX_ROWS:,} rows" if kept.has_more else ""
    parts = [f"{spec.name}: {format_count(kept.versions, 'version')}{kept.counted} kept{size}"]
    severity: Severity = "ok"
    advice: list[str] = []
    if kept.never:
        severity = "note"
        parts.append(f"{format_count(kept.never, 'row')} without one{looked}")
        advice.append("they have no past yet: the next write with CC_HISTORY keeps a version of what they hold")
    if kept.since:
        severity = "warning"
        parts.append(f"{format_count(kept.since, 'row')} written since without one{looked}")
        advice.append(
            "their values in between are unknown: set CC_HISTORY in every process that writes; the Node package "
            "keeps no versions"
        )
    if kept.retention is None:
        severity = "note" if severity == "ok" else severity
        parts.append("CC_HISTORY does not name it here")
    if severity == "ok" and kept.has_more:
        parts.append(f"all{looked} have one")
    return Finding("history", severity, "; ".join(parts), "; ".join(advice))

"""Checks of series with columns, in MongoDB and in an SQLite file: how they are stored, and what is damaged."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator
from typing import TYPE_CHECKING, Any, Final

from backtest_mongo.cli.context_text import SPECS, format_values
from backtest_mongo.cli.doctor.findings import Deployment, Finding, Listed, Size, list_series
from backtest_mongo.cli.doctor.sqlite_checks import DatabaseFile
from backtest_mongo.cli.doctor.sqlite_row_checks import report_columns
from backtest_mongo.cli.doctor.stored_data_checks import list_collections
from backtest_mongo.cli.formatting import format_bytes, format_duration
from backtest_mongo.core.columns import MOST_NEGATIVE
from backtest_mongo.core.contexts import name_values
from backtest_mongo.core.counters import SeriesCounts
from backtest_mongo.core.series_retention import SeriesRetention, parse_series_retention
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.wording import format_count
from backtest_mongo.series.columns.blocks import LATEST, name_blocks
from backtest_mongo.series.columns.merging import SEALED_GROUPS
from backtest_mongo.series.columns.store import MongoColumns
from backtest_mongo.sqlite import whole_layout
from backtest_mongo.sqlite.column_layout import make_column_table
from backtest_mongo.sqlite.column_retention import find_prunable
from backtest_mongo.types import Coverage, SeriesSize, now_ms

if TYPE_CHECKING:
    from backtest_mongo.sqlite.column_documents import Part
    from backtest_mongo.sqlite.column_parts import PartReader

__all__ = ["check_series", "check_series_of_file"]

#: Blocks of each slot that are read.
_BLOCKS: Final = 8
#: Series, and parts of them, that are named.
_NAMED: Final = 5
#: A tail has been left behind once it has the rows of so many blocks, or so many times the groups that are sealed.
_BEHIND: Final = 4
_RESTORE: Final = "restore it from a backup, or delete this range and write it again"


async def check_series(deployment: Deployment) -> AsyncIterator[Finding]:
    """Say how series with columns are stored, and look for missing blocks and for damage in a sample of them."""
    there = await list_collections(deployment)
    can_seal = deployment.facts.get("transactions", True)
    for spec in (spec for spec in list_series() if there & {spec.collection, name_blocks(spec)}):
        store = MongoColumns(deployment.hub, spec)
        store.skip_indexes()
        for collection, fields, is_unique in await store.find_missing_indexes():
            kind = "unique index" if is_unique else "index"
            text = f"{collection}: the {kind} on {', '.join(fields)} is missing"
            yield Finding("indexes", "warning", text, "the next use of the slot creates it")
        summary = _Summary(spec, can_seal=can_seal)
        async for context in store.list_contexts():
            size = await store.size(context)
            is_limited = summary.parse_retention(context, size.keep) is not None
            lost = await store.find_lost(context)
            prunable = await store.count_prunable(context) if is_limited and not lost else 0
            deployment.facts.setdefault("series", []).append(summary.add(context, size, prunable))
            for first, end in lost:
                yield _report_lost(spec, context, first, end)
        for finding in summary.describe():
            yield finding
        checked = await store.verify_sample(_BLOCKS)
        damaged = [(context, problem) for context, problem in checked if problem is not None]
        for context, problem in damaged:
            yield Finding("series", "problem", f"{spec.name} {_name(spec, context)}: {problem}", _RESTORE)
        if checked and not damaged:
            yield _report_sample(spec, len(checked))


def check_series_of_file(file: DatabaseFile) -> Iterator[Finding]:
    """Say how series with columns are stored; look for damage in all headers, and in a sample of the blocks.

    If the check is thorough, it reads all blocks and groups.
    """
    from backtest_mongo.sqlite.column_parts import PartReader

    connection = file.connection
    tables = set(whole_layout.list_collections(connection))
    for spec in (spec for spec in list_series() if spec.collection in tables):
        table = make_column_table(spec)
        foreign = [
            one.name for one in (table, table.blocks) if whole_layout.find_columns(connection, one.name) != one.columns
        ]
        if foreign:
            yield from (report_columns(spec, name) for name in foreign)
            continue
        reader = PartReader(spec, table, file.path)
        chosen = None if file.thorough else reader.sample_blocks(connection, _BLOCKS)
        summary, damaged = _Summary(spec, option=" --sqlite FILE"), Listed(_NAMED)
        for context in reader.list_contexts(connection):
            size, prunable, before = reader.measure(connection, context), 0, damaged.count
            for text in _find_damage(file, spec, reader, context, chosen):
                damaged.add(text)
            retention = summary.parse_retention(context, size.keep)
            if retention is not None and damaged.count == before:  # otherwise ages and sizes may be wrong
                pieces = find_prunable(connection, spec, table, context, retention)
                prunable = sum(piece.rows for _, _, piece in pieces)
            file.facts.setdefault("series", []).append(summary.add(context, size, prunable))
        total = summary.total
        file.diagnosis.sizes.append(Size(table.name, total.tail_rows, total.tail_bytes))
        file.diagnosis.sizes.append(Size(table.blocks.name, total.block_rows, total.block_bytes))
        yield from summary.describe()
        if damaged.count:
            are = format_count(damaged.count, "block or group of the tail is", "blocks and groups of the tail are")
            yield Finding("series", "problem", f"{spec.name}: {are} damaged: {damaged}", _RESTORE)
        elif chosen is None:
            text = f"{spec.name}: all blocks and groups of the tail were read: {total.blocks + total.tail_groups:,}"
            yield Finding("series", "ok", text)
        elif chosen:
            yield _report_sample(spec, len(chosen))


def _find_damage(
    file: DatabaseFile, spec: SlotSpec, reader: PartReader, context: Key, chosen: Collection[int] | None
) -> Iterator[str]:
    """Name what is damaged of a series: each header is checked, and ``chosen`` blocks, or all parts, are read."""
    from backtest_mongo.sqlite.column_parts import open_snapshot

    with open_snapshot(file.connection):
        parts = reader.list_blocks(file.connection, context, MOST_NEGATIVE, LATEST)
        parts += reader.list_groups(file.connection, context)
    for part in parts:
        if chosen is None or (part.is_block and part.number in chosen):
            found = reader.verify(file.connection, context, part.is_block, part.number)
        else:
            found = _check_header(file, reader, part)
        if found is not None and found[1] is not None:  # otherwise it is sound, or was merged meanwhile
            yield f"{_name(spec, context)}: {_describe_part(spec, part, found[0])}: {found[1]}"


def _check_header(file: DatabaseFile, reader: PartReader, part: Part) -> tuple[Coverage, str | None]:
    from backtest_mongo.columns.codec import DamagedRowsError

    problem = None
    try:
        part.check()
    except DamagedRowsError as error:
        problem = str(error)
        part = reader.restore(file.connection, part)
    return Coverage(part.first, part.last, part.rows), problem


def _describe_part(spec: SlotSpec, part: Part, covered: Coverage) -> str:
    from backtest_mongo.market_data.exact_times import format_exact_time

    what = "a block" if part.is_block else "a group"
    if not all(isinstance(value, int) for value in (covered.first, covered.last, covered.rows)):
        return what  # its header is damaged, and so is that of its document
    first, last = (format_exact_time(time or 0, spec.unit) for time in (covered.first, covered.last))
    return f"{what} of {format_count(covered.rows, 'row')} from {first} to {last}"


class _Summary:
    """What a slot's series have together, and what is to be said of some of them.

    Args:
        spec: the slot.
        option: what lets a command work on the same database.
        can_seal: whether the database can move rows from the tail into blocks.
    """

    def __init__(self, spec: SlotSpec, *, option: str = "", can_seal: bool = True) -> None:
        self.total = SeriesCounts()
        self._spec = spec
        self._option = option if spec.name in SPECS else f"{option} --module MODULE"
        self._can_seal = can_seal
        self._count = 0
        self._kept: Counter[str] = Counter()
        self._unknown, self._old, self._behind = Listed(_NAMED), Listed(_NAMED), Listed(_NAMED)
        self._old_rows = 0

    def parse_retention(self, context: Key, keep: str | None) -> SeriesRetention | None:
        """Return what is kept of a series; ``None`` if all is, or if nobody can say."""
        if keep is None:
            return None
        try:
            return parse_series_retention(keep)
        except ValueError as error:
            self._unknown.add(f"{_name(self._spec, context)}: its retention {error}")
            return None

    def add(self, context: Key, size: SeriesSize, prunable: int) -> dict[str, Any]:
        """Add a series, and return what programs are told of it."""
        from backtest_mongo.columns.merging import BLOCK_ROWS

        counts = {name: getattr(size, name) for name in SeriesCounts.__slots__}
        self.total.add(SeriesCounts(**counts))
        self._count += 1
        if size.keep is not None:
            self._kept[str(size.keep)] += 1
        if prunable:
            self._old.add(f"{_name(self._spec, context)}: {prunable:,}")
            self._old_rows += prunable
        if size.tail_rows >= _BEHIND * BLOCK_ROWS or size.tail_groups >= _BEHIND * SEALED_GROUPS:
            text = f"{size.tail_rows:,} rows in {format_count(size.tail_groups, 'group')}{_describe_age(size.oldest)}"
            self._behind.add(f"{_name(self._spec, context)}: {text}")
        named = name_values(self._spec, context)
        return {"slot": self._spec.name, "context": named, **counts, "keep": size.keep, "prunable": prunable}

    def describe(self) -> Iterator[Finding]:
        """Say how the series are stored and what is kept of them, and what to do about those that need it."""
        name, total = self._spec.name, self.total
        if self._count:
            text = (
                f"{name}: {format_count(self._count, 'series', 'series')}: {total.block_rows:,} rows in "
                f"{format_count(total.blocks, 'block')} ({format_bytes(total.block_bytes)}), {total.tail_rows:,} in "
                f"{format_count(total.tail_groups, 'group')} of the tail ({format_bytes(total.tail_bytes)})"
                f"{_describe_age(total.oldest)}{self._describe_retention()}"
            )
            yield Finding("series", "ok", text)
        if self._behind.count:
            advice = f"`backtest-mongo series seal {name}{self._option}` seals it, or says why it can't"
            if not self._can_seal:
                advice = "a standalone has no transactions, so nothing is sealed; a replica set of one member has them"
            text = f"{name}: sealing does not keep up, so reads take longer: {self._behind}"
            yield Finding("series", "warning", text, advice)
        if self._unknown.count:
            text = f"{name}: {self._unknown}; so nothing of {'it' if self._unknown.count == 1 else 'them'} is deleted"
            yield Finding("series", "problem", text, "the adapter's retain() sets it")
        if self._old.count:
            text = f"{name}: {format_count(self._old_rows, 'row')} that need not be kept: {self._old}"
            advice = f"`backtest-mongo prune {name}{self._option}` deletes them"
            if name not in SPECS:
                advice = "the adapter's retain() deletes them if it sets the same retention again"
            yield Finding("series", "note", text, advice)

    def _describe_retention(self) -> str:
        kept = [f"{keep} of {format_count(count, 'series', 'series')}" for keep, count in sorted(self._kept.items())]
        more = f" and {len(kept) - _NAMED:,} others" if len(kept) > _NAMED else ""
        return f"; retention: {', '.join(kept[:_NAMED])}{more}" if kept else ""


def _describe_age(oldest: int | None) -> str:
    return "" if oldest is None else f", the oldest of which is {format_duration(max(0, now_ms() - oldest))} old"


def _name(spec: SlotSpec, context: Key) -> str:
    return format_values(spec, name_values(spec, context))


def _report_sample(spec: SlotSpec, count: int) -> Finding:
    return Finding("series", "ok", f"{name_blocks(spec)}: random blocks that were read: {count}")


def _report_lost(spec: SlotSpec, context: Key, first: int, end: int) -> Finding:
    start = "the first one" if first == MOST_NEGATIVE else str(first)
    stop = "the last one" if end == LATEST else f"before {end}"
    text = (
        f"{spec.name} {_name(spec, context)}: the block that had the rows from {start} to {stop} is missing or damaged"
    )
    return Finding("series", "problem", text, _RESTORE)

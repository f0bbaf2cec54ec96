"""Checks of what is stored in an SQLite file: rows that can't be decoded, and blocks of candles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from backtest_mongo.cli.doctor.findings import Finding, Listed, Size, list_series
from backtest_mongo.cli.doctor.sqlite_checks import DatabaseFile
from backtest_mongo.cli.formatting import format_iso_time
from backtest_mongo.core.candle_rules import find_impossible_rows
from backtest_mongo.core.slots import SLOTS
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.wording import format_count
from backtest_mongo.sqlite.layout import make_row_table, make_series_table
from backtest_mongo.sqlite.whole_layout import count_rows, find_blocks, find_columns, list_collections
from backtest_mongo.sqlite.whole_rows import DamagedRow, fetch_page
from backtest_mongo.sqlite.whole_series import fetch_blocks, fetch_contexts
from backtest_mongo.types import PRICES

if TYPE_CHECKING:
    from backtest_mongo.core.arrays import CandleArrays

__all__ = ["check_candles", "check_rows", "report_columns"]

_MODULE: Final = "--module names the module that registers this series, and has it checked"

#: Damaged rows and blocks, and sound series, that are named.
_NAMED: Final = 5
_SERIES: Final = 10


def check_rows(file: DatabaseFile) -> Iterator[Finding]:
    """Decode the rows of all slots, and report those that can't be decoded, and how many there are."""
    collections = set(list_collections(file.connection))
    rows, is_sound = 0, True
    for spec in (spec for spec in SLOTS if not spec.is_candles):
        if spec.collection not in collections:
            continue
        columns, known = find_columns(file.connection, spec.collection), make_row_table(spec).columns
        if columns not in (known, known[:-1]):  # without the last one before format 4
            is_sound = False
            yield report_columns(spec, spec.collection)
            continue
        count, size, damaged = _read_rows(file, spec, has_run=columns == known)
        rows += count
        file.diagnosis.sizes.append(Size(spec.collection, count, size))
        if damaged.count:
            is_sound = False
            yield Finding(
                "rows",
                "problem",
                f"{spec.collection}: {format_count(damaged.count, 'row')} can't be decoded: {damaged}",
                "reading one raises, and lists leave it out: write the row again, or repair or delete it with the "
                "sqlite3 shell",
            )
    for name in sorted(collections - {spec.collection for spec in (*SLOTS, *list_series())}):
        count = count_rows(file.connection, name)
        file.diagnosis.sizes.append(Size(name, count))
        text = f"{name}: {format_count(count, 'row')} of a slot of your own, not checked"
        is_series = find_blocks(file.connection, name) is not None
        yield Finding("rows", "note", text, _MODULE if is_series else "")
    if is_sound:
        yield Finding("rows", "ok", f"{format_count(rows, 'row')} of the library's slots, all of which can be decoded")


def _read_rows(file: DatabaseFile, spec: SlotSpec, *, has_run: bool) -> tuple[int, int, Listed]:
    """Return how many rows a slot has, the bytes of their payloads, and those that can't be decoded."""
    count, size, damaged, last = 0, 0, Listed(_NAMED), -(2**63)
    while (page := fetch_page(spec, file.connection, last, has_run=has_run)) is not None:
        rows, last = page
        count += len(rows)
        for row in rows:
            if isinstance(row, DamagedRow):
                damaged.add(f"{', '.join(map(str, row.key)) or 'its only row'}: {row.problem}")
            else:
                size += len(row[0].text)
    return count, size, damaged


def check_candles(file: DatabaseFile) -> Iterator[Finding]:
    """Decode all blocks of candles, and report damaged ones, impossible candles, and what each series has."""
    collections = set(list_collections(file.connection))
    for spec in (spec for spec in SLOTS if spec.is_candles and spec.collection in collections):
        if find_columns(file.connection, spec.collection) != make_series_table(spec).columns:
            yield report_columns(spec, spec.collection)
            continue
        damaged, impossible, sound = Listed(_NAMED), Listed(_NAMED), Listed(_SERIES)
        series = [
            _read_series(file, spec, context, damaged, impossible) for context in fetch_contexts(spec, file.connection)
        ]
        count = sum(one["rows"] for one in series)
        file.facts.setdefault("candles", []).extend(series)
        file.diagnosis.sizes.append(Size(spec.collection, count, 8 * (1 + len(PRICES)) * count))
        if damaged.count:
            yield Finding(
                "candles",
                "problem",
                f"{spec.collection}: {format_count(damaged.count, 'block')} can't be read: {damaged}",
                "restore a backup, or delete the candles of that time with the adapter's delete() and write them again",
            )
        if impossible.count:
            yield Finding(
                "candles",
                "warning",
                f"{spec.collection}: {format_count(impossible.count, 'series', 'series')} with impossible candles: "
                f"{impossible}",
                "delete them with the adapter's delete() and write correct ones",
            )
        for one in series:
            sound.add(_describe_series(one))
        text = f"{format_count(count, 'candle')} in {format_count(len(series), 'series', 'series')}"
        yield Finding("candles", "ok", f"{spec.collection}: {text}{f': {sound}' if series else ''}")


def _read_series(
    file: DatabaseFile, spec: SlotSpec, context: Key, damaged: Listed, impossible: Listed
) -> dict[str, Any]:
    """Return what a series has; note what is wrong with it."""
    name, after = " ".join(map(str, context)), -(2**63)
    count, first, last, bad = 0, None, None, 0
    while blocks := fetch_blocks(spec, file.connection, context, after):
        for start, candles, fits in blocks:
            if isinstance(candles, str):
                damaged.add(f"{name}, from {format_iso_time(start)}: {candles}")
                continue
            if not fits:
                damaged.add(f"{name}, from {format_iso_time(start)}: its columns don't fit its candles")
            count += len(candles)
            first = int(candles.timestamp[0]) if first is None else first
            last = int(candles.timestamp[-1])
            bad += _count_impossible(candles)
        after = blocks[-1].start
    if bad:
        impossible.add(f"{name}: {bad:,}")
    fields = dict(zip(spec.key, context, strict=False))
    return {**fields, "rows": count, "first": first, "last": last}


def _count_impossible(candles: CandleArrays) -> int:
    columns = dict(zip(PRICES, candles.prices, strict=True))
    return sum(map(len, find_impossible_rows({"timestamp": candles.timestamp, **columns}).values()))


def _describe_series(one: dict[str, Any]) -> str:
    names = " ".join(str(value) for name, value in one.items() if name not in ("rows", "first", "last"))
    if not one["rows"]:
        return f"{names}: none"
    return f"{names}: {one['rows']:,} ({format_iso_time(one['first'])} to {format_iso_time(one['last'])})"


def report_columns(spec: SlotSpec, name: str) -> Finding:
    """Return the finding for a table that is not the slot's."""
    return Finding(
        "rows",
        "problem",
        f"{name}: the table has other columns than the slot {spec.name}",
        "rename the table; the next write makes the slot's",
    )

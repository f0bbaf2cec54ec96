"""The log of changes: a table in the database's file from which every process reads what all of them have written.

Triggers add each change of a row in the transaction of the write, so changes that are made with the ``sqlite3`` shell
are there too. What a write changes in a block of candles only the writer knows, which adds the candles themselves, and
so it does with rows of series with columns, which are moved from table to table without a change.
Measured, the triggers take no longer than an insert by the writer: 3 us for a row of 300 bytes, which a lone write does
not notice beside its ``fsync``.

A change's ``number`` is where it ends in the log, counted in bytes, so the numbers say how long the log is. They begin
at random: a place is a number and the time of its change, and one of another file is not found in this one. Neither
is one that a restored backup lacks or that was trimmed: then changes were missed.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from backtest_mongo.core.changes import HISTORY_LOST, Change, ChangeKind, name_context
from backtest_mongo.core.extended_json import from_json
from backtest_mongo.core.specs import FLAG, Key, SlotSpec
from backtest_mongo.errors import InputError, StoreError
from backtest_mongo.sqlite.block_format import decode_columns
from backtest_mongo.types import PRICES

__all__ = [
    "Filter",
    "Place",
    "Row",
    "add_change_log",
    "decode_row",
    "encode_deleted",
    "fill_record",
    "find_newest",
    "make_filter",
    "make_lost_error",
    "make_record",
    "make_series_triggers",
    "make_triggers",
    "parse_token",
    "quote",
    "read_rows",
    "trim",
]

TABLE: Final = "changes"

#: Bytes of changes that are kept at least: some 100,000 rows of 300 bytes, or a million candles. A watch that was away
#: resumes while what it missed is among them, and the file grows by them once.
KEPT_BYTES: Final = 64 << 20
#: What the log has beyond that before it is trimmed, so that few transactions do it, each within about a millisecond.
STEP_BYTES: Final = 1 << 20
#: What a change takes besides its payload.
_CHANGE_BYTES: Final = 256

#: Rows, and bytes of their payloads, that a watch reads at a time.
_ROWS: Final = 256
_BYTES: Final = 256 << 10

_TOKEN: Final = re.compile(r"sqlite-(\d{1,18})-(\d{1,18})(?:-(\d{1,9}))?", re.ASCII)
_NOW: Final = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"

#: Number, kind, key, ``when``, time and payload of a change.
Row: TypeAlias = tuple[int, ChangeKind, bytes, int | None, int, bytes | None]


def quote(name: str) -> str:
    """Return a name as SQL has it. In double quotes, a column that is missing would be taken for a text."""
    return f"[{name}]"


# Writing


def _insert(payload: str, collection: str, kind: str, key: str, when: str, time: str) -> str:
    """Return the statement that adds a change, of whose values each is SQL."""
    number = f"(SELECT max(number) FROM {TABLE}) + {_CHANGE_BYTES} + coalesce(length(CAST({payload} AS BLOB)), 0)"
    return (
        f"INSERT INTO {TABLE} (number, collection, kind, key, [when], time, payload) "
        f"VALUES ({number}, {collection}, {kind}, {key}, {when}, {time}, {payload})"
    )


def _make_trigger(table: str, event: str, insert: str) -> str:
    name = quote(f"{table} {event.lower()}")
    return f"CREATE TRIGGER IF NOT EXISTS {name} AFTER {event} ON {quote(table)} BEGIN {insert}; END"


def make_triggers(table: str, key: Sequence[str], field: str, columns: Sequence[str]) -> tuple[str, ...]:
    """Return the statements that make the triggers of a table of rows.

    Args:
        table: its name.
        key: the columns of its natural key.
        field: the column of the payload.
        columns: all of its columns.
    """
    collection = f"'{table}'"
    when = "{0}.[when]" if "when" in columns else "NULL"
    kind, payload = "'written'", f"NEW.{quote(field)}"
    if "removed" in columns:
        kind = "CASE NEW.removed WHEN 0 THEN 'written' ELSE 'removed' END"
        payload = f"CASE NEW.removed WHEN 0 THEN {payload} END"
    written = _insert(payload, collection, kind, _join_key("NEW", key), when.format("NEW"), "NEW.written")
    deleted = _insert("NULL", collection, "'deleted'", _join_key("OLD", key), when.format("OLD"), _NOW)
    return (
        _make_trigger(table, "INSERT", written),
        _make_trigger(table, "UPDATE", written),
        _make_trigger(table, "DELETE", deleted),
    )


def make_series_triggers(table: str, context: Sequence[str]) -> tuple[str, ...]:
    """Return the statements that make the triggers of a table of blocks, but for updates: see :func:`make_record`."""
    return tuple(
        _make_trigger(
            table, event, _insert(f"{row}.candles", f"'{table}'", kind, _join_key(row, context), "NULL", time)
        )
        for event, row, kind, time in (
            ("INSERT", "NEW", "'written'", "NEW.written"),
            ("DELETE", "OLD", "'deleted'", _NOW),
        )
    )


def make_record(table: str, context: Sequence[str]) -> str:
    """Return the statement that adds what an update of a block has changed; :func:`fill_record` has its parameters."""
    key = ", ".join(f":part{number}" for number in range(len(context)))
    return _insert(":candles", f"'{table}'", ":kind", f"json_array({key})", "NULL", ":time")


def fill_record(candles: bytes, kind: ChangeKind, time: int, context: Key) -> dict[str, Any]:
    """Return the parameters of :func:`make_record`; ``candles`` is the content of a block, or any rows."""
    parts = {f"part{number}": part for number, part in enumerate(context)}
    return {"candles": candles, "kind": kind, "time": time, **parts}


def encode_deleted(first: int, last: int, rows: int) -> bytes:
    """Return the payload of a change that reports deleted rows of a series with columns."""
    return json.dumps({"first": first, "last": last, "rows": rows}).encode()


def _join_key(row: str, columns: Sequence[str]) -> str:
    return f"json_array({', '.join(f'{row}.{quote(column)}' for column in columns)})"


def add_change_log(connection: sqlite3.Connection) -> None:
    """Make the log, and the triggers of the tables that are there already."""
    connection.execute(
        f"CREATE TABLE {TABLE} (number INTEGER PRIMARY KEY, collection TEXT NOT NULL, kind TEXT NOT NULL, "
        "key TEXT NOT NULL, [when] INTEGER, time INTEGER NOT NULL, payload)"
    )
    _begin_log(connection)
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type='table' AND name LIKE '%-items'").fetchall()
    for (table,) in tables:
        for statement in _find_triggers(connection, table):
            connection.execute(statement)


def _begin_log(connection: sqlite3.Connection) -> None:
    """Make a place before the first change."""
    connection.execute(f"INSERT INTO {TABLE} VALUES (random() & 0xffffffffff, '', 'begun', '[]', NULL, {_NOW}, NULL)")


def _find_triggers(connection: sqlite3.Connection, table: str) -> tuple[str, ...]:
    info = connection.execute(f"PRAGMA table_info({quote(table)})").fetchall()
    columns = [name for _, name, *_ in info]
    if columns[-7:] == ["start", "rows", "first", "last", "candles", "created", "written"]:
        return make_series_triggers(table, columns[:-7])
    indexes = connection.execute(f"PRAGMA index_list({quote(table)})").fetchall()
    unique = next((name for _, name, _, origin, _ in indexes if origin == "u"), None)
    if unique is None or columns[:1] != ["number"] or "written" not in columns:
        return ()  # another program's
    key = [name for _, _, name in connection.execute(f"PRAGMA index_info({quote(unique)})")]
    return make_triggers(table, key, columns[1 + len(key)], columns)


def trim(connection: sqlite3.Connection) -> None:
    """Delete what is beyond :data:`KEPT_BYTES`, if it is a step or more.

    It is done before the writes of a transaction: however much they add, the last change before them stays, which is
    the place of those that have read everything.
    """
    # One by one, as only so each is a look at an end of the table.
    newest, oldest = connection.execute(
        f"SELECT (SELECT max(number) FROM {TABLE}), (SELECT min(number) FROM {TABLE})"
    ).fetchone()
    if newest is None:  # somebody has emptied it
        _begin_log(connection)
    elif newest - oldest > KEPT_BYTES + STEP_BYTES:
        connection.execute(f"DELETE FROM {TABLE} WHERE number<?", (newest - KEPT_BYTES,))


# Reading


class Place(NamedTuple):
    """Where a watch is in the log: behind a change or, for candles, behind so many of those that it has."""

    number: int
    time: int
    candles: int = 0

    @property
    def token(self) -> str:
        within = f"-{self.candles}" if self.candles else ""
        return f"sqlite-{self.number}-{self.time}{within}"


def parse_token(token: str, slot: str) -> Place:
    """Return the place of a token.

    Raises:
        InputError: it is none of SQLite's.
    """
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise InputError(
            "watching failed: after is not a token of a change in SQLite (str)",
            slot=slot,
            hint="use the token of a change in this file; one of MongoDB is no place in it",
        )
    number, time, candles = match.groups(default="0")
    return Place(int(number), int(time), int(candles))


def make_lost_error(spec: SlotSpec, path: str) -> StoreError:
    """Return the error of a watch that can't resume where it was."""
    error = StoreError(
        f"watching failed: changes were missed, because {path} no longer has them or is another file",
        slot=spec.name,
        collection=spec.collection,
        hint="read what is stored, and start a new watch",
    )
    error.code = HISTORY_LOST
    return error


def find_newest(connection: sqlite3.Connection) -> Place | None:
    """Return the place behind all changes, ``None`` if somebody has emptied the log."""
    row = connection.execute(f"SELECT number, time FROM {TABLE} ORDER BY number DESC LIMIT 1").fetchone()
    return None if row is None else Place(*row)


class Filter(NamedTuple):
    """Which changes a watch is about: those of a collection, and the beginning of their keys; both as SQL has them."""

    collection: str
    key: str


def make_filter(connection: sqlite3.Connection, spec: SlotSpec, context: Key | None) -> Filter:
    """Return the filter of a slot, or of one context of it."""
    if not context:
        return Filter(spec.collection, "[")
    (key,) = connection.execute(f"SELECT json_array({', '.join('?' * len(context))})", context).fetchone()
    is_whole = spec.shape in ("document", "series")
    return Filter(spec.collection, key if is_whole else f"{key[:-1]},")


def read_rows(
    connection: sqlite3.Connection, place: Place, newest: Place | None, wanted: Filter
) -> tuple[Sequence[Row], Place] | None:
    """Return the next changes of a watch, and where they end; ``None`` if there are changes that it has missed.

    Args:
        connection: in a transaction, as all of this must be of one moment.
        place: where the watch is.
        newest: the place behind all changes.
        wanted: what the watch is about.
    """
    found = connection.execute(f"SELECT time FROM {TABLE} WHERE number=?", (place.number,)).fetchone()
    if newest is None or found is None or found[0] != place.time:
        return None
    if newest.number <= place.number and not place.candles:
        return (), place
    rows: list[Row] = []
    size = 0
    for row in connection.execute(
        "SELECT number, kind, CAST(key AS BLOB), [when], time, CAST(payload AS BLOB) "
        f"FROM {TABLE} WHERE number>? AND collection=? AND substr(key, 1, ?)=? ORDER BY number",
        (place.number - (1 if place.candles else 0), wanted.collection, len(wanted.key), wanted.key),
    ):
        rows.append(row)
        size += len(row[-1] or b"")
        if len(rows) == _ROWS or size >= _BYTES:
            return rows, Place(row[0], row[4])
    return rows, newest


def decode_row(spec: SlotSpec, row: Row, skipped: int) -> Iterator[Change]:
    """Yield the changes that a row reports: one, or those of its candles but for the first ``skipped``.

    Raises:
        ValueError: another program has written what can't be decoded.
    """
    number, kind, key_text, when, time, payload = row
    key: list[Any] = json.loads(key_text)
    fields = spec.key[: len(key)]
    if FLAG in fields:
        key[fields.index(FLAG)] = bool(key[fields.index(FLAG)])
    context = name_context(spec, tuple(key))
    if spec.columns:
        yield Change(
            kind=kind,
            slot=spec.name,
            context=context,
            key=None,
            payload=_decode_group(spec, kind, payload or b""),
            when=None,
            time=time,
            token=Place(number, time).token,
        )
        return
    if not spec.is_candles:
        yield Change(
            kind=kind,
            slot=spec.name,
            context=context,
            key=key[-1] if spec.item else None,
            payload=from_json(payload.decode()) if payload is not None else None,
            when=when,
            time=time,
            token=Place(number, time).token,
        )
        return
    times, *columns = decode_columns(payload or b"")
    for index in range(skipped, len(times)):
        is_last = index == len(times) - 1
        candle = {"timestamp": times[index]} | {
            name: column[index] for name, column in zip(PRICES, columns, strict=True)
        }
        yield Change(
            kind=kind,
            slot=spec.name,
            context=context,
            key=times[index],
            payload=candle if kind == "written" else None,
            when=None,
            time=time,
            token=Place(number, time, 0 if is_last else index + 1).token,
        )


def _decode_group(spec: SlotSpec, kind: ChangeKind, payload: bytes) -> Any:
    """Return the rows of a series with columns that were written, or the range of those that were deleted."""
    if kind != "written":
        deleted = json.loads(payload)
        return {"start": deleted["first"], "end": deleted["last"] + 1, "rows": deleted["rows"]}
    from backtest_mongo.sqlite.column_documents import decode_recorded

    return decode_recorded(spec, payload).rows(spec)

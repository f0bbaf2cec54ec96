"""What is kept of series with columns: a table with a row for each series of which a part is kept, or was.

All of it is called with a connection.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Final

from backtest_mongo.core.series_retention import Piece, SeriesRetention, find_cut
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.sqlite.change_log import quote
from backtest_mongo.sqlite.column_layout import ColumnTable
from backtest_mongo.types import now_ms

__all__ = ["RETENTION", "find_prunable", "is_retention_known", "move_retention", "read_retention", "write_retention"]

#: The table.
RETENTION: Final = "retention"
_COLUMNS: Final = "slot TEXT NOT NULL, context TEXT NOT NULL, keep TEXT NOT NULL, PRIMARY KEY (slot, context)"
_READ: Final = f"SELECT keep FROM {RETENTION} WHERE slot=? AND context=?"  # noqa: S608  # a name of this module
_WRITE: Final = f"INSERT OR REPLACE INTO {RETENTION} VALUES (?, ?, ?)"  # noqa: S608
_DELETE: Final = f"DELETE FROM {RETENTION} WHERE slot=? AND context=?"  # noqa: S608


def _read(connection: sqlite3.Connection, spec: SlotSpec, context: Key) -> str | None:
    if connection.execute("SELECT 1 FROM sqlite_master WHERE type='table' AND name=?", (RETENTION,)).fetchone() is None:
        return None
    found = connection.execute(_READ, (spec.name, _encode(context))).fetchone()
    return None if found is None else str(found[0])


def _encode(context: Key) -> str:
    return json.dumps(context, ensure_ascii=False)


def read_retention(connection: sqlite3.Connection, spec: SlotSpec, context: Key) -> str | None:
    """Return what is kept of a series, ``None`` if all is."""
    return _read(connection, spec, context) or None


def is_retention_known(connection: sqlite3.Connection, spec: SlotSpec, context: Key) -> bool:
    """Return whether anything was ever set for a series."""
    return _read(connection, spec, context) is not None


def write_retention(connection: sqlite3.Connection, spec: SlotSpec, context: Key, keep: str | None) -> None:
    """Set what is kept of a series, in a transaction."""
    connection.execute(f"CREATE TABLE IF NOT EXISTS {RETENTION} ({_COLUMNS})")
    connection.execute(_WRITE, (spec.name, _encode(context), keep or ""))


def move_retention(connection: sqlite3.Connection, spec: SlotSpec, source: Key, target: Key | None) -> None:
    """Give what is kept of a series to another one, or forget it, in a transaction."""
    keep = _read(connection, spec, source)
    if keep is None:
        return
    connection.execute(_DELETE, (spec.name, _encode(source)))
    if target is not None:
        write_retention(connection, spec, target, keep)


def find_prunable(
    connection: sqlite3.Connection, spec: SlotSpec, table: ColumnTable, context: Key, retention: SeriesRetention
) -> list[tuple[bool, int, Piece]]:
    """Return the blocks, and then the groups, that need not be kept: whether it is a block, and its number."""
    blocks, groups = (_list_pieces(connection, table, name, context) for name in (table.blocks.name, table.name))
    cut = find_cut(retention, [piece for _, piece in (*blocks, *groups)], spec.unit, now_ms())
    left = [piece.first for _, piece in blocks if piece.last >= cut]
    # Where the last row of a key wins, a group may have rows that it has replaced in a block that stays.
    end = min([cut, *left]) if not spec.immutable else cut
    return [
        *((True, number, piece) for number, piece in blocks if piece.last < cut),
        *((False, number, piece) for number, piece in groups if piece.last < end),
    ]


def _list_pieces(
    connection: sqlite3.Connection, table: ColumnTable, name: str, context: Key
) -> Sequence[tuple[int, Piece]]:
    within = " AND ".join(f"{quote(column)}=?" for column in table.context) or "1"
    query = f"SELECT number, first, last, [rows], length(document) FROM {quote(name)} WHERE {within}"  # noqa: S608
    return [(number, Piece(*values)) for number, *values in connection.execute(query, context)]

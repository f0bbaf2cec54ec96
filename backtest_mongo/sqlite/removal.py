"""How a row is marked as removed."""

from __future__ import annotations

import sqlite3

from backtest_mongo.core.extended_json import to_json
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.sqlite.layout import RowTable
from backtest_mongo.sqlite.row_codec import decode_row

__all__ = ["remove_row"]


def remove_row(spec: SlotSpec, table: RowTable, key: Key, at: int, path: str, connection: sqlite3.Connection) -> None:
    """Mark a row as removed within a transaction, and its payload if that is an object."""
    row = connection.execute(table.find_removable, key).fetchone()
    if row is None:
        return
    payload = decode_row(spec, key, (row[0], None, False), path)[spec.field]
    if isinstance(payload, dict):
        payload["removed"] = True
    connection.execute(table.mark_removed, (to_json(payload), at, *key))

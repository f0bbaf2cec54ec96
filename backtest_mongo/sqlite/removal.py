"""How a row is marked as removed, alone or with other rows."""

from __future__ import annotations

import sqlite3

from backtest_mongo.core.extended_json import to_json
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.sqlite.layout import RowTable
from backtest_mongo.sqlite.row_codec import decode_row

__all__ = ["mark_removed"]


def mark_removed(
    connection: sqlite3.Connection, table: RowTable, spec: SlotSpec, key: Key, run: str | None, at: int, path: str
) -> tuple[int | None] | None:
    """Mark a row as removed, with the payload that it has by now, if there is one that is not.

    Returns:
        The row's ``when``, ``None`` if there was no row.

    Raises:
        StoreError: it holds no JSON.
    """
    row = connection.execute(table.find_removable, key).fetchone()
    if row is None:
        return None
    payload = decode_row(spec, key, (row[0], None, False), path)[spec.field]
    if isinstance(payload, dict):
        payload["removed"] = True
    connection.execute(table.mark_removed, (to_json(payload), at, run, *key))
    return (row[1],)

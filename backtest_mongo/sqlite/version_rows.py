"""How versions are written and pruned within a transaction of SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from backtest_mongo.core.commits import RowWrite
from backtest_mongo.core.extended_json import to_json
from backtest_mongo.core.retention import Retention
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.sqlite.layout import make_row_table, make_version_table
from backtest_mongo.sqlite.row_codec import now

if TYPE_CHECKING:
    from backtest_mongo.sqlite.database import Connection

__all__ = ["count_prunable", "keep_unversioned", "prune", "write_versions"]

#: Versions that are deleted at a time.
_STEP: Final = 500
_INFINITY: Final = float("inf")


def write_versions(connection: Connection, row: RowWrite, at: int, when: int | None = None) -> None:
    """Write the versions of a row within the transaction that writes it, and delete later ones.

    Args:
        connection: the transaction's.
        row: what is written.
        at: when it is written, in milliseconds since the epoch.
        when: the simulation time that the row itself gives, where what is written has none.
    """
    table = make_version_table(row.spec)
    if table.name not in connection.tables:
        table.make(connection)
        connection.tables.add(table.name)
    clock = at if when is None else when
    times = [clock if one.at == _INFINITY else int(one.at) for one in (*row.earlier, row)]
    connection.execute(table.delete_later, (*row.key, min(times[-1], row.first)))
    for one, time in zip((*row.earlier, row), times, strict=True):
        if time > times[-1]:
            continue  # the last write, whose time is the clock's, has removed it
        is_removed = one.fields.get("removed") is True
        payload = to_json(None if is_removed else one.fields[row.spec.field])
        removed = (int(is_removed),) if row.spec.soft_delete else ()
        connection.execute(table.upsert, (*row.key, time, payload, *removed, at, at))


def is_version(spec: SlotSpec, row: Sequence[Any], latest: Sequence[Any] | None) -> bool:
    """Return whether the latest version is that of a row's last write, and no other has written it since.

    Two writes may be in one millisecond, so what they say is compared, too.

    Args:
        spec: of the slot.
        row: payload, ``when`` and ``removed`` if the slot has them, and when it was written.
        latest: time, time of writing, payload, and ``removed`` if the slot has it; ``None`` if there is none.
    """
    if latest is None or latest[1] != row[-1]:
        return False
    if spec.soft_delete and (row[-2] or latest[-1]):
        return bool(row[-2] and latest[-1])
    return bool(latest[2] == row[0] and (not spec.when or latest[0] == row[1]))


def keep_unversioned(connection: Connection, spec: SlotSpec, key: Key) -> None:
    """Keep, as a version, a row that is about to be written and whose last write stored none.

    It says what is true from its own time on, so later versions go.
    """
    rows, table = make_row_table(spec), make_version_table(spec)
    row = connection.execute(rows.find_written, key).fetchone()
    if row is None:
        return
    if table.name not in connection.tables:
        table.make(connection)
        connection.tables.add(table.name)
    latest = connection.execute(table.latest, key).fetchone()
    written = row[-1]
    if is_version(spec, row, latest):
        return
    time = row[1] if spec.when else written
    removed = (row[-2],) if spec.soft_delete else ()
    payload = "null" if removed and removed[0] else row[0]
    connection.execute(table.delete_later, (*key, time))
    connection.execute(table.upsert, (*key, time, payload, *removed, written, written))


def count_prunable(connection: sqlite3.Connection, spec: SlotSpec, retention: Retention) -> tuple[int, int]:
    """Return how many versions are stored of all keys, and how many of them need not be kept.

    Raises:
        sqlite3.OperationalError: there is no table of versions yet.
    """
    table = make_version_table(spec)
    limits = {"cut": retention.find_cut(now()) or 0, "rows": retention.rows or 0}
    stored, behind, old = connection.execute(table.count, limits).fetchone()
    return stored, (behind if retention.rows is not None else old if retention.days is not None else 0)


def prune(connection: sqlite3.Connection, spec: SlotSpec, key: Key, retention: Retention) -> int:
    """Delete versions of a key that need not be kept, a few hundred at most, and return how many."""
    table = make_version_table(spec)
    last: int | None = None
    if retention.rows is not None:
        found = connection.execute(table.behind, (*key, retention.rows)).fetchone()
        last = None if found is None else found[0]
    cut = retention.find_cut(now())
    if cut is not None:
        rows = connection.execute(table.earliest, (*key, _STEP + 1)).fetchall()
        # Later versions were written later: a write deletes those after it.
        expired = [when for when, written in rows if written < cut]
        last = expired[-2] if len(expired) > 1 else None
    if last is None:
        return 0
    some = connection.execute(table.earliest, (*key, _STEP)).fetchall()
    return connection.execute(table.delete_until, (*key, min(last, some[-1][0]))).rowcount

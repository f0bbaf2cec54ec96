"""The blocks of a series as they are stored: for imports and the doctor."""

from __future__ import annotations

import sqlite3
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.sqlite.block_format import decode_arrays
from backtest_mongo.sqlite.database import Database
from backtest_mongo.sqlite.layout import make_series_table
from backtest_mongo.sqlite.store import SQLiteRows
from backtest_mongo.sqlite.whole_layout import make_whole_series_table

if TYPE_CHECKING:
    from backtest_mongo.core.arrays import CandleArrays

__all__ = ["StoredBlock", "WholeSeries", "fetch_blocks", "fetch_contexts"]

#: Blocks that are read at a time.
_PAGE: Final = 64


class StoredBlock(NamedTuple):
    """A block.

    Attributes:
        start: the time of its first place.
        candles: its candles, or what is wrong with it.
        fits: whether its columns are those of its candles.
    """

    start: int
    candles: CandleArrays | str
    fits: bool


class WholeSeries(SQLiteRows):
    """The blocks of a slot that is a series."""

    def __init__(self, database: Database, spec: SlotSpec) -> None:
        super().__init__(database, spec, make_series_table(spec))

    async def read_page(self, context: Key, after: int) -> list[StoredBlock]:
        """Return the next blocks behind the one that starts at ``after``; none if there are none.

        Raises:
            StoreError: the database is damaged.
            StoreUnavailableError: another process held the lock until the deadline.
        """
        return await self._read_in_thread("reading", partial(fetch_blocks, self._spec), context, after) or []


def fetch_contexts(spec: SlotSpec, connection: sqlite3.Connection) -> list[Key]:
    """Return the context of each stored series, in the order of the key."""
    return [tuple(row) for row in connection.execute(make_whole_series_table(spec).contexts)]


def fetch_blocks(spec: SlotSpec, connection: sqlite3.Connection, context: Key, after: int) -> list[StoredBlock]:
    """Do what :meth:`WholeSeries.read_page` does, with a connection."""
    found = connection.execute(make_whole_series_table(spec).page, (*context, after, _PAGE)).fetchall()
    return [_decode(*block) for block in found]


def _decode(start: int, rows: Any, first: Any, last: Any, data: Any) -> StoredBlock:
    try:
        candles = decode_arrays(data)
    except ValueError:
        return StoredBlock(start, "it has the length of no number of candles", False)
    times = candles.timestamp
    if not bool((times[1:] > times[:-1]).all()):
        return StoredBlock(start, "its times are not ascending", False)
    return StoredBlock(start, candles, (rows, first, last) == (len(candles), int(times[0]), int(times[-1])))

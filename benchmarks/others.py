"""What else a user may pick for one row: an object mapper on MongoDB, and SQLite. Their times are shown, not aimed at.

beanie works on PyMongo's client alone. SQLite is one file of this machine, in WAL mode and with ``synchronous=FULL``,
so that a write is on disk when it returns; no other machine can use it.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import aiosqlite
from beanie import Document, PydanticObjectId, init_beanie
from pymongo import AsyncMongoClient, IndexModel

from benchmarks.documents import SignalContext, make_payload, make_signal_document
from benchmarks.timing import Make, Work

__all__ = ["Others", "Table", "open_others", "open_sqlite"]

_KEY: Final = ("symbol", "strategyName", "exchangeName")
_TABLE: Final = """
    CREATE TABLE signals (
        symbol TEXT, strategyName TEXT, exchangeName TEXT, payload TEXT, updatedDate TEXT,
        PRIMARY KEY (symbol, strategyName, exchangeName)
    ) WITHOUT ROWID
"""
_SELECT: Final = "SELECT payload FROM signals WHERE symbol = ? AND strategyName = ? AND exchangeName = ?"
_LIST: Final = "SELECT payload FROM signals WHERE exchangeName = ?"
_CANDLE_TABLE: Final = """
    CREATE TABLE IF NOT EXISTS candles (
        exchange TEXT, symbol TEXT, interval TEXT, timestamp INTEGER,
        open REAL, high REAL, low REAL, close REAL, volume REAL,
        PRIMARY KEY (exchange, symbol, interval, timestamp)
    ) WITHOUT ROWID
"""
_INSERT: Final = "INSERT OR IGNORE INTO candles VALUES (?, 'BTCUSDT', '1m', ?, ?, ?, ?, ?, ?)"
_UPSERT: Final = """
    INSERT INTO signals VALUES (?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET payload = excluded.payload, updatedDate = excluded.updatedDate
"""


class BeanieSignal(Document):
    """A signal's row as a model of beanie's."""

    symbol: str
    strategyName: str
    exchangeName: str
    payload: dict[str, Any]
    createDate: datetime
    updatedDate: datetime

    class Settings:
        name = "beanie-signals"
        indexes = [IndexModel([(name, 1) for name in _KEY], unique=True)]  # noqa: RUF012  # beanie reads it so


class Table:
    """Rows in SQLite: signals by aiosqlite, and candles by ``sqlite3``, whose calls block."""

    def __init__(self, sqlite: aiosqlite.Connection, candles: sqlite3.Connection) -> None:
        self._sqlite = sqlite
        self._candles = candles
        candles.execute("PRAGMA journal_mode = WAL")
        candles.execute("PRAGMA synchronous = FULL")
        candles.execute(_CANDLE_TABLE)

    async def select(self, context: SignalContext) -> Any:
        async with self._sqlite.execute(_SELECT, context) as cursor:
            row = await cursor.fetchone()
        assert row is not None
        return json.loads(row[0])

    async def select_all(self, exchange: str, count: int) -> list[Any]:
        async with self._sqlite.execute(_LIST, (exchange,)) as cursor:
            rows = [json.loads(payload) for (payload,) in await cursor.fetchall()]
        assert len(rows) == count
        return rows

    async def upsert_all(self, rows: Sequence[tuple[SignalContext, dict[str, Any]]]) -> None:
        """Write signals in one transaction."""
        now = datetime.now(UTC).isoformat()
        values = [(*context, json.dumps(payload), now) for context, payload in rows]
        if len(values) == 1:
            await self._sqlite.execute(_UPSERT, values[0])
        else:
            await self._sqlite.executemany(_UPSERT, values)
        await self._sqlite.commit()

    def insert_candles(self, exchange: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write candles in one transaction."""
        with self._candles:
            self._candles.executemany(_INSERT, ((exchange, *row) for row in rows))


class Others:
    """beanie and SQLite, with an open connection each."""

    def __init__(self, sqlite: Table) -> None:
        self._sqlite = sqlite

    async def make_reads(self, contexts: Sequence[SignalContext]) -> dict[str, Make]:
        """Store a row per context, and return the sides that read one at a time."""
        rows = await self._store(contexts)
        ids, keys = cycle([row.id for row in rows]), cycle(contexts)
        return {
            "beanie": lambda: partial(BeanieSignal.get, next(ids)),
            "sqlite": lambda: partial(self._sqlite.select, next(keys)),
        }

    async def make_writes(self, contexts: Sequence[SignalContext]) -> dict[str, Make]:
        """Store a row per context, and return the sides that write one at a time."""
        rows, keys = cycle(await self._store(contexts)), cycle(contexts)

        def save() -> Work:
            row = next(rows)
            row.payload, row.updatedDate = make_payload(), datetime.now(UTC)
            return row.save

        return {"beanie": save, "sqlite": lambda: partial(self._sqlite.upsert_all, [(next(keys), make_payload())])}

    async def _store(self, contexts: Sequence[SignalContext]) -> list[BeanieSignal]:
        await self._sqlite.upsert_all([(context, make_payload()) for context in contexts])
        rows = [BeanieSignal(id=PydanticObjectId(), **make_signal_document(context)) for context in contexts]
        await BeanieSignal.insert_many(rows)
        return rows


@asynccontextmanager
async def open_sqlite(directory: Path) -> AsyncIterator[Table]:
    """Make a database in a directory."""
    with closing(sqlite3.connect(directory / "candles.db", check_same_thread=False)) as candles:
        async with aiosqlite.connect(directory / "signals.db") as signals:
            await signals.execute("PRAGMA journal_mode = WAL")
            await signals.execute("PRAGMA synchronous = FULL")
            await signals.execute(_TABLE)
            yield Table(signals, candles)


@asynccontextmanager
async def open_others(uri: str, database: str) -> AsyncIterator[Others]:
    """Connect beanie to a database of the server, and SQLite to a file of its own."""
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(uri)
    with tempfile.TemporaryDirectory(prefix="backtest-mongo-bench-") as directory:
        async with client, open_sqlite(Path(directory)) as sqlite:
            await init_beanie(client[database], document_models=[BeanieSignal])
            yield Others(sqlite)

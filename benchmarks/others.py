"""What else a user may pick for one row: an object mapper on MongoDB, and SQLite. Their times are shown, not aimed at.

beanie works on PyMongo's client alone. SQLite is one file of this machine, in WAL mode and with ``synchronous=FULL``,
so that a write is on disk when it returns; no other machine can use it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
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

__all__ = ["Others", "open_others"]

_KEY: Final = ("symbol", "strategyName", "exchangeName")
_TABLE: Final = """
    CREATE TABLE signals (
        symbol TEXT, strategyName TEXT, exchangeName TEXT, payload TEXT, updatedDate TEXT,
        PRIMARY KEY (symbol, strategyName, exchangeName)
    ) WITHOUT ROWID
"""
_SELECT: Final = "SELECT payload FROM signals WHERE symbol = ? AND strategyName = ? AND exchangeName = ?"
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


class Others:
    """beanie and SQLite, with an open connection each."""

    def __init__(self, sqlite: aiosqlite.Connection) -> None:
        self._sqlite = sqlite

    async def make_reads(self, contexts: Sequence[SignalContext]) -> dict[str, Make]:
        """Store a row per context, and return the sides that read one at a time."""
        rows = await self._store(contexts)
        ids, keys = cycle([row.id for row in rows]), cycle(contexts)
        return {
            "beanie": lambda: partial(BeanieSignal.get, next(ids)),
            "sqlite": lambda: partial(self._select, next(keys)),
        }

    async def make_writes(self, contexts: Sequence[SignalContext]) -> dict[str, Make]:
        """Store a row per context, and return the sides that write one at a time."""
        rows, keys = cycle(await self._store(contexts)), cycle(contexts)

        def save() -> Work:
            row = next(rows)
            row.payload, row.updatedDate = make_payload(), datetime.now(UTC)
            return row.save

        return {"beanie": save, "sqlite": lambda: partial(self._upsert, next(keys), make_payload())}

    async def _store(self, contexts: Sequence[SignalContext]) -> list[BeanieSignal]:
        for context in contexts:
            await self._upsert(context, make_payload())
        rows = [BeanieSignal(id=PydanticObjectId(), **make_signal_document(context)) for context in contexts]
        await BeanieSignal.insert_many(rows)
        return rows

    async def _select(self, context: SignalContext) -> Any:
        async with self._sqlite.execute(_SELECT, context) as cursor:
            row = await cursor.fetchone()
        assert row is not None
        return json.loads(row[0])

    async def _upsert(self, context: SignalContext, payload: dict[str, Any]) -> None:
        await self._sqlite.execute(_UPSERT, (*context, json.dumps(payload), datetime.now(UTC).isoformat()))
        await self._sqlite.commit()


@asynccontextmanager
async def open_others(uri: str, database: str) -> AsyncIterator[Others]:
    """Connect beanie to a database of the server, and SQLite to a file of its own."""
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(uri)
    with tempfile.TemporaryDirectory(prefix="backtest-mongo-bench-") as directory:
        async with client, aiosqlite.connect(Path(directory) / "signals.db") as sqlite:
            await init_beanie(client[database], document_models=[BeanieSignal])
            await sqlite.execute("PRAGMA journal_mode = WAL")
            await sqlite.execute("PRAGMA synchronous = FULL")
            await sqlite.execute(_TABLE)
            yield Others(sqlite)

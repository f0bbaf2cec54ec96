"""Databases that tests fork, and what is in them."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import backtest_mongo
from backtest_mongo import SLOTS, SlotSpec, fork, persist
from backtest_mongo.core.extended_json import from_json
from backtest_mongo.core.payload import CODEC
from backtest_mongo.types import ForkReport
from tests.conftest import Deployment, SQLiteDeployment, drop_database

__all__ = ["HISTORY", "Forks", "read_database"]

#: Versions of all slots.
HISTORY = ",".join(spec.name for spec in SLOTS if not spec.immutable)
#: What differs between rows that are equal for everybody who reads them.
_IGNORED = ("_id", "__v", "createDate", "updatedDate", "origin", "number", "created", "written", "run")

#: The rows of each slot by key, in the order in which they were created.
Rows = dict[str, dict[tuple[Any, ...], dict[str, Any]]]


class Forks:
    """Makes forks of a test's database, and goes on from them."""

    def __init__(self, deployment: Deployment, unique: str) -> None:
        self.deployment = deployment
        self._unique = unique
        self._made = 0

    @property
    def is_file(self) -> bool:
        return isinstance(self.deployment, SQLiteDeployment)

    @property
    def source(self) -> str:
        """How a report names the database."""
        return str(self.deployment.path) if isinstance(self.deployment, SQLiteDeployment) else self.deployment.name

    def next_name(self) -> str:
        """Return the name of a database that is not there yet."""
        self._made += 1
        return f"{self._unique}-fork{self._made}"

    async def set(self, **config: Any) -> None:
        """Set fields of the configuration, on the same database."""
        await self.deployment.configure(**config)

    async def make(self, at: Any, **options: Any) -> ForkReport:
        return await fork(self.next_name(), at=at, **options)

    async def go_on(self, report: ForkReport) -> None:
        """Point everything at a fork, as the documentation says."""
        if report.path is None:
            await backtest_mongo.setup(**report.config)
        else:
            persist.use_sqlite(report.path)
            backtest_mongo.set_config(**report.config)

    async def go_back(self) -> None:
        if isinstance(self.deployment, SQLiteDeployment):
            persist.use_sqlite(self.deployment.path)
            backtest_mongo.set_config(CC_CANDLE_DATABASE=None)
        else:
            await backtest_mongo.setup(self.deployment.config, CC_CANDLE_DATABASE=None)

    @contextlib.asynccontextmanager
    async def on(self, report: ForkReport) -> AsyncIterator[None]:
        """Work on a fork within a block."""
        await self.go_on(report)
        try:
            yield
        finally:
            await self.go_back()

    async def read(self, name: str | None = None) -> Rows:
        """Return all rows of a database, by default of the source."""
        return await read_database(self.source if name is None else name, is_file=self.is_file)

    async def read_versions(self, name: str, spec: SlotSpec) -> list[dict[str, Any]]:
        """Return the versions of a slot that a database has."""
        if self.is_file:
            return query(name, spec.versions)
        database = (await backtest_mongo.get_mongo())[name]
        return await database.get_collection(spec.versions, codec_options=CODEC).find().to_list(None)

    async def exists(self, name: str) -> bool:
        """Return whether a fork of this name, or path, has anything."""
        if self.is_file:
            return is_there(name)
        return bool(await (await backtest_mongo.get_mongo())[name].list_collection_names())

    async def drop_all(self) -> None:
        await self.go_back()
        if not self.is_file:
            for number in range(1, self._made + 1):
                await drop_database(f"{self._unique}-fork{number}")


def is_there(path: str) -> bool:
    return Path(path).exists()


async def read_database(name: str, *, is_file: bool) -> Rows:
    """Return all rows of a database, whatever wrote them."""
    found: Rows = {}
    for spec in (adapter.spec for adapter in persist._adapters.values()):
        if spec.shape == "series":
            continue
        if is_file:
            documents = [decode(spec, row) for row in query(name, spec.collection, "ORDER BY number")]
        else:
            collection = (await backtest_mongo.get_mongo())[name].get_collection(spec.collection, codec_options=CODEC)
            order = [("createDate", 1), ("_id", 1)] if spec.newest is not None else [(key, 1) for key in spec.key]
            documents = await collection.find().sort(order).to_list(None)
        rows = [{key: value for key, value in one.items() if key not in _IGNORED} for one in documents]
        if spec.newest is None:
            rows.sort(key=lambda row: repr([row[key] for key in spec.key]))
        if rows:
            found[spec.name] = {tuple(row[key] for key in spec.key): row for row in rows}
    return found


def query(path: str, table: str, order: str = "") -> list[dict[str, Any]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        return (
            [dict(row) for row in connection.execute(f'SELECT * FROM "{table}" {order}')]
            if table in (*tables, "sqlite_master")
            else []
        )


def decode(spec: SlotSpec, row: dict[str, Any]) -> dict[str, Any]:
    kinds: dict[str, Any] = {spec.field: from_json, "removed": bool, "backtest": bool}
    return {name: kinds.get(name, lambda held: held)(value) for name, value in row.items()}

"""Adapters that store in an SQLite file: the same classes over a database in this process."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import ClassVar, Final, NoReturn

from backtest_mongo.adapters.shapes import Adapter
from backtest_mongo.core.specs import Key
from backtest_mongo.core.store_protocols import Store
from backtest_mongo.errors import ConfigError, StoreError
from backtest_mongo.sqlite.database import MEMORY, get_database
from backtest_mongo.sqlite.file_format import check_path
from backtest_mongo.sqlite.series import SQLiteSeries
from backtest_mongo.sqlite.store import SQLiteStore

__all__ = ["DEFAULT_DATABASE", "bind_to_sqlite", "resolve_path"]

#: The file in the working directory that holds the database by default.
DEFAULT_DATABASE: Final = "backtest.db"


class _SQLiteAdapter(Adapter):
    _sqlite_store: ClassVar[Store]

    async def _prepare(self) -> None:
        await self._store().ready()

    @classmethod
    def _store(cls) -> Store:
        return cls._sqlite_store

    @classmethod
    def _stream(cls, context: Key | None, after: str | None) -> NoReturn:
        raise StoreError(
            "watching failed: SQLite has no change streams",
            slot=cls.spec.name,
            hint="watch() needs MongoDB as a replica set: call `await setup()` first",
        )


def bind_to_sqlite(path: str | os.PathLike[str]) -> Callable[[type[Adapter]], type[Adapter]]:
    """Return a function that derives from an adapter class one that stores in the database at ``path``.

    Raises:
        ConfigError: ``path`` can't name a database.
    """
    database = get_database(resolve_path(path, "persist.use_sqlite"))

    def derive(adapter: type[Adapter]) -> type[Adapter]:
        store = SQLiteSeries if adapter.spec.shape == "series" else SQLiteStore
        members = {
            "__module__": __name__,
            "__doc__": adapter.__doc__,
            "_sqlite_store": store(database, adapter.spec),
        }
        return type(f"SQLite{adapter.__name__}", (_SQLiteAdapter, adapter), members)

    return derive


def resolve_path(path: object, call: str) -> str:
    """Return the absolute path of a database, or :data:`MEMORY`.

    Args:
        path: what the caller gave.
        call: how messages begin.

    Raises:
        ConfigError: it can't name a database.
    """
    name = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(name, str):
        raise ConfigError(f"{call}: the path must be a str or a path, not {type(path).__name__}")
    if name == MEMORY:
        return name
    if not name or "\0" in name:
        problem = "is empty" if not name else "has a NUL character"
        raise ConfigError(f"{call}: the path {problem}", hint=f"name a file, such as {DEFAULT_DATABASE}")
    if name.startswith("file:"):
        raise ConfigError(f"{call} takes a path, not a URI", hint="leave out file: and the options")
    resolved = os.path.realpath(name)
    check_path(resolved)
    return resolved

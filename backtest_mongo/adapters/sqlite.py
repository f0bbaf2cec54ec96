"""Adapters that store in an SQLite file: the same classes over a database in this process."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import ClassVar, Final, cast

from backtest_mongo.adapters.files import DEFAULT_DIRECTORY
from backtest_mongo.adapters.shapes import Adapter
from backtest_mongo.core.config import get_config
from backtest_mongo.core.history import VersionStore, find_history
from backtest_mongo.core.log import log
from backtest_mongo.core.specs import Key
from backtest_mongo.core.store_protocols import Store
from backtest_mongo.core.watch import ChangeSource
from backtest_mongo.errors import ConfigError
from backtest_mongo.history.store import HistoryStore
from backtest_mongo.sqlite.change_feed import ChangeFeed
from backtest_mongo.sqlite.columns import SQLiteColumns
from backtest_mongo.sqlite.database import MEMORY, Database, get_database
from backtest_mongo.sqlite.file_format import check_path
from backtest_mongo.sqlite.run_columns import SQLiteRunColumns
from backtest_mongo.sqlite.run_rows import SQLiteRunRows
from backtest_mongo.sqlite.series import SQLiteSeries
from backtest_mongo.sqlite.store import SQLiteStore
from backtest_mongo.sqlite.versions import SQLiteVersions

__all__ = ["DEFAULT_DATABASE", "bind_to_default", "bind_to_sqlite", "find_database", "get_run_rows", "resolve_path"]

#: The file in the working directory that holds the database by default.
DEFAULT_DATABASE: Final = "backtest.db"
#: Whether to refuse the default database, as in a test that has a database or a directory of its own.
refuse_default_database = False


class _SQLiteAdapter(Adapter):
    _database: ClassVar[Database]
    _sqlite_store: ClassVar[Store]
    _history_store: ClassVar[Store | None] = None
    _is_explicit: ClassVar[bool]
    #: The value of ``CC_CANDLE_DATABASE``, its database and the series in it, once they are needed.
    _candles: ClassVar[tuple[str, Database, Store] | None] = None

    async def _prepare(self) -> None:
        await self._base_store().ready()

    @classmethod
    def _base_store(cls) -> Store:
        if refuse_default_database and not cls._is_explicit:
            raise ConfigError(
                f"a test that uses the fixtures of backtest_mongo would use the default database {DEFAULT_DATABASE}",
                slot=cls.spec.name,
                hint="this adapter was made before backtest_store, backtest_sqlite, backtest_files or backtest_dummy, "
                "or without one of them: request the fixture in the test, and get the adapter from persist afterwards",
            )
        if cls.spec.is_candles:
            elsewhere = cls._open_candles()
            return cls._sqlite_store if elsewhere is None else elsewhere[1]
        if find_history(cls.spec) is None:
            return cls._sqlite_store
        if cls._history_store is None:
            versions = SQLiteVersions(cls._database, cls.spec)
            cls._history_store = HistoryStore(cls.spec, cls._sqlite_store, versions)
        return cls._history_store

    @classmethod
    def _open_versions(cls) -> VersionStore:
        return SQLiteVersions(cls._database, cls.spec)

    @classmethod
    def _open_candles(cls) -> tuple[Database, Store] | None:
        """Return the database and the store of a series that ``CC_CANDLE_DATABASE`` puts elsewhere.

        Raises:
            ConfigError: it can't be the path of a database.
        """
        path = get_config().CC_CANDLE_DATABASE
        if not path:
            return None
        if cls._candles is None or cls._candles[0] != path:
            database = get_database(resolve_path(path, "CC_CANDLE_DATABASE"))
            cls._candles = (path, database, cast("Store", SQLiteSeries(database, cls.spec)))
        return cls._candles[1:]

    @classmethod
    def _find_database(cls) -> Database:
        """Return the database that the slot is in."""
        elsewhere = cls._open_candles() if cls.spec.is_candles else None
        return cls._database if elsewhere is None else elsewhere[0]

    @classmethod
    def _stream(cls, context: Key | None, after: str | None) -> ChangeSource:
        return ChangeFeed(cls._find_database(), cls.spec, context, after)


def find_database(adapter: object) -> Database | None:
    """Return the SQLite database of an adapter class, ``None`` if it stores elsewhere.

    Raises:
        ConfigError: it is the default one, in a test that has a database of its own, or ``CC_CANDLE_DATABASE`` can't be
            a path.
    """
    if not isinstance(adapter, type) or not issubclass(adapter, _SQLiteAdapter):
        return None
    adapter._base_store()  # which refuses the default one
    return adapter._find_database()


def bind_to_default() -> Callable[[type[Adapter]], type[Adapter]]:
    """Return a function that derives from an adapter class one that stores in the default database.

    Where the database is yet to be made beside JSON files, a warning says how to go on with either.

    Raises:
        ConfigError: a directory is in its place.
    """
    if os.path.isdir(DEFAULT_DIRECTORY) and not os.path.lexists(DEFAULT_DATABASE):
        log().warning(
            f"what is stored goes to ./{DEFAULT_DATABASE}, and ./{DEFAULT_DIRECTORY} stays as it is",
            hint=f'persist.use_files("{DEFAULT_DIRECTORY}") goes on with ./{DEFAULT_DIRECTORY}; `backtest-mongo '
            f"import-dump {DEFAULT_DIRECTORY} --sqlite {DEFAULT_DATABASE} --apply` copies it",
        )
    return bind_to_sqlite(DEFAULT_DATABASE, is_explicit=False)


def bind_to_sqlite(
    path: str | os.PathLike[str], *, is_explicit: bool = True
) -> Callable[[type[Adapter]], type[Adapter]]:
    """Return a function that derives from an adapter class one that stores in the database at ``path``.

    Args:
        path: where it is; ``:memory:`` for one without a file.
        is_explicit: whether the caller chose it; false where it is used because nothing was chosen.

    Raises:
        ConfigError: ``path`` can't name a database.
    """
    database = get_database(resolve_path(path, "persist.use_sqlite"))

    def derive(adapter: type[Adapter]) -> type[Adapter]:
        spec = adapter.spec
        store = SQLiteColumns if spec.columns else SQLiteSeries if spec.is_candles else SQLiteStore
        members = {
            "__module__": __name__,
            "__doc__": adapter.__doc__,
            "_database": database,
            "_sqlite_store": store(database, spec),
            "_is_explicit": is_explicit,
        }
        return type(f"SQLite{adapter.__name__}", (_SQLiteAdapter, adapter), members)

    return derive


def get_run_rows(adapter: type[Adapter]) -> SQLiteRunRows | SQLiteRunColumns | None:
    """Return the rows of a slot as a reset needs them; ``None`` for an adapter class that stores elsewhere."""
    if not issubclass(adapter, _SQLiteAdapter):
        return None
    adapter._base_store()  # which refuses the default database in tests
    return (SQLiteRunColumns if adapter.spec.columns else SQLiteRunRows)(adapter._database, adapter.spec)


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

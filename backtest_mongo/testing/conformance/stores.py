"""The storages of this library, as the suite tests them: ``--store backtest_mongo.testing.conformance.stores:SQLite``.

``MongoDB`` uses the servers that the ``CC_*`` variables name, and embedded ones where they name none.
"""

from __future__ import annotations

import atexit
import hashlib
import json
from contextlib import AbstractContextManager, ExitStack
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Final

from backtest_mongo import SLOTS, close, lease, persist, set_config, transaction
from backtest_mongo.testing.conformance.capabilities import CAPABILITIES
from backtest_mongo.testing.plugin import (
    BacktestServers,
    MaskedDict,
    drop_database,
    name_database,
    provide_files,
    provide_servers,
    provide_sqlite,
    use_database,
)

__all__ = ["Files", "MongoDB", "MongoDBWithHistory", "SQLite", "SQLiteWithHistory"]

#: Where a process finds the embedded servers of the one that has started it.
_SERVERS: Final = "servers.json"


class _Registered:
    """An instance that gives what ``persist`` gives. The registry is the process's, and so all instances share it."""

    capabilities: ClassVar[frozenset[str]] = frozenset(CAPABILITIES) - {"history"}
    history: ClassVar[str] = ""
    transaction: ClassVar[Any] = staticmethod(transaction)
    lease: ClassVar[Any] = staticmethod(lease)

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stack = ExitStack()

    def _choose(self) -> AbstractContextManager[object]:
        raise NotImplementedError

    async def __aenter__(self) -> Any:
        self._stack.enter_context(self._choose())
        if self.history:
            set_config(CC_HISTORY=self.history)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._stack:
            await close()

    def __getattr__(self, slot: str) -> Any:
        return getattr(persist, slot)


class SQLite(_Registered):
    """One SQLite file."""

    def _choose(self) -> AbstractContextManager[object]:
        return provide_sqlite(self._directory / "backtest.db")


class Files(_Registered):
    """JSON files."""

    capabilities: ClassVar[frozenset[str]] = SQLite.capabilities - {"transactions", "leases", "watch", "series"}

    def _choose(self) -> AbstractContextManager[object]:
        return provide_files(self._directory / "dump")


class MongoDB(_Registered):
    """A database in MongoDB, named after the directory, with ids in Redis."""

    def _choose(self) -> AbstractContextManager[object]:
        return use_database(name_database(_find_servers(self._directory).config, _name(self._directory)))

    @staticmethod
    async def remove(directory: Path) -> None:
        servers = _find_servers(directory)
        problem = await drop_database(name_database(servers.config, _name(directory)), flush_redis=servers.are_embedded)
        if problem:
            raise OSError(problem)


class _WithHistory(_Registered):
    capabilities: ClassVar[frozenset[str]] = frozenset(CAPABILITIES)
    history: ClassVar[str] = ",".join(spec.name for spec in SLOTS if spec.when)


class SQLiteWithHistory(_WithHistory, SQLite):
    """One SQLite file, with versions of rows by time."""


class MongoDBWithHistory(_WithHistory, MongoDB):
    """A database in MongoDB, with versions of rows by time."""


def _name(directory: Path) -> str:
    return f"backtest-conformance-{hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:12]}"


def _find_servers(directory: Path) -> BacktestServers:
    """Return the servers of the process that started this one, or start some that end with the process."""
    note = directory / _SERVERS
    if note.exists():
        return BacktestServers(MaskedDict(json.loads(note.read_text())), True)
    servers = _start()
    if servers.are_embedded:  # those of others, and their passwords, are in the environment
        note.write_text(json.dumps(dict(servers.config)))
    return servers


@cache
def _start() -> BacktestServers:
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(provide_servers("", Path()))

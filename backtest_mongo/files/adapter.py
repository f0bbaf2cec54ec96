"""Adapters that store in files: the same classes, above another store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, NoReturn

from backtest_mongo.errors import ConfigError, StoreError
from backtest_mongo.files.series import FileSeries
from backtest_mongo.files.store import FileStore
from backtest_mongo.shapes import Adapter
from backtest_mongo.specs import Key
from backtest_mongo.store import Store

__all__ = ["DIRECTORY", "filed"]

#: Where files are by default, below the working directory. It is Node's.
DIRECTORY = "dump"
#: Whether files are refused where nobody has asked for them, as in a test that has a place of its own.
only_on_demand = False


class _Filed(Adapter):
    _files: ClassVar[Store]
    _on_demand: ClassVar[bool]

    async def _prepare(self) -> None:
        await self._store().ready()

    @classmethod
    def _store(cls) -> Store:
        if only_on_demand and not cls._on_demand:
            raise ConfigError(
                f"a test that uses the fixtures of backtest_mongo is about to use the directory {DIRECTORY}, "
                "where files are by default",
                slot=cls.spec.name,
                hint="this adapter was made before backtest_store, backtest_files or backtest_dummy, or without one of "
                "them: let the test ask for it, and persist for the adapter after that",
            )
        return cls._files

    @classmethod
    def _stream(cls, context: Key | None, after: str | None) -> NoReturn:
        raise StoreError(
            "watching failed: files tell nobody of their changes",
            slot=cls.spec.name,
            hint="watch() needs MongoDB, as a replica set: call `await setup()` before",
        )


def filed(directory: Path, *, on_demand: bool = True) -> Callable[[type[Adapter]], type[Adapter]]:
    """Return what makes of an adapter class one that stores below ``directory``, and needs no server.

    ``on_demand`` tells whether somebody has asked for files.
    """
    root = str(directory)

    def make(adapter: type[Adapter]) -> type[Adapter]:
        store = FileSeries if adapter.spec.shape == "series" else FileStore
        members = {
            "__module__": __name__,
            "__doc__": adapter.__doc__,
            "_files": store(root, adapter.spec),
            "_on_demand": on_demand,
        }
        return type(f"File{adapter.__name__}", (_Filed, adapter), members)

    return make

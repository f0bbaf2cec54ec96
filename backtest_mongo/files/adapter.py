"""Adapters that store in files: the same classes, above another store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, NoReturn

from backtest_mongo.errors import StoreError
from backtest_mongo.files.series import FileSeries
from backtest_mongo.files.store import FileStore
from backtest_mongo.shapes import Adapter
from backtest_mongo.specs import Key
from backtest_mongo.store import Store

__all__ = ["DIRECTORY", "filed"]

#: Where files are by default, below the working directory. It is Node's.
DIRECTORY = "dump"


class _Filed(Adapter):
    _files: ClassVar[Store]

    async def _prepare(self) -> None:
        await self._files.ready()

    @classmethod
    def _store(cls) -> Store:
        return cls._files

    @classmethod
    def _stream(cls, context: Key | None, after: str | None) -> NoReturn:
        raise StoreError(
            "watching failed: files tell nobody of their changes",
            slot=cls.spec.name,
            hint="watch() needs MongoDB, as a replica set: call `await setup()` before",
        )


def filed(directory: Path) -> Callable[[type[Adapter]], type[Adapter]]:
    """Return what makes of an adapter class one that stores below ``directory``, and needs no server."""
    root = str(directory)

    def make(adapter: type[Adapter]) -> type[Adapter]:
        store = FileSeries if adapter.spec.shape == "series" else FileStore
        members = {"__module__": __name__, "__doc__": adapter.__doc__, "_files": store(root, adapter.spec)}
        return type(f"File{adapter.__name__}", (_Filed, adapter), members)

    return make

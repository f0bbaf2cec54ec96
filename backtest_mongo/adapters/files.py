"""Adapters that store in JSON files: the same classes over a file store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Final, NoReturn

from backtest_mongo.adapters.no_columns import NoColumns
from backtest_mongo.adapters.shapes import Adapter
from backtest_mongo.core.history import find_history
from backtest_mongo.core.specs import Key
from backtest_mongo.core.store_protocols import Store
from backtest_mongo.errors import StoreError
from backtest_mongo.files.series import FileSeries
from backtest_mongo.files.store import FileStore

__all__ = ["DEFAULT_DIRECTORY", "bind_to_files"]

#: Where files are if no directory is named, below the working directory: Node's default too.
DEFAULT_DIRECTORY: Final = "dump"


class _FileAdapter(Adapter):
    _file_store: ClassVar[Store]

    async def _prepare(self) -> None:
        await self._base_store().ready()

    @classmethod
    def _base_store(cls) -> Store:
        if find_history(cls.spec) is not None:
            raise StoreError(
                "JSON files keep no versions of rows",
                slot=cls.spec.name,
                hint="SQLite keeps versions, after persist.use_sqlite(), and by MongoDB as a replica set, after "
                "`await setup()`; or leave the slot out of CC_HISTORY",
            )
        return cls._file_store

    @classmethod
    def _open_versions(cls) -> None:
        return None

    @classmethod
    def _get_run(cls) -> None:
        return None  # files are the Node engine's, and have no place for it

    @classmethod
    def _stream(cls, context: Key | None, after: str | None) -> NoReturn:
        raise StoreError(
            "watching failed: files have no change streams",
            slot=cls.spec.name,
            hint="watch() needs SQLite, by persist.use_sqlite(), or MongoDB as a replica set, by `await setup()`",
        )


def bind_to_files(directory: Path) -> Callable[[type[Adapter]], type[Adapter]]:
    """Return a function that derives from an adapter class one that stores below ``directory``."""
    root = str(directory)

    def derive(adapter: type[Adapter]) -> type[Adapter]:
        spec = adapter.spec
        store = NoColumns(spec) if spec.columns else (FileSeries if spec.is_candles else FileStore)(root, spec)
        members = {"__module__": __name__, "__doc__": adapter.__doc__, "_file_store": store}
        return type(f"File{adapter.__name__}", (_FileAdapter, adapter), members)

    return derive

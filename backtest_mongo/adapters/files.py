"""Adapters that store in JSON files: the same classes over a file store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Final, NoReturn

from backtest_mongo.adapters.shapes import Adapter
from backtest_mongo.core.specs import Key
from backtest_mongo.core.store_protocols import Store
from backtest_mongo.errors import ConfigError, StoreError
from backtest_mongo.files.series import FileSeries
from backtest_mongo.files.store import FileStore

__all__ = ["DEFAULT_DIRECTORY", "bind_to_files"]

#: Where files are by default, below the working directory: Node's default too.
DEFAULT_DIRECTORY: Final = "dump"
#: Whether to refuse the default directory, as in a test that has a directory or a database of its own.
refuse_default_directory = False


class _FileAdapter(Adapter):
    _file_store: ClassVar[Store]
    _is_explicit: ClassVar[bool]

    async def _prepare(self) -> None:
        await self._store().ready()

    @classmethod
    def _store(cls) -> Store:
        if refuse_default_directory and not cls._is_explicit:
            raise ConfigError(
                f"a test that uses the fixtures of backtest_mongo would use the default directory {DEFAULT_DIRECTORY}",
                slot=cls.spec.name,
                hint="this adapter was made before backtest_store, backtest_files or backtest_dummy, or without one of "
                "them: request the fixture in the test, and get the adapter from persist afterwards",
            )
        return cls._file_store

    @classmethod
    def _stream(cls, context: Key | None, after: str | None) -> NoReturn:
        raise StoreError(
            "watching failed: files have no change streams",
            slot=cls.spec.name,
            hint="watch() needs SQLite, by persist.use_sqlite(), or MongoDB as a replica set, by `await setup()`",
        )


def bind_to_files(directory: Path, *, is_explicit: bool = True) -> Callable[[type[Adapter]], type[Adapter]]:
    """Return a function that derives from an adapter class one that stores below ``directory``.

    Args:
        directory: the root of the files.
        is_explicit: whether the caller chose files; false where they are used because nothing was chosen.
    """
    root = str(directory)

    def derive(adapter: type[Adapter]) -> type[Adapter]:
        store = FileSeries if adapter.spec.shape == "series" else FileStore
        members = {
            "__module__": __name__,
            "__doc__": adapter.__doc__,
            "_file_store": store(root, adapter.spec),
            "_is_explicit": is_explicit,
        }
        return type(f"File{adapter.__name__}", (_FileAdapter, adapter), members)

    return derive

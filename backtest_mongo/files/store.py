"""The store of one slot in files."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from itertools import groupby
from typing import Any, Final, TypeVar

from backtest_mongo.errors import StoreError
from backtest_mongo.files import disk
from backtest_mongo.files.layout import path_of
from backtest_mongo.files.names import Place, places
from backtest_mongo.files.readings import is_plain
from backtest_mongo.files.rows import Directory, Row, Written
from backtest_mongo.files.turns import Turns
from backtest_mongo.specs import Key, SlotSpec
from backtest_mongo.types import Document

__all__ = ["FileStore"]

#: Rows that are read or written at a time.
_PAGE: Final = 500

T = TypeVar("T")


class FileStore:
    """A slot's rows below a root directory. It may be used on any event loop, and in any number of processes."""

    def __init__(self, root: str, spec: SlotSpec) -> None:
        self._root = root
        self._spec = spec
        self._turns = Turns()
        self._folds_case: bool | None = None
        self._swept: set[str] = set()

    async def ready(self) -> None:
        """Do nothing: directories are made by the first write."""

    async def find(self, key: Key) -> Document | None:
        return await self._blocking("reading", partial(self._find, key))

    async def upsert(self, key: Key, fields: Document) -> None:
        await self._in_turn("writing", key, partial(self._write, [(key, fields)]))

    async def upsert_many(self, rows: Sequence[tuple[Key, Document]]) -> None:
        """Write rows with different keys, in their order: those that are new are then the newest in this order."""
        for start in range(0, len(rows), _PAGE):
            page = rows[start : start + _PAGE]
            await self._in_turn("writing", page[0][0], partial(self._write, page))

    async def remove(self, key: Key) -> None:
        await self._in_turn("removing", key, partial(self._remove, key))

    async def scan(self, context: Key, until: int | None = None) -> AsyncIterator[Document]:
        """Yield every row of a context that is not removed, in the order of its key, and not later than ``until``."""
        items = sorted(await self._blocking("listing", partial(self._items, context)))
        for start in range(0, len(items), _PAGE):
            keys = [(*context, item) for item in items[start : start + _PAGE]]
            for document in await self._blocking("listing", partial(self._find_all, keys)):
                when = document.get("when")
                if not document.get("removed") and (until is None or when is None or when <= until):
                    yield document

    async def newest(self, context: Key, limit: int) -> list[Document]:
        """Return the ``limit`` rows of a context that were first written last, oldest first."""
        return await self._blocking("listing", partial(self._newest, context, limit))

    # What blocks

    def _find(self, key: Key) -> Document | None:
        found = self._locate(key)
        if found is None:
            return None
        row = found[2]
        spec = self._spec
        document: Document = {**dict(zip(spec.key, key, strict=True)), spec.field: row.payload}
        if spec.when:
            document["when"] = row.when
        if spec.soft_delete:
            document["removed"] = row.removed
        return document

    def _find_all(self, keys: Sequence[Key]) -> list[Document]:
        return [document for key in keys if (document := self._find(key)) is not None]

    def _locate(self, key: Key) -> tuple[Directory, str, Row] | None:
        """Return where the row of a key is, and the row."""
        for at, place in enumerate(self._places(key)):
            if at and self._folds_case and not disk.ends_in(self._root, _with_suffix(place.path)):
                continue
            directory, name = self._directory(place), place.path[-1]
            row = directory.read(name)
            if row is None:
                continue
            told_by = place.told_by
            payload = row.payload if isinstance(row.payload, dict) else {}
            if all(payload.get(field) == value for field, value in told_by.items()):
                return directory, name, row
        return None

    def _write(self, rows: Sequence[tuple[Key, Document]]) -> None:
        disk.make_directory(os.path.join(self._root, self._first))
        spec = self._spec
        placed = [(self._places(key)[0], key, fields) for key, fields in rows]
        for path, some in groupby(placed, key=lambda row: row[0].path[:-1]):
            written = [
                Written(
                    place.path[-1],
                    str(key[-1]),
                    row[spec.field],
                    row.get("when"),
                    row.get("removed", False),
                    marked=not is_plain(spec, place.path),
                )
                for place, key, row in some
            ]
            directory = Directory(spec, os.path.join(self._root, *path))
            with disk.turn(directory.path):
                self._sweep(directory)
                directory.write(written)

    def _remove(self, key: Key) -> None:
        if self._locate(key) is None:
            return
        place = self._places(key)[0]
        directory = self._directory(place)
        with disk.turn(directory.path):
            self._sweep(directory)
            found = self._locate(key)
            if found is None or found[2].removed:
                return
            row = found[2]
            payload = {**row.payload, "removed": True} if isinstance(row.payload, dict) else row.payload
            marked = not is_plain(self._spec, place.path)
            directory.write([Written(place.path[-1], str(key[-1]), payload, row.when, True, marked=marked)])

    def _items(self, context: Key) -> set[str]:
        # Any item will do: all are in the same directories.
        return set().union(
            *(self._directory(place).items() for place in self._places((*context, "any")) if not place.told_by)
        )

    def _newest(self, context: Key, limit: int) -> list[Document]:
        keys = ((*context, item) for item in self._items(context))
        order = sorted((self._created(key), key) for key in keys)
        return self._find_all([key for _, key in order[-limit:]])

    def _created(self, key: Key) -> int:
        found = (self._directory(place).created(place.path[-1]) for place in self._places(key))
        return next((created for created in found if created is not None), 0)

    @property
    def _first(self) -> str:
        return path_of(self._spec).partition("/")[0]

    def _places(self, key: Key) -> tuple[Place, ...]:
        if self._folds_case is None and os.path.isdir(os.path.join(self._root, self._first)):
            self._folds_case = disk.folds_case(self._root, self._first)
        return places(self._spec, key, bool(self._folds_case))

    def _directory(self, place: Place) -> Directory:
        return Directory(self._spec, os.path.join(self._root, *place.path[:-1]))

    def _sweep(self, directory: Directory) -> None:
        """Remove what was left by writers that were killed, once in this process."""
        if directory.path not in self._swept:
            self._swept.add(directory.path)
            directory.sweep()

    # How it is called

    async def _in_turn(self, doing: str, key: Key, work: Callable[[], T]) -> T:
        """Carry out the writes of one directory in the order of their calls."""
        subject = places(self._spec, key, False)[0].path[:-1]
        return await self._turns.take(subject, partial(self._translated, doing, work))

    async def _blocking(self, doing: str, work: Callable[[], T]) -> T:
        return await asyncio.to_thread(self._translated, doing, work)

    def _translated(self, doing: str, work: Callable[[], T]) -> T:
        try:
            return work()
        except OSError as error:
            raise StoreError(
                f"{doing} failed: {error.strerror or type(error).__name__}: {error.filename}",
                slot=self._spec.name,
                hint="check the directory, its permissions, and the space on its disk",
            ) from error


def _with_suffix(path: tuple[str, ...]) -> tuple[Any, ...]:
    return *path[:-1], f"{path[-1]}.json"

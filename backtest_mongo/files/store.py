"""The store of one slot in files."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import groupby, islice
from typing import Any, Final, NoReturn, TypeVar

from backtest_mongo.core.contexts import EVERYTHING, Measure, matches
from backtest_mongo.core.log import log
from backtest_mongo.core.no_history import NoHistory
from backtest_mongo.core.pruning import Pruner
from backtest_mongo.core.selection import EVERY_ROW, PayloadFilter, Selection
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.versions import ABSENT, is_expected, make_conflict, make_version
from backtest_mongo.errors import StoreError
from backtest_mongo.files import disk
from backtest_mongo.files.contexts import ContextFinder, delete_row, remove_empty
from backtest_mongo.files.directory import SUFFIX, Directory, FileRow, RowToWrite, list_nested
from backtest_mongo.files.directory_lock import lock_directory
from backtest_mongo.files.layout import may_have_slash
from backtest_mongo.files.names import is_cut
from backtest_mongo.files.ordered_threads import Turns
from backtest_mongo.files.paths import Place, RowPath, compile_paths
from backtest_mongo.files.pruning import FilePruner, WrittenRow
from backtest_mongo.files.row_owners import is_free, is_row_of
from backtest_mongo.types import Document, Version

__all__ = ["FileStore"]

#: How many rows are read or written at a time.
_PAGE: Final = 500

T = TypeVar("T")


class FileStore(NoHistory):
    """A slot's rows below a root directory, for any event loop; any number of processes may share the directory."""

    def __init__(self, root: str, spec: SlotSpec) -> None:
        self._root = root
        self._spec = spec
        self._paths = compile_paths(spec)
        self._turns = Turns()
        self._contexts = ContextFinder(root, spec, self._paths, self._find_places)
        self._folds_case: bool | None = None
        self._swept: set[str] = set()
        self._warned: set[str] = set()
        self.pruner: Pruner = FilePruner(spec, self._run_in_thread, self)

    @property
    def committer(self) -> NoReturn:
        raise StoreError(
            f"JSON files have no transactions and no leases, and {self._spec.name} is stored in them",
            slot=self._spec.name,
            hint="persist.use_sqlite() has both without a server, and MongoDB has them after `await setup()`",
        )

    async def ready(self) -> None:
        """Do nothing: the first write creates the directories."""

    async def find(self, key: Key) -> Document | None:
        return await self._run_in_thread("reading", partial(self._find, key))

    async def find_version(self, key: Key) -> tuple[Document | None, Version]:
        return await self._run_in_thread("reading", partial(self._find_version, key))

    async def upsert(self, key: Key, fields: Document) -> None:
        await self._run_in_turn("writing", key, partial(self._write, [(key, fields)]))

    async def find_many(self, keys: Sequence[Key]) -> list[Document | None]:
        return list(await asyncio.gather(*map(self.find, keys)))

    async def upsert_each(self, rows: Sequence[tuple[Key, Document]]) -> None:
        """Write rows of any keys, those of one key in their order. Once all are done, the first error is raised."""
        upserts = (self.upsert(key, fields) for key, fields in rows)
        for outcome in await asyncio.gather(*upserts, return_exceptions=True):
            if outcome is not None:
                raise outcome

    async def upsert_many(self, rows: Sequence[tuple[Key, Document]]) -> None:
        """Write rows with different keys in their order, which is also their order among the newest rows."""
        if rows:
            await self._run_in_turn("writing", rows[0][0], partial(self._write_pages, rows))

    async def replace(self, key: Key, fields: Document, expected: Version | None) -> None:
        """Upsert a row if it has the expected version or, with ``None``, if a read finds nothing.

        The directory's lock keeps all writers of this library away in between; Node does not ask for it.

        Raises:
            ConflictError: it has not.
        """
        await self._run_in_turn("writing", key, partial(self._replace, key, fields, expected))

    async def remove(self, key: Key, run: str | None = None) -> None:
        """Mark a row as removed. A file has no place for the name of a run."""
        await self._run_in_turn("removing", key, partial(self._remove, key))

    async def scan(
        self, context: Key, until: int | None = None, chosen: Selection = EVERY_ROW
    ) -> AsyncIterator[Document]:
        """Yield the chosen rows of a context by key, without those that are removed or later than ``until``."""
        found = await self._run_in_thread("listing", partial(self._list_items, context))
        items = sorted(filter(chosen.has_key, found), reverse=chosen.newest_first)
        left, where = chosen.limit, chosen.where
        for start in range(0, len(items), _PAGE):
            keys = ((*context, item) for item in items[start : start + _PAGE])
            wanted = partial(self._find_listed, keys, until, where, left)
            for document in await self._run_in_thread("listing", wanted):
                yield document
                left = None if left is None else left - 1
            if left == 0:
                return

    async def newest(self, context: Key, limit: int, where: PayloadFilter | None = None) -> list[Document]:
        """Return the ``limit`` newest rows of a context, oldest first."""
        return await self._run_in_thread("listing", partial(self._find_newest, context, limit, where))

    # Contexts as a whole

    async def list_contexts(self, where: Mapping[str, Any] = EVERYTHING) -> AsyncIterator[Key]:
        """Yield the contexts that have rows, in the order of the key."""
        found = await self._run_in_thread("listing", self._contexts.find_all)
        for context in sorted(found):
            if matches(self._spec, context, where):
                yield context

    async def measure(self, where: Mapping[str, Any], *, by_context: bool) -> list[Measure]:
        found = []
        async for context in self.list_contexts(where):
            found.append(await self._run_in_thread("listing", partial(self._measure, context)))
        if by_context or not found:
            return found
        return [
            Measure(
                contexts=len(found),
                rows=sum(one.rows for one in found),
                bytes=sum(one.bytes for one in found),
                written=max((one.written for one in found if one.written is not None), default=None),
            )
        ]

    async def delete_some(self, context: Key, owners: Collection[str]) -> tuple[int, bool]:
        """Delete all rows of a context, those of one directory under its lock; return how many there were."""
        key = (*context, "any") if self._spec.item is not None else context
        return await self._run_in_turn("deleting", key, partial(self._delete_context, context)), False

    @property
    def renamer(self) -> NoReturn:
        raise StoreError(
            f"a strategy can't be renamed safely in JSON files, where {self._spec.name} is stored",
            slot=self._spec.name,
            hint="`backtest-mongo import-dump` copies them into SQLite or MongoDB, which can",
        )

    # What blocks runs in threads.

    def _measure(self, context: Key) -> Measure:
        rows = size = newest = 0
        for path in self._list_row_files(context):
            with suppress(OSError):
                status = os.stat(path)
                rows, size, newest = rows + 1, size + status.st_size, max(newest, status.st_mtime_ns // 1_000_000)
        return Measure(context=context, contexts=1, rows=rows, bytes=size, written=newest or None)

    def _list_row_files(self, context: Key) -> Iterator[str]:
        for key in self._list_keys(context):
            found = self._locate_sound(key)
            if found is not None:
                yield found[0].list_files(found[1])[0]

    def _list_keys(self, context: Key) -> list[Key]:
        if self._spec.item is None:
            return [context]
        return [(*context, item) for item in sorted(self._list_items(context))]

    def _delete_context(self, context: Key) -> int:
        deleted = 0
        top = os.path.join(self._root, *self._paths.top)
        directories: dict[str, None] = {}
        for key in self._list_keys(context):
            # Again, as a second place may have had another one of the same key.
            while (found := self._locate_sound(key)) is not None:
                directory, name = found
                with lock_directory(directory.path):
                    self._sweep(directory)
                    delete_row(directory, name)
                    disk.sync(directory.path)
                directories[directory.path] = None
                deleted += 1
        for path in directories:
            remove_empty(path, top)
        return deleted

    def _locate_sound(self, key: Key) -> tuple[Directory, str] | None:
        """Return where the row of a key is, also if its file can't be read and no other key can have the path."""
        try:
            found = self._locate(key)
        except (StoreError, disk.UnfitError):
            place = self._find_places(key)[0]
            return (self._directory(place), place.path[-1]) if self._paths.is_unambiguous(place.path) else None
        return None if found is None else found[:2]

    def _write_pages(self, rows: Sequence[tuple[Key, Document]]) -> None:
        for start in range(0, len(rows), _PAGE):
            self._write(rows[start : start + _PAGE])

    def _find(self, key: Key) -> Document | None:
        found = self._locate(key)
        return None if found is None else self._make_document(key, found[2])

    def _find_version(self, key: Key) -> tuple[Document | None, Version]:
        found = self._locate(key)
        if found is None:
            return None, ABSENT
        row = found[2]
        state = {
            self._spec.field: row.content,
            "when": row.when,
            "removed": row.removed,
            "updatedDate": row.written,
        }
        return self._make_document(key, row), make_version(self._spec, state)

    def _make_document(self, key: Key, row: FileRow) -> Document:
        spec = self._spec
        document: Document = {**dict(zip(spec.key, key, strict=True)), spec.field: row.payload}
        if spec.when:
            document["when"] = row.when
        if spec.soft_delete:
            document["removed"] = row.removed
        return document

    def _find_listed(
        self, keys: Iterable[Key], until: int | None, where: PayloadFilter | None, limit: int | None
    ) -> list[Document]:
        return list(islice((row for row in self._find_wanted(keys, where) if _is_listed(row, until)), limit))

    def _find_wanted(self, keys: Iterable[Key], where: PayloadFilter | None) -> Iterator[Document]:
        for key in keys:
            document = self._find_sound(key)
            if document is not None and (where is None or where.matches(document[self._spec.field])):
                yield document

    def _find_sound(self, key: Key) -> Document | None:
        """Return a row for a list, or ``None`` if its file can't be read: a bad file must not hide all other rows."""
        try:
            return self._find(key)
        except (StoreError, disk.UnfitError) as error:
            problem = error.message if isinstance(error, StoreError) else f"{error.filename}: {error.strerror}"
            if problem not in self._warned:
                self._warned.add(problem)
                log().warning("a list lacks a row whose file can't be read", slot=self._spec.name, problem=problem)
            return None

    def _locate(self, key: Key) -> tuple[Directory, str, FileRow] | None:
        """Return where the row of a key is, and the row."""
        for at, place in enumerate(self._find_places(key)):
            if at and self._folds_case and not disk.has_spelling(self._root, _add_suffix(place.path)):
                continue
            directory, name = self._directory(place), place.path[-1]
            row = directory.read(name)
            if row is None:
                continue
            if is_row_of(self._paths, directory, place, key, row):
                return directory, name, row
        return None

    def _write(self, rows: Sequence[tuple[Key, Document]]) -> None:
        disk.make_directory(self._top)
        placed = [(self._find_places(key)[0], key, fields) for key, fields in rows]
        for path, some in groupby(placed, key=lambda row: row[0].path[:-1]):
            directory = Directory(self._spec, os.path.join(self._root, *path))
            with lock_directory(directory.path):
                self._sweep(directory)
                self._write_locked(directory, some)

    def _write_locked(self, directory: Directory, rows: Iterable[tuple[Place, Key, Document]]) -> None:
        """Write rows of one directory, on which the caller holds the lock."""
        free: list[tuple[Place, Key, Document]] = []
        taken: list[tuple[Place, Key, Document]] = []
        for place, key, row in rows:
            (free if is_free(self._paths, directory, place, key) else taken).append((place, key, row))
        directory.write(self._make_row(*row) for row in free)
        for _, key, row in taken:
            self._write_exclusive(key, row)

    def _replace(self, key: Key, fields: Document, expected: Version | None) -> None:
        if expected is not None and expected != ABSENT:
            self._check_state(key, expected)  # which makes no directory where there is none
        disk.make_directory(self._top)
        place = self._find_places(key)[0]
        directory = self._directory(place)
        with lock_directory(directory.path):
            self._sweep(directory)
            self._check_state(key, expected)
            self._write_locked(directory, [(place, key, fields)])

    def _check_state(self, key: Key, expected: Version | None) -> None:
        document, version = self._find_version(key)
        if not is_expected(self._spec, document, version, expected):
            raise make_conflict(self._spec, key, document, version, expected)

    def _write_exclusive(self, key: Key, row: Document) -> None:
        """Write a row to the place of its key alone, as another row has the shared one. The caller locks that one."""
        place = next(place for place in self._find_places(key) if not place.is_shared)
        directory = self._directory(place)
        with lock_directory(directory.path):
            self._sweep(directory)
            directory.write([self._make_row(place, key, row)])

    def _make_row(self, place: Place, key: Key, row: Document) -> RowToWrite:
        needs_key = self._needs_key(place)
        removed = row.get("removed", False)
        return RowToWrite(place.path[-1], key, row[self._spec.field], row.get("when"), removed, needs_key=needs_key)

    def _needs_key(self, place: Place) -> bool:
        """Return whether the path alone does not determine the key."""
        return not self._paths.is_unambiguous(place.path) or any(map(is_cut, place.path[:-1]))

    def _remove(self, key: Key) -> None:
        if self._locate(key) is None:
            return
        place = self._find_places(key)[0]
        directory = self._directory(place)
        with lock_directory(directory.path):
            self._sweep(directory)
            found = self._locate(key)
            if found is None or found[2].removed:
                return
            row = found[2]
            payload = {**row.payload, "removed": True} if isinstance(row.payload, dict) else row.payload
            needs_key = self._needs_key(place)
            directory.write([RowToWrite(place.path[-1], key, payload, row.when, True, needs_key=needs_key)])

    def _list_items(self, context: Key) -> set[str]:
        # Any item will do, as all are in the same directories.
        places = self._find_places((*context, "any"))
        directories = [self._directory(place) for place in places if not place.needs_names]
        found: set[str] = set().union(*(directory.list_items() for directory in directories))
        if may_have_slash(self._spec.key[-1]):
            for directory in directories:
                found.update("/".join(parts) for parts in list_nested(directory.path))
        return found

    def _find_newest(self, context: Key, limit: int, where: PayloadFilter | None) -> list[Document]:
        keys = ((*context, item) for item in self._list_items(context))
        ordered = sorted((self._find_order(key), key) for key in keys)
        return list(islice(self._find_wanted((key for _, key in reversed(ordered)), where), limit))[::-1]

    def list_written(self, context: Key) -> Iterator[WrittenRow]:
        """Yield the rows of a context whose files can be read."""
        for item in self._list_items(context):
            key = (*context, item)
            with suppress(StoreError, disk.UnfitError):
                found = self._locate(key)
                if found is not None:
                    yield WrittenRow(self._find_order(key), key, found[2].written, found[2].payload)

    def delete_row(self, key: Key, written: int) -> bool:
        """Delete a row unless it was written since, and return whether it is deleted."""
        directory = self._directory(self._find_places(key)[0])
        with lock_directory(directory.path):
            found = self._locate(key)
            if found is None or found[2].written != written:
                return False
            found[0].delete(found[1])
            return True

    def _find_order(self, key: Key) -> tuple[int, int]:
        found = (self._directory(place).find_order(place.path[-1]) for place in self._find_places(key))
        return next((order for order in found if order is not None), (0, 0))

    @property
    def _top(self) -> str:
        return os.path.join(self._root, self._paths.top[0])

    def _find_places(self, key: Key) -> tuple[Place, ...]:
        if self._folds_case is None and os.path.isdir(self._top):
            self._folds_case = disk.folds_case(self._root, self._paths.top[0])
        return self._paths.find_places(key, bool(self._folds_case))

    def _directory(self, place: Place) -> Directory:
        return Directory(self._spec, os.path.join(self._root, *place.path[:-1]))

    def _sweep(self, directory: Directory) -> None:
        """Remove what killed writers have left behind, once per directory in this process."""
        if directory.path not in self._swept:
            self._swept.add(directory.path)
            directory.sweep()

    # How that is called

    async def _run_in_turn(self, doing: str, key: Key, work: Callable[[], T]) -> T:
        """Run the writes of one directory in the order of their calls."""
        subject = self._paths.find_places(key, False)[0].path[:-1]
        return await self._turns.take(subject, partial(self._run, doing, work))

    async def _run_in_thread(self, doing: str, work: Callable[[], T]) -> T:
        return await asyncio.to_thread(self._run, doing, work)

    def _run(self, doing: str, work: Callable[[], T]) -> T:
        try:
            return work()
        except OSError as error:
            raise StoreError(
                f"{doing} failed: {error.strerror or type(error).__name__}: {error.filename or self._root}",
                slot=self._spec.name,
                hint="check the directory, its permissions, and the space on its disk",
            ) from error


def _is_listed(document: Document, until: int | None) -> bool:
    when = document.get("when")
    return not document.get("removed") and (until is None or when is None or when <= until)


def _add_suffix(path: RowPath) -> RowPath:
    return *path[:-1], path[-1] + SUFFIX

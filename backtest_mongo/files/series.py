"""Candles in files: one file per candle, as Node has them. The first write of a candle wins, whoever writes it."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from backtest_mongo.core.contexts import EVERYTHING, matches
from backtest_mongo.core.gaps import GapFinder
from backtest_mongo.core.interval_grid import IntervalGrid
from backtest_mongo.core.no_blocks import NoBlocks
from backtest_mongo.core.specs import Key
from backtest_mongo.core.store_protocols import Counts
from backtest_mongo.errors import StoreError
from backtest_mongo.files import disk
from backtest_mongo.files.candles import check_candle, encode_candle
from backtest_mongo.files.directory import SUFFIX, Directory, list_names
from backtest_mongo.files.directory_lock import lock_directory
from backtest_mongo.files.layout import MAX_SLASHES
from backtest_mongo.files.names import decode_name, is_name_of
from backtest_mongo.files.store import FileStore
from backtest_mongo.files.text import from_text
from backtest_mongo.types import Candle, Coverage, Document, Gap

if TYPE_CHECKING:
    from backtest_mongo.core.arrays import CandleArrays

__all__ = ["NAME_FILE", "FileSeries", "parse_time", "read_name"]

#: How many candles are written under one lock.
_PAGE: Final = 1_000
#: The length of the longest time.
_MAX_DIGITS: Final = len(str(-(2**63)))
#: The file in which a directory with an escaped or cut name keeps its name. For Node it is not an entity.
NAME_FILE: Final = ".name"


class FileSeries(NoBlocks, FileStore):
    """A series' rows below a root directory. They are never sealed in blocks."""

    def move_to_blocks(self, context: Key, interval: IntervalGrid) -> AsyncIterator[Counts]:
        """Refuse it.

        Raises:
            StoreError: always.
        """
        self._refuse_blocks()

    def move_to_rows(self, context: Key, interval: IntervalGrid) -> AsyncIterator[Counts]:
        """Refuse it, too."""
        self._refuse_blocks()

    def _refuse_blocks(self) -> NoReturn:
        raise StoreError(
            "moving candles failed: JSON files hold each candle as a file of its own, and know no blocks",
            slot=self._spec.name,
            collection=self._spec.collection,
            hint="keep candles in SQLite or MongoDB: `backtest-mongo import-dump` copies them there",
        )

    async def insert_new(self, context: Key, interval: IntervalGrid, rows: Mapping[int, Document]) -> int:
        """Write the rows whose times are not stored, leave all others as they are, and return how many were new."""
        new = 0
        times = list(rows)
        for start in range(0, len(times), _PAGE):
            some = [rows[time] for time in times[start : start + _PAGE]]
            new += await self._run_in_turn("writing", (*context, 0), partial(self._insert, context, some))
        return new

    async def insert_arrays(self, context: Key, interval: IntervalGrid, candles: CandleArrays) -> int:
        return await self.insert_new(context, interval, {row["timestamp"]: dict(row) for row in candles.candles()})

    async def window(self, context: Key, first: int, interval: IntervalGrid, limit: int) -> list[Candle] | None:
        """Return ``limit`` rows from ``first`` on, one per interval, or ``None`` if one of them is not stored."""
        times = interval.times(first, limit)
        return await self._run_in_thread("reading", partial(self._read_window, context, times))

    async def read(self, context: Key, interval: IntervalGrid, first: int, end: int) -> CandleArrays:
        """Return the candles of a half-open range of times, by time, as columns."""
        from backtest_mongo.core.arrays import CandleArrays

        def load() -> CandleArrays:
            times = [time for time in self._list_times(context) if first <= time < end]
            found = (self._read_window(context, [time]) for time in times)
            return CandleArrays.of({row["timestamp"]: dict(row) for rows in found if rows for row in rows})

        return await self._run_in_thread("reading", load)

    async def coverage(self, context: Key, interval: IntervalGrid) -> Coverage:
        times = await self._run_in_thread("listing", partial(self._list_times, context))
        return Coverage(times[0], times[-1], len(times)) if times else Coverage(None, None, 0)

    async def survey(
        self, context: Key, interval: IntervalGrid, first: int | None, end: int | None
    ) -> tuple[Coverage, int]:
        """Return the coverage of a half-open range, and 0, because files have no blocks."""
        stored = await self._run_in_thread("listing", partial(self._list_times, context))
        times = [time for time in stored if _is_within(time, first, end)]
        return (Coverage(times[0], times[-1], len(times)) if times else Coverage(None, None, 0)), 0

    async def delete(self, context: Key, interval: IntervalGrid, first: int | None, end: int | None) -> Counts:
        """Delete the rows of a half-open range; return how many, and 0, because files have no blocks."""
        found = await self._run_in_thread("listing", partial(self._list_names, context))
        some = [name for name, time in found.items() if (first is None and end is None) or _is_within(time, first, end)]
        rows = 0
        for start in range(0, len(some), _PAGE):
            work = partial(self._delete_names, context, some[start : start + _PAGE])
            rows += await self._run_in_turn("deleting", (*context, 0), work)
        return rows, 0

    async def find_bounds(self, context: Key) -> tuple[int, int] | None:
        """Return the times of the first and the last row."""
        times = await self._run_in_thread("listing", partial(self._list_times, context))
        return (times[0], times[-1]) if times else None

    async def gaps(self, context: Key, finder: GapFinder, bounds: tuple[int, int]) -> AsyncIterator[Gap]:
        """Yield the gaps of a series, by time."""
        for gap in finder.find_all(await self._run_in_thread("listing", partial(self._list_times, context))):
            yield gap

    async def find_around(self, context: Key, first: int | None, end: int | None) -> tuple[int | None, int | None]:
        """Return the times of the last row before ``first`` and of the first one from ``end`` on."""
        times = await self._run_in_thread("listing", partial(self._list_times, context))
        before = [] if first is None else times[: bisect_left(times, first)][-1:]
        after = [] if end is None else times[bisect_left(times, end) :][:1]
        return (before[0] if before else None), (after[0] if after else None)

    async def list_contexts(self, where: Mapping[str, Any] = EVERYTHING) -> AsyncIterator[Key]:
        """Yield the context of each stored series, in the order of the key."""
        for context in await self._run_in_thread("listing", self._list_contexts):
            if matches(self._spec, context, where):
                yield context

    # What blocks runs in threads.

    def _insert(self, context: Key, rows: Sequence[Document]) -> int:
        disk.make_directory(self._top)
        paths = self._list_directories(context)
        with lock_directory(paths[0]):
            self._sweep(Directory(self._spec, paths[0]))
            self._write_names(context)
            # In Node's directory too, if that has another name.
            stored = {name for path in paths for name in list_names(path)}
            fresh = [row for row in rows if str(row["timestamp"]) not in stored]
            staged = disk.stage(paths[0], (encode_candle(row["timestamp"], row) for row in fresh))
            new = 0
            try:
                for temporary, row in zip(staged, fresh, strict=True):
                    new += _link(temporary, os.path.join(paths[0], f"{row['timestamp']}{SUFFIX}"))
            finally:
                disk.drop(staged)
            if fresh:
                disk.sync(paths[0])
        return new

    def _read_window(self, context: Key, times: Iterable[int]) -> list[Candle] | None:
        paths = self._list_directories(context)
        candles: list[Candle] = []
        for time in times:
            found = (disk.read(os.path.join(path, f"{time}{SUFFIX}")) for path in paths)
            content = next((content for content in found if content is not None), None)
            if content is None:
                return None
            candles.append(self._decode(time, content, paths[0]))
        return candles

    def _decode(self, time: int, content: bytes, path: str) -> Candle:
        try:
            row = check_candle(from_text(content))
        except (ValueError, RecursionError):
            raise StoreError(
                f"reading failed: {os.path.join(path, f'{time}{SUFFIX}')} holds no candle",
                slot=self._spec.name,
                hint="repair or remove the file",
            ) from None
        return cast("Candle", {"timestamp": time, **row})

    def _delete_names(self, context: Key, some: Sequence[str]) -> int:
        deleted = set()
        for path in self._list_directories(context):
            if not os.path.isdir(path):
                continue
            with lock_directory(path):
                for name in some:
                    with suppress(FileNotFoundError):
                        os.unlink(os.path.join(path, f"{name}{SUFFIX}"))
                        deleted.add(name)
                disk.sync(path)
        return len(deleted)

    def _list_row_files(self, context: Key) -> Iterator[str]:
        for path in self._list_directories(context):
            yield from (os.path.join(path, f"{name}{SUFFIX}") for name in list_names(path))

    def _list_times(self, context: Key) -> list[int]:
        return sorted(time for time in self._list_names(context).values() if time is not None)

    def _list_names(self, context: Key) -> dict[str, int | None]:
        """Return the time of each file by its name, and ``None`` for names that are not a time."""
        directories = self._list_directories(context)
        return {name: parse_time(name) for path in directories for name in list_names(path)}

    def _list_directories(self, context: Key) -> list[str]:
        found = []
        for at, place in enumerate(self._find_places((*context, 0))):
            if place.needs_names or (at and self._folds_case and not disk.has_spelling(self._root, place.path[:-1])):
                continue  # where 1M and 1m are the same name, the directory may be the other series'
            found.append(self._directory(place).path)
        return list(dict.fromkeys(found))

    def _list_contexts(self) -> list[Key]:
        depth = len(self._spec.key) - 1
        top = os.path.join(self._root, *self._paths.top)
        found = set(self._list_contexts_below(top, depth))
        for parts in self._list_deeper(top, (), depth):
            found.update(key[:-1] for key in self._paths.read_with_slashes((*self._paths.top, *parts, "0")))
        return sorted(found)

    def _list_deeper(self, directory: str, above: tuple[str, ...], depth: int) -> Iterator[tuple[str, ...]]:
        """Yield the directories of candles that are deeper than this library's, as Node has a slash in a name."""
        try:
            with os.scandir(directory) as entries:
                below = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        except (FileNotFoundError, NotADirectoryError):
            return
        for name in below:
            parts, path = (*above, name), os.path.join(directory, name)
            if len(parts) > depth and any(parse_time(entity) is not None for entity in list_names(path)):
                yield parts
            if len(parts) < depth + MAX_SLASHES:
                yield from self._list_deeper(path, parts, depth)

    def _list_contexts_below(self, directory: str, depth: int) -> Iterator[Key]:
        if not depth:
            if next(list_names(directory), None) is not None:
                yield ()
            return
        try:
            with os.scandir(directory) as entries:
                found = [entry.name for entry in entries if entry.is_dir()]
        except (FileNotFoundError, NotADirectoryError):
            return
        for name in found:
            path = os.path.join(directory, name)
            item = decode_name(name)
            if item is None:
                item = read_name(path) or name
            if "\0" not in item:
                for rest in self._list_contexts_below(path, depth - 1):
                    yield item, *rest

    def _write_names(self, context: Key) -> None:
        """Write name files into the directories whose names had to be escaped or cut."""
        place = self._find_places((*context, 0))[0]
        at = len(place.path) - 1 - len(context)
        path = os.path.join(self._root, *place.path[:at])
        for part, item in zip(place.path[at:], context, strict=False):
            path = os.path.join(path, part)
            if part != item and read_name(path) != str(item):
                (staged,) = disk.stage(path, [str(item).encode()])
                os.replace(staged, os.path.join(path, NAME_FILE))
                disk.sync(path)


def parse_time(name: str) -> int | None:
    """Return the time that a candle's file is named by, or ``None`` if the name is not one."""
    if not name.isascii() or not name.removeprefix("-").isdecimal() or len(name) > _MAX_DIGITS:
        return None
    time = int(name)
    return time if str(time) == name and -(2**63) <= time < 2**63 else None


def read_name(directory: str) -> str | None:
    """Return the field in a directory's name file, if the directory is named by that field."""
    try:
        written = disk.read(os.path.join(directory, NAME_FILE))
        item = None if written is None else written.decode()
    except (disk.UnfitError, UnicodeDecodeError):
        return None
    return item if item is not None and is_name_of(item, os.path.basename(directory)) else None


def _is_within(time: int | None, first: int | None, end: int | None) -> bool:
    return time is not None and (first is None or first <= time) and (end is None or time < end)


def _link(temporary: str, path: str) -> bool:
    """Give a file its name if the name is free, and return whether it was."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:
        # The file system has no links. The lock on the directory keeps other writers of this library out.
        if os.path.exists(path):
            return False
        os.rename(temporary, path)
    return True

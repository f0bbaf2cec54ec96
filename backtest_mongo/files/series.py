"""Candles in files: one a candle, as Node keeps them. The first write of each wins, whoever writes it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from backtest_mongo.errors import StoreError
from backtest_mongo.files import disk
from backtest_mongo.files.names import item_of, places
from backtest_mongo.files.rows import SUFFIX, Directory, names
from backtest_mongo.files.store import FileStore
from backtest_mongo.files.text import from_text, to_text
from backtest_mongo.specs import Key
from backtest_mongo.types import PRICES, Candle, Coverage, Document
from backtest_mongo.unsealed import Unsealed

if TYPE_CHECKING:
    from backtest_mongo.arrays import CandleArrays

__all__ = ["NAME", "FileSeries"]

#: Candles that are written in one turn.
_TURN: Final = 1_000
#: Holds the name of a directory that is not named by it as it stands. Node takes it for no entity.
NAME: Final = ".name"


class FileSeries(Unsealed, FileStore):
    """A series' rows below a root directory. Nothing is sealed: there are no blocks beside the files."""

    async def insert_new(self, context: Key, step: int, rows: Mapping[int, Document]) -> int:
        """Write the rows whose times are free, leave all others as they are, and return how many were written."""
        new = 0
        times = list(rows)
        for start in range(0, len(times), _TURN):
            some = [rows[time] for time in times[start : start + _TURN]]
            new += await self._in_turn("writing", (*context, 0), partial(self._insert, context, some))
        return new

    async def insert_arrays(self, context: Key, step: int, candles: CandleArrays) -> int:
        return await self.insert_new(context, step, {row["timestamp"]: dict(row) for row in candles.candles()})

    async def window(self, context: Key, first: int, step: int, limit: int) -> list[Candle] | None:
        """Return ``limit`` rows from ``first`` on, one each ``step``, or ``None`` if one is not stored."""
        wanted = range(first, first + limit * step, step)
        return await self._blocking("reading", partial(self._window, context, wanted))

    async def read(self, context: Key, step: int, first: int, end: int) -> CandleArrays:
        """Return the candles of a half-open range of times, by time, as columns."""
        from backtest_mongo.arrays import CandleArrays

        def load() -> CandleArrays:
            times = [time for time in self._times(context) if first <= time < end]
            found = (self._window(context, [time]) for time in times)
            return CandleArrays.of({row["timestamp"]: dict(row) for rows in found if rows for row in rows})

        return await self._blocking("reading", load)

    async def coverage(self, context: Key, step: int) -> Coverage:
        times = await self._blocking("listing", partial(self._times, context))
        return Coverage(times[0], times[-1], len(times)) if times else Coverage(None, None, 0)

    async def bounds(self, context: Key) -> tuple[int, int] | None:
        """Return the times of the first and the last row."""
        times = await self._blocking("listing", partial(self._times, context))
        return (times[0], times[-1]) if times else None

    async def neighbours(
        self, context: Key, step: int, phase: int, first: int, end: int
    ) -> AsyncIterator[tuple[int | None, int | None]]:
        """Yield neighbours of a grid that lie more than a step apart, the ends of the range among them."""
        stored = await self._blocking("listing", partial(self._times, context))
        times = [time for time in stored if first <= time < end and time % step == phase]
        last: int | None = None
        for time in times:
            if last is None or time - last > step:
                yield last, time
            last = time
        if last is not None:
            yield last, None

    async def contexts(self) -> AsyncIterator[Key]:
        """Yield the context of each series there is, in the order of the key."""
        for context in await self._blocking("listing", self._contexts):
            yield context

    # What blocks

    def _insert(self, context: Key, rows: Sequence[Document]) -> int:
        disk.make_directory(os.path.join(self._root, self._first))
        paths = self._series(context)
        with disk.turn(paths[0]):
            self._sweep(Directory(self._spec, paths[0]))
            self._name_directories(context)
            # In Node's own directory too, where it has one under another name.
            stored = {name for path in paths for name in names(path)}
            fresh = [row for row in rows if str(row["timestamp"]) not in stored]
            staged = disk.stage(paths[0], (to_text(row, False) for row in fresh))
            new = 0
            try:
                for temporary, row in zip(staged, fresh, strict=True):
                    new += _place(temporary, os.path.join(paths[0], f"{row['timestamp']}{SUFFIX}"))
            finally:
                disk.drop(staged)
            if fresh:
                disk.sync(paths[0])
        return new

    def _window(self, context: Key, times: Sequence[int]) -> list[Candle] | None:
        paths = self._series(context)
        candles: list[Candle] = []
        for time in times:
            found = (disk.read(os.path.join(path, f"{time}{SUFFIX}")) for path in paths)
            content = next((content for content in found if content is not None), None)
            if content is None:
                return None
            candles.append(self._candle(time, content, paths[0]))
        return candles

    def _candle(self, time: int, content: bytes, path: str) -> Candle:
        try:
            row: Any = from_text(content, False)
            open_, high, low, close, volume = (float(row[name]) for name in PRICES)
        except (ValueError, TypeError, KeyError, RecursionError):
            raise StoreError(
                f"reading failed: {os.path.join(path, f'{time}{SUFFIX}')} holds no candle",
                slot=self._spec.name,
                hint="remove or mend the file",
            ) from None
        return {"timestamp": time, "open": open_, "high": high, "low": low, "close": close, "volume": volume}

    def _times(self, context: Key) -> list[int]:
        found = {name for path in self._series(context) for name in names(path)}
        return sorted(int(name) for name in found if name.removeprefix("-").isdecimal() and name.isascii())

    def _series(self, context: Key) -> list[str]:
        found = (self._directory(place).path for place in self._places((*context, 0)) if not place.told_by)
        return list(dict.fromkeys(found))

    def _contexts(self) -> list[Key]:
        depth = len(self._spec.key) - 1
        *fixed, _ = places(self._spec, ("",) * len(self._spec.key), False)[0].path
        root = os.path.join(self._root, *fixed[: len(fixed) - depth])
        return sorted(set(self._below(root, depth)))

    def _below(self, directory: str, depth: int) -> Iterator[Key]:
        if not depth:
            if next(names(directory), None) is not None:
                yield ()
            return
        try:
            with os.scandir(directory) as entries:
                found = [entry.name for entry in entries if entry.is_dir()]
        except (FileNotFoundError, NotADirectoryError):
            return
        for name in found:
            path = os.path.join(directory, name)
            item = item_of(name)
            if item is None:
                written = disk.read(os.path.join(path, NAME))
                item = name if written is None else written.decode()
            for rest in self._below(path, depth - 1):
                yield item, *rest

    def _name_directories(self, context: Key) -> None:
        """Write the names of directories that had to be escaped or cut into them."""
        place = self._places((*context, 0))[0]
        at = len(place.path) - 1 - len(context)
        path = os.path.join(self._root, *place.path[:at])
        for part, item in zip(place.path[at:], context, strict=False):
            path = os.path.join(path, part)
            if part != item and disk.read(os.path.join(path, NAME)) is None:
                (staged,) = disk.stage(path, [str(item).encode()])
                os.replace(staged, os.path.join(path, NAME))
                disk.sync(path)


def _place(temporary: str, path: str) -> bool:
    """Give a file its name if that is free, and tell whether it was."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:
        # A file system without links. Writers of ours take turns, so that nobody comes between.
        if os.path.exists(path):
            return False
        os.rename(temporary, path)
    return True

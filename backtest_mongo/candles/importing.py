"""Carrying candles from files into a series."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from backtest_mongo import CandleAdapter
from backtest_mongo.candles.chunk import Chunk
from backtest_mongo.candles.files import read_candles
from backtest_mongo.candles.progress import Bar
from backtest_mongo.candles.sources import Found, Source
from backtest_mongo.candles.times import Millis
from backtest_mongo.errors import InputError
from backtest_mongo.types import INTERVAL_MS, WriteReport

__all__ = ["SHOWN", "Imported", "import_candles"]

#: Bad lines whose reasons are kept, and of refused rows the places for each reason.
SHOWN: Final = 20
_PLACES: Final = 3
#: Rows from which on it shows how far apart a file's candles are.
_ENOUGH: Final = 3


@dataclass
class Imported:
    """What became of all lines of an import.

    ``refused`` counts rows by the reason that the store has given, and ``places`` names the first of each. ``bad`` has
    the first of ``bad_lines`` lines that are no candles, and ``unreadable`` what was wrong with whole files.
    """

    files: int = 0
    rows: int = 0
    new: int = 0
    present: int = 0
    beside: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[str]] = field(default_factory=dict)
    bad_lines: int = 0
    bad: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether every line was a candle."""
        return not self.bad_lines and not self.unreadable

    def add(self, chunk: Chunk, report: WriteReport, name: str) -> None:
        self.rows += len(chunk.lines)
        self.new += report.new
        self.present += report.present
        for reason, rows in report.refused.items():
            self.refused[reason] += len(rows)
            places = self.places.setdefault(reason, [])
            places += [f"{name}:{chunk.lines[row]}" for row in rows[: _PLACES - len(places)]]

    def add_bad(self, chunk: Chunk, name: str) -> None:
        self.bad_lines += len(chunk.bad)
        self.bad += [f"{name}:{line}  {reason}" for line, reason in chunk.bad[: max(SHOWN - len(self.bad), 0)]]


async def import_candles(
    adapter: CandleAdapter, found: Found, columns: Sequence[str] | None, unit: str, check_spacing: bool
) -> Imported:
    """Write the candles of all files to a series and return what became of them.

    Files that can't be understood are noted, and the others go in. What is stored already is passed over, so that an
    import that was ended in the middle carries on when it is run again.

    Raises:
        StoreUnavailableError, StoreError: MongoDB can't be reached, or answers with an error.
    """
    done = Imported()
    before = 0
    seen: set[str] = set()
    with Bar(found.size) as bar:
        for source in found.sources:
            chunks = read_candles(source, columns=columns, unit=unit)
            try:
                async with aclosing(_read_ahead(chunks)) as ahead:
                    phase: int | None = None
                    async for chunk in ahead:
                        if chunk.note and chunk.note not in seen:
                            seen.add(chunk.note)
                            bar.note(f"{source.name}: {chunk.note}")
                        phase = await _write(adapter, source, chunk, phase, check_spacing, done)
                        done.add_bad(chunk, source.name)
                        bar.show(source.path.name, before + chunk.position, len(chunk.lines))
                done.files += 1
            except InputError as error:
                done.unreadable.append(str(error))
            before += source.size
    # What the writes have left open, because more of it might have come.
    await adapter.seal()
    return done


async def _write(
    adapter: CandleAdapter, source: Source, chunk: Chunk, phase: int | None, check_spacing: bool, done: Imported
) -> int | None:
    times: Millis = chunk.columns["timestamp"]
    if not len(times):
        return phase
    interval = str(adapter.context["interval"])
    step = INTERVAL_MS[interval]
    if phase is None:
        phase = int(times[0]) % step
        if check_spacing:
            _check_spacing(times, interval, source.name)
    done.beside += int(np.count_nonzero(times % step != phase))
    done.add(chunk, await adapter.write_frame(chunk.columns), source.name)
    return phase


def _check_spacing(times: Millis, interval: str, name: str) -> None:
    """Refuse a file of another interval: what it would put into the series could never be changed again."""
    if len(times) < _ENOUGH:
        return
    distances, counts = np.unique(np.diff(np.unique(times)), return_counts=True)
    if not len(distances):
        return
    usual = int(distances[counts.argmax()])
    if usual != INTERVAL_MS[interval]:
        other = next((one for one, step in INTERVAL_MS.items() if step == usual), None)
        raise InputError(
            f"{name}: its candles are {other or f'{usual / 1000:,g} s'} apart, not {interval}",
            hint=f"--any-spacing if they are candles of {interval} all the same",
        )


async def _read_ahead(chunks: Iterator[Chunk]) -> AsyncGenerator[Chunk, None]:
    """Yield chunks; while the caller works on one, a thread reads the next."""
    loop = asyncio.get_running_loop()
    reading = loop.run_in_executor(None, next, chunks, None)
    try:
        while True:
            # Unlike awaiting it, this leaves it alone if the caller is cancelled.
            await asyncio.wait({reading})
            chunk = reading.result()
            if chunk is None:
                return
            reading = loop.run_in_executor(None, next, chunks, None)
            yield chunk
    finally:
        # A thread can't be interrupted: once it has read its chunk, the file is closed.
        await asyncio.wait({reading})
        if reading.exception() is None:
            chunks.close()  # type: ignore[attr-defined]  # a generator

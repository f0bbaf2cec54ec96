"""A process that trades bars under leases: it is killed, stopped and doubled, and another one carries on.

It takes its job from the command line, prints "ready" once it is set up, and works until a line arrives on standard
input. A bar is one transaction of four rows, in four slots: where the strategy stands, its signal, a note of the bar's
own, and a row of a list that is not leased. The record has a line for each thing that has begun, or has an outcome.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import traceback
from dataclasses import dataclass
from itertools import count
from typing import Any, TextIO

import backtest_mongo
from backtest_mongo import (
    CommitUnknownError,
    LeaseHeldError,
    LeaseLostError,
    StoreUnavailableError,
    lease,
    persist,
    set_config,
    transaction,
)
from faults.probe import quiet

__all__ = ["BarJob", "Strategy"]

#: Far more values than one process writes.
NUMBERS = 10_000_000
WHEN = 1_700_000_000_000
#: How long a process that finds no server rests.
REST_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class BarJob:
    """The job of one process.

    Args:
        process: number of the process, which makes its values unique.
        record: path of its record.
        config: configuration of the library.
        sqlite: path of an SQLite file to use instead of servers.
        ttl: seconds that a lease lasts without being renewed.
        every: how many bars are committed together.
        hand_over: bars after which the leases are given back; 0 keeps them.
    """

    process: int
    record: str
    config: dict[str, Any]
    sqlite: str = ""
    ttl: float = 2.0
    every: int = 1
    hand_over: int = 0


class Strategy:
    """What is stored of the bars of a strategy, of which there is one."""

    def __init__(self) -> None:
        self.progress: Any = persist.state("bars", "progress")
        self.signal: Any = persist.signal("BTCUSDT", "bars", "faults")
        self.notes: Any = persist.memory("bars", "notes")
        self.trades: Any = persist.storage(True)

    async def write(self, n: int, number: int) -> None:
        """Write a bar; call it within a transaction."""
        await self.signal.write_signal_data({"n": n, "number": number})
        await self.notes.write_memory_data({"n": n, "number": number}, f"{n:08}", WHEN + n)
        await self.trades.write_storage_data([{"id": f"{n:08}", "n": n, "number": number}])
        await self.progress.write_state_data({"n": n, "number": number}, WHEN + n)

    async def read(self) -> tuple[dict[int, int], list[str]]:
        """Return the numbers of all bars by their places, and what is wrong with them."""
        notes = {value["n"]: value["number"] async for _, value in self.notes.list_memory_data()}
        trades = {row["n"]: row["number"] for row in await self.trades.read_storage_data()}
        last = max(notes, default=0)
        expected = {"n": last, "number": notes[last]} if notes else None
        problems = []
        if sorted(notes) != [*range(1, last + 1)]:
            problems.append(f"the bars are not 1 to {last}")
        if trades != notes:
            problems.append(f"the lists differ in {dict(set(trades.items()) ^ set(notes.items()))}")
        for name, found in (
            ("progress", await self.progress.read_state_data()),
            ("signal", await self.signal.read_signal_data()),
        ):
            if found != expected:
                problems.append(f"the {name} is {found}, and the last bar {expected}")
        return notes, problems


class Trader:
    def __init__(self, job: BarJob, record: TextIO) -> None:
        self._job = job
        self._record = record
        self._serial = count(1)
        self._is_told_to_stop = False
        #: The bar that is under way, until its outcome is known.
        self._open: tuple[int, int] | None = None
        #: Bars that were acknowledged in memory.
        self._taken: list[tuple[int, int]] = []

    def _note(self, kind: str, *words: Any) -> None:
        self._record.write(json.dumps([time.monotonic_ns(), kind, *words]) + "\n")

    async def run(self) -> None:
        job = self._job
        backtest_mongo.set_logger(quiet())
        if job.sqlite:
            set_config(job.config)
            persist.use_sqlite(job.sqlite)
        else:
            await backtest_mongo.setup(job.config)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        listening = asyncio.create_task(self._listen())
        while not self._is_told_to_stop:
            try:
                await self._trade()
            except LeaseHeldError:
                pass
            except LeaseLostError as error:
                self._note("lost", str(error))
                # Where the lease has run out, a commit that was under way by then may have gone through.
                self._close("refused" if "nothing of the transaction is stored" in str(error) else "unknown")
            except StoreUnavailableError as error:
                self._note("unavailable", str(error))
                self._close("unknown")
                await asyncio.sleep(REST_SECONDS)
            except Exception as error:  # any other error is a finding
                self._note("error", "".join(traceback.format_exception(error)))
                self._close("unknown")
                await asyncio.sleep(REST_SECONDS)
            self._taken.clear()
        await listening
        await backtest_mongo.close()

    async def _listen(self) -> None:
        await asyncio.to_thread(sys.stdin.readline)
        self._is_told_to_stop = True

    def _close(self, outcome: str) -> None:
        if self._open is not None:
            self._note(outcome, *self._open)
            self._open = None

    async def _trade(self) -> None:
        job, strategy = self._job, Strategy()
        own = lease(
            strategy.progress, strategy.signal, strategy.notes, ttl=job.ttl, wait=0.5, commit_every=job.every,
            max_delay=0.05,
        )  # fmt: skip
        async with own as mine:
            self._note("held")
            stored, problems = await strategy.read()
            self._note("resumed", len(stored), problems)
            n = len(stored)
            done = 0
            while not self._is_told_to_stop and not (job.hand_over and done >= job.hand_over):
                if await self._write_bar(strategy, n + 1):
                    n, done = n + 1, done + 1
                if job.every > 1 and done % (2 * job.every) == 0:
                    await self._flush(mine)
            if job.every > 1:
                await self._flush(mine)

    async def _write_bar(self, strategy: Strategy, n: int) -> bool:
        """Write a bar, and return whether it is stored, or will be."""
        number = self._job.process * NUMBERS + next(self._serial)
        self._open = (n, number)
        self._note("begin", n, number)
        try:
            async with transaction():
                await strategy.write(n, number)
        except CommitUnknownError as error:
            await self._settle(error)
        except StoreUnavailableError as error:
            self._note("unavailable", str(error))
            self._close("refused" if not error.may_be_applied and self._job.every == 1 else "unknown")
            if self._job.every > 1:
                raise  # what waits is not known any more, and the next owner finds out
            await asyncio.sleep(REST_SECONDS)
            return False
        if self._job.every > 1:
            self._taken.append((n, number))
            self._open = None
        else:
            self._close("ok")
        return True

    async def _settle(self, unknown: CommitUnknownError) -> None:
        """Find out what became of a bar."""
        bar, self._open = self._open, None
        assert bar is not None  # for the type checker: it is under way
        self._note("unknown", *bar)
        while True:
            try:
                await unknown.commit_again()
            except CommitUnknownError as error:
                unknown = error
            except StoreUnavailableError:
                await asyncio.sleep(REST_SECONDS)
            else:
                self._open = bar
                return

    async def _flush(self, mine: Any) -> None:
        await mine.flush()
        for bar in self._taken:
            self._note("ok", *bar)
        self._taken.clear()


async def main(job: BarJob) -> None:
    # The process may be killed, so each line has to be out before what it says happens.
    with open(job.record, "w", buffering=1) as record:  # noqa: ASYNC230  # a short line
        await Trader(job, record).run()


if __name__ == "__main__":
    asyncio.run(main(BarJob(**json.loads(sys.argv[1]))))

"""What transactions and leases cost: commits of four rows, whole bars, and reads from memory.

A bar is that of a strategy which reads ten values and writes four, of 500 bytes each. The plain client makes the same
calls one after another, with ``w=majority``.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from typing import Any, Final, TypeAlias

from pymongo import ReturnDocument

from backtest_mongo import (
    RecentAdapter,
    ScheduleAdapter,
    SessionAdapter,
    SignalAdapter,
    StateAdapter,
    StrategyAdapter,
    lease,
    transaction,
)
from backtest_mongo.commit.lease import Lease
from benchmarks.documents import make_exchange
from benchmarks.documents import make_payload as make_small
from benchmarks.timing import Make, Times, Work, interleave

__all__ = ["MONTH", "PART", "measure_month", "measure_transactions"]

#: Minutes of a month.
MONTH: Final = 44_640
#: Of the bars of a month one in so many is run where each takes milliseconds.
PART: Final = 10
#: Transactions of one commit in the mode that acknowledges them before.
MANY: Final = 64
_START: Final = 1_600_000_000_000
_MINUTE: Final = 60_000
#: The most of another side's time that ours may take, by row.
_GOALS: Final = {
    "a commit of four writes": {"plain": 0.9},
    "a bar": {"plain": 1 / 1.8},
    f"a bar, {MANY} a commit": {"plain": 1 / 40},
    "a read from memory": {"plain": 0.3},
}
#: Measured calls of each side in a round.
_CALLS: Final = {
    "a commit of four writes": 100,
    "a bar": 60,
    f"a bar, {MANY} a commit": 2,
    "a read from memory": 5,
}
_BARS_A_CALL: Final = 10 * MANY
_READS_A_CALL: Final = 2_000

#: What an engine notes of a signal besides what it was given.
_SIGNAL: Final = {
    "symbol": "BTCUSDT",
    "strategyName": "strategy",
    "exchangeName": "binance",
    "scheduledAt": _START,
    "pendingAt": _START + _MINUTE,
    "originalPriceOpen": 50_000.5,
    "totalExecuted": 100,
    "pnl": {"pnlPercentage": 1.25, "priceOpen": 50_000.5, "priceClose": 50_625.5},
}

#: How an adapter class becomes one that stores in another database.
Bind: TypeAlias = Callable[[Any], Any]

_bars = count()


def make_payload() -> dict[str, Any]:
    """Return a payload of 500 bytes that no other write has: an open signal, with its prices, times and result."""
    return {**make_small(), **_SIGNAL}


class Strategy:
    """The adapters of one strategy: six contexts, of which a bar writes four.

    ``bind`` makes adapter classes that store elsewhere than in MongoDB.
    """

    def __init__(self, bind: Bind = lambda adapter: adapter) -> None:
        exchange = make_exchange()
        context = ("BTCUSDT", "strategy", exchange)
        self.signal = bind(SignalAdapter)(*context)
        self.schedule = bind(ScheduleAdapter)(*context)
        self.strategy = bind(StrategyAdapter)(*context)
        self.recent = bind(RecentAdapter)(*context, "1m", True)
        self.state = bind(StateAdapter)(exchange, "bars")
        self.session = bind(SessionAdapter)("strategy", exchange, "1m", "BTCUSDT", True)
        self.adapters: tuple[Any, ...] = (
            self.signal,
            self.schedule,
            self.strategy,
            self.recent,
            self.state,
            self.session,
        )

    async def write(self, payloads: Sequence[Any], when: int) -> None:
        await self.signal.write_signal_data(payloads[0])
        await self.strategy.write_strategy_data(payloads[1])
        await self.recent.write_recent_data(payloads[2], when)
        await self.state.write_state_data(payloads[3], when)

    async def read(self) -> None:
        for _ in range(2):
            await self.signal.read_signal_data()
            await self.strategy.read_strategy_data()
            await self.recent.read_recent_data()
            await self.state.read_state_data()
        await self.schedule.read_schedule_data()
        await self.session.read_session_data()

    async def run_bar(self, payloads: Sequence[Any], when: int) -> None:
        async with transaction(when=when):
            await self.read()
            await self.write(payloads, when)

    async def fill(self) -> None:
        """Write every context once."""
        when = _START
        await self.write([make_payload()] * 4, when)
        await self.schedule.write_schedule_data(make_payload())
        await self.session.write_session_data(make_payload(), when)


class PlainStrategy:
    """The same with a plain client: ten finds by the natural key, and four upserts."""

    def __init__(self, database: Any, strategy: Strategy) -> None:
        self._rows = [
            (database[adapter.spec.collection], dict(zip(adapter.spec.key, adapter._context, strict=True)))
            for adapter in strategy.adapters
        ]

    def make_writes(self, payloads: Sequence[Any]) -> list[Work]:
        rows = [self._rows[place] for place in (0, 2, 3, 4)]
        return [
            partial(
                collection.find_one_and_update,
                key,
                {"$set": {"payload": payload}, "$currentDate": {"updatedDate": True}},
                upsert=True,
                return_document=ReturnDocument.AFTER,
                projection={"_id": 1},
            )
            for (collection, key), payload in zip(rows, payloads, strict=True)
        ]

    async def write(self, payloads: Sequence[Any]) -> None:
        for write in self.make_writes(payloads):
            await write()

    async def write_at_once(self, payloads: Sequence[Any]) -> None:
        await asyncio.gather(*(write() for write in self.make_writes(payloads)))

    async def run_bar(self, payloads: Sequence[Any]) -> None:
        for place in (0, 2, 3, 4, 0, 2, 3, 4, 1, 5):
            collection, key = self._rows[place]
            await collection.find_one(key)
        await self.write(payloads)


async def measure_transactions(plain: Any, rounds: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Return microseconds of each side per operation, their ratios to ours, and how the goals came out.

    Args:
        plain: the database of a plain client, with ``w=majority``.
        rounds: rounds of each row, each on fresh contexts.
        say: is told what is measured.
    """
    rows = []
    for name, calls in _CALLS.items():
        say(name)
        times: dict[str, Times] = {}
        for _ in range(rounds):
            async with _prepare(name, plain) as (operations, sides):
                times = times or {side: Times() for side in sides}
                await interleave(sides, calls, times, is_large=operations > 1)
        found = {side: taken.summarize(operations) for side, taken in times.items()}
        ratios = {side: found["ours"]["median_us"] / figures["median_us"] for side, figures in found.items()}
        goals = {
            side: {"goal": goal, "reached": ratios[side], "met": ratios[side] <= goal}
            for side, goal in _GOALS[name].items()
        }
        rows.append({"name": name, "sides": found, "ratios": ratios, "goals": goals})
    return rows


@asynccontextmanager
async def _prepare(name: str, plain: Any) -> AsyncIterator[tuple[int, dict[str, Make]]]:
    """Return the operations of a call, and the sides, on contexts of their own."""
    ours, without_lease = Strategy(), Strategy()
    for strategy in (ours, without_lease):
        await strategy.fill()
    other = PlainStrategy(plain, Strategy())
    await other.write([make_payload()] * 4)
    every = MANY if name.endswith("a commit") else 1
    async with lease(*ours.adapters, commit_every=every) as mine:
        if name == "a commit of four writes":
            yield (
                1,
                {
                    "ours": lambda: partial(_commit_four, ours, _make_four()),
                    "plain": lambda: partial(other.write, _make_four()),
                    "at once": lambda: partial(other.write_at_once, _make_four()),
                    "no lease": lambda: partial(_commit_four, without_lease, _make_four()),
                },
            )
        elif name == "a bar":
            yield (
                1,
                {
                    "ours": lambda: partial(ours.run_bar, _make_four(), _next_time()),
                    "plain": lambda: partial(other.run_bar, _make_four()),
                },
            )
        elif every == MANY:
            yield (
                _BARS_A_CALL,
                {"ours": lambda: partial(_run_bars, ours, mine), "plain": lambda: partial(_run_plain_bars, other)},
            )
        else:
            await ours.run_bar(_make_four(), _next_time())
            payload = make_payload()
            yield (
                _READS_A_CALL,
                {"ours": lambda: partial(_read_again, ours), "plain": lambda: partial(_copy_again, payload)},
            )


def _make_four() -> list[Any]:
    return [make_payload() for _ in range(4)]


def _next_time() -> int:
    return _START + next(_bars) * _MINUTE


async def _commit_four(strategy: Strategy, payloads: Sequence[Any]) -> None:
    when = _next_time()
    async with transaction(when=when):
        await strategy.write(payloads, when)


async def _run_bars(strategy: Strategy, mine: Lease) -> None:
    for _ in range(_BARS_A_CALL):
        await strategy.run_bar(_make_four(), _next_time())
    await mine.flush()


async def _run_plain_bars(strategy: PlainStrategy) -> None:
    for _ in range(_BARS_A_CALL):
        await strategy.run_bar(_make_four())


async def _read_again(strategy: Strategy) -> None:
    read = strategy.signal.read_signal_data
    for _ in range(_READS_A_CALL):
        await read()


async def _copy_again(payload: Any) -> None:
    for _ in range(_READS_A_CALL):
        copy.deepcopy(payload)


async def measure_month(bars: int, plain: Any = None, bind: Bind = lambda adapter: adapter) -> dict[str, Any]:
    """Return the seconds of a month of bars: ours, committed alone and many at a time, and those of a plain client.

    All bars are run with many in a commit, and otherwise a tenth of them.
    """

    async def run(every: int, size: int) -> None:
        strategy = Strategy(bind)
        async with lease(*strategy.adapters, commit_every=every):
            for _ in range(size):
                await strategy.run_bar(_make_four(), _next_time())

    async def run_plain(size: int) -> None:
        strategy = PlainStrategy(plain, Strategy())
        for _ in range(size):
            await strategy.run_bar(_make_four())

    works: dict[str, tuple[Callable[[int], Awaitable[None]], int]] = {
        "many": (partial(run, MANY), 1),
        "alone": (partial(run, 1), PART),
    }
    if plain is not None:
        works["plain"] = run_plain, PART
    found: dict[str, Any] = {"bars": bars}
    for name, (work, part) in works.items():
        start = time.perf_counter()
        await work(bars // part)
        found[name] = (time.perf_counter() - start) * part
    return found

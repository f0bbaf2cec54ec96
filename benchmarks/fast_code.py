"""Ways to write the same strategy code with this library, measured in turn: for docs/fast-code.md."""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, Final

import numpy as np

from backtest_mongo import CandleAdapter, SignalAdapter, close, setup
from benchmarks.documents import make_candle, make_candles, make_contexts, make_exchange, make_payload
from benchmarks.timing import Make, Times, Work, interleave
from benchmarks.variants import open_variants, take_turns

__all__ = ["CODES", "FOUNDATIONS", "measure_codes", "measure_foundations"]

_SIZE: Final = 500
_TASKS: Final = 5_000
#: Candles that a program holds as dicts, for the garbage collector to walk.
_HELD: Final = 100_000
_STEPS: Final = 2_000
_WINDOW: Final = 100

#: What the same code can run on; the first is what the others are compared with.
FOUNDATIONS: Final = {
    "motor, asyncio": ("motor", "asyncio"),
    "motor, uvloop": ("motor", "uvloop"),
    "pymongo, asyncio": ("pymongo", "asyncio"),
    "pymongo, uvloop": ("pymongo", "uvloop"),
}


def _one_by_one(works: Sequence[Work]) -> Work:
    async def run() -> None:
        for work in works:
            await work()

    return run


def _gather(works: Sequence[Work]) -> Work:
    async def run() -> None:
        await asyncio.gather(*(work() for work in works))

    return run


async def _open_signals(size: int) -> list[SignalAdapter]:
    adapters = [SignalAdapter(*context) for context in make_contexts(size)]
    await asyncio.gather(*(adapter.write_signal_data(make_payload()) for adapter in adapters))
    return adapters


def _make_writes(adapters: Sequence[SignalAdapter]) -> list[Work]:
    return [partial(adapter.write_signal_data, make_payload()) for adapter in adapters]


async def _bar() -> dict[str, Make]:
    """Prepare what a strategy does on a bar: ten reads, then four writes."""
    adapters = await _open_signals(10)
    reads: list[Work] = [adapter.read_signal_data for adapter in adapters]

    def run(arrange: Callable[[Sequence[Work]], Work]) -> Work:
        return _one_by_one([arrange(reads), arrange(_make_writes(adapters[:4]))])

    return {"one by one": partial(run, _one_by_one), "gather": partial(run, _gather)}


async def _reads() -> dict[str, Make]:
    adapters = await _open_signals(_SIZE)
    works: list[Work] = [adapter.read_signal_data for adapter in adapters]
    contexts = [adapter.context for adapter in adapters]
    return {
        "one by one": lambda: _one_by_one(works),
        "gather": lambda: _gather(works),
        "read_many": lambda: partial(SignalAdapter.read_many, contexts),
    }


async def _writes() -> dict[str, Make]:
    adapters = await _open_signals(_SIZE)
    contexts = [adapter.context for adapter in adapters]
    return {
        "one by one": lambda: _one_by_one(_make_writes(adapters)),
        "gather": lambda: _gather(_make_writes(adapters)),
        "write_many": lambda: partial(SignalAdapter.write_many, [(context, make_payload()) for context in contexts]),
    }


async def _means() -> dict[str, Make]:
    """Prepare the mean of the last hundred closing prices at each of 2,000 minutes."""
    series = CandleAdapter("BTCUSDT", "1m", make_exchange())
    rows = make_candles(_STEPS + _WINDOW)
    await series.write_candles_data(rows)
    start, end = rows[0]["timestamp"], make_candle(len(rows))["timestamp"]

    async def read_windows() -> list[float]:
        means = []
        for row in rows[:_STEPS]:
            window = await series.read_candles_data(_WINDOW, row["timestamp"])
            assert window is not None
            means.append(statistics.fmean(candle["close"] for candle in window))
        return means

    async def read_frame() -> list[float]:
        closes = (await series.read_frame(start, end, as_="numpy"))["close"]
        return [float(np.mean(closes[place : place + _WINDOW])) for place in range(_STEPS)]

    assert np.allclose(await read_windows(), await read_frame())
    return {"windows in a loop": lambda: read_windows, "one frame": lambda: read_frame}


async def _collector() -> dict[str, Make]:
    """Prepare 5,000 reads at once in a program that holds many objects, under other settings of the collector."""
    adapters = await _open_signals(_TASKS)
    works: list[Work] = [adapter.read_signal_data for adapter in adapters]
    contexts = [adapter.context for adapter in adapters]
    held = make_candles(_HELD)
    thresholds = gc.get_threshold()

    def run(enter: Callable[[], object], leave: Callable[[], object]) -> Work:
        async def run() -> None:
            assert held  # by the closure, as long as it is measured
            enter()
            try:
                await _gather(works)()
            finally:
                leave()

        return run

    return {
        "default": lambda: _gather(works),
        "freeze": partial(run, gc.freeze, gc.unfreeze),
        "threshold": partial(run, partial(gc.set_threshold, 50_000, 20, 100), partial(gc.set_threshold, *thresholds)),
        "disabled": partial(run, gc.disable, gc.enable),
        "read_many": lambda: partial(SignalAdapter.read_many, contexts),
    }


#: By name: how to prepare it, operations in a call, and measured calls per round.
CODES: Final[Mapping[str, tuple[Callable[[], Awaitable[dict[str, Make]]], int, int]]] = {
    "bar": (_bar, 1, 30),
    "reads": (_reads, _SIZE, 4),
    "writes": (_writes, _SIZE, 2),
    "means": (_means, 1, 3),
    "collector": (_collector, _TASKS, 4),
}


async def measure_codes(rounds: int) -> dict[str, Any]:
    """Return, for each code, the microseconds of each way to write it, and their ratios to the first one's."""
    figures = {}
    for name, (prepare, operations, calls) in CODES.items():
        times: dict[str, Times] = {}
        for _ in range(rounds):
            sides = await prepare()
            times = times or {side: Times() for side in sides}
            await interleave(sides, calls, times, is_large=True)
        found = {side: taken.summarize(operations) for side, taken in times.items()}
        first = next(iter(found.values()))["median_us"]
        figures[name] = {side: {**row, "ratio": row["median_us"] / first} for side, row in found.items()}
    return figures


# Drivers and event loops


async def _prepare_foundation() -> dict[str, tuple[Callable[[], Work], int]]:
    """Return what is compared by name: what makes the work of a round, and its operations."""
    adapters = await _open_signals(_SIZE)
    reads: list[Work] = [adapter.read_signal_data for adapter in adapters]
    bar = (await _bar())["gather"]
    return {
        "a lone read": (lambda: _one_by_one(reads[:100]), 100),
        "a lone write": (lambda: _one_by_one(_make_writes(adapters[:50])), 50),
        "a bar, gathered": (lambda: _one_by_one([bar() for _ in range(10)]), 10),
        "500 reads at once": (lambda: _gather(reads), _SIZE),
        "500 writes at once": (lambda: _gather(_make_writes(adapters)), _SIZE),
    }


def _serve(name: str, config: dict[str, Any], parent: Connection) -> None:
    driver, loop = FOUNDATIONS[name]
    with suppress(EOFError), asyncio.Runner(loop_factory=make_loop_factory(loop)) as runner:  # the parent is done
        runner.run(_answer({**config, "CC_MONGO_DRIVER": driver}, parent))


def make_loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if name == "uvloop":
        import uvloop

        return uvloop.new_event_loop
    return asyncio.new_event_loop


async def _answer(config: dict[str, Any], parent: Connection) -> None:
    await setup(config)
    try:
        cases = await _prepare_foundation()
        for make, _ in cases.values():  # warms up the code
            await make()()
        parent.send({name: size for name, (_, size) in cases.items()})
        # The event loop is blocked while the other processes measure.
        while True:
            work = cases[parent.recv()][0]()
            gc.collect()
            busy, start = time.process_time(), time.perf_counter()
            await work()
            parent.send((time.perf_counter() - start, time.process_time() - busy))
    finally:
        await close()


def measure_foundations(config: Mapping[str, Any], rounds: int) -> dict[str, Any]:
    """Return, for each case, the microseconds per operation on each foundation, and its ratio to the first one's."""
    figures: dict[str, Any] = {}
    with open_variants(_serve, FOUNDATIONS, config) as variants:
        *_, sizes = [connection.recv() for connection in variants.values()]
        for case, size in sizes.items():
            turns = take_turns(variants, case, rounds)
            found = {}
            for name, times in turns.items():
                wall, busy = zip(*times, strict=True)
                found[name] = Times(list(wall), list(busy)).summarize(size)
            first = next(iter(found.values()))["median_us"]
            figures[case] = {name: {**row, "ratio": row["median_us"] / first} for name, row in found.items()}
    return figures

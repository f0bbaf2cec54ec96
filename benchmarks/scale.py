"""Cost against size: by rows, by contexts in use and by concurrent tasks; and the memory of a context."""

from __future__ import annotations

import asyncio
import gc
import random
import tracemalloc
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

from bson import ObjectId

from backtest_mongo import CandleAdapter, SignalAdapter, persist
from backtest_mongo.connection.hub_registry import current_hub
from benchmarks.cases import Bench, make_bulk_write, make_upsert, store_signals
from benchmarks.documents import SignalContext, make_candle, make_candles, make_exchange, make_payload
from benchmarks.timing import Make, Times, Work, interleave

__all__ = ["draw", "measure_scale"]

ROWS: Final = (1_000, 10_000, 100_000, 1_000_000)
CONTEXTS: Final = (100, 1_000, 10_000, 100_000)
TASKS: Final = (1, 10, 100, 1_000, 5_000)
#: Contexts whose memory is measured: this process keeps the ids of all of them.
_HELD: Final = 20_000
_WINDOW: Final = 1_000
_CALLS: Final = 60
_PIECE: Final = 10_000

#: By size and by what is measured.
Figures = dict[int, dict[str, float]]


async def measure_scale(bench: Bench, *, quick: bool) -> dict[str, Any]:
    """Return microseconds per operation by size, ``ratio`` to the plain client's; ``quick`` leaves out the largest."""
    last = -1 if quick else None
    return {
        "memory": await _measure_memory(bench),  # first, as this process knows no other ids yet
        "tasks": await _by_tasks(bench, TASKS),
        "contexts": await _by_contexts(bench, CONTEXTS[:last]),
        "rows": await _by_rows(bench, ROWS[:last]),
        "series": await _by_series(ROWS[:last]),
    }


async def _measure_memory(bench: Bench) -> dict[str, Any]:
    """Return the bytes that a context takes whose row was read and written, and what is left of all when none is used.

    They are the adapter, the registry's entry and the id, without the caller's own strings.
    """
    await SignalAdapter("none", "none", "none").read_signal_data()
    contexts, _ = await store_signals(bench.signals()["plain"], _HELD)  # not read, so the ids are still to come
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    adapters = [persist.signal(*context) for context in contexts]
    for start in range(0, _HELD, _WINDOW):
        some = adapters[start : start + _WINDOW]
        await asyncio.gather(*(adapter.read_signal_data() for adapter in some))
        await asyncio.gather(*(adapter.write_signal_data(None) for adapter in some))
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    held = _count_instances()
    del adapters, some
    gc.collect()
    taken = (after - before) / _HELD
    return {"contexts": _HELD, "bytes": taken, "held": held, "left": _count_instances(), "goal": 1_000}


def _count_instances() -> int:
    return sum(map(len, persist._instances.values()))


async def _by_tasks(bench: Bench, sizes: Sequence[int]) -> Figures:
    figures = {}
    for size in sizes:
        contexts, ids = await _store(bench, size)
        adapters = [SignalAdapter(*context) for context in contexts]
        reads: dict[str, Make] = {"ours": partial(_gather_reads, adapters), "plain": partial(_fetch, bench, ids)}
        writes: dict[str, Make] = {
            "ours": partial(_gather_writes, adapters),
            "plain": partial(make_bulk_write, bench.signals()["plain"], contexts),
        }
        figures[size] = await _measure(reads, writes, size, calls=min(30, max(3, 10_000 // size)))
    return figures


def _gather_reads(adapters: Sequence[SignalAdapter]) -> Work:
    async def gather() -> None:
        await asyncio.gather(*(adapter.read_signal_data() for adapter in adapters))

    return gather


def _gather_writes(adapters: Sequence[SignalAdapter]) -> Work:
    payloads = [make_payload() for _ in adapters]

    async def gather() -> None:
        pairs = zip(adapters, payloads, strict=True)
        await asyncio.gather(*(adapter.write_signal_data(payload) for adapter, payload in pairs))

    return gather


def _fetch(bench: Bench, ids: Sequence[ObjectId]) -> Work:
    collection = bench.signals()["plain"]
    return lambda: collection.find({"_id": {"$in": ids}}).to_list(None)


async def _by_contexts(bench: Bench, sizes: Sequence[int]) -> Figures:
    """Read and write rows of contexts chosen at random, of which so many are in use."""
    figures = {}
    for size in sizes:
        contexts, ids = await _store(bench, size)
        adapters = [persist.signal(*context) for context in contexts]
        figures[size] = await _measure_alone(bench, contexts, ids)
        del adapters
    return figures


async def _by_rows(bench: Bench, sizes: Sequence[int]) -> Figures:
    """Read and write rows chosen at random of a collection that holds so many."""
    figures = {}
    collection = bench.signals()["plain"]
    for size in sizes:
        await collection.delete_many({})
        contexts, ids = [], []
        for start in range(0, size, _PIECE):
            some, some_ids = await store_signals(collection, min(_PIECE, size - start))
            chosen = random.Random(start).sample(range(len(some)), max(1, _WINDOW * len(some) // size))
            contexts += [some[place] for place in chosen]
            ids += [some_ids[place] for place in chosen]
        await SignalAdapter.read_many(contexts)
        figures[size] = await _measure_alone(bench, contexts, ids)
    return figures


async def _measure_alone(bench: Bench, contexts: Sequence[SignalContext], ids: Sequence[ObjectId]) -> dict[str, float]:
    collection = bench.signals()["plain"]

    def read(places: Iterator[int]) -> Work:
        return SignalAdapter(*contexts[next(places)]).read_signal_data

    def find(places: Iterator[int]) -> Work:
        return partial(collection.find_one, {"_id": ids[next(places)]})

    def write(places: Iterator[int]) -> Work:
        return partial(SignalAdapter(*contexts[next(places)]).write_signal_data, make_payload())

    def upsert(places: Iterator[int]) -> Work:
        return make_upsert(collection, contexts[next(places)])

    def choose(seed: int) -> Iterator[int]:
        generator = random.Random(seed)
        return iter(lambda: generator.randrange(len(contexts)), None)

    reads: dict[str, Make] = {"ours": partial(read, choose(1)), "plain": partial(find, choose(2))}
    writes: dict[str, Make] = {"ours": partial(write, choose(3)), "plain": partial(upsert, choose(4))}
    return await _measure(reads, writes, 1, calls=_CALLS)


async def _measure(reads: dict[str, Make], writes: dict[str, Make], size: int, calls: int) -> dict[str, float]:
    found: dict[str, float] = {}
    for what, sides in (("read", reads), ("write", writes)):
        times = {side: Times() for side in sides}
        await interleave(sides, calls, times, is_large=size > 1)
        ours, plain = (times[side].summarize(size)["median_us"] for side in ("ours", "plain"))
        found |= {f"{what}_us": ours, f"{what}_ratio": ours / plain}
    return found


async def _by_series(sizes: Sequence[int]) -> Figures:
    """Read windows from the middle of a series of so many candles, and write its next one."""
    figures = {}
    for size in sizes:
        series = CandleAdapter("BTCUSDT", "1m", make_exchange())
        for start in range(0, size, 100_000):
            await series.write_candles_data(make_candles(min(100_000, size - start), start))
        numbers = iter(range(size, size + 2 * _CALLS))
        since = make_candle((size - _WINDOW) // 2)["timestamp"]

        def read(series: CandleAdapter = series, since: int = since) -> Work:
            current_hub().candle_cache.clear()
            return partial(series.read_candles_data, _WINDOW, since)

        def write(series: CandleAdapter = series, numbers: Iterator[int] = numbers) -> Work:
            return partial(series.write_candles_data, [make_candle(next(numbers))])

        times = {"window": Times(), "candle": Times()}
        await interleave({"window": read, "candle": write}, _CALLS, times, is_large=False)
        figures[size] = {f"{name}_us": taken.summarize(1)["median_us"] for name, taken in times.items()}
    return figures


async def _store(bench: Bench, size: int) -> tuple[list[SignalContext], list[ObjectId]]:
    """Store signals whose ids this process knows afterwards, as many of them as it keeps."""
    contexts: list[SignalContext] = []
    ids: list[ObjectId] = []
    for start in range(0, size, _PIECE):
        some, some_ids = await store_signals(bench.signals()["plain"], min(_PIECE, size - start))
        await SignalAdapter.read_many(some)
        contexts += some
        ids += some_ids
    return contexts, ids


def draw(figures: dict[str, Any], path: str) -> None:
    """Draw the figures to a PNG file."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4), layout="constrained")
    lines = (
        (left, "rows", "read_us", "read a row"),
        (left, "rows", "write_us", "write a row"),
        (left, "series", "window_us", "read a window of 1,000 candles"),
        (left, "series", "candle_us", "write a candle"),
        (middle, "contexts", "read_us", "read"),
        (middle, "contexts", "write_us", "write"),
        (right, "tasks", "read_us", "read"),
        (right, "tasks", "write_us", "write"),
    )
    for axes, part, name, label in lines:
        by_size = figures[part]
        axes.plot([int(size) for size in by_size], [row[name] for row in by_size.values()], marker="o", label=label)
    for axes, size in ((left, "rows in the collection or series"), (middle, "contexts"), (right, "tasks")):
        axes.set(xscale="log", yscale="log", xlabel=size, ylabel="microseconds per operation")
        axes.grid(which="both", alpha=0.25)
        axes.set_ylim(bottom=1)
        axes.legend()
    left.set_title("By rows stored")
    middle.set_title("By contexts in use")
    right.set_title("By tasks at once")
    figure.savefig(path, dpi=110)
    plt.close(figure)

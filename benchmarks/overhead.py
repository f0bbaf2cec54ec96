"""Measure the overhead of counters and telemetry: ``python -m benchmarks.overhead``. It needs OpenTelemetry's SDK.

Each variant runs in a separate process on the same servers. The processes take turns in each round, so that other load
on the machine affects all of them. The ratios are medians over the rounds, of the processor time of the process; they
are lower in the time that a caller sees, which includes waiting for the servers.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from operator import truediv
from typing import Any, Final

from benchmarks.variants import open_variants, take_turns

#: The variants, in the order of the table.
WAYS: Final = {
    "bare": "neither counters nor telemetry",
    "absent": "counters for stats(); OpenTelemetry is not installed",
    "api": "counters; OpenTelemetry's API is installed, but not set up",
    "metrics": "all metrics through the SDK, no spans",
    "all": "all metrics and spans through the SDK, exported in memory",
}
ROUNDS: Final = 21
ALONE: Final = 200
AT_ONCE: Final = 500
LISTED: Final = 2_000
WINDOW: Final = 500

Work = Callable[[], Awaitable[Any]]
#: By name of the case: the work of a round, and the number of operations or rows in it.
Cases = dict[str, tuple[Work, int]]


async def _cases() -> Cases:
    from backtest_mongo import CandleAdapter, MemoryAdapter, SignalAdapter
    from benchmarks.documents import PAYLOAD, make_candles

    signals = [SignalAdapter(f"SYMBOL{number}", "overhead", "binance") for number in range(AT_ONCE)]
    memory, series = MemoryAdapter("signal-1", "overhead"), CandleAdapter("BTCUSDT", "1m", "binance")
    await asyncio.gather(*(signal.write_signal_data(PAYLOAD) for signal in signals))
    await asyncio.gather(*(memory.write_memory_data(PAYLOAD, str(number), 0) for number in range(LISTED)))
    rows = make_candles(WINDOW)
    await series.write_candles_data(rows)

    async def read_alone() -> None:
        for signal in signals[:ALONE]:
            await signal.read_signal_data()

    async def read_at_once() -> None:
        await asyncio.gather(*(signal.read_signal_data() for signal in signals))

    async def write_alone() -> None:
        for signal in signals[:ALONE]:
            await signal.write_signal_data(PAYLOAD)

    async def write_at_once() -> None:
        await asyncio.gather(*(signal.write_signal_data(PAYLOAD) for signal in signals))

    async def listed() -> None:
        async for _ in memory.list_memory_data():
            pass

    async def window() -> None:
        for _ in range(ALONE):
            await series.read_candles_data(WINDOW, rows[0]["timestamp"])

    return {
        "read, one by one": (read_alone, ALONE),
        "read, 500 at once": (read_at_once, AT_ONCE),
        "write, one by one": (write_alone, ALONE),
        "write, 500 at once": (write_at_once, AT_ONCE),
        "list 2,000, each row": (listed, LISTED),
        "500 candles in memory": (window, ALONE),
    }


def _prepare(way: str) -> Callable[[], None]:
    """Turn this process into one of the variants, and return what to call between rounds."""
    if way in ("bare", "absent"):
        sys.modules["opentelemetry"] = None  # type: ignore[assignment]  # makes importing it fail
    if way == "bare":
        from backtest_mongo.connection import batching
        from backtest_mongo.core import counters

        counters.RoundTrips.add = lambda self, rows, trips=1: None  # type: ignore[method-assign]
        batching.current_operation = type("Nothing", (), {"get": lambda self: None})()  # type: ignore[attr-defined]
    if way == "api":
        from opentelemetry import metrics, trace  # noqa: F401  # only to have it imported
    return _set_up(way) if way in ("metrics", "all") else lambda: None


def _set_up(way: str) -> Callable[[], None]:
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    reader, spans, tracers = InMemoryMetricReader(), InMemorySpanExporter(), TracerProvider()
    metrics.set_meter_provider(MeterProvider([reader]))
    if way == "all":
        tracers.add_span_processor(BatchSpanProcessor(spans))
        trace.set_tracer_provider(tracers)

    def collect() -> None:
        assert reader.get_metrics_data() is not None  # otherwise nothing would be recorded or measured
        tracers.force_flush()
        assert (way == "all") == bool(spans.get_finished_spans())
        spans.clear()

    return collect


def _serve(way: str, config: dict[str, Any], parent: Connection) -> None:
    """Measure one round of a case each time the parent asks for it."""
    between = _prepare(way)
    with suppress(EOFError):  # the parent is done
        asyncio.run(_answer(config, parent, between))


async def _answer(config: dict[str, Any], parent: Connection, between: Callable[[], None]) -> None:
    from backtest_mongo import setup

    async with setup(config):
        cases = await _cases()
        for work, _ in cases.values():  # fill the caches, and warm up the code
            await work()
        parent.send({name: size for name, (_, size) in cases.items()})
        # The event loop is blocked while the other processes measure.
        while True:
            name = parent.recv()
            between()
            gc.collect()
            begin, busy = time.perf_counter(), time.process_time()
            await cases[name][0]()
            parent.send((time.perf_counter() - begin, time.process_time() - busy))


def _measure(config: dict[str, Any], rounds: int) -> None:
    with open_variants(_serve, WAYS, config) as ways:
        *_, sizes = [connection.recv() for connection in ways.values()]
        names = list(ways)
        print(f"{'':24}{'total, µs':>11}{'CPU, µs':>10}" + "".join(f"{name:>9}" for name in names[1:]))
        for case, size in sizes.items():
            turns = take_turns(ways, case, rounds)
            micros = [statistics.median(times) / size * 1e6 for times in zip(*turns["bare"], strict=True)]
            bare = [busy for _, busy in turns["bare"]]
            ratios = [statistics.median(map(truediv, [busy for _, busy in turns[name]], bare)) for name in names[1:]]
            print(f"{case:24}{micros[0]:>11.1f}{micros[1]:>10.1f}" + "".join(f"{ratio:>9.2f}" for ratio in ratios))


def main() -> None:
    from backtest_mongo import embedded

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--driver", choices=("motor", "pymongo"), action="append")
    arguments = parser.parse_args()
    for way, meaning in WAYS.items():
        print(f"{way:8} {meaning}")
    with embedded.Servers() as servers:
        for driver in arguments.driver or ("motor", "pymongo"):
            print(
                f"\n{driver}: time per operation of the bare variant, and processor time of the others as its multiple"
            )
            _measure({**servers.config, "CC_MONGO_DRIVER": driver}, arguments.rounds)


if __name__ == "__main__":
    main()

"""What counting and telemetry cost: ``python -m benchmarks.overhead``. OpenTelemetry's SDK must be installed.

Each way runs in a process of its own, all of them beside one another on the same servers, and the rounds go from one to
the next: so what the machine does meanwhile strikes all of them. What is compared is the processor time of the process,
which is all that is added to. Waiting for the servers is not in it, so in the time that a caller sees the ratios are
lower. Each is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from operator import truediv
from typing import Any, Final

#: What of a process differs, in the order of the table.
WAYS: Final = {
    "bare": "neither counted nor observed: the code without either",
    "absent": "counted for stats(); OpenTelemetry is not installed",
    "api": "the same; OpenTelemetry's API is there, and nothing set up",
    "metrics": "every metric by the SDK, no spans",
    "all": "every metric and every span by the SDK, exported in memory",
}
ROUNDS: Final = 21
ALONE: Final = 200
AT_ONCE: Final = 500
LISTED: Final = 2_000
WINDOW: Final = 500
MINUTE: Final = 60_000

Work = Callable[[], Awaitable[Any]]
#: Each case: the work of a round, and how many operations or rows that is.
Cases = dict[str, tuple[Work, int]]


async def _cases() -> Cases:
    from backtest_mongo import CandleAdapter, MemoryAdapter, SignalAdapter
    from benchmarks.cases import PAYLOAD, candles

    signals = [SignalAdapter(f"SYMBOL{number}", "overhead", "binance") for number in range(AT_ONCE)]
    memory, series = MemoryAdapter("signal-1", "overhead"), CandleAdapter("BTCUSDT", "1m", "binance")
    await asyncio.gather(*(signal.write_signal_data(PAYLOAD) for signal in signals))
    await asyncio.gather(*(memory.write_memory_data(PAYLOAD, str(number), 0) for number in range(LISTED)))
    rows = candles(WINDOW)
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
    """Make this process one of the ways, and return what is to be done between rounds."""
    if way in ("bare", "absent"):
        sys.modules["opentelemetry"] = None  # type: ignore[assignment]  # what keeps it from being imported
    if way == "bare":
        from backtest_mongo import counts, crowd, mongo_reads

        counts.Trips.add = lambda self, rows, trips=1: None  # type: ignore[method-assign]
        mongo_reads.MongoReads._note = lambda self, hit: None  # type: ignore[method-assign]
        nothing: Any = type("Nothing", (), {"get": lambda self: None})()
        for module in (crowd, mongo_reads):
            module.seen = nothing  # type: ignore[attr-defined]
    if way == "api":
        from opentelemetry import metrics, trace  # noqa: F401  # to be there
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
        assert reader.get_metrics_data() is not None  # else nothing is recorded, and nothing measured
        tracers.force_flush()
        assert (way == "all") == bool(spans.get_finished_spans())
        spans.clear()

    return collect


def _serve(way: str, config: dict[str, Any], parent: Connection) -> None:
    """Measure a round of a case whenever the parent asks for it."""
    between = _prepare(way)
    with suppress(EOFError):  # the parent has all that it wants
        asyncio.run(_answer(config, parent, between))


async def _answer(config: dict[str, Any], parent: Connection, between: Callable[[], None]) -> None:
    from backtest_mongo import setup

    async with setup(config):
        cases = await _cases()
        for work, _ in cases.values():  # ids known, candles in memory, code warm
            await work()
        parent.send({name: size for name, (_, size) in cases.items()})
        # The event loop stands still while the others measure.
        while True:
            name = parent.recv()
            between()
            gc.collect()
            begin, busy = time.perf_counter(), time.process_time()
            await cases[name][0]()
            parent.send((time.perf_counter() - begin, time.process_time() - busy))


@contextmanager
def _processes(config: dict[str, Any]) -> Iterator[dict[str, Connection]]:
    context = get_context("spawn")
    pipes = {way: context.Pipe() for way in WAYS}
    processes = []
    uri, _, options = config["CC_MONGO_CONNECTION_STRING"].partition("?")
    for way, (_, theirs) in pipes.items():
        own = {**config, "CC_MONGO_CONNECTION_STRING": f"{uri}-{way}?{options}"}  # a database of its own
        processes.append(context.Process(target=_serve, args=(way, own, theirs)))
        processes[-1].start()
        theirs.close()
    try:
        yield {way: ours for way, (ours, _) in pipes.items()}
    finally:
        for ours, _ in pipes.values():
            ours.close()
        for process in processes:
            process.join()


def _measure(config: dict[str, Any], rounds: int) -> None:
    with _processes(config) as ways:
        *_, sizes = [connection.recv() for connection in ways.values()]
        names = list(ways)
        print(f"{'':24}{'in all, µs':>11}{'busy, µs':>10}" + "".join(f"{name:>9}" for name in names[1:]))
        for case, size in sizes.items():
            taken: dict[str, list[float]] = {name: [] for name in names}
            busy: dict[str, list[float]] = {name: [] for name in names}
            for number in range(rounds):
                first = number % len(names)
                for name in names[first:] + names[:first]:
                    ways[name].send(case)
                    seconds, own = ways[name].recv()
                    taken[name].append(seconds)
                    busy[name].append(own)
            micros = [statistics.median(times["bare"]) / size * 1e6 for times in (taken, busy)]
            ratios = [statistics.median(map(truediv, busy[name], busy["bare"])) for name in names[1:]]
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
                f"\n{driver}: the bare time of one, waiting included and not, and the others in multiples of the latter"
            )
            _measure({**servers.config, "CC_MONGO_DRIVER": driver}, arguments.rounds)


if __name__ == "__main__":
    main()

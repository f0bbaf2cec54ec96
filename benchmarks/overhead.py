"""What telemetry costs: ``python -m benchmarks.overhead``, reads whose id is known, one by one and 500 at once.

First where nothing is set up, then where OpenTelemetry's SDK records every span and metric; it must be installed.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Final

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from backtest_mongo import SignalAdapter, close, embedded, setup
from benchmarks.cases import PAYLOAD

ROUNDS: Final = 15
ALONE: Final = 300
AT_ONCE: Final = 500


async def _alone(signals: list[SignalAdapter]) -> None:
    for signal in signals[:ALONE]:
        await signal.read_signal_data()


async def _at_once(signals: list[SignalAdapter]) -> None:
    await asyncio.gather(*(signal.read_signal_data() for signal in signals))


async def _measure(read: Callable[[list[SignalAdapter]], Awaitable[None]], signals: list[SignalAdapter]) -> float:
    """Return seconds, of reads whose ids this process knows."""
    await _at_once(signals)
    begin = time.perf_counter()
    await read(signals)
    return time.perf_counter() - begin


async def _measure_all(set_up: Callable[[], None]) -> dict[tuple[str, str], list[float]]:
    signals = [SignalAdapter(f"SYMBOL{number}", "overhead", "binance") for number in range(AT_ONCE)]
    await asyncio.gather(*(signal.write_signal_data(PAYLOAD) for signal in signals))
    seconds: dict[tuple[str, str], list[float]] = {}
    for way in ("nothing set up", "recorded"):
        if way == "recorded":
            set_up()
            await close()  # whether it is set up is asked once for each event loop's connections
        for _ in range(ROUNDS):
            for read, count in ((_alone, ALONE), (_at_once, AT_ONCE)):
                seconds.setdefault((read.__name__, way), []).append(await _measure(read, signals) / count)
    return seconds


def _set_up() -> None:
    tracers = TracerProvider()
    tracers.add_span_processor(BatchSpanProcessor(InMemorySpanExporter()))
    trace.set_tracer_provider(tracers)
    metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))


async def _run(config: dict[str, object]) -> None:
    async with setup(config):
        seconds = await _measure_all(_set_up)
    for (read, way), times in seconds.items():
        ratio = statistics.median(times) / statistics.median(seconds[read, "nothing set up"])
        print(f"{read[1:]:8} {way:16} {statistics.median(times) * 1e6:8.1f} µs  {ratio:.2f}")


if __name__ == "__main__":
    with embedded.Servers() as servers:
        asyncio.run(_run(servers.config))

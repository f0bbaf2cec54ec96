"""Cost against size: from 10^3 to 10^6 candles in one series, and from 1 to 1,000 concurrent readers."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from backtest_mongo import CandleAdapter, SignalAdapter
from backtest_mongo.hub import current_hub
from benchmarks.cases import MINUTE, PAYLOAD, candles

__all__ = ["draw", "measure_scale"]

CANDLES: Final = (1_000, 10_000, 100_000, 1_000_000)
READERS: Final = (1, 10, 100, 1_000)
#: Signals stored beside those that are read.
SIGNALS: Final = 100_000
_REPEATS: Final = 15


async def measure_scale() -> dict[str, Any]:
    """Return, in microseconds, what a window and a batch cost by the size of their series, and a read by the crowd."""
    windows, batches = {}, {}
    for size in CANDLES:
        series = CandleAdapter("BTCUSDT", "1m", f"scale-{size}")
        rows = candles(size)
        start = time.perf_counter()
        for first in range(0, size, 100_000):
            await series.write_candles_data(rows[first : first + 100_000])
        batches[size] = (time.perf_counter() - start) / size * 1e6
        windows[size] = await _median(partial(_cold_window, series, size))
    signals = [SignalAdapter(f"SYMBOL{number}", "scale", "binance") for number in range(SIGNALS)]
    for first in range(0, SIGNALS, 1_000):
        await asyncio.gather(*(signal.write_signal_data(PAYLOAD) for signal in signals[first : first + 1_000]))
    readers = {}
    for crowd in READERS:
        chosen = signals[:: SIGNALS // crowd][:crowd]
        readers[crowd] = await _median(partial(_read, chosen)) / crowd
    return {"window_of_1000_us": windows, "candle_written_us": batches, "read_us": readers}


async def _median(work: Callable[[], Awaitable[Any]]) -> float:
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        await work()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


async def _cold_window(series: CandleAdapter, size: int) -> None:
    current_hub().candles.clear()
    assert await series.read_candles_data(1_000, (size - 1_000) // 2 * MINUTE) is not None


async def _read(signals: list[SignalAdapter]) -> None:
    await asyncio.gather(*(signal.read_signal_data() for signal in signals))


def draw(figures: dict[str, Any], path: str) -> None:
    """Draw the figures to a PNG file."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for name, label in (("window_of_1000_us", "a window of 1,000, read"), ("candle_written_us", "a candle, written")):
        left.plot([int(size) for size in figures[name]], list(figures[name].values()), marker="o", label=label)
    left.set(xscale="log", yscale="log", xlabel="candles in the series", ylabel="microseconds", title="Candles")
    crowd = figures["read_us"]
    right.plot([int(size) for size in crowd], list(crowd.values()), marker="o", color="tab:green")
    right.set(xscale="log", yscale="log", xlabel="concurrent readers", ylabel="microseconds a read")
    right.set_title(f"Reads of one slot, {SIGNALS:,} signals stored")
    for axes in (left, right):
        axes.grid(which="both", alpha=0.25)
        axes.set_ylim(bottom=1)
    left.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)

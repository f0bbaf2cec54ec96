"""Pictures of stored candles, with the trades of a strategy over them. Drawing needs the extra ``plot``."""

from __future__ import annotations

import asyncio
import importlib.util
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backtest_mongo import CandleAdapter, SignalAdapter, StorageAdapter
from backtest_mongo.candles.plot_bars import Bars, aggregate
from backtest_mongo.candles.plot_trades import Overlay, Trade, overlay, read_trades
from backtest_mongo.candles.times import utc
from backtest_mongo.errors import InputError
from backtest_mongo.types import When

__all__ = ["FORMATS", "Drawn", "plot_candles"]

FORMATS: Final = (".png", ".html")


@dataclass(frozen=True)
class Drawn:
    """What a picture shows: ``bars`` of ``interval``, made of ``candles`` stored ones, and ``trades``.

    ``left_out`` counts the signals that are not shown, by reason.
    """

    path: Path
    interval: str
    bars: int
    candles: int
    trades: int
    left_out: dict[str, int]


async def plot_candles(
    symbol: str,
    interval: str,
    exchange_name: str,
    path: str | Path,
    *,
    start: When | None = None,
    end: When | None = None,
    strategy_name: str | None = None,
    backtest: bool = True,
    title: str | None = None,
    width: int = 1200,
    height: int = 640,
    max_candles: int = 5000,
) -> Drawn:
    """Draw candles with their volume as a PNG or as an HTML page, by the ending of ``path``, which is replaced.

    The page needs no network: it zooms, pans and tells the numbers. Times are UTC. Where there was no trade no room is
    left, and a dotted line marks it. More than ``max_candles`` are merged into a coarser interval, and the subtitle
    says so. ``width`` and ``height`` are those of the plotting area; a PNG has two pixels for each of theirs.

    With ``strategy_name`` its entries, exits, stops and targets are drawn too, from the storage slot (the trades of a
    backtest, or of live trading) and the position that the signal slot holds. Signals without a time or a price are
    left out, and the subtitle counts them.

    Args:
        start: the first open time; ``None`` for the first that is stored.
        end: the time before which the last one opens; ``None`` for the last that is stored.

    Raises:
        InputError: no candle is stored there, an argument can't be, or the extra is not installed.
        StoreUnavailableError: MongoDB can't be reached.
        StoreError: MongoDB answers with an error.
        OSError: ``path`` can't be written to.
    """
    target = Path(path)
    _check(target, width, height, max_candles)
    candles = CandleAdapter(symbol, interval, exchange_name)
    stored = Bars.of(await candles.read_frame(start, end, as_="numpy"), interval)
    if not len(stored):
        raise await _nothing(candles, f"{symbol} {interval} of {exchange_name}")
    left_out: Counter[str] = Counter()
    trades: list[Trade] = []
    if strategy_name is not None:
        rows = await StorageAdapter(backtest).read_storage_data()
        pending = await SignalAdapter(symbol, strategy_name, exchange_name).read_signal_data()
        context = {"symbol": symbol, "strategyName": strategy_name, "exchangeName": exchange_name}
        trades = list(read_trades(rows, pending, stored, left_out, **context))
    bars = aggregate(stored, max_candles)
    over = overlay(trades, stored, bars, left_out)
    heading = title or f"{symbol}, {exchange_name}, {interval}, {utc(int(stored.times[0]))} to {utc(stored.end)} UTC"
    subtitle = _subtitle(stored, bars, over, strategy_name)

    def draw() -> None:
        from backtest_mongo.candles.plot_chart import chart, save

        save(chart(bars, over, heading, subtitle, width, height, live=target.suffix.lower() == ".html"), target)

    # It takes seconds, and other tasks of this loop have to go on.
    await asyncio.to_thread(draw)
    return Drawn(target, bars.interval, len(bars), len(stored), len(over.trades), dict(left_out))


def _check(path: Path, width: int, height: int, max_candles: int) -> None:
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"path must end with {' or '.join(FORMATS)}, not {path.name!r}")
    for name, value, least in (("width", width, 200), ("height", height, 100), ("max_candles", max_candles, 2)):
        if value < least:
            raise InputError(f"{name} must be {least} or more, not {value}")
    missing = [name for name in ("altair", "vl_convert") if importlib.util.find_spec(name) is None]
    if missing:
        hint = 'pip install "backtest-mongo[plot]"'
        raise InputError(f"plot_candles needs {' and '.join(missing)}, which is not installed", hint=hint)


async def _nothing(candles: CandleAdapter, series: str) -> InputError:
    bounds = await candles.bounds()
    if bounds is None:
        return InputError(f"no candle of {series} is stored", slot="candle")
    hint = f"stored are {utc(bounds[0])} to {utc(bounds[1])} UTC"
    return InputError(f"no candle of {series} is stored in this range", slot="candle", hint=hint)


def _subtitle(stored: Bars, bars: Bars, over: Overlay, strategy_name: str | None) -> list[str]:
    merged = f" merged into {len(bars):,} of {bars.interval}" if bars is not stored else ""
    breaks = len(bars.breaks())
    closed = f"; {breaks:,} {'break' if breaks == 1 else 'breaks'} in trading left out (dotted)" if breaks else ""
    lines = [f"{len(stored):,} candles{merged}{closed}"]
    return lines if strategy_name is None else [*lines, f"{strategy_name}: {over.summary()}"]

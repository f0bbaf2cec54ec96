"""Reading stored candles where some may be missing, as over a weekend."""

from __future__ import annotations

from backtest_mongo import CandleAdapter
from backtest_mongo.types import PRICES, Candle

__all__ = ["read_candles", "read_last"]


async def read_candles(candles: CandleAdapter, start: int, end: int) -> list[Candle]:
    """Return the stored candles that open in ``[start, end)``, in the order of time."""
    frame = await candles.read_frame(start, end, as_="numpy")
    columns = [frame["timestamp"].astype(int).tolist(), *(frame[name].tolist() for name in PRICES)]
    return [
        Candle(timestamp=time, open=first, high=high, low=low, close=last, volume=volume)
        for time, first, high, low, last, volume in zip(*columns, strict=True)
    ]


async def read_last(candles: CandleAdapter, count: int, end: int, length: int) -> list[Candle]:
    """Return the last ``count`` candles that open before ``end``, or all if there are fewer, in the order of time.

    ``length`` is that of a candle in milliseconds.
    """
    bounds, span, found = await candles.bounds(), count * length, list[Candle]()
    while bounds is not None and len(found) < count:
        found = await read_candles(candles, end - span, end)
        if end - span <= bounds[0]:
            break
        span *= 2  # there is a gap: look further back
    return found[-count:]

"""Choosing stored series by symbol, interval and exchange, and naming them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from backtest_mongo import CandleAdapter
from backtest_mongo.cli.databases import get_adapter
from backtest_mongo.core.control_characters import escape_controls
from backtest_mongo.errors import InputError

__all__ = ["SeriesFilter", "format_series", "get_candle_adapter", "select_series"]


@dataclass(frozen=True)
class SeriesFilter:
    """Which series are wanted; ``None`` matches any."""

    symbol: str | None
    interval: str | None
    exchange: str | None


def get_candle_adapter() -> type[CandleAdapter]:
    """Return the adapter class of candles for the storage that the command works on."""
    return cast("type[CandleAdapter]", get_adapter(CandleAdapter.spec))


async def select_series(wanted: SeriesFilter, adapters: type[CandleAdapter] = CandleAdapter) -> list[CandleAdapter]:
    """Return the stored series that match, of MongoDB or of what other adapters store.

    Raises:
        InputError: there is none.
    """
    found = []
    async for adapter in adapters.list_series():
        context = adapter.context
        pairs = (
            (wanted.symbol, context["symbol"]),
            (wanted.interval, context["interval"]),
            (wanted.exchange, context["exchange_name"]),
        )
        if all(one is None or one == other for one, other in pairs):
            found.append(adapter)
    if not found:
        words = [word for word in (wanted.exchange, wanted.symbol, wanted.interval) if word is not None]
        raise InputError(f"no candles of {' '.join(words)} are stored" if words else "no candles are stored")
    return found


def format_series(adapter: CandleAdapter) -> str:
    """Format a series' name, such as ``binance BTCUSDT 1m``."""
    context = adapter.context
    return escape_controls(f"{context['exchange_name']} {context['symbol']} {context['interval']}")

"""Running a command on the deployment that the environment names, and choosing series for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from backtest_mongo import CandleAdapter, set_logger, setup
from backtest_mongo.console import reported
from backtest_mongo.errors import InputError

__all__ = ["Filter", "chosen", "run", "title"]

_T = TypeVar("_T")


def run(work: Callable[[], Awaitable[_T]]) -> _T:
    """Carry out ``work`` on the deployment that ``CC_*`` names; errors and Ctrl-C end the process without traceback."""

    async def connected() -> _T:
        async with setup():
            return await work()

    with reported():
        # structlog would print warnings to standard output, among the results.
        set_logger(logging.getLogger("backtest_mongo"))
        return asyncio.run(connected())


@dataclass(frozen=True)
class Filter:
    """Which series are meant; ``None`` means any."""

    symbol: str | None
    interval: str | None
    exchange: str | None


async def chosen(wanted: Filter) -> list[CandleAdapter]:
    """Return the stored series that are meant.

    Raises:
        InputError: there is none.
    """
    found = []
    async for adapter in CandleAdapter.list_series():
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


def title(adapter: CandleAdapter) -> str:
    """Return a series' name for people, such as ``binance BTCUSDT 1m``."""
    context = adapter.context
    return f"{context['exchange_name']} {context['symbol']} {context['interval']}"

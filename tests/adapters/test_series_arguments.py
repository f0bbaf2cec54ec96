"""Arguments of series that can't be: each is refused by name, with the slot's, before a database is asked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from backtest_mongo import CandleAdapter, InputError, InputTypeError, TradeAdapter

pytestmark = pytest.mark.either_driver

KINDS = "as_ must be one of polars, pandas, numpy, arrow, not"
NAIVE = "must not be a naive datetime: give it a timezone, as in datetime.now(UTC), or give"
REFUSED: dict[str, tuple[Callable[[Any], Any], type[InputError], str]] = {
    "kind": (lambda series: series.read_frame(as_="panda"), InputError, f"{KINDS} 'panda'"),
    "kinds": (lambda series: series.read_frame(as_=["numpy"]), InputError, f"{KINDS} ['numpy']"),
    "kind of candles": (lambda series: series.resample("1h", as_="panda"), InputError, f"{KINDS} 'panda'"),
}
REFUSED_OF_COLUMNS: dict[str, tuple[Callable[[Any], Any], type[InputError], str]] = {
    "list": (
        lambda series: series.read_frame(columns=[["price"]]),
        InputTypeError,
        "columns must be a list of names, not of list",
    ),
    "number": (
        lambda series: series.read_last(1, columns=[1]),
        InputTypeError,
        "columns must be a list of names, not of int",
    ),
    "text": (
        lambda series: series.read_asof(1, columns="price"),
        InputTypeError,
        "columns must be a list of names, not str",
    ),
    "price": (
        lambda series: series.resample("1h", price=["price"]),
        InputTypeError,
        "price must be the name of a column, not list",
    ),
    "start": (lambda series: series.read_frame(datetime(2024, 1, 1)), InputError, f"start {NAIVE} microseconds"),
    "time": (lambda series: series.read_asof(datetime(2024, 1, 1)), InputError, f"time {NAIVE} microseconds"),
    "when": (
        lambda series: series.read_frame(when=datetime(2024, 1, 1)),
        InputError,
        f"when {NAIVE} milliseconds",
    ),
}


@pytest.mark.parametrize("name", [*REFUSED, *REFUSED_OF_COLUMNS])
async def test_argument_is_refused_by_name(name: str) -> None:
    call, kind, message = {**REFUSED, **REFUSED_OF_COLUMNS}[name]
    with pytest.raises(kind) as caught:
        await call(TradeAdapter("BTCUSDT", "binance"))
    assert (type(caught.value), caught.value.slot, caught.value.message) == (kind, "trade", message)


@pytest.mark.parametrize("name", REFUSED)
async def test_argument_of_candles_is_refused_by_name(name: str) -> None:
    call, kind, message = REFUSED[name]
    with pytest.raises(kind) as caught:
        await call(CandleAdapter("BTCUSDT", "1m", "binance"))
    assert (type(caught.value), caught.value.slot, caught.value.message) == (kind, "candle", message)

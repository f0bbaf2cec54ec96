"""Bars, trades and quotes of Nautilus out of and into series, to the last digit or not at all."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nautilus_trader.model.data import Bar, BarType, QuoteTick, TradeTick
from nautilus_trader.model.enums import AggressorSide
from nautilus_trader.model.identifiers import InstrumentId, TradeId
from nautilus_trader.model.objects import Price, Quantity
from nautilus_trader.trading.strategy import Strategy

import backtest_mongo
from backtest_mongo import Column, InputError, InputTypeError, SlotSpec
from backtest_mongo.integrations.nautilus import (
    get_interval,
    make_bar_type,
    read_bars,
    read_quotes,
    read_trades,
    write_bars,
    write_quotes,
    write_trades,
)
from backtest_mongo.sync import persist as registry
from tests.engines.nautilus.support import (
    BARS,
    INSTRUMENT,
    MINUTE,
    QUIET,
    START,
    STORAGES,
    make_bars,
    make_quotes,
    make_trades,
    run_engine,
)

pytestmark = QUIET
#: With the slots of Nautilus' ticks, which type checkers can't see.
persist: Any = registry


@dataclass
class Market:
    """As much of an instrument as is needed."""

    price_precision: int
    size_precision: int
    id: Any = INSTRUMENT.id


def open_candles(interval: str = "1m") -> Any:
    return persist.candle("BTCUSDT", interval, "BINANCE")


def open_trades(slot: str = "nautilus_trade") -> Any:
    return getattr(persist, slot)("BTCUSDT", "BINANCE")


def open_quotes(slot: str = "nautilus_quote") -> Any:
    return getattr(persist, slot)("BTCUSDT", "BINANCE")


def show(rows: list[Any]) -> list[dict[str, Any]]:
    """Return all that rows have, numbers as text with every digit."""
    return [type(row).to_dict(row) for row in rows]


def make_bar(market: Market, price: Any, size: Any, close: int = START + MINUTE, init: int | None = None) -> Any:
    one, volume = Price(price, market.price_precision), Quantity(size, market.size_precision)
    return Bar(BARS, one, one, one, one, volume, close, close if init is None else init)


# Bars


@STORAGES
def test_bars_come_back_as_they_were_stored(storage: str) -> None:
    bars = make_bars(3_000)
    assert write_bars(open_candles(), bars, INSTRUMENT).new == 3_000
    assert show(read_bars(open_candles(), BARS, INSTRUMENT)) == show(bars)
    assert write_bars(open_candles(), bars, INSTRUMENT).present == 3_000


def test_bar_opens_one_interval_before_its_event_and_closes_at_it(local: None) -> None:
    write_bars(open_candles(), make_bars(1), INSTRUMENT)
    (candle,) = open_candles().read_candles_data(1, START // 1_000_000)
    assert candle["timestamp"] == START // 1_000_000
    (bar,) = read_bars(open_candles(), BARS, INSTRUMENT)
    assert (bar.ts_event, bar.ts_init) == (START + MINUTE, START + MINUTE)
    (late,) = read_bars(open_candles(), BARS, INSTRUMENT, ts_init_delta=7)
    assert (late.ts_event, late.ts_init) == (START + MINUTE, START + MINUTE + 7)
    (opening,) = read_bars(open_candles(), BARS, INSTRUMENT, timestamp_on_close=False)
    assert (opening.ts_event, opening.ts_init) == (START, START + MINUTE)


def test_strategy_gets_a_candle_when_it_is_over(local: None) -> None:
    write_bars(open_candles(), make_bars(5), INSTRUMENT)
    seen: list[tuple[int, int]] = []

    class Looking(Strategy):
        def on_start(self) -> None:
            self.subscribe_bars(BARS)

        def on_bar(self, bar: Any) -> None:
            (candle,) = [row for row in stored if row["timestamp"] * 1_000_000 == bar.ts_event - MINUTE]
            seen.append((self.clock.timestamp_ns(), candle["timestamp"] * 1_000_000 + MINUTE))

    stored = open_candles().read_candles_data(5, START // 1_000_000)
    run_engine(read_bars(open_candles(), BARS, INSTRUMENT), Looking())
    assert seen == [(START + number * MINUTE, START + number * MINUTE) for number in range(1, 6)]


def test_bars_whose_event_is_their_opening_become_the_same_candles(local: None) -> None:
    bars = make_bars(3)
    opening = [Bar.from_dict({**row, "ts_event": row["ts_event"] - MINUTE}) for row in show(bars)]
    write_bars(open_candles(), opening, INSTRUMENT, timestamp_on_close=False)
    assert show(read_bars(open_candles(), BARS, INSTRUMENT)) == show(bars)
    assert show(read_bars(open_candles(), BARS, INSTRUMENT, timestamp_on_close=False)) == show(opening)


def test_bar_that_would_be_known_before_it_closes_is_refused(local: None) -> None:
    bars = make_bars(3)
    early = [Bar.from_dict({**row, "ts_event": row["ts_event"] - MINUTE}) for row in show(bars)]
    early[2] = Bar.from_dict({**show(early)[2], "ts_init": early[2].ts_event})
    with pytest.raises(InputError, match=r"^[a-z_]+: bars\[2\]\.ts_init 1704067320000000000 is before the bar closes"):
        write_bars(open_candles(), early, INSTRUMENT, timestamp_on_close=False)
    assert read_bars(open_candles(), BARS, INSTRUMENT) == []


def test_arrival_that_candles_can_t_keep_is_refused_or_dropped(local: None) -> None:
    bars = [make_bar(Market(2, 6), 1, 1), make_bar(Market(2, 6), 1, 1, START + 2 * MINUTE, START + 2 * MINUTE + 5)]
    with pytest.raises(InputError, match=r"^[a-z_]+: bars\[1\]\.ts_init 1704067320000000005 is not the close"):
        write_bars(open_candles(), bars, INSTRUMENT)
    assert write_bars(open_candles(), bars, INSTRUMENT, ignore_ts_init=True).new == 2


@pytest.mark.parametrize(
    ("name", "interval"),
    [
        ("1-SECOND", "1s"),
        ("1-MINUTE", "1m"),
        ("15-MINUTE", "15m"),
        ("1-HOUR", "1h"),
        ("12-HOUR", "12h"),
        ("1-DAY", "1d"),
        ("1-WEEK", "1w"),
        ("1-MONTH", "1M"),
    ],
)
def test_bar_types_are_intervals(name: str, interval: str, local: None) -> None:
    bar_type = BarType.from_str(f"{INSTRUMENT.id}-{name}-LAST-EXTERNAL")
    assert get_interval(bar_type) == interval
    assert make_bar_type(INSTRUMENT.id, interval) == bar_type
    opens = [np.datetime64(day, "ns").astype(int) for day in ("2024-01-01", "2024-04-01", "2024-07-01")]
    ends = {"1M": ("2024-02-01", "2024-05-01", "2024-08-01")}.get(interval)
    closes = [np.datetime64(day, "ns").astype(int) for day in ends] if ends else None
    if closes is None:
        delta = bar_type.spec.timedelta if interval != "1w" else timedelta(days=7)
        closes = [one + int(delta.total_seconds()) * 1_000_000_000 for one in opens]
    bars = []
    for close in map(int, closes):
        one = show([make_bar(Market(2, 6), 5, 1, close)])[0]
        bars.append(Bar.from_dict({**one, "bar_type": str(bar_type)}))
    write_bars(open_candles(interval), bars, INSTRUMENT)
    candles = open_candles(interval).read_frame(as_="numpy")
    assert candles["timestamp"].astype("datetime64[ns]").astype(int).tolist() == [*map(int, opens)]
    assert show(read_bars(open_candles(interval), bar_type, INSTRUMENT)) == show(bars)


@pytest.mark.parametrize("name", ["100-TICK", "10-VOLUME", "10-MINUTE", "5-SECOND", "3-MONTH"])
def test_bars_that_are_no_candles_are_refused(name: str, local: None) -> None:
    bar_type = BarType.from_str(f"{INSTRUMENT.id}-{name}-LAST-EXTERNAL")
    with pytest.raises(InputError, match=f"^candle: there are no candles for bars of {name}-LAST"):
        get_interval(bar_type)
    with pytest.raises(InputError):
        read_bars(open_candles(), bar_type, INSTRUMENT)


def test_intervals_that_nautilus_lacks_are_refused() -> None:
    with pytest.raises(InputError, match=r"^[a-z_]+: interval '7m' is unknown"):
        make_bar_type(INSTRUMENT.id, "7m")
    with pytest.raises(InputError, match=r"^candle: Nautilus has no bars BTCUSDT-5-MINUTE-LAST-EXTERNAL: "):
        make_bar_type("BTCUSDT", "5m")
    assert str(make_bar_type("A.B", "5m", price_type="BID", source="INTERNAL")) == "A.B-5-MINUTE-BID-INTERNAL"


def test_interval_of_the_series_must_be_that_of_the_bars(local: None) -> None:
    with pytest.raises(InputError, match=r"are candles of 1m, and the series has 1h$"):
        write_bars(open_candles("1h"), make_bars(2), INSTRUMENT)
    with pytest.raises(InputError, match=r"are candles of 1m, and the series has 1h$"):
        read_bars(open_candles("1h"), BARS, INSTRUMENT)


def test_bars_of_several_types_or_another_instrument_are_refused(local: None) -> None:
    other = BarType.from_str(f"{INSTRUMENT.id}-1-MINUTE-BID-EXTERNAL")
    with pytest.raises(
        InputError, match=r"^[a-z_]+: bars\[2\]\.bar_type is BTCUSDT\.BINANCE-1-MINUTE-BID-EXTERNAL, and not"
    ):
        write_bars(open_candles(), [*make_bars(2), *make_bars(1, START + 2 * MINUTE, bar_type=other)], INSTRUMENT)
    market = Market(2, 6, InstrumentId.from_str("ETHUSDT.BINANCE"))
    with pytest.raises(
        InputError, match=r"^[a-z_]+: bars\[0\]\.bar_type\.instrument_id is BTCUSDT\.BINANCE, and not ETHUSDT"
    ):
        write_bars(open_candles(), make_bars(2), market)


@pytest.mark.parametrize("early", [1, 1_000_000, 30_000_000_000])
def test_bar_that_does_not_close_at_a_whole_minute_is_refused(early: int, local: None) -> None:
    bars = [*make_bars(2), make_bar(Market(2, 6), 1, 1, START + 3 * MINUTE - early)]
    with pytest.raises(
        InputError, match=rf"^candle: bars\[2\]\.ts_event {START + 3 * MINUTE - early} is no whole minute"
    ):
        write_bars(open_candles(), bars, INSTRUMENT)


def test_candle_whose_day_begins_in_another_zone_keeps_its_time(local: None) -> None:
    daily = BarType.from_str(f"{INSTRUMENT.id}-1-DAY-LAST-EXTERNAL")
    bars = make_bars(3, START + 5 * 60 * MINUTE, step=1_440 * MINUTE, bar_type=daily)
    write_bars(open_candles("1d"), bars, INSTRUMENT)
    assert show(read_bars(open_candles("1d"), daily, INSTRUMENT)) == show(bars)


def test_range_is_of_open_times(local: None) -> None:
    write_bars(open_candles(), make_bars(10), INSTRUMENT)
    some = read_bars(open_candles(), BARS, INSTRUMENT, "2024-01-01T00:03", "2024-01-01T00:05")
    assert show(some) == show(make_bars(10)[3:5])
    assert read_bars(open_candles(), BARS, INSTRUMENT, "2025-01-01") == []


def test_candle_that_can_t_be_is_reported_by_place(local: None) -> None:
    report = write_bars(open_candles(), [*make_bars(3), *make_bars(1, 2**62 - 2**62 % MINUTE)], INSTRUMENT)
    assert report.new == 3
    assert [*report.refused.values()] == [[3]]  # it has not ended yet


@pytest.mark.parametrize("millis", [-60_000, 9_223_372_036_800])
def test_candle_outside_of_nautilus_times_is_refused(millis: int, local: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backtest_mongo.types.now_ms", lambda: 2**53)
    open_candles().write_frame([[0, 1.0, 1.0, 1.0, 1.0, 1.0], [millis, 1.0, 1.0, 1.0, 1.0, 1.0]])
    with pytest.raises(
        InputError, match=rf"^candle: row {int(millis > 0)}: the time {millis} ms is not from 1970 to 2262$"
    ):
        read_bars(open_candles(), BARS, INSTRUMENT)


# Digits

DIGITS = st.integers(0, 10**15 - 1)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 9), st.lists(st.tuples(DIGITS, DIGITS), min_size=1, max_size=20))
def test_every_number_of_fifteen_digits_survives_as_a_float(precision: int, numbers: list[tuple[int, int]]) -> None:
    from backtest_mongo.integrations.nautilus.fixed_point import to_doubles, to_precision

    most = 10 ** (12 + precision)  # what Nautilus takes
    for unit, sign in ((1, 1), (10**6, -1)):
        texts = [str(sign * Decimal(number * unit % most).scaleb(-precision)) for number, _ in numbers]
        prices = [Price.from_str(f"{Decimal(text):.{precision}f}") for text in texts]
        units = [abs(int(Decimal(text).scaleb(precision))) for text in texts]
        if max(units) >= 10**15:
            continue
        doubles = to_doubles(prices, precision, "candle", "bars", "open")
        assert doubles.tolist() == [*map(float, texts)]
        again = to_precision(doubles, precision, "candle", "open", rounding=False)
        assert [str(Price(value, precision)) for value in again] == [*map(str, prices)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_bars_of_every_precision_come_back(data: st.DataObject, local: None) -> None:
    market = Market(data.draw(st.integers(0, 9)), data.draw(st.integers(0, 9)))
    numbers = [
        st.integers(0, 10 ** min(15, 9 + digits) - 1) for digits in (market.price_precision, market.size_precision)
    ]
    rows = data.draw(st.lists(st.tuples(*numbers), min_size=1, max_size=10))
    bars = []
    for place, (price, size) in enumerate(rows):
        texts = [
            f"{Decimal(value).scaleb(-digits):.{digits}f}"
            for value, digits in ((price, market.price_precision), (size, market.size_precision))
        ]
        one, volume = Price.from_str(texts[0]), Quantity.from_str(texts[1])
        close = START + (place + 1) * MINUTE
        bars.append(Bar(BARS, one, one, one, one, volume, close, close))
    candles = open_candles()
    candles.delete()
    write_bars(candles, bars, market)
    assert show(read_bars(candles, BARS, market)) == show(bars)


@pytest.mark.parametrize(
    ("market", "price", "size", "problem"),
    [
        (Market(3, 6), 1.5, 1, r"^[a-z_]+: bars\[1\]\.open 1\.500 has precision 3, and the instrument 2"),
        (Market(2, 2), 1.5, 1, r"^[a-z_]+: bars\[1\]\.volume 1\.00 has precision 2, and the instrument 6"),
        (
            Market(2, 6),
            1.5,
            "1234567890.123456",
            r"^[a-z_]+: bars\[1\]\.volume 1234567890\.123456 has more than the 15 digits",
        ),
    ],
)
def test_number_that_would_lose_digits_is_refused_by_its_place(
    market: Market, price: Any, size: Any, problem: str, local: None
) -> None:
    volume = Quantity.from_str(size) if isinstance(size, str) else Quantity(size, market.size_precision)
    one = Price(price, market.price_precision)
    close = START + 2 * MINUTE
    with pytest.raises(InputError, match=problem):
        write_bars(open_candles(), [*make_bars(1), Bar(BARS, one, one, one, one, volume, close, close)], INSTRUMENT)
    assert open_candles().bounds() is None


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (
            [1.005, 1.01, 1.0, 1.0, 1.0],
            r"^[a-z_]+: row 1: open 1\.005 has more decimals than the instrument's precision, 2 ",
        ),
        ([1.0, 1.0, 1.0, 1.0, 0.1 + 0.2], None),
        (
            [1.0, 1.0, 1.0, 1.0, 0.0000005],
            r"^[a-z_]+: row 1: volume 5e-07 has more decimals than the instrument's precision, 6 ",
        ),
        ([1e15, 1e15, 1e15, 1e15, 1.0], r"^[a-z_]+: row 1: open 1000000000000000\.0 can't be a number of precision 2$"),
    ],
)
def test_stored_number_with_more_digits_is_refused_by_its_place(
    row: list[float], problem: str | None, local: None
) -> None:
    minute = START // 1_000_000
    open_candles().write_frame([[minute, 1.0, 1.0, 1.0, 1.0, 1.0], [minute + 60_000, *row]])
    if problem is None:
        problem = r"^[a-z_]+: row 1: volume 0\.30000000000000004 has more decimals"
    with pytest.raises(InputError, match=problem):
        read_bars(open_candles(), BARS, INSTRUMENT)


def test_stored_number_with_more_digits_is_rounded_if_that_is_wanted(local: None) -> None:
    open_candles().write_frame([[START // 1_000_000, 1.004, 1.006, 1.0, 1.0, 0.1 + 0.2]])
    (bar,) = read_bars(open_candles(), BARS, INSTRUMENT, rounding=True)
    assert [str(bar.open), str(bar.high), str(bar.volume)] == ["1.00", "1.01", "0.300000"]


def test_series_of_another_kind_is_refused(local: None) -> None:
    for wrong in (open_trades(), persist.state("a", "b"), None, "candle"):
        with pytest.raises(InputTypeError, match=r"^bars are stored in a series of candles, not in "):
            read_bars(wrong, BARS, INSTRUMENT)
        with pytest.raises(InputTypeError):
            write_bars(wrong, [], INSTRUMENT)
    for wrong in (open_candles(), open_quotes(), persist.tick("a", "b"), persist.state("a", "b"), None):
        with pytest.raises(InputTypeError, match=r"^a series with a sequence trade_id and the columns price, amount, "):
            read_trades(wrong, INSTRUMENT)
    for wrong in (open_candles(), open_trades(), None):
        with pytest.raises(InputTypeError, match=r"^a series with a sequence update_id and the columns bid_price, "):
            write_quotes(wrong, [], INSTRUMENT)


def test_nothing_to_write_is_nothing(local: None) -> None:
    assert write_bars(open_candles(), [], INSTRUMENT).new == 0
    assert write_trades(open_trades(), [], INSTRUMENT).new == 0
    assert write_quotes(open_quotes(), [], INSTRUMENT).new == 0
    assert read_trades(open_trades(), INSTRUMENT) == read_quotes(open_quotes(), INSTRUMENT) == []


async def test_asynchronous_series_are_taken_also_where_an_event_loop_runs(local: None) -> None:
    candles = backtest_mongo.persist.candle("BTCUSDT", "1m", "BINANCE")
    write_bars(candles, make_bars(3), INSTRUMENT)
    assert show(read_bars(candles, BARS, INSTRUMENT)) == show(make_bars(3))
    await asyncio.sleep(0)


# Trades

NANOSECONDS = START + np.array([1, 1, 2, 3, 999])


@STORAGES
def test_trades_come_back_with_nanoseconds_ids_sides_and_order(storage: str) -> None:
    ids = ["9", "10", "b-7", "00012", "x" * 36]
    trades = make_trades(5, NANOSECONDS, delay=17, ids=ids)
    assert write_trades(open_trades(), trades, INSTRUMENT).new == 5
    assert show(read_trades(open_trades(), INSTRUMENT)) == show(trades)
    report = write_trades(open_trades(), trades, INSTRUMENT)
    assert (report.new, report.present) == (0, 5)
    assert {trade.aggressor_side for trade in trades} == {
        AggressorSide.NO_AGGRESSOR,
        AggressorSide.BUYER,
        AggressorSide.SELLER,
    }


def test_trades_are_read_as_they_arrived(local: None) -> None:
    trades = make_trades(4, START + np.array([50, 20, 20, 10]))
    late = [
        TradeTick(
            INSTRUMENT.id, one.price, one.size, one.aggressor_side, one.trade_id, one.ts_event, START + 60 + number
        )
        for number, one in enumerate(trades)
    ]
    write_trades(open_trades(), late, INSTRUMENT)
    assert show(read_trades(open_trades(), INSTRUMENT)) == show(late)


@STORAGES
def test_trades_of_the_built_in_slot_come_back(storage: str) -> None:
    trades = make_trades(3_000, START + 1_000 * np.arange(3_000))
    assert write_trades(open_trades("trade"), trades, INSTRUMENT).new == 3_000
    assert show(read_trades(open_trades("trade"), INSTRUMENT)) == show(trades)
    (row,) = open_trades("trade").read_last(1)
    assert (row["timestamp"], row["trade_id"]) == (START // 1_000 + 2_999, 3_000)
    some = read_trades(open_trades("trade"), INSTRUMENT, START // 1_000 + 5, START // 1_000 + 7, ts_init_delta=9)
    assert [trade.ts_init - trade.ts_event for trade in some] == [9, 9]
    assert [trade.trade_id.value for trade in some] == ["6", "7"]


@pytest.mark.parametrize(
    ("trade", "problem"),
    [
        ({"ts_event": START + 1}, r"^[a-z_]+: ticks\[1\]\.ts_event 1704067200000000001 has nanoseconds"),
        (
            {"ts_init": START + 5_000},
            r"^[a-z_]+: ticks\[1\]\.ts_init 1704067200000005000 is not ts_event, and the slot has no ",
        ),
        ({"trade_id": "a1"}, r"^[a-z_]+: ticks\[1\]\.trade_id 'a1' is no whole number, as ids in the slot are"),
        ({"trade_id": "007"}, r"^[a-z_]+: ticks\[1\]\.trade_id '007' is no whole number"),
        ({"trade_id": "-7"}, r"^[a-z_]+: ticks\[1\]\.trade_id '-7' is no whole number"),
        ({"trade_id": str(2**63)}, r"^[a-z_]+: ticks\[1\]\.trade_id '9223372036854775808' is no whole number"),
        ({"price": "1.005"}, r"^[a-z_]+: ticks\[1\]\.price 1\.005 has precision 3, and the instrument 2"),
        ({"size": "1.0"}, r"^[a-z_]+: ticks\[1\]\.size 1\.0 has precision 1, and the instrument 6"),
        ({"instrument_id": "A.B"}, r"^[a-z_]+: ticks\[1\]\.instrument_id is A\.B, and not BTCUSDT\.BINANCE"),
        (
            {"ts_event": 2**63, "ts_init": 2**63},
            r"^[a-z_]+: ticks\[1\]\.ts_event 9223372036854775808 is later than 2262",
        ),
    ],
)
def test_trade_that_the_slot_can_t_keep_is_refused_by_its_place(
    trade: dict[str, Any], problem: str, local: None
) -> None:
    first, second = show(make_trades(2, [START, START]))
    rows = [TradeTick.from_dict(row) for row in (first, {**second, **trade})]
    with pytest.raises(InputError, match=problem):
        write_trades(open_trades("trade"), rows, INSTRUMENT)
    assert read_trades(open_trades("trade"), INSTRUMENT) == []


def test_arrival_can_be_dropped(local: None) -> None:
    trades = make_trades(2, [START, START + 1_000], delay=3)
    assert write_trades(open_trades("trade"), trades, INSTRUMENT, ignore_ts_init=True).new == 2
    assert show(read_trades(open_trades("trade"), INSTRUMENT, ts_init_delta=3)) == show(trades)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"side": "up"}, "^trade: row 1: side 'up' is neither buy, sell nor null"),
        ({"amount": 0.0}, r"^[a-z_]+: row 1: amount 0\.0 is no trade's"),
        ({"amount": float("nan")}, "^trade: row 1: amount nan can't be a number of precision 6"),
        ({"price": 1.005}, r"^[a-z_]+: row 1: price 1\.005 has more decimals"),
        ({"timestamp": 10**16}, "^trade: row 1: the time 10000000000000000 us is not from 1970 to 2262"),
    ],
)
def test_stored_trade_that_can_t_be_nautilus_is_refused_by_its_place(
    row: dict[str, Any], problem: str, local: None
) -> None:
    one = {"timestamp": START // 1_000, "trade_id": 1, "price": 1.0, "amount": 1.0}
    open_trades("trade").append([one, {**one, "trade_id": 2, **row}])
    with pytest.raises(InputError, match=problem):
        read_trades(open_trades("trade"), INSTRUMENT)


def test_delta_is_refused_where_arrivals_are_stored_or_that_is_none(local: None) -> None:
    write_trades(open_trades(), make_trades(1, [START]), INSTRUMENT)
    with pytest.raises(InputError, match=r"^nautilus_trade: the slot has ts_init, so there is no ts_init_delta"):
        read_trades(open_trades(), INSTRUMENT, ts_init_delta=1)
    for delta in (-1, 0.5, True, 2**63):
        with pytest.raises(InputError, match=r"^ts_init_delta must be nanoseconds, 0 or more, not "):
            read_quotes(open_quotes(), INSTRUMENT, ts_init_delta=delta)  # type: ignore[arg-type]  # that is the point


def test_series_of_one_s_own_takes_text_ids(local: None) -> None:
    backtest_mongo.persist.register(
        SlotSpec(
            name="fill",
            shape="series",
            context=("symbol",),
            key=("symbol", "timestamp", "trade_id"),
            unit="ns",
            sequence="str",
            columns=(
                Column("price", "float64"),
                Column("amount", "float64"),
                Column("side", "category", nullable=True),
                Column("venue", "category", nullable=True),
            ),
        )
    )
    trades = make_trades(2, [START + 1, START + 2], ids=["b", "a"])
    write_trades(persist.fill("BTCUSDT"), trades, INSTRUMENT)
    assert show(read_trades(persist.fill("BTCUSDT"), INSTRUMENT)) == show(trades)
    persist.fill("BTCUSDT").append(
        [{"timestamp": START + 3, "trade_id": "c" * 37, "price": 1.0, "amount": 1.0, "side": None}]
    )
    with pytest.raises(InputError, match=r"^[a-z_]+: row 2: trade_id 'c{37}' has more than Nautilus' 36 characters"):
        read_trades(persist.fill("BTCUSDT"), INSTRUMENT)


# Quotes


@STORAGES
@pytest.mark.parametrize(("slot", "unit", "delay"), [("nautilus_quote", 1, 3), ("quote", 1_000, 0)])
def test_quotes_come_back_in_their_order(slot: str, unit: int, delay: int, storage: str) -> None:
    quotes = make_quotes(3_000, START + unit * (np.arange(3_000) // 7), delay=delay)
    assert write_quotes(open_quotes(slot), quotes, INSTRUMENT).new == 3_000
    assert show(read_quotes(open_quotes(slot), INSTRUMENT)) == show(quotes)
    report = write_quotes(open_quotes(slot), quotes[:700], INSTRUMENT)
    assert (report.new, report.present) == (0, 700)


def test_quotes_of_one_time_in_two_calls_are_refused_by_their_place(local: None) -> None:
    times = START + np.array([0, 0, 0, 5])
    quotes = make_quotes(4, times)
    write_quotes(open_quotes(), quotes[:2], INSTRUMENT)
    with pytest.raises(
        InputError, match=r"^[a-z_]+: ticks\[0\] is not stored: another quote is at its time 1704067200000000000 as"
    ):
        write_quotes(open_quotes(), quotes[2:], INSTRUMENT)
    assert write_quotes(open_quotes(), quotes, INSTRUMENT).present == 3


def test_quote_that_the_slot_can_t_keep_is_refused_by_its_place(local: None) -> None:
    quotes = make_quotes(2, [START, START + 1])
    with pytest.raises(InputError, match=r"^[a-z_]+: ticks\[1\]\.ts_event .* has nanoseconds, and the slot has us"):
        write_quotes(open_quotes("quote"), quotes, INSTRUMENT)
    wrong = QuoteTick.from_dict({**show(quotes)[1], "bid_size": "1.0", "ask_size": "1.0"})
    with pytest.raises(InputError, match=r"^[a-z_]+: ticks\[1\]\.bid_size 1\.0 has precision 1, and the instrument 6"):
        write_quotes(open_quotes(), [quotes[0], wrong], INSTRUMENT)
    assert read_quotes(open_quotes(), INSTRUMENT) == []


def test_trade_id_of_nautilus_is_text() -> None:
    assert TradeId("007").value == "007"

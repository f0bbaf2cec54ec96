"""zipline-reloaded ingests stored candles, and runs on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from zipline import run_algorithm
from zipline.data import bundles
from zipline.utils.calendar_utils import get_calendar

from backtest_mongo import InputError
from backtest_mongo.integrations.backtesters import make_zipline_ingest
from backtest_mongo.types import PRICES
from tests.engines.backtesters.support import START, Frame, make_candles, run_example, store

# zipline's own, and those of what it uses.
pytestmark = [pytest.mark.engines, pytest.mark.filterwarnings("ignore")]

HOUR, DAY = 3_600_000, 86_400_000
FIRST, LAST = pandas.Timestamp("2024-01-01"), pandas.Timestamp("2024-01-20")

Ingest = Callable[..., Any]


@pytest.fixture
def ingest(tmp_path: Path, unique: str) -> Iterator[Ingest]:
    """Ingests frames, or series, and returns what zipline then has."""
    environ = {"ZIPLINE_ROOT": str(tmp_path)}
    loaded = []

    def run(series: dict[str, Any], interval: str, calendar: str = "", first: Any = FIRST, last: Any = LAST) -> Any:
        def read() -> Iterator[tuple[str, Any]]:
            for symbol, one in series.items():
                yield symbol, one if isinstance(one, dict) else one.read_frame()

        function = make_zipline_ingest(read, interval, exchange="binance")
        name = calendar or ("24/7" if interval == "1m" else "24/7-1d")
        minutes = 390 if name == "XNYS" else 1_440
        bundles.register(unique, function, name, start_session=first, end_session=last, minutes_per_day=minutes)
        bundles.ingest(unique, environ)
        loaded.append(bundles.load(unique, environ))
        return loaded[-1]

    yield run
    for one in loaded:
        one.close()
    bundles.unregister(unique)


def read_bars(reader: Any, first: Any, last: Any, sid: int = 0) -> Frame:
    """Return the bars of an asset that zipline has."""
    columns = reader.load_raw_arrays(list(PRICES), first, last, [sid])
    return {name: column[:, 0] for name, column in zip(PRICES, columns, strict=True)}


def assert_stored(bars: Frame, frame: Frame) -> None:
    """Check that bars are those of a frame, as zipline stores them."""
    for name in PRICES:
        expected = frame[name] if name == "volume" else frame[name].round(3)
        np.testing.assert_allclose(bars[name], expected, rtol=0, atol=1e-9)


def test_sessions_are_those_that_are_stored(storage: str, ingest: Ingest) -> None:
    bitcoin = store("BTCUSDT", "1d", make_candles("1d", 20, price=40_000))
    ether = store("ETHUSDT", "1d", make_candles("1d", 10, start=START + 5 * DAY, price=2_000))
    bundle = ingest({"BTCUSDT": bitcoin, "ETHUSDT": ether}, "1d")
    reader = bundle.equity_daily_bar_reader
    assert_stored(read_bars(reader, FIRST, LAST), bitcoin.read_frame(as_="numpy"))
    begin, end = FIRST + pandas.Timedelta(days=5), FIRST + pandas.Timedelta(days=14)
    assert_stored(read_bars(reader, begin, end, 1), ether.read_frame(as_="numpy"))
    first, second = bundle.asset_finder.retrieve_all([0, 1])
    assert (first.symbol, first.start_date, first.end_date, first.exchange) == ("BTCUSDT", FIRST, LAST, "binance")
    assert (second.symbol, second.start_date, second.end_date) == ("ETHUSDT", begin, end)


def test_minutes_are_those_that_are_stored_and_sessions_are_made_from_them(storage: str, ingest: Ingest) -> None:
    candles = store("BTCUSDT", "1m", make_candles("1m", 3 * 1_440, without=range(100, 110)))
    bundle = ingest({"BTCUSDT": candles}, "1m", last=pandas.Timestamp("2024-01-03"))
    frame = candles.read_frame(as_="numpy")
    first, last = pandas.Timestamp("2024-01-01 00:01", tz="UTC"), pandas.Timestamp("2024-01-04", tz="UTC")
    bars = read_bars(bundle.equity_minute_bar_reader, first, last)
    is_there = ~np.isnan(bars["close"])
    # Zipline counts minutes by their ends.
    assert np.flatnonzero(~is_there).tolist() == list(range(100, 110))
    assert_stored({name: column[is_there] for name, column in bars.items()}, frame)
    days = read_bars(bundle.equity_daily_bar_reader, FIRST, pandas.Timestamp("2024-01-03"))
    assert_stored(days, candles.resample("1d", as_="numpy"))


def run_on(ingestion: Path, bundle: str, handle_data: Callable[[Any, Any], None], **options: Any) -> Any:
    """Run an algorithm on an asset, whose orders are filled at the close."""

    def initialize(context: Any) -> None:
        from zipline.api import set_slippage, symbol
        from zipline.finance.slippage import NoSlippage

        set_slippage(NoSlippage())
        context.asset = symbol("BTCUSDT")

    return run_algorithm(
        start=FIRST,
        initialize=initialize,
        handle_data=handle_data,
        capital_base=100_000,
        bundle=bundle,
        benchmark_returns=pandas.Series(0.0, index=pandas.date_range(FIRST, LAST)),
        environ={"ZIPLINE_ROOT": str(ingestion)},
        **options,
    )


def test_algorithm_sees_each_day_at_its_end_and_trades_at_stored_prices(
    ingest: Ingest, unique: str, tmp_path: Path
) -> None:
    frame = make_candles("1d", 20)
    ingest({"BTCUSDT": frame}, "1d")
    seen = []

    def handle_data(context: Any, data: Any) -> None:
        from zipline.api import order

        (history,) = data.history(context.asset, "close", 1, "1d").items()
        seen.append((data.current_dt, data.current(context.asset, "close"), *history))
        order(context.asset, 1)

    result = run_on(tmp_path, unique, handle_data, end=LAST, trading_calendar=get_calendar("24/7-1d"))
    closes = frame["close"].round(3).tolist()
    days = list(pandas.date_range(FIRST, LAST))
    ends = [day.tz_localize("UTC") + pandas.Timedelta(hours=23, minutes=59) for day in days]
    assert [row[0] for row in seen] == ends
    assert [row[1] for row in seen] == pytest.approx(closes)
    assert [row[2] for row in seen] == days
    assert [row[3] for row in seen] == pytest.approx(closes)
    prices = [one["price"] for day in result["transactions"] for one in day]
    assert prices == pytest.approx(closes[1:])


def test_algorithm_sees_each_minute_at_its_end(ingest: Ingest, unique: str, tmp_path: Path) -> None:
    last = pandas.Timestamp("2024-01-02")
    frame = make_candles("1m", 2 * 1_440)
    ingest({"BTCUSDT": frame}, "1m", last=last)
    seen = []

    def handle_data(context: Any, data: Any) -> None:
        seen.append((data.current_dt, data.current(context.asset, "close")))

    calendar = get_calendar("24/7")
    run_on(tmp_path, unique, handle_data, end=last, trading_calendar=calendar, data_frequency="minute")
    opens = [FIRST.tz_localize("UTC") + pandas.Timedelta(minutes=number) for number in range(2 * 1_440)]
    assert [time for time, _ in seen] == [time + pandas.Timedelta(minutes=1) for time in opens]
    assert [price for _, price in seen] == pytest.approx(frame["close"].round(3).tolist())


def test_candles_outside_of_the_sessions_that_are_ingested_are_left_out(ingest: Ingest) -> None:
    frame = make_candles("1d", 40, start=START - 10 * DAY)
    bundle = ingest({"BTCUSDT": frame}, "1d")
    bars = read_bars(bundle.equity_daily_bar_reader, FIRST, LAST)
    assert_stored(bars, {name: column[10:30] for name, column in frame.items()})
    (asset,) = bundle.asset_finder.retrieve_all([0])
    assert (asset.start_date, asset.end_date) == (FIRST, LAST)


def test_days_of_stocks_take_their_calendar(ingest: Ingest) -> None:
    closed = (0, 5, 6, 12, 13, 14)  # New Year, two weekends, Martin Luther King Day
    frame = make_candles("1d", 19, without=closed)
    first, last = pandas.Timestamp("2024-01-02"), pandas.Timestamp("2024-01-19")
    bundle = ingest({"AAPL": frame}, "1d", "XNYS", first, last)
    assert_stored(read_bars(bundle.equity_daily_bar_reader, first, last), frame)


@pytest.mark.parametrize(
    ("frame", "interval", "calendar", "problem"),
    [
        (make_candles("1d", 9, without=(3, 5)), "1d", "", "BTCUSDT has no candle of the session 2024-01-04"),
        (make_candles("1m", 4_000, without=range(1_300, 2_900)), "1m", "", "no candle of the session 2024-01-02"),
        (make_candles("1d", 9), "1d", "XNYS", "2024-01-06T00:00:00 is outside of the sessions of XNYS"),
        (make_candles("1m", 9, start=START + DAY + 21 * HOUR), "1m", "XNYS", "T21:01:00.* is outside of the sessions"),
        (make_candles("1d", 9, start=START + 1), "1d", "", "is outside of the sessions of 24/7-1d"),
        (make_candles("1d", 9, start=START - 90 * DAY), "1d", "", "no candles from 2024-01-01 to 2024-01-20"),
        (make_candles("1d", 9, price=0.0001), "1d", "", "can't store the candle of BTCUSDT at 2024-01-01T00:00:00Z"),
        (make_candles("1d", 9, price=9e6), "1d", "", "can't store the candle of BTCUSDT"),
        ({**make_candles("1d", 2), "volume": [1, 5e9]}, "1d", "", "candle of BTCUSDT at 2024-01-02T00:00:00Z"),
        (make_candles("1d", 9), "1d", "24/7", "by the calendar 24/7 zipline would see each day a day late"),
        (make_candles("1h", 9), "1d", "", "the frame of BTCUSDT can't be of 1d"),
        (make_candles("1d", 0), "1d", "", "the frame of BTCUSDT has no candles"),
    ],
)
def test_candles_that_zipline_would_store_wrongly_are_refused(
    ingest: Ingest, frame: Frame, interval: str, calendar: str, problem: str
) -> None:
    first, last = (pandas.Timestamp(f"2024-01-{day}") for day in ((2, 19) if calendar == "XNYS" else (1, 20)))
    with pytest.raises(InputError, match=problem):
        ingest({"BTCUSDT": frame}, interval, calendar, first, last)


def test_interval_that_zipline_does_not_have_is_refused() -> None:
    with pytest.raises(InputError, match="zipline has bars of 1d and 1m, not of 1h"):
        make_zipline_ingest(dict[str, Frame]().items, "1h")


def test_example_prints_what_the_page_shows(tmp_path: Path) -> None:
    run_example("zipline-reloaded", tmp_path)

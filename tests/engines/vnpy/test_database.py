"""Every method of vnpy's database interface, compared with vnpy_sqlite on the same data."""

from __future__ import annotations

import asyncio
import copy
import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from vnpy.trader.constant import Exchange, Interval
from vnpy.trader.database import DB_TZ, BarOverview, TickOverview
from vnpy.trader.object import BarData

from backtest_mongo import InputError, InputTypeError
from backtest_mongo.sync import persist as registry
from tests.engines.vnpy.support import EVER, NUMBERS, START, Both, make_bars, make_ticks

pytestmark = pytest.mark.engines

#: With the slot of bars, which type checkers can't see.
persist: Any = registry
SERIES = ("rb2405", Exchange.SHFE, Interval.MINUTE)
TICKS = SERIES[:2]


@pytest.fixture
def both(database: Any, reference: Any) -> Both:
    return Both(database, reference)


def test_bars_of_every_exchange_and_interval_are_loaded_as_they_were_saved(both: Both) -> None:
    steps = {Interval.HOUR: 60, Interval.DAILY: 1_440, Interval.WEEKLY: 10_080}
    for number, exchange in enumerate(Exchange):
        for interval in Interval:
            step = timedelta(minutes=steps.get(interval, 1))
            both.save_bars(make_bars(3, "a", exchange, interval, step=step, seed=number))
    assert both.compare_all() == 3 * len(Exchange) * len(Interval)


def test_loaded_bar_has_every_field_and_vnpy_s_time_zone(database: Any) -> None:
    (bar,) = make_bars(1)
    database.save_bar_data([bar])
    (loaded,) = database.load_bar_data(*SERIES, *EVER)
    assert vars(loaded) == {**vars(bar), "gateway_name": "DB"}
    assert type(loaded) is BarData
    assert loaded.datetime.tzinfo is DB_TZ
    assert type(loaded.volume) is float


def test_ticks_are_loaded_with_every_field_and_microsecond(both: Both) -> None:
    ticks = make_ticks(50)
    assert len(NUMBERS) == 31
    both.save_ticks(ticks)
    loaded = both.ask("load_tick_data", *TICKS, *EVER)
    assert loaded == [{**vars(tick), "gateway_name": "DB"} for tick in ticks]
    assert {row["datetime"].microsecond % 1_000 for row in loaded} == {*range(50)}


def test_local_time_with_a_zone_is_loaded_as_the_same_time_without_one(database: Any) -> None:
    (tick,) = make_ticks(1)
    tick.localtime = datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    database.save_tick_data([tick])
    assert database.load_tick_data(*TICKS, *EVER)[0].localtime == datetime(2024, 1, 2, 11, 4, 5, 6)


def test_rows_that_are_saved_again_replace_the_stored_ones(both: Both) -> None:
    both.save_bars(make_bars(100))
    both.save_ticks(make_ticks(100))
    both.save_bars(make_bars(30, start=START + timedelta(minutes=50), seed=1))
    both.save_ticks(make_ticks(30, start=START + 50 * timedelta(microseconds=500_001), seed=1))
    both.save_bars(make_bars(20, start=START - timedelta(minutes=10), seed=2))
    assert both.compare_all() == 210


def test_last_of_several_rows_of_one_time_is_stored(both: Both) -> None:
    both.save_bars(make_bars(1))  # after which vnpy_sqlite counts what is stored
    both.save_bars([*make_bars(5, seed=1), *make_bars(5, seed=2)])
    assert both.compare_all() == 5
    assert both.ask("load_bar_data", *SERIES, *EVER)[0]["close_price"] == make_bars(1, seed=2)[0].close_price


def test_streamed_rows_are_stored_and_counted(both: Both) -> None:
    for bar in make_bars(40):
        both.save_bars([bar], stream=True)
    for tick in make_ticks(40):
        both.save_ticks([tick], stream=True)
    both.save_bars(make_bars(10, start=START + timedelta(hours=1)), stream=True)
    assert both.compare_all() == 90


def test_streamed_row_that_replaces_another_is_counted_once(database: Any) -> None:
    for seed in range(3):
        database.save_bar_data(make_bars(1, seed=seed), stream=True)
    (overview,) = database.get_bar_overview()
    start = START.replace(tzinfo=None)
    assert overview == BarOverview(*SERIES, 1, start, start)


def test_deleting_returns_how_many_rows_there_were_and_leaves_other_series(both: Both) -> None:
    for symbol in ("a", "b"):
        for exchange in (Exchange.SHFE, Exchange.DCE):
            both.save_bars(make_bars(7, symbol, exchange))
            both.save_bars(make_bars(8, symbol, exchange, Interval.HOUR, step=timedelta(hours=1)))
            both.save_ticks(make_ticks(9, symbol, exchange))
    both.save_bars(make_bars(3, "a", seed=1))
    assert both.ask("delete_bar_data", "a", Exchange.SHFE, Interval.MINUTE) == 7
    assert both.ask("delete_bar_data", "a", Exchange.SHFE, Interval.MINUTE) == 0
    assert both.ask("delete_tick_data", "b", Exchange.DCE) == 9
    assert both.ask("delete_tick_data", "b", Exchange.DCE) == 0
    assert both.ask("delete_bar_data", "c", Exchange.DCE, Interval.DAILY) == 0
    assert both.ask("load_bar_data", "a", Exchange.SHFE, Interval.MINUTE, *EVER) == []
    assert both.compare_all() == 3 * 7 + 4 * 8 + 3 * 9
    both.save_bars(make_bars(5, "a"))
    assert both.compare_all() == 3 * 7 + 4 * 8 + 3 * 9 + 5


@pytest.mark.parametrize(("first", "last", "count"), [(0, 9, 10), (3, 5, 3), (4, 4, 1), (-5, -1, 0), (10, 20, 0)])
def test_both_limits_are_included(both: Both, first: int, last: int, count: int) -> None:
    both.save_bars(make_bars(10))
    both.save_ticks(make_ticks(10, step=timedelta(minutes=1)))
    opened = START.replace(tzinfo=None)
    limits = opened + timedelta(minutes=first), opened + timedelta(minutes=last)
    assert len(both.ask("load_bar_data", *SERIES, *limits)) == count
    assert len(both.ask("load_tick_data", *TICKS, *limits)) == count


@pytest.mark.parametrize(("start", "end"), [("12:00", "11:00"), ("09:30:01", "09:30:59"), ("09:31", "09:30:30")])
def test_range_without_rows_is_empty(both: Both, start: str, end: str) -> None:
    both.save_bars(make_bars(10))
    both.save_ticks(make_ticks(10, step=timedelta(minutes=1)))
    limits = [datetime.fromisoformat(f"2024-01-02 {time}") for time in (start, end)]
    assert both.ask("load_bar_data", *SERIES, *limits) == []
    assert both.ask("load_tick_data", *TICKS, *limits) == []


def test_everything_is_between_the_earliest_and_the_latest_time(database: Any) -> None:
    database.save_bar_data(make_bars(2))
    assert len(database.load_bar_data(*SERIES, datetime.min, datetime.max)) == 2
    assert database.load_bar_data(*SERIES, datetime.max, datetime.min) == []


def test_empty_database_has_nothing(both: Both) -> None:
    assert both.compare_all() == 0
    assert both.ask("load_bar_data", *SERIES, *EVER) == []
    assert both.ask("load_tick_data", *TICKS, *EVER) == []


def test_saving_nothing_is_fine(database: Any) -> None:
    assert database.save_bar_data([]) is True
    assert database.save_tick_data([], stream=True) is True
    assert database.get_bar_overview() == []


def test_naive_times_are_saved_as_the_system_s_and_others_as_instants(both: Both) -> None:
    naive = make_bars(3, "naive", start=START.replace(tzinfo=None))
    utc = make_bars(3, "utc", start=START.astimezone(UTC))
    chicago = make_ticks(3, "chicago", start=START.astimezone(ZoneInfo("America/Chicago")))
    both.save_bars(naive)
    both.save_bars(utc)
    both.save_ticks(chicago)
    assert both.compare_all() == 9
    for symbol in ("naive", "utc"):
        rows = both.ask("load_bar_data", symbol, *SERIES[1:], *EVER)
        assert [row["datetime"] for row in rows] == [START + timedelta(minutes=number) for number in range(3)]


def test_limits_with_a_zone_are_instants(both: Both) -> None:
    both.save_bars(make_bars(10))
    assert len(both.ask("load_bar_data", *SERIES, START + timedelta(seconds=90), START + timedelta(minutes=5))) == 4
    # vnpy_sqlite compares text, so it leaves out a bar at the start.
    limits = START + timedelta(minutes=2), START + timedelta(minutes=5)
    assert [len(one.load_bar_data(*SERIES, *limits)) for one in (both.ours, both.theirs)] == [4, 3]
    utc = START.astimezone(UTC) + timedelta(minutes=2), START.astimezone(UTC) + timedelta(minutes=5)
    assert [bar.datetime for bar in both.ours.load_bar_data(*SERIES, *utc)] == [
        START + timedelta(minutes=number) for number in range(2, 6)
    ]


def test_rows_of_several_series_may_be_saved_in_one_call(database: Any) -> None:
    bars = [
        bar
        for rows in zip(
            make_bars(4, "a"),
            make_bars(4, "b"),
            make_bars(4, "a", Exchange.DCE),
            make_bars(4, "a", interval=Interval.DAILY),
            strict=True,
        )
        for bar in rows
    ]
    database.save_bar_data(bars)
    database.save_tick_data([*make_ticks(3, "a"), *make_ticks(2, "b")])
    assert sorted(overview.count for overview in database.get_bar_overview()) == [4, 4, 4, 4]
    assert sorted(overview.count for overview in database.get_tick_overview()) == [2, 3]


def test_what_is_saved_is_not_changed(database: Any) -> None:
    bars, ticks = make_bars(2), make_ticks(2)
    before = copy.deepcopy((bars, ticks))
    database.save_bar_data(bars)
    database.save_tick_data(ticks)
    assert (bars, ticks) == before


def test_whole_numbers_infinities_and_nan_are_kept(database: Any) -> None:
    (bar,) = make_bars(1)
    bar.volume, bar.turnover, bar.open_interest = 7, float("inf"), float("nan")
    database.save_bar_data([bar])
    (loaded,) = database.load_bar_data(*SERIES, *EVER)
    assert (loaded.volume, loaded.turnover) == (7.0, float("inf"))
    assert loaded.open_interest != loaded.open_interest


def test_what_can_t_be_stored_is_refused_in_one_line(database: Any) -> None:
    bars = make_bars(3)
    bars[1].interval = None
    with pytest.raises(InputTypeError, match=r"^vnpy_bar: the bars of rb2405\.SHFE must have an interval$"):
        database.save_bar_data(bars[1:2])
    ticks = make_ticks(3)
    ticks[1].bid_price_2 = None
    with pytest.raises(InputError, match=r"^tick: 1 of 3 rows are not stored: bid_price_2 is null$"):
        database.save_tick_data(ticks)
    assert len(database.load_tick_data(*TICKS, *EVER)) == 2
    bars[0].close_price = "4000"
    with pytest.raises(InputTypeError, match=r"^vnpy_bar: the frame's close must be a number, not str: row 0$"):
        database.save_bar_data(bars[:1])


def test_series_that_vnpy_does_not_know_are_left_out_of_overviews(database: Any) -> None:
    tick = dict.fromkeys(NUMBERS, 0.0) | {"timestamp": 1}
    persist.tick("BTCUSDT", "binance").append([tick])
    database.save_tick_data(make_ticks(2))
    begin, end = START.replace(tzinfo=None), (START + timedelta(microseconds=500_001)).replace(tzinfo=None)
    assert database.get_tick_overview() == [TickOverview(*TICKS, 2, begin, end)]


def test_calls_where_an_event_loop_is_running_block_it(database: Any) -> None:
    async def run_cell() -> int:
        database.save_bar_data(make_bars(3))
        (overview,) = database.get_bar_overview()
        return len(database.load_bar_data(*SERIES, *EVER)) + int(overview.count)

    assert asyncio.run(run_cell()) == 6


def test_threads_may_save_at_once(database: Any) -> None:
    with ThreadPoolExecutor(8) as pool:
        done = pool.map(lambda number: database.save_bar_data(make_bars(50, f"s{number % 4}", seed=number)), range(16))
        assert all(done)
    assert [overview.count for overview in database.get_bar_overview()] == [50] * 4


@pytest.mark.parametrize("seed", range(4))
def test_random_calls_have_the_same_answers(both: Both, seed: int) -> None:
    source = random.Random(seed)
    for _ in range(60):
        symbol, exchange = source.choice("ab"), source.choice([Exchange.SSE, Exchange.CME])
        interval, count = source.choice([Interval.MINUTE, Interval.DAILY]), source.randrange(1, 40)
        start = START + timedelta(minutes=source.randrange(100))
        limits = [datetime(2024, 1, 2, 9, 30) + timedelta(minutes=source.randrange(-10, 160)) for _ in range(2)]
        match source.randrange(6):
            case 0 | 1:
                both.save_bars(make_bars(count, symbol, exchange, interval, start=start, seed=source.randrange(99)))
            case 2:
                step = timedelta(minutes=1)
                both.save_ticks(make_ticks(count, symbol, exchange, start=start, step=step, seed=source.randrange(99)))
            case 3:
                both.ask("load_bar_data", symbol, exchange, interval, *limits)
                both.ask("load_tick_data", symbol, exchange, *limits)
            case 4:
                both.compare_all()
            case _ if source.random() < 0.3:
                both.ask("delete_bar_data", symbol, exchange, interval)
                both.ask("delete_tick_data", symbol, exchange)
    both.compare_all()


def test_rows_in_blocks_are_replaced_too(both: Both) -> None:
    both.save_bars(make_bars(70_000))
    both.save_bars(make_bars(100, start=START + timedelta(minutes=30_000), seed=1))
    both.save_bars(make_bars(1, start=START + timedelta(minutes=69_999), seed=2), stream=False)
    assert both.compare_all() == 70_000
    persist.vnpy_bar("rb2405", "1m", "SHFE").seal()
    assert both.compare_all() == 70_000
    assert both.ask("delete_bar_data", *SERIES) == 70_000


@pytest.mark.parametrize(
    ("interval", "candles", "step"),
    [
        (Interval.MINUTE, "1m", 1),
        (Interval.HOUR, "1h", 60),
        (Interval.DAILY, "1d", 1_440),
        (Interval.WEEKLY, "1w", 10_080),
    ],
)
def test_bars_become_candles(database: Any, interval: Any, candles: str, step: int) -> None:
    start = datetime(2023, 1, 2, tzinfo=START.tzinfo)  # a Monday
    database.save_bar_data(make_bars(30, interval=interval, start=start, step=timedelta(minutes=step)))
    bars = persist.vnpy_bar("rb2405", interval.value, "SHFE")
    frame = bars.read_frame(columns=["open", "high", "low", "close", "volume"], as_="numpy")
    series = persist.candle("rb2405", candles, "SHFE")
    assert series.write_frame(frame).new == 30
    assert series.coverage().first == start.timestamp() * 1_000
    assert series.read_frame(as_="numpy")["close"].tolist() == frame["close"].tolist()
    assert series.gaps(end=start + 30 * timedelta(minutes=step)) == []

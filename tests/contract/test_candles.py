"""Candles: immutable rows on a time grid."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest_mongo import CandleAdapter, types
from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.connection import candle_cache
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.core.interval_grid import GRIDS
from tests.conftest import Deployment
from tests.support import uniform
from tests.support.uniform import candles

pytestmark = [pytest.mark.either_driver, pytest.mark.two_pythons]

MINUTE = 60_000
SPEC = ADAPTERS["candle"].spec


@pytest.fixture
def series(deployment: Deployment, unique: str) -> CandleAdapter:
    return candle_adapter("BTCUSDT", "1m", unique)


def candle_adapter(*context: str) -> CandleAdapter:
    """Return an adapter of what the test runs on."""
    return cast("CandleAdapter", uniform.ADAPTERS["candle"](*context))


async def test_window_is_returned_in_order_whatever_the_order_of_writing(series: CandleAdapter) -> None:
    rows = candles(10)
    assert await series.write_candles_data(rows[::-1]) == 10
    assert await series.read_candles_data(10, 0) == rows
    assert await series.read_candles_data(3, 4 * MINUTE) == rows[4:7]


async def test_window_with_one_row_missing_is_none(series: CandleAdapter) -> None:
    rows = candles(10)
    await series.write_candles_data(rows[:5] + rows[6:])
    assert await series.read_candles_data(5, 0) == rows[:5]
    assert await series.read_candles_data(6, 0) is None
    assert await series.read_candles_data(1, 5 * MINUTE) is None
    assert await series.read_candles_data(4, 6 * MINUTE) == rows[6:]


async def test_empty_store_reads_none(series: CandleAdapter) -> None:
    assert await series.read_candles_data(1, 0) is None


async def test_window_off_the_grid_is_none(series: CandleAdapter) -> None:
    await series.write_candles_data(candles(10))
    assert await series.read_candles_data(2, 1) is None


async def test_off_grid_rows_do_not_hide_a_window(series: CandleAdapter) -> None:
    rows = candles(4)
    await series.write_candles_data([*rows, *candles(3, first=30_000)])
    assert await series.read_candles_data(4, 0) == rows
    assert await series.read_candles_data(3, 30_000) == candles(3, first=30_000)


async def test_window_that_reaches_beyond_until_is_none(series: CandleAdapter) -> None:
    rows = candles(5)
    await series.write_candles_data(rows)
    assert await series.read_candles_data(5, 0, 5 * MINUTE) == rows
    assert await series.read_candles_data(5, 0, 4 * MINUTE) == rows
    assert await series.read_candles_data(5, 0, 4 * MINUTE - 1) is None


async def test_times_may_be_aware_datetimes(series: CandleAdapter) -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    first = int(start.timestamp()) * 1000
    rows = candles(2, first=first)
    given: list[Any] = [{**rows[0], "timestamp": start}, rows[1]]
    await series.write_candles_data(given)
    assert await series.read_candles_data(2, start) == rows


async def test_window_of_thousands_is_whole(series: CandleAdapter) -> None:
    rows = candles(12_000)
    assert await series.write_candles_data(rows) == 12_000
    assert await series.read_candles_data(12_000, 0) == rows


async def test_first_write_wins_and_its_row_never_changes(series: CandleAdapter, deployment: Deployment) -> None:
    await series.write_candles_data(candles(3, price=1.0))
    before = await deployment.rows(SPEC)
    assert await series.write_candles_data(candles(5, price=9.0)) == 2
    after = {row["timestamp"]: row for row in await deployment.rows(SPEC)}
    assert [after[row["timestamp"]] for row in before] == before
    assert after[4 * MINUTE]["open"] == 9.0


async def test_duplicate_timestamp_in_one_call_keeps_the_first(series: CandleAdapter) -> None:
    assert await series.write_candles_data(candles(1, price=1.0) + candles(1, price=9.0)) == 1
    assert await series.read_candles_data(1, 0) == candles(1, price=1.0)


async def test_candle_that_has_not_closed_is_skipped(
    series: CandleAdapter, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(types, "now_ms", lambda: 10 * MINUTE - 1)
    assert await series.write_candles_data(candles(12)) == 9
    assert await series.read_candles_data(10, 0) is None
    monkeypatch.setattr(types, "now_ms", lambda: 10 * MINUTE)
    assert await series.write_candles_data(candles(12, price=2.0)) == 1
    assert await series.read_candles_data(10, 0) == candles(9) + candles(1, first=9 * MINUTE, price=2.0)


async def test_no_candles_write_nothing(series: CandleAdapter, deployment: Deployment) -> None:
    assert await series.write_candles_data([]) == 0
    assert await deployment.rows(SPEC) == []


async def test_series_do_not_share_rows(series: CandleAdapter, unique: str) -> None:
    await series.write_candles_data(candles(1))
    for other in (("ETHUSDT", "1m", unique), ("BTCUSDT", "3m", unique), ("BTCUSDT", "1m", f"{unique}-2")):
        assert await candle_adapter(*other).read_candles_data(1, 0) is None


@pytest.mark.in_rows("a block holds the candle alone")
@pytest.mark.mongodb("a file holds the candle alone")
async def test_document_has_the_contract_s_fields(series: CandleAdapter, deployment: Deployment) -> None:
    given: list[Any] = [{**candles(1)[0], "open": 2, "extra": "left out"}]
    await series.write_candles_data(given)
    (row,) = await deployment.rows(SPEC)
    assert set(row) == {"_id", *SPEC.key, "open", "high", "low", "close", "volume", "createDate", "updatedDate", "__v"}
    assert (row["open"], type(row["open"])) == (2.0, float)


@pytest.mark.in_rows("candles in blocks have no ids")
@pytest.mark.mongodb("files have no ids")
@pytest.mark.parametrize("cached", [True, False])
async def test_ids_go_to_redis_unless_switched_off(
    series: CandleAdapter, unique: str, deployment: Deployment, cached: bool
) -> None:
    import backtest_mongo

    await backtest_mongo.setup(CC_CANDLE_ID_CACHE=cached)
    await series.write_candles_data(candles(1_200))
    for row in await deployment.rows(SPEC, timestamp={"$in": [0, 600 * MINUTE, 1_199 * MINUTE]}):
        key = f"candle_cache:{unique}:BTCUSDT:1m:{row['timestamp']}"
        assert await deployment.cached(key) == (str(row["_id"]) if cached else None)


@pytest.mark.parametrize(("interval", "step"), list(types.INTERVAL_MS.items()))
async def test_each_interval_has_its_step(deployment: Deployment, unique: str, interval: str, step: int) -> None:
    series = candle_adapter("BTCUSDT", interval, unique)
    rows = candles(3, step=step)
    await series.write_candles_data(rows)
    assert await series.read_candles_data(3, 0) == rows


def candle(**changes: Any) -> dict[str, Any]:
    return {**candles(1)[0], **changes}


BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "no dict": ([1], TypeError, r"candles\[0\] must be a dict, not int"),
    "no list": (candle(), TypeError, r"candles must be a list, not dict"),
    "missing price": (
        [{**candles(1)[0]}, {"timestamp": 1}],
        ValueError,
        r"candles\[1\] lacks open, high, low, close, volume \(dict\)",
    ),
    "nan": ([candle(high=float("nan"))], ValueError, r"candles\[0\]\.high must be finite, not nan \(float\)"),
    "infinite": ([candle(low=float("-inf"))], ValueError, r"candles\[0\]\.low must be finite, not -inf"),
    "none": ([candle(close=None)], TypeError, r"candles\[0\]\.close must be a number, not NoneType"),
    "text": ([candle(volume="1")], TypeError, r"candles\[0\]\.volume must be a number, not str"),
    "bool": ([candle(open=True)], TypeError, r"candles\[0\]\.open must be a number, not bool"),
    "huge": ([candle(open=10**400)], ValueError, r"candles\[0\]\.open must be finite"),
    "float time": ([candle(timestamp=1.5)], TypeError, r"candles\[0\]\.timestamp must be milliseconds .* not float"),
    "naive time": ([candle(timestamp=datetime(2024, 1, 1))], ValueError, r"candles\[0\]\.timestamp .*naive datetime"),
}


@pytest.mark.parametrize("name", BAD)
async def test_bad_candle_is_refused_and_nothing_of_the_batch_is_written(
    series: CandleAdapter, deployment: Deployment, name: str
) -> None:
    rows, kind, message = BAD[name]
    batch = candles(3, first=MINUTE) + rows if isinstance(rows, list) else rows
    with pytest.raises(kind, match="^candle: " + message.replace(r"\[0\]", r"\[\d\]").replace(r"\[1\]", r"\[\d\]")):
        await series.write_candles_data(batch)
    assert await deployment.rows(SPEC) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0), "limit must be 1 or more, not 0"),
        ((-1, 0), "limit must be 1 or more"),
        ((True, 0), "limit must be an int, not bool"),
        ((1.0, 0), "limit must be an int, not float"),
        ((1, "0"), "since_timestamp must be ISO 8601"),
        ((1, None), "since_timestamp must be milliseconds .* not NoneType"),
        ((1, datetime(2024, 1, 1)), "since_timestamp .*naive datetime"),
        ((1, 0, "x"), "until_timestamp must be ISO 8601"),
        ((1, 0.5), "since_timestamp must be milliseconds"),
        ((2, 2**63 - 1), "leads to a time beyond 64 bits"),
        ((1, 2**63), "since_timestamp must fit in 64 bits"),
    ],
)
async def test_bad_window_is_refused(series: CandleAdapter, arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=f"^candle: .*{message}"):
        await series.read_candles_data(*arguments)


@pytest.mark.parametrize("interval", ["7m", "", "1W", "60m", "$gt"])
def test_unknown_interval_is_refused(interval: Any) -> None:
    with pytest.raises(ValueError, match=r"^candle: interval (must not be empty|'.*' \(str\) is unknown)"):
        CandleAdapter("BTCUSDT", interval, "binance")


# What was read is kept


@pytest.mark.mongodb("files are read each time")
async def test_rows_that_were_read_are_returned_again_without_a_query(
    series: CandleAdapter, deployment: Deployment
) -> None:
    rows = candles(2_000)
    await series.write_candles_data(rows)
    assert await series.read_candles_data(2_000, 0) == rows
    await (await deployment.collection(SPEC)).delete_many({})  # nobody does this to a series: it shows who answers
    assert await series.read_candles_data(2_000, 0) == rows
    assert await series.read_candles_data(5, 1_022 * MINUTE) == rows[1_022:1_027]  # over the edge of a chunk
    assert await series.read_candles_data(2_001, 0) is None


async def test_absent_row_is_queried_again(series: CandleAdapter) -> None:
    rows = candles(300)
    await series.write_candles_data(rows[:100] + rows[101:])
    for start in range(0, 200, 5):
        expected = None if start <= 100 < start + 5 else rows[start : start + 5]
        assert await series.read_candles_data(5, start * MINUTE) == expected
    assert await series.read_candles_data(300, 0) is None
    await series.write_candles_data(rows)
    assert await series.read_candles_data(300, 0) == rows


async def test_replay_of_a_series_with_gaps_equals_its_rows(series: CandleAdapter) -> None:
    rows = candles(3_000)
    present = [row for row in rows if (row["timestamp"] // MINUTE) % 500 > 20]
    await series.write_candles_data(present)
    stored = {row["timestamp"] for row in present}
    for start in range(2_990):
        window = rows[start : start + 7]
        expected = window if all(row["timestamp"] in stored for row in window) else None
        assert await series.read_candles_data(7, start * MINUTE) == expected


@pytest.mark.mongodb("files are read each time")
async def test_replay_sends_few_queries(series: CandleAdapter) -> None:
    rows = candles(10_005)
    await series.write_candles_data(rows)
    for start in range(10_000):
        assert await series.read_candles_data(5, start * MINUTE) == rows[start : start + 5]
    counts = current_hub().counts["candle"]
    assert counts.misses < 12
    assert counts.hits + counts.misses == counts.reads.rows == 10_000


@pytest.mark.mongodb("files are read each time")
async def test_memory_is_bounded_and_small_memory_changes_no_answer(
    deployment: Deployment, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = candles(6_000)
    series = CandleAdapter("BTCUSDT", "1m", unique)
    for max_bytes in (0, candle_cache.CHUNK_BYTES - 1, 2 * candle_cache.CHUNK_BYTES):
        await deployment.forget()
        cache = current_hub().candle_cache = candle_cache.CandleCache(max_bytes)
        await series.write_candles_data(rows)
        for size in (5, 600, 3_000):
            for start in range(0, 6_000 - size, 701):
                assert await series.read_candles_data(size, start * MINUTE) == rows[start : start + size]
        assert cache.bytes <= max_bytes


async def test_times_before_the_epoch_are_valid(series: CandleAdapter) -> None:
    rows = candles(20, first=-10 * MINUTE)
    await series.write_candles_data(rows)
    for _ in range(2):
        assert await series.read_candles_data(20, -10 * MINUTE) == rows
        assert await series.read_candles_data(4, -2 * MINUTE) == rows[8:12]


async def test_distant_rows_are_written_once(series: CandleAdapter) -> None:
    rows = [candles(1, first=index * 1_000_000 * MINUTE)[0] for index in range(20)]
    assert await series.write_candles_data(rows) == 20
    assert await series.write_candles_data(rows[::-1]) == 0


@settings(deadline=None)
@given(
    stored=st.sets(st.integers(0, 200)),
    windows=st.lists(st.tuples(st.integers(0, 200), st.integers(1, 40)), max_size=30),
)
def test_series_cache_answers_like_a_dict(stored: set[int], windows: list[tuple[int, int]]) -> None:
    kept = candle_cache.CandleCache(4 * candle_cache.CHUNK_BYTES).series(("x",), GRIDS["1m"])
    rows = [candles(1, first=(1_000 + position) * MINUTE, price=float(position + 2))[0] for position in sorted(stored)]
    kept.put(rows)
    for start, limit in windows:
        expected: list[Any] = []
        while start + len(expected) in stored and len(expected) < limit:
            expected.append(rows[sorted(stored).index(start + len(expected))])
        assert kept.get(1_000 + start, limit) == (expected, len(expected))

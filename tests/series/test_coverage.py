"""What is stored of a series: coverage, gaps, and the list of all series."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from backtest_mongo import CandleAdapter, types
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.types import Gap
from tests.conftest import Deployment
from tests.support.frames import MINUTE, make_arrays
from tests.support.uniform import candles

pytestmark = pytest.mark.either_driver


async def test_coverage_and_gaps_show_what_is_still_to_be_fetched(
    series: CandleAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(types, "now_ms", lambda: 20 * MINUTE)
    assert await series.coverage() == types.Coverage(None, None, 0)
    assert await series.gaps() == []
    assert await series.gaps(5 * MINUTE) == [Gap(5 * MINUTE, 20 * MINUTE, 15)]
    await series.write_frame(make_arrays(3, 4, 8, 15))
    assert await series.coverage() == types.Coverage(3 * MINUTE, 15 * MINUTE, 4)
    inner = [Gap(5 * MINUTE, 8 * MINUTE, 3), Gap(9 * MINUTE, 15 * MINUTE, 6)]
    assert await series.gaps() == [*inner, Gap(16 * MINUTE, 20 * MINUTE, 4)]
    assert await series.gaps(0, 16 * MINUTE) == [Gap(0, 3 * MINUTE, 3), *inner]
    assert await series.gaps(datetime(1970, 1, 1, 0, 6, tzinfo=UTC), 7 * MINUTE + 1) == [Gap(6 * MINUTE, 8 * MINUTE, 2)]
    assert await series.gaps(3 * MINUTE, 5 * MINUTE) == []
    assert await series.gaps(30 * MINUTE) == []
    assert await series.gaps(-2 * MINUTE, 0) == [Gap(-2 * MINUTE, 0, 2)]


async def test_gaps_of_a_long_series_are_found_over_the_edges_of_its_queries(
    series: CandleAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backtest_mongo.series import coverage as series_coverage

    monkeypatch.setattr(series_coverage, "_PLACES", 4)
    stored = [0, 1, 3, 4, 7, 8, 9, 10, 11, 12, 30, 31]
    await series.write_frame(make_arrays(*stored))
    gaps = await series.gaps(0, 34 * MINUTE)
    assert [t // MINUTE for gap in gaps for t in range(gap.start, gap.end, MINUTE)] == sorted({*range(34)} - {*stored})
    assert await series.coverage() == types.Coverage(0, 31 * MINUTE, 12)


@pytest.mark.in_rows("it counts queries of rows")
async def test_index_alone_answers_and_by_one_query(
    series: CandleAdapter, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    await series.write_frame(make_arrays(*range(500), *range(600, 1000)))
    database = current_hub().database
    await database.command("profile", 2)
    try:
        assert (await series.coverage()).rows == 900
        assert len(await series.gaps(end=1000 * MINUTE)) == 1
    finally:
        await database.command("profile", 0)
    ran = await database["system.profile"].find({"ns": f"{deployment.name}.candle-items"}).to_list(None)
    assert ran
    assert sum(query["docsExamined"] for query in ran) == 0
    # And the two ends of the series, which bound what is looked through.
    assert [query["keysExamined"] for query in ran] == [900, 1, 1, 900]


@pytest.mark.in_rows("it counts what is read of rows")
async def test_sealed_candles_are_not_scanned(series: CandleAdapter, deployment: Deployment) -> None:
    stored = [*range(4096), *range(4200, 8192), *range(8192, 12288), *range(12290, 12300)]
    await series.write_frame(make_arrays(*stored))
    await series.seal()
    database = current_hub().database
    await database.command("profile", 2)
    try:
        assert await series.coverage() == types.Coverage(0, 12299 * MINUTE, len(stored))
        gaps = await series.gaps(0, 12301 * MINUTE)
        assert [(gap.start // MINUTE, gap.rows) for gap in gaps] == [(4096, 104), (12288, 2), (12300, 1)]
    finally:
        await database.command("profile", 0)
    ran = await database["system.profile"].find({"ns": {"$regex": "candle-"}}).to_list(None)
    assert sum(query["docsExamined"] for query in ran) == 0
    assert sum(query["keysExamined"] for query in ran) < 5000  # of 12,194: a block with gaps is, and the open one


async def test_series_are_listed_in_order(deployment: Deployment, unique: str) -> None:
    contexts: list[tuple[str, types.Interval, str]] = [
        ("ETHUSDT", "1h", unique),
        ("BTCUSDT", "1m", unique),
        ("BTCUSDT", "1h", f"{unique}2"),
    ]
    for context in contexts:
        await CandleAdapter(*context).write_candles_data(candles(3, step=types.INTERVAL_MS[context[1]]))
    rows = await deployment.collection(CandleAdapter.spec)
    for symbol, interval in (("BTCUSDT", "2w"), ("", "1m")):  # which no adapter takes
        await rows.insert_one({"exchangeName": unique, "symbol": symbol, "interval": interval, "timestamp": 0})
    found = [tuple(adapter.context.values()) async for adapter in CandleAdapter.list_series()]
    assert found == [contexts[1], contexts[0], contexts[2]]

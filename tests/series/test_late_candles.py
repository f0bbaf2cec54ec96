"""Candles that come into a sealed stretch: every frame and every window has them, whatever any clock says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import numpy as np
import pytest

import backtest_mongo
from backtest_mongo import CandleAdapter, types
from backtest_mongo.series.rows import CandleRows
from tests.conftest import Deployment
from tests.series.conftest import commands
from tests.support.uniform import candles

pytestmark = [pytest.mark.heavy, pytest.mark.either_driver]

MINUTE: Final = 60_000
ROWS: Final = 4096
SPAN: Final = ROWS * MINUTE
DAY: Final = 86_400_000
#: Where the writer's clock stands, from the end of the block on.
CLOCKS: Final = {
    "at its end": 0,
    "a second later": 1_000,
    "five minutes later": 300_000,
    "just within ten minutes": 599_999,
    "ten minutes later": 600_000,
    "a day later": DAY,
    "five minutes behind": -300_000,
    "an hour behind": -3_600_000,
    "a day behind": -DAY,
}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets this process's clock, in milliseconds."""

    def put(now: int) -> None:
        monkeypatch.setattr(types, "now_ms", lambda: now)

    return put


async def by_candles(series: CandleAdapter, rows: list[Any]) -> int:
    return await series.write_candles_data(rows)


async def by_frame(series: CandleAdapter, rows: list[dict[str, Any]]) -> int:
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return (await series.write_frame(columns)).new


WAYS: Final[dict[str, Callable[[CandleAdapter, list[dict[str, Any]]], Coroutine[Any, Any, int]]]] = {
    "candles": by_candles,
    "frame": by_frame,
}


async def times(series: CandleAdapter, start: int | None = None, end: int | None = None) -> list[int]:
    frame = await series.read_frame(start, end, as_="numpy")
    found: list[int] = frame["timestamp"].astype(np.int64).tolist()
    return found


async def blocks(deployment: Deployment) -> list[dict[str, Any]]:
    collection = (await backtest_mongo.get_mongo())[deployment.name]["candle-blocks"]
    return await collection.find().sort("start", 1).to_list(None)


async def assert_whole(series: CandleAdapter, deployment: Deployment, expected: list[dict[str, Any]]) -> None:
    """Check that everybody reads exactly these rows: whoever wrote them, and whoever comes anew."""
    wanted = [row["timestamp"] for row in expected]
    for _ in range(2):
        assert await times(series) == wanted
        coverage = await series.coverage()
        assert (coverage.first, coverage.last, coverage.rows) == (wanted[0], wanted[-1], len(wanted))
        frame = await series.read_frame(as_="numpy")
        assert frame["close"].tolist() == [row["close"] for row in expected]
        for row in (expected[0], expected[len(expected) // 2], expected[-1]):
            assert await series.read_candles_data(1, row["timestamp"]) == [row]
        await deployment.forget()
    assert (await series.verify()).damaged == {}


# Beside the grid


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("when", CLOCKS)
async def test_off_grid_row_shows_in_a_complete_block(
    series: CandleAdapter, deployment: Deployment, clock: Callable[[int], None], tiny: None, when: str, way: str
) -> None:
    span = 4 * MINUTE
    first = 1_000 * span  # a time of which no clock is before the first row
    rows = candles(8, first=first)
    clock(first + 2 * span)
    await series.write_candles_data(rows)
    assert [block["rows"] for block in await blocks(deployment)] == [4, 4]
    late = candles(1, first=first + MINUTE // 2, price=9.0)
    clock(max(first + span + CLOCKS[when], late[0]["timestamp"] + MINUTE))
    assert await WAYS[way](series, late) == 1
    clock(first + 2 * span + DAY)
    await assert_whole(series, deployment, [rows[0], late[0], *rows[1:]])


@pytest.mark.parametrize("after", [60_000, 599_999])
@pytest.mark.parametrize("way", WAYS)
async def test_no_row_of_a_whole_block_and_one_more_is_hidden(
    series: CandleAdapter, deployment: Deployment, clock: Callable[[int], None], way: str, after: int
) -> None:
    rows = candles(ROWS)
    clock(SPAN + after)
    await series.write_candles_data(rows)
    assert [block["rows"] for block in await blocks(deployment)] == [ROWS]
    late = candles(1, first=100 * MINUTE + MINUTE // 2, price=9.0)
    assert await WAYS[way](series, late) == 1
    clock(SPAN + DAY)
    await assert_whole(series, deployment, [*rows[:101], late[0], *rows[101:]])
    assert await series.read_candles_data(ROWS, 0) == rows


@pytest.mark.parametrize("count", [1, 3, 700])
@pytest.mark.parametrize("way", WAYS)
async def test_off_grid_window_finds_what_was_written_there(
    series: CandleAdapter, deployment: Deployment, clock: Callable[[int], None], way: str, count: int
) -> None:
    rows, shifted = candles(ROWS), candles(count, first=MINUTE // 2, price=9.0)
    clock(SPAN + 60_000)
    await series.write_candles_data(rows)
    assert len(await blocks(deployment)) == 1
    assert await WAYS[way](series, shifted) == count
    for _ in range(2):
        clock(SPAN + DAY)
        assert await series.read_candles_data(count, MINUTE // 2) == shifted
        assert await series.read_candles_data(ROWS, 0) == rows
        assert len(await times(series)) == ROWS + count
        await deployment.forget()


async def test_off_grid_rows_of_several_blocks_drop_each_of_them(
    series: CandleAdapter, deployment: Deployment, clock: Callable[[int], None], tiny: None
) -> None:
    rows = candles(40)
    clock(40 * MINUTE + 60_000)
    await series.write_candles_data(rows)
    assert len(await blocks(deployment)) == 10
    late = [candles(1, first=at * MINUTE + 1, price=9.0)[0] for at in (1, 2, 18, 37)]
    assert await series.write_candles_data(late) == 4
    assert [block["start"] // (4 * MINUTE) for block in await blocks(deployment)] == [1, 2, 3, 5, 6, 7, 8]
    clock(40 * MINUTE + DAY)
    await assert_whole(series, deployment, sorted(rows + late, key=lambda row: row["timestamp"]))


# On the grid


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("when", CLOCKS)
async def test_fresh_row_on_the_grid_shows_in_a_gap_that_another_clock_sealed(
    series: CandleAdapter, deployment: Deployment, clock: Callable[[int], None], tiny: None, when: str, way: str
) -> None:
    span = 4 * MINUTE
    first = 1_000 * span
    rows = candles(8, first=first)
    clock(first + DAY)  # of the machine that seals
    await series.write_candles_data([*rows[:1], *rows[2:]])
    await series.seal()
    assert [block["rows"] for block in await blocks(deployment)] == [3, 4]
    clock(max(first + span + CLOCKS[when], rows[1]["timestamp"] + MINUTE))
    assert await WAYS[way](series, rows[1:2]) == 1
    clock(first + DAY)
    await assert_whole(series, deployment, rows)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("when", CLOCKS)
async def test_rows_that_were_deleted_by_hand_and_written_again_replace_their_block(
    series: CandleAdapter, deployment: Deployment, clock: Callable[[int], None], tiny: None, when: str, way: str
) -> None:
    span = 4 * MINUTE
    first = 1_000 * span
    rows = candles(8, first=first)
    clock(first + 2 * span)
    await series.write_candles_data(rows)
    assert len(await blocks(deployment)) == 2
    collection = await deployment.collection(CandleAdapter.spec)
    await collection.delete_many({"timestamp": {"$lt": first + span}})
    await deployment.forget()
    anew = candles(4, first=first, price=9.0)
    clock(max(first + span + CLOCKS[when], anew[-1]["timestamp"] + MINUTE))
    assert await WAYS[way](series, anew) == 4
    clock(first + DAY)
    await assert_whole(series, deployment, anew + rows[4:])


async def test_one_row_that_was_deleted_by_hand_and_written_again_replaces_its_block(
    series: CandleAdapter, deployment: Deployment, clock: Callable[[int], None], tiny: None
) -> None:
    rows = candles(8)
    clock(8 * MINUTE + 60_000)
    await series.write_candles_data(rows)
    await (await deployment.collection(CandleAdapter.spec)).delete_one({"timestamp": 2 * MINUTE})
    await deployment.forget()
    anew = candles(1, first=2 * MINUTE, price=9.0)
    assert await series.write_candles_data(anew) == 1
    clock(DAY)
    await assert_whole(series, deployment, rows[:2] + anew + rows[3:])


# A writer without blocks and a reader with them


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("when", ["at its end", "five minutes later", "a day later", "an hour behind"])
@pytest.mark.parametrize("on_grid", [True, False])
async def test_row_of_a_writer_without_blocks_shows_to_a_reader_with_them(
    series: CandleAdapter,
    deployment: Deployment,
    clock: Callable[[int], None],
    tiny: None,
    when: str,
    way: str,
    on_grid: bool,
) -> None:
    span = 4 * MINUTE
    first = 1_000 * span
    rows = candles(8, first=first)
    clock(first + DAY)
    await series.write_candles_data(rows if not on_grid else [*rows[:1], *rows[2:]])
    await series.seal()
    assert len(await blocks(deployment)) == 2
    await backtest_mongo.setup({**deployment.config, "CC_CANDLE_BLOCKS": False})
    late = rows[1:2] if on_grid else candles(1, first=first + MINUTE // 2, price=9.0)
    clock(max(first + span + CLOCKS[when], late[0]["timestamp"] + MINUTE))
    assert await WAYS[way](series, late) == 1
    await backtest_mongo.setup({**deployment.config, "CC_CANDLE_BLOCKS": True})
    clock(first + DAY)
    await assert_whole(series, deployment, rows if on_grid else [rows[0], late[0], *rows[1:]])


async def test_late_rows_with_concurrent_readers_and_sealers_are_never_hidden(
    series: CandleAdapter, deployment: Deployment, clock: Callable[[int], None], tiny: None
) -> None:
    rows = candles(80)
    clock(80 * MINUTE + 60_000)
    await series.write_candles_data(rows)
    late = [candles(1, first=at * MINUTE + MINUTE // 2, price=9.0)[0] for at in range(1, 80, 3)]

    async def write(row: Any) -> None:
        assert await series.write_candles_data([row]) == 1
        assert row["timestamp"] in await times(series)

    await asyncio.gather(*(write(row) for row in late), *(series.seal() for _ in range(4)))
    clock(DAY)
    await assert_whole(series, deployment, sorted(rows + late, key=lambda row: row["timestamp"]))


# What it costs

#: Of blocks.
QUERIES: Final = ("find candle-blocks", "aggregate candle-blocks")


@pytest.mark.parametrize("where", ["open stretch", "sealed stretch", "off-grid"])
@pytest.mark.parametrize("count", [1, 3, 600])
@pytest.mark.parametrize("way", WAYS)
async def test_batch_queries_blocks_once_and_after_its_insert(
    series: CandleAdapter,
    deployment: Deployment,
    clock: Callable[[int], None],
    profiled: Any,
    way: str,
    count: int,
    where: str,
) -> None:
    clock(10 * SPAN)
    await series.write_candles_data(candles(ROWS))
    await series.write_candles_data(candles(1, first=SPAN))
    assert len(await blocks(deployment)) == 1
    first = {"open stretch": SPAN + MINUTE, "sealed stretch": 0, "off-grid": MINUTE // 2}[where]
    if where == "sealed stretch":
        # A block whose rows are gone, and written again.
        await (await deployment.collection(CandleAdapter.spec)).delete_many({"timestamp": {"$lt": count * MINUTE}})
    profiled.command("profile", 2)
    assert await WAYS[way](series, candles(count, first=first, price=9.0)) == count
    asked = commands(profiled)
    inserts = [at for at, command in enumerate(asked) if command == "insert candle-items"]
    queries = [at for at, command in enumerate(asked) if command in QUERIES]
    assert len(inserts) == 1
    assert len(queries) == 1, asked
    assert queries[0] > inserts[0], asked


async def test_each_batch_of_many_rows_queries_blocks_once(
    series: CandleAdapter, deployment: Deployment, clock: Callable[[int], None], profiled: Any
) -> None:
    await backtest_mongo.setup({**deployment.config, "CC_CANDLE_BLOCKS": False})  # so that nothing is sealed
    clock(20 * SPAN)
    await series.write_candles_data(candles(1))
    profiled.command("profile", 2)
    assert await series.write_candles_data(candles(25_000)) == 24_999
    asked = commands(profiled)
    inserts = asked.count("insert candle-items")
    assert inserts >= 1
    assert sum(command in QUERIES for command in asked) == inserts
    assert CandleRows.many < 25_000

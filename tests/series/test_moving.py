"""Moving candles from rows to blocks, which are then the only copy, and back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import pytest

import backtest_mongo
from backtest_mongo import CandleAdapter, types
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.errors import ConfigError, StoreError
from backtest_mongo.mongo import format as marker
from backtest_mongo.mongo import transactions
from backtest_mongo.series.block_store import BlockStore
from backtest_mongo.series.data_blocks import DataBlocks
from backtest_mongo.series.layouts import Layouts
from backtest_mongo.series.rows import CandleRows
from tests.conftest import Deployment, drop_database
from tests.series.test_vacant_stretches import in_another_loop
from tests.support.uniform import candles

pytestmark = [pytest.mark.either_driver, pytest.mark.two_pythons]

MINUTE: Final = 60_000
#: Two blocks of four, a gap, and a block with three candles.
TIMES: Final = [*range(8), 12, 13, 15]
#: What moving awaits: before each of these, and after it, it may fail or be killed.
STEPS: Final[tuple[tuple[Any, str], ...]] = (
    (transactions, "begin"),
    (transactions, "commit_again"),
    (Layouts, "begin"),
    (Layouts, "change"),
    (Layouts, "enter"),
    (Layouts, "look"),
    (DataBlocks, "prepare"),
    (DataBlocks, "find_latest"),
    (DataBlocks, "list_starts"),
    (DataBlocks, "replace"),
    (CandleRows, "fetch_documents"),
    (CandleRows, "delete_documents"),
    (CandleRows, "insert_documents"),
    (CandleRows, "find_ids"),
    (CandleRows, "find_first_time"),
    (CandleRows, "forget_ids"),
    (BlockStore, "drop_between"),
    (BlockStore, "announce_within"),
    (BlockStore, "withdraw"),
)


class InjectedError(Exception):
    """What is raised in the midst of a move."""


class Steps:
    """Counts the steps of a move, and interrupts one of them."""

    def __init__(self) -> None:
        self.done = 0
        self.interrupted = -1
        self.interrupt: Callable[[], object] = lambda: None

    def take(self) -> None:
        self.done += 1
        if self.done - 1 == self.interrupted:
            self.interrupt()


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    counted = Steps()

    def count(place: Any, name: str) -> None:
        work: Callable[..., Awaitable[Any]] = getattr(place, name)

        async def counting(*arguments: Any, **named: Any) -> Any:
            counted.take()
            result = await work(*arguments, **named)
            counted.take()
            return result

        monkeypatch.setattr(place, name, counting)

    for place, name in STEPS:
        count(place, name)
    return counted


def of(times: list[int], price: float = 1.0) -> list[Any]:
    return [candles(1, first=time * MINUTE, price=price)[0] for time in times]


def blocks_in(name: str = "candle-data") -> Any:
    return current_hub().database[name]


async def count_stored() -> tuple[int, int]:
    """Return how many candles are in rows, and how many in blocks."""
    rows = await current_hub().database["candle-items"].count_documents({})
    return rows, sum([block["rows"] async for block in blocks_in().find({})])


async def truth_of(series: CandleAdapter) -> str:
    return await series._rows().find_truth(series._context)


async def check(series: CandleAdapter, expected: list[Any]) -> None:
    """A process that knows nothing, and this one, find these candles by every door."""

    async def look() -> None:
        frame = await series.read_frame(as_="numpy")
        times = [row["timestamp"] for row in expected]
        assert frame["timestamp"].astype(int).tolist() == times
        assert frame["close"].tolist() == [row["close"] for row in expected]
        coverage = await series.coverage()
        assert (coverage.first, coverage.last, coverage.rows) == (times[0], times[-1], len(times))
        assert await series.bounds() == (times[0], times[-1])
        for row in expected:
            assert await series.read_candles_data(1, row["timestamp"]) == [row]
        missing = [t for gap in await series.gaps(end=times[-1] + MINUTE) for t in range(gap.start, gap.end, MINUTE)]
        assert missing == sorted({*range(times[0], times[-1], MINUTE)} - {*times})
        assert [one.context async for one in CandleAdapter.list_series()] == [series.context]
        assert sum(one.rows for one in await series._rows().measure({}, by_context=True)) == len(times)

    await look()
    await in_another_loop(look)


async def test_rows_become_blocks_and_come_back(series: CandleAdapter, deployment: Deployment, tiny: None) -> None:
    rows = of(TIMES)
    await series.write_candles_data(rows)
    seen: list[types.SealReport] = []
    assert await series.move_to_blocks(seen.append) == types.SealReport(3, 11)
    assert [report.rows for report in seen] == [4, 4, 3]
    assert await count_stored() == (0, 11)
    assert await truth_of(series) == "blocks"
    await check(series, rows)
    assert await series.move_to_blocks() == types.SealReport(0, 0)
    assert await series.move_to_rows() == types.SealReport(3, 11)
    assert await count_stored() == (11, 0)
    assert await truth_of(series) == "rows"
    await check(series, rows)
    assert await series.move_to_rows() == types.SealReport(0, 0)
    documents = await deployment.rows(CandleAdapter.spec)
    assert {type(document["createDate"]).__name__ for document in documents} == {"datetime"}


async def test_what_a_block_can_not_hold_stays_in_rows(
    series: CandleAdapter, tiny: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(types, "now_ms", lambda: 10 * MINUTE)
    rows = sorted([*of([*range(6), 8, 9]), *candles(1, first=2 * MINUTE + 7)], key=lambda row: row["timestamp"])
    assert await series.write_candles_data(rows) == 9
    assert await series.move_to_blocks() == types.SealReport(2, 6)
    assert await count_stored() == (3, 6)  # what is off the grid, and the stretch that goes on now
    frame = await series.read_frame(as_="numpy")
    assert frame["timestamp"].astype(int).tolist() == [row["timestamp"] for row in rows]
    assert (await series.coverage()).rows == 9
    assert await series.read_candles_data(6, 0) == of([*range(6)])
    assert await series.read_candles_data(1, 2 * MINUTE + 7) == candles(1, first=2 * MINUTE + 7)


@pytest.mark.heavy
@pytest.mark.parametrize("how", ["fails", "is cancelled"])
@pytest.mark.parametrize("what", ["move_to_blocks", "move_to_rows", "write"])
async def test_move_that_ends_at_any_step_loses_nothing_and_doubles_nothing(
    series: CandleAdapter, tiny: None, steps: Steps, what: str, how: str
) -> None:
    rows = of(TIMES)
    at = 0
    while True:
        await series.delete()
        await series.write_candles_data(rows)
        if what == "move_to_rows":
            await series.move_to_blocks()
        elif what == "write":
            await series.move_to_blocks()
            await series.delete(4 * MINUTE, 8 * MINUTE)
        else:
            await series.move_to_rows()
        work: Any = {"write": lambda: series.write_candles_data(rows)}.get(what) or getattr(series, what)
        task = asyncio.ensure_future(work())

        def interrupt(task: Any = task) -> None:
            if how == "is cancelled":
                task.cancel()
            else:
                raise InjectedError

        steps.done, steps.interrupted, steps.interrupt = 0, at, interrupt
        with contextlib.suppress(InjectedError, asyncio.CancelledError):
            await task
        ended = steps.done <= at
        steps.interrupted = -1
        known = rows if what != "write" else [row for row in rows if not 4 <= row["timestamp"] // MINUTE < 8]
        frame = await series.read_frame(as_="numpy")
        times = frame["timestamp"].astype(int).tolist()
        assert times in ([row["timestamp"] for row in rows], [row["timestamp"] for row in known])
        assert sum(await count_stored()) == len(times)
        await work()
        assert sum(await count_stored()) == len(rows)
        if at % 7 == 0:
            await check(series, rows)
        if ended:
            break
        at += 1
    assert at > 10


async def test_process_that_knows_rows_finds_what_another_has_moved(series: CandleAdapter, tiny: None) -> None:
    """It also writes them: what is there already is not new, and what is not is found by all."""
    rows = of(TIMES)
    await series.write_candles_data(rows)
    assert await series.read_candles_data(8, 0) == rows[:8]
    current_hub().candle_cache.clear()
    await in_another_loop(series.move_to_blocks)
    assert await series.read_candles_data(8, 0) == rows[:8]
    await in_another_loop(series.move_to_rows)
    current_hub().candle_cache.clear()
    assert await series.read_candles_data(8, 0) == rows[:8]
    await in_another_loop(series.move_to_blocks)
    await check(series, rows)


@pytest.mark.parametrize("count", [1, 3])
async def test_writer_that_knows_rows_does_not_overrule_blocks(
    series: CandleAdapter, deployment: Deployment, unique: str, count: int
) -> None:
    rows = of([*range(6)])
    await series.write_candles_data(rows)
    await in_another_loop(series.move_to_blocks)
    assert await series.write_candles_data(of([*range(count)], price=9.0)) == 0
    assert await series.write_candles_data(of([*range(count, 8)], price=9.0)) == 2
    assert await count_stored() == (2, 6)
    await check(series, [*rows, *of([6, 7], price=9.0)])


async def test_rows_that_were_left_beside_a_block_give_way(
    series: CandleAdapter, deployment: Deployment, tiny: None
) -> None:
    """As by a writer that was killed before it had looked, and by the Node package."""
    rows = of(TIMES)
    await series.write_candles_data(rows)
    (row, *_) = await deployment.rows(CandleAdapter.spec, timestamp=0)
    await series.move_to_blocks()
    await (await deployment.collection(CandleAdapter.spec)).insert_one({**row, "close": 0.5, "low": 0.5})
    await check(series, rows)
    assert await series.seal() == types.SealReport(1, 1)
    assert await count_stored() == (0, 11)
    await (await deployment.collection(CandleAdapter.spec)).insert_one({**row, "close": 0.5, "low": 0.5})
    await series.move_to_rows()
    await check(series, rows)


async def test_two_that_move_at_once_and_readers_beside_them(
    series: CandleAdapter, deployment: Deployment, tiny: None
) -> None:
    rows = of([*range(40)])
    await series.write_candles_data(rows)
    done = asyncio.Event()

    async def read() -> None:
        while not done.is_set():
            current_hub().candle_cache.clear()
            assert await series.read_candles_data(40, 0) == rows
            assert (await series.coverage()).rows == 40

    async def move() -> None:
        await asyncio.gather(series.move_to_blocks(), in_another_loop(series.move_to_blocks))
        await series.move_to_rows()
        await in_another_loop(series.move_to_blocks)
        done.set()

    await asyncio.gather(read(), move())
    assert await count_stored() == (0, 40)
    await check(series, rows)


async def test_late_candles_and_deletions_beside_a_move(
    series: CandleAdapter, deployment: Deployment, tiny: None
) -> None:
    rows = of([*range(0, 40, 2)])
    await series.write_candles_data(rows)
    late = of([*range(1, 40, 2)])

    async def write() -> int:
        return sum([await series.write_candles_data([row]) for row in late])

    moved, new, deleted = await asyncio.gather(
        in_another_loop(series.move_to_blocks), write(), in_another_loop(lambda: series.delete(0, 4 * MINUTE))
    )
    assert new == len(late)
    assert moved.rows
    assert deleted.rows
    await series.delete(0, 4 * MINUTE)
    await series.move_to_blocks()
    assert await count_stored() == (0, 36)
    await check(series, of([*range(4, 40)]))


async def test_bulk_writes_go_straight_into_blocks(deployment: Deployment, series: CandleAdapter) -> None:
    await backtest_mongo.setup(CC_CANDLE_ROWS=False)
    count = 10_000
    columns = {name: np.ones(count) for name in types.PRICES}
    report = await series.write_frame({"timestamp": np.arange(count) * MINUTE, **columns})
    assert (report.new, report.present) == (count, 0)
    assert await count_stored() == (0, count)
    assert await blocks_in("candle-blocks").count_documents({}) == 0  # no announcement is left
    report = await series.write_frame(
        {"timestamp": np.arange(count + 5) * MINUTE, **{n: np.ones(count + 5) for n in types.PRICES}}
    )
    assert (report.new, report.present) == (5, count)
    assert await series.read_candles_data(count + 5, 0) is not None


async def test_two_bulk_writes_of_one_stretch_store_each_candle_once(
    deployment: Deployment, series: CandleAdapter, tiny: None
) -> None:
    await backtest_mongo.setup(CC_CANDLE_ROWS=False)
    rows, others = of([*range(40)]), of([*range(20, 60)], price=2.0)
    here, there = await asyncio.gather(
        series.write_candles_data(rows), in_another_loop(lambda: series.write_candles_data(others))
    )
    assert here + there == 60
    assert sum(await count_stored()) == 60
    assert (await series.coverage()).rows == 60


@contextmanager
def unknown_feature() -> Iterator[None]:
    features = marker.FEATURES
    marker.FEATURES = features - {"candle-blocks"}  # type: ignore[misc]
    try:
        yield
    finally:
        marker.FEATURES = features  # type: ignore[misc]


async def test_version_that_knows_no_such_blocks_refuses_the_database(
    series: CandleAdapter, deployment: Deployment
) -> None:
    await series.write_candles_data(of(TIMES))
    await series.move_to_blocks()
    await deployment.forget()
    with unknown_feature(), pytest.raises(ConfigError, match="candle-blocks"):
        await series.read_candles_data(1, 0)


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        ({"$set": {"close": b"x"}}, "4 candles"),
        ({"$set": {"rows": 3}}, "3 candles"),
        ({"$unset": {"rows": ""}}, "up to 4 candles"),
        ({"$set": {"start": 10**12}}, "4 candles"),
        ({"$set": {"start": "x"}}, "up to 4 candles"),
        ({"$set": {"symbol": "ETHUSDT"}}, "up to 4 candles"),
        (None, "up to 4 candles"),
    ],
)
async def test_damage_is_an_error_and_no_gap(
    series: CandleAdapter, deployment: Deployment, tiny: None, change: Any, lost: str
) -> None:
    await series.write_candles_data(of([*range(12)]))
    await series.move_to_blocks()
    if change is None:
        await blocks_in().delete_one({"start": 4 * MINUTE})
    else:
        await blocks_in().update_one({"start": 4 * MINUTE}, change)
    doors: list[Callable[[], Awaitable[Any]]] = [
        series.read_frame,
        lambda: series.read_candles_data(12, 0),
        lambda: series.read_candles_data(1, 5 * MINUTE),
        lambda: series.read_frame(5 * MINUTE, 6 * MINUTE),
    ]
    if change != {"$set": {"close": b"x"}}:  # of which the index knows nothing
        doors += [series.coverage, series.gaps]
    for door in doors:
        with pytest.raises(StoreError, match=f"{lost} of .*1m.* lost"):
            await door()
    assert await series.read_candles_data(4, 0) == of([*range(4)])
    assert (await series.verify()).damaged
    with pytest.raises(StoreError, match="the only copy"):
        await series.verify(repair=True)
    with pytest.raises(StoreError, match="lost"):
        await series.move_to_rows()
    await series.delete(4 * MINUTE, 8 * MINUTE)
    await blocks_in().delete_many({"start": {"$in": [10**12, "x"]}})
    assert await series.write_candles_data(of([*range(4, 8)], price=3.0)) == 4
    assert await series.read_candles_data(8, 4 * MINUTE) == [*of([*range(4, 8)], price=3.0), *of([*range(8, 12)])]


async def test_setting_of_copies_has_no_effect(series: CandleAdapter, deployment: Deployment, tiny: None) -> None:
    await series.write_candles_data(of(TIMES))
    await series.move_to_blocks()
    await backtest_mongo.setup(CC_CANDLE_BLOCKS=False)
    await check(series, of(TIMES))
    assert await series.write_candles_data(of([14])) == 1
    assert await series.seal() == types.SealReport(0, 0)  # it went into its block
    assert await count_stored() == (0, 12)


async def test_watch_reports_no_moves(series: CandleAdapter, deployment: Deployment, tiny: None) -> None:
    rows = of([*range(4)])
    async with series.watch() as changes:
        await series.write_candles_data(rows)
        await series.move_to_blocks()
        await series.move_to_rows()
        await series.delete(3 * MINUTE)
        found = [await anext(changes) for _ in range(5)]
    assert [(change.kind, change.key) for change in found] == [
        *(("written", time * MINUTE) for time in range(4)),
        ("deleted", 3 * MINUTE),
    ]


async def test_past_and_contexts_as_a_whole(series: CandleAdapter, deployment: Deployment, tiny: None) -> None:
    await series.write_candles_data(of([*range(12)]))
    await series.move_to_blocks()
    async with backtest_mongo.as_of(6 * MINUTE) as past:
        then: Any = past.candle("BTCUSDT", "1m", str(series.context["exchange_name"]))
        assert (await then.coverage()).rows == 6
        assert await then.bounds() == (0, 5 * MINUTE)
        assert len((await then.read_frame(as_="numpy"))["close"]) == 6
    assert [one async for one in CandleAdapter.list_contexts(symbol="BTCUSDT")] == [series.context]
    assert (await series.delete()).rows == 12
    assert [one async for one in CandleAdapter.list_contexts()] == []
    assert await series.coverage() == types.Coverage(None, None, 0)
    assert await truth_of(series) == "blocks"  # which it stays


async def test_fork_that_copies_candles_keeps_them_as_they_were(
    series: CandleAdapter, deployment: Deployment, unique: str
) -> None:
    await series.write_candles_data(of(TIMES))
    await series.move_to_blocks()
    report = await backtest_mongo.fork(f"{unique}-fork", at=100 * MINUTE, copy_candles=True)
    assert report.candles == len(TIMES)
    await backtest_mongo.setup(**report.config)
    try:
        assert await truth_of(series) == "blocks"
        assert (await series.coverage()).rows == len(TIMES)
    finally:
        await drop_database(f"{unique}-fork")

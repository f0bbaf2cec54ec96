"""Candles that fill stretches without rows are sealed as they are inserted, unless anything else happens there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import numpy as np
import pytest

import backtest_mongo
from backtest_mongo import CandleAdapter, types
from backtest_mongo.errors import StoreError
from backtest_mongo.series.block_store import BlockStore
from backtest_mongo.series.rows import CandleRows
from backtest_mongo.series.sealing import Sealer, VacantBlocks
from tests.conftest import Deployment
from tests.support.uniform import candles

pytestmark = [pytest.mark.either_driver, pytest.mark.two_pythons]

MINUTE: Final = 60_000
COUNT: Final = 600
#: Where a write stands when something else happens, and the method that begins next.
STEPS: Final[dict[str, tuple[type, str]]] = {
    "before it looks": (CandleRows, "find_last_time"),
    "before it announces": (BlockStore, "announce"),
    "before it inserts": (CandleRows, "insert"),
    "before it looks for blocks to drop": (BlockStore, "drop_stale"),
    "before it counts": (CandleRows, "count_between"),
    "before it stores the blocks": (VacantBlocks, "finish"),
}


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What sealers have read back."""
    read, calls = Sealer._fetch, []

    async def fetch(self: Sealer, *arguments: Any) -> Any:
        calls.append(arguments)
        return await read(self, *arguments)

    monkeypatch.setattr(Sealer, "_fetch", fetch)
    return calls


def of_other(count: int, first: int = 0) -> list[Any]:
    return candles(count, first=first, price=7_000.0)


async def in_another_loop(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Do something on an event loop of its own, which shares no more with this one than another process does."""

    async def run() -> Any:
        try:
            return await work()
        finally:
            await backtest_mongo.close()

    return await asyncio.to_thread(asyncio.run, run())


async def check(series: CandleAdapter, deployment: Deployment, rows: list[Any]) -> None:
    """All blocks equal their rows, and a process that knows nothing reads ``rows``."""
    assert (await series.verify()).damaged == {}
    await deployment.forget()
    frame = await series.read_frame(as_="numpy")
    assert frame["timestamp"].astype(int).tolist() == [row["timestamp"] for row in rows]
    assert frame["open"].tolist() == [row["open"] for row in rows]


async def test_blocks_are_made_of_what_is_inserted(
    series: CandleAdapter, deployment: Deployment, tiny: None, fetched: list[Any]
) -> None:
    assert await series.write_candles_data(candles(COUNT + 2)) == COUNT + 2
    assert fetched == []
    assert await series.sealed() == types.Sealed(COUNT // 4, COUNT, (await series.sealed()).bytes)
    await check(series, deployment, candles(COUNT + 2))


async def test_rows_before_a_vacant_stretch_are_read_back_with_theirs_alone(
    series: CandleAdapter, deployment: Deployment, tiny: None, fetched: list[Any]
) -> None:
    await series.write_candles_data(of_other(2))
    assert await series.write_candles_data(candles(COUNT)) == COUNT - 2
    assert [(first, end) for _, first, end in fetched] == [(0, 4 * MINUTE)]
    assert (await series.sealed()).rows == COUNT
    await check(series, deployment, [*of_other(2), *candles(COUNT)[2:]])


async def test_rows_off_the_grid_keep_their_stretch_unsealed(
    series: CandleAdapter, deployment: Deployment, tiny: None
) -> None:
    (odd,) = of_other(1, first=9 * MINUTE + 1)
    await series.write_candles_data([odd])
    assert await series.write_candles_data(candles(COUNT)) == COUNT
    assert (await series.sealed()).rows == COUNT - 4
    await check(series, deployment, sorted([*candles(COUNT), odd], key=lambda row: row["timestamp"]))


async def test_announcement_of_a_dead_sealer_keeps_nothing_unsealed(
    series: CandleAdapter, deployment: Deployment, tiny: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def die(self: Any, *arguments: Any) -> Any:
        raise StoreError("the test lets it fail")

    with monkeypatch.context() as patch:
        patch.setattr(VacantBlocks, "finish", die)
        patch.setattr(Sealer, "seal", die)
        await series.write_candles_data(candles(COUNT))
    assert (await series.sealed()).rows == 0
    await series.delete()
    await series.write_candles_data(of_other(COUNT))
    assert (await series.sealed()).rows == COUNT
    await check(series, deployment, of_other(COUNT))


def stop_once(monkeypatch: pytest.MonkeyPatch, step: str, act: Callable[[], Awaitable[Any]]) -> list[Any]:
    """Do something at the first time that a step is come to, and return what came of it, once it was done."""
    cls, name = STEPS[step]
    work: Callable[..., Coroutine[Any, Any, Any]] = getattr(cls, name)
    results: list[Any] = []

    async def stop(self: Any, *arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(cls, name, work)
        results.append(await act())
        return await work(self, *arguments, **options)

    monkeypatch.setattr(cls, name, stop)
    return results


@pytest.mark.parametrize("step", STEPS)
async def test_row_of_another_process_shows(
    series: CandleAdapter, deployment: Deployment, tiny: None, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes first where this process has not inserted its own yet, else it is refused."""
    other = of_other(1, first=5 * MINUTE)
    writing = stop_once(monkeypatch, step, lambda: in_another_loop(lambda: series.write_candles_data(other)))
    new = await series.write_candles_data(candles(COUNT))
    rows = candles(COUNT)
    if writing == [1]:
        rows[5] = other[0]
    assert new == COUNT - writing[0]
    await check(series, deployment, rows)
    await series.seal()
    assert (await series.sealed()).rows == COUNT
    await check(series, deployment, rows)


@pytest.mark.parametrize("step", STEPS)
async def test_row_off_the_grid_of_another_process_shows(
    series: CandleAdapter, deployment: Deployment, tiny: None, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = of_other(1, first=5 * MINUTE + 1)
    writing = stop_once(monkeypatch, step, lambda: in_another_loop(lambda: series.write_candles_data(other)))
    assert await series.write_candles_data(candles(COUNT)) == COUNT
    assert writing == [1]
    await check(series, deployment, [*candles(6), *other, *candles(COUNT)[6:]])


@pytest.mark.parametrize("step", STEPS)
async def test_rows_that_another_process_deletes_are_not_read(
    series: CandleAdapter, deployment: Deployment, tiny: None, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deleting = stop_once(monkeypatch, step, lambda: in_another_loop(series.delete))
    assert await series.write_candles_data(candles(COUNT)) == COUNT
    gone = deleting[0].rows
    assert gone in (0, 64)  # sixteen blocks are written at a time
    await check(series, deployment, candles(COUNT)[gone:])


async def test_two_processes_that_write_the_same_leave_whole_blocks(
    series: CandleAdapter, deployment: Deployment, tiny: None
) -> None:
    counts = await asyncio.gather(
        series.write_candles_data(candles(COUNT)),
        in_another_loop(lambda: series.write_candles_data(candles(COUNT))),
    )
    assert sum(counts) == COUNT
    await check(series, deployment, candles(COUNT))
    await series.seal()
    assert (await series.sealed()).rows == COUNT
    await check(series, deployment, candles(COUNT))


@pytest.mark.parametrize("failing", [(BlockStore, "announce"), (CandleRows, "count_between"), (BlockStore, "finish")])
async def test_failure_of_sealing_fails_no_write(
    series: CandleAdapter,
    deployment: Deployment,
    tiny: None,
    failing: tuple[type, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(self: Any, *arguments: Any) -> Any:
        raise StoreError("the test lets it fail")

    with monkeypatch.context() as patch:
        patch.setattr(*failing, fail)
        assert await series.write_candles_data(candles(COUNT)) == COUNT
    await check(series, deployment, candles(COUNT))
    await series.seal()
    assert (await series.sealed()).rows == COUNT


async def test_arrays_that_change_meanwhile_change_no_block_alone(
    series: CandleAdapter, deployment: Deployment, tiny: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame's columns may be the caller's own arrays: what is written of them is written to rows and blocks."""
    columns = {name: np.array([row[name] for row in candles(COUNT)]) for name in candles(1)[0]}

    async def change() -> None:
        columns["open"] -= 1.0

    stop_once(monkeypatch, "before it stores the blocks", change)
    await series.write_frame(columns)
    assert (await series.sealed()).rows == COUNT
    assert (await series.verify()).damaged == {}

"""Candles are deleted and written anew: no read gives the old ones, whoever seals, reads, writes or dies meanwhile."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

import pytest

import backtest_mongo
from backtest_mongo import CandleAdapter, InputError, StoreUnavailableError
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.series import writing as series_writing
from backtest_mongo.series.block_store import BlockStore
from backtest_mongo.series.rows import CandleRows
from backtest_mongo.series.sealing import Sealer
from backtest_mongo.series.writing import CandleWriter
from backtest_mongo.types import Coverage, DeleteReport
from tests.conftest import Deployment, tiny_blocks
from tests.support import uniform
from tests.support.uniform import candles

pytestmark = [pytest.mark.heavy, pytest.mark.either_driver]

MINUTE: Final = 60_000
KEY: Final = "candle_cache:{}:BTCUSDT:1m:{}"


def _series(name: str) -> Any:
    return uniform.ADAPTERS["candle"]("BTCUSDT", "1m", name)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of four rows, and three rows a batch."""
    tiny_blocks(monkeypatch)
    monkeypatch.setattr(series_writing, "_DELETED", 3)


def corrected(count: int, first: int = 0) -> list[dict[str, Any]]:
    return candles(count, first=first, price=50.0)


async def frame_of(series: Any) -> list[tuple[int, float]]:
    frame = await series.read_frame(as_="numpy")
    return list(zip(frame["timestamp"].astype(int).tolist(), frame["close"].tolist(), strict=True))


def as_frame(rows: list[dict[str, Any]]) -> list[tuple[int, float]]:
    return [(row["timestamp"], row["close"]) for row in rows]


async def blocks_of(deployment: Deployment) -> list[tuple[int, int]]:
    collection = (await backtest_mongo.get_mongo())[deployment.name]["candle-blocks"]
    return [(block["start"], block["rows"]) for block in await collection.find().sort("start", 1).to_list(None)]


# Every backend


@pytest.mark.files
@pytest.mark.parametrize(
    ("start", "end", "left"),
    [
        (None, None, []),
        (0, None, []),
        (None, 10 * MINUTE, []),
        (3 * MINUTE, 5 * MINUTE, [0, 1, 2, 5, 6, 7, 8, 9]),
        (3 * MINUTE + 1, 5 * MINUTE + 1, [0, 1, 2, 3, 6, 7, 8, 9]),
        (7 * MINUTE, None, [0, 1, 2, 3, 4, 5, 6]),
        (None, 2 * MINUTE, [2, 3, 4, 5, 6, 7, 8, 9]),
        (datetime(1970, 1, 1, 0, 4, tzinfo=UTC), datetime(1970, 1, 1, 0, 9, tzinfo=UTC), [0, 1, 2, 3, 9]),
        (5 * MINUTE, 5 * MINUTE, list(range(10))),
        (-(2**63), -(2**63) + 1, list(range(10))),
        (2**63 - 1, None, list(range(10))),
        (-(2**63), 2**63 - 1, []),
    ],
)
async def test_rows_of_the_range_are_deleted(
    deployment: Deployment, tiny: None, unique: str, start: Any, end: Any, left: list[int]
) -> None:
    series, other = _series(unique), _series(f"{unique}-2")
    rows = candles(10)
    for one in (series, other):
        await one.write_candles_data(rows)
    assert await series.read_candles_data(10, 0) == rows
    assert (await series.delete(start, end)).rows == 10 - len(left)
    assert (await series.delete(start, end)) == DeleteReport(0, 0)
    kept = [rows[place] for place in left]
    assert await frame_of(series) == as_frame(kept)
    assert await series.coverage() == (
        Coverage(kept[0]["timestamp"], kept[-1]["timestamp"], len(kept)) if kept else Coverage(None, None, 0)
    )
    assert sum(gap.rows for gap in await series.gaps(0, 10 * MINUTE)) == 10 - len(left)
    for place in range(10):
        assert await series.read_candles_data(1, place * MINUTE) == ([rows[place]] if place in left else None)
    assert await frame_of(other) == as_frame(rows)
    assert (await series.verify()).damaged == {}


@pytest.mark.files
async def test_corrected_candles_are_what_every_read_gives(deployment: Deployment, tiny: None, unique: str) -> None:
    series = _series(unique)
    await series.write_candles_data(candles(12))
    assert await series.read_candles_data(12, 0) == candles(12)
    await frame_of(series)
    assert (await series.delete(2 * MINUTE, 9 * MINUTE)).rows == 7
    new = corrected(7, 2 * MINUTE)
    assert await series.write_candles_data(new) == 7
    whole = [*candles(2), *new, *candles(3, first=9 * MINUTE)]
    for _ in range(2):
        assert await series.read_candles_data(12, 0) == whole
        assert await series.read_candles_data(3, 3 * MINUTE) == whole[3:6]
        assert await frame_of(series) == as_frame(whole)
        assert await series.coverage() == Coverage(0, 11 * MINUTE, 12)
        assert await series.gaps(0, 12 * MINUTE) == []
        await series.seal()
        await deployment.forget()
        series = _series(unique)
    assert (await series.verify()).damaged == {}


@pytest.mark.files
async def test_bad_ranges_are_refused(deployment: Deployment, unique: str) -> None:
    series = _series(unique)
    await series.write_candles_data(candles(3))
    for arguments in ((2, 1), (datetime(2024, 1, 1), None), ("2024", None), (None, 1.5), (None, 2**63), (True, None)):
        with pytest.raises(InputError, match=r"start|end"):
            await series.delete(*arguments)
    assert await series.coverage() == Coverage(0, 2 * MINUTE, 3)


@pytest.mark.files
async def test_long_series_is_deleted_in_batches(
    deployment: Deployment, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = _series(unique)
    await series.write_candles_data(candles(2_500))
    monkeypatch.setattr(series_writing, "_DELETED", 1_000)
    assert (await series.delete(None, 2_400 * MINUTE)).rows == 2_400
    assert await series.coverage() == Coverage(2_400 * MINUTE, 2_499 * MINUTE, 100)


async def test_dummy_deletes_nothing() -> None:
    backtest_mongo.persist.use_dummy()
    series: Any = backtest_mongo.persist.candle("BTCUSDT", "1m", "binance")
    assert await series.delete() == DeleteReport(0, 0)
    with pytest.raises(InputError):
        await series.delete(2, 1)


# Blocks, ids and memory


@pytest.mark.in_rows("it inspects the copies")
async def test_blocks_and_announcements_of_the_range_are_deleted(
    deployment: Deployment, tiny: None, unique: str
) -> None:
    series = _series(unique)
    await series.write_candles_data(candles(16))
    blocks = (await backtest_mongo.get_mongo())[deployment.name]["candle-blocks"]
    key = {"exchangeName": unique, "symbol": "BTCUSDT", "interval": "1m"}
    await blocks.replace_one({**key, "start": 4 * MINUTE}, {**key, "start": 4 * MINUTE, "format": 1, "rows": 0})
    await blocks.update_one({**key, "start": 8 * MINUTE}, {"$set": {"rows": "many"}})
    assert await series.delete(7 * MINUTE, 9 * MINUTE) == DeleteReport(2, 1)
    assert [start for start, _ in await blocks_of(deployment)] == [0, 12 * MINUTE]
    assert await series.delete() == DeleteReport(14, 2)
    assert await blocks_of(deployment) == []


@pytest.mark.in_rows("candles in blocks have no ids")
async def test_ids_in_redis_are_deleted(deployment: Deployment, unique: str) -> None:
    series = _series(unique)
    await series.write_candles_data(candles(4))
    keys = [KEY.format(unique, place * MINUTE) for place in range(4)]
    assert all([await deployment.cached(key) for key in keys])
    await series.delete(MINUTE, 3 * MINUTE)
    assert [await deployment.cached(key) is None for key in keys] == [False, True, True, False]
    await series.write_candles_data(corrected(4))
    (row,) = await deployment.rows(series.spec, exchangeName=unique, timestamp=MINUTE)
    assert await deployment.cached(keys[1]) == str(row["_id"])


@pytest.mark.in_rows("it holds up a query of rows")
async def test_window_that_is_read_meanwhile_is_not_kept(
    deployment: Deployment, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = _series(unique)
    await series.write_candles_data(candles(4))
    fetch, fetched, deleted = CandleRows.fetch, asyncio.Event(), asyncio.Event()

    async def fetch_and_wait(self: CandleRows, *arguments: Any) -> Any:
        found = await fetch(self, *arguments)
        fetched.set()
        await deleted.wait()
        return found

    monkeypatch.setattr(CandleRows, "fetch", fetch_and_wait)
    reading = asyncio.ensure_future(series.read_candles_data(4, 0))
    await fetched.wait()
    assert (await series.delete()).rows == 4
    assert await series.write_candles_data(corrected(4)) == 4
    deleted.set()
    assert await reading == candles(4)  # it had begun before
    assert await series.read_candles_data(4, 0) == corrected(4)


async def test_other_event_loops_forget_too(deployment: Deployment, unique: str) -> None:
    series = _series(unique)
    await series.write_candles_data(candles(4))
    begun, corrected_now = asyncio.Event(), asyncio.Event()
    here = asyncio.get_running_loop()

    def read_there() -> list[Any]:
        async def read() -> list[Any]:
            before = await series.read_candles_data(4, 0)
            here.call_soon_threadsafe(begun.set)
            asyncio.run_coroutine_threadsafe(corrected_now.wait(), here).result()
            await asyncio.sleep(0)  # what was called from the other thread
            after = await series.read_candles_data(4, 0)
            await backtest_mongo.close()
            return [before, after]

        return asyncio.run(read())

    reading = asyncio.ensure_future(asyncio.to_thread(read_there))
    await begun.wait()
    await series.delete()
    await series.write_candles_data(corrected(4))
    corrected_now.set()
    assert await reading == [candles(4), corrected(4)]


# Beside sealers and writers


#: Where a sealer stands: it has announced itself and read the rows, or is about to.
STEPS: Final = ("announce", "read", "finish")


@pytest.mark.in_rows("it stops a sealer of copies")
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("when", ["before it", "between blocks and rows", "between rows and blocks"])
async def test_sealer_that_has_read_the_old_rows_seals_none(
    deployment: Deployment, tiny: None, unique: str, step: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sealer has come to ``step`` at a moment of the deletion, and goes on when that is over."""
    series = _series(unique)
    await series.write_candles_data(candles(12))
    await current_hub().database["candle-blocks"].delete_many({})
    arrived, came, over = asyncio.Event(), asyncio.Event(), asyncio.Event()
    original = getattr(*_method(step))
    sealing: list[asyncio.Future[Any]] = []

    async def pause(self: Any, *arguments: Any) -> Any:
        if arrived.is_set():  # whoever seals after the first
            return await original(self, *arguments)
        arrived.set()
        done = await original(self, *arguments) if step == "read" else None
        came.set()
        await over.wait()
        return done if step == "read" else await original(self, *arguments)

    async def begin() -> None:
        if not sealing:
            monkeypatch.setattr(*_method(step), pause)
            sealing.append(asyncio.ensure_future(series.seal()))
            await came.wait()

    def stop_at(cls: type, name: str, after: bool) -> None:
        work: Callable[..., Awaitable[Any]] = getattr(cls, name)

        async def stopping(*arguments: Any) -> Any:
            if not after:
                await begin()
            done = await work(*arguments)
            if after:
                await begin()
            return done

        monkeypatch.setattr(cls, name, stopping)

    if when == "before it":
        await begin()
    else:
        stop_at(CandleRows, "delete", when == "between rows and blocks")
    await series.delete(2 * MINUTE, 9 * MINUTE)
    await series.write_candles_data(corrected(4, 3 * MINUTE))
    over.set()
    await sealing[0]
    whole = [*candles(2), *corrected(4, 3 * MINUTE), *candles(3, first=9 * MINUTE)]
    assert await frame_of(series) == as_frame(whole)
    assert (await series.verify()).damaged == {}
    await series.seal()
    assert await frame_of(series) == as_frame(whole)


def _method(step: str) -> tuple[Any, str]:
    return {
        "announce": (BlockStore, "announce"),
        "read": (Sealer, "_fetch"),
        "finish": (BlockStore, "finish"),
    }[step]


@pytest.mark.in_rows("it stops what is done with rows and copies")
async def test_block_that_is_sealed_before_its_rows_are_deleted_is_dropped(
    deployment: Deployment, tiny: None, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = _series(unique)
    await series.write_candles_data(candles(12))
    delete, sealed = CandleRows.delete, []

    async def seal_first(*arguments: Any) -> int:
        sealed.append((await series.seal()).blocks)
        return await delete(*arguments)

    monkeypatch.setattr(CandleRows, "delete", seal_first)
    await series.delete(2 * MINUTE, 9 * MINUTE)
    assert sealed[0] == 3
    whole = [*candles(2), *candles(3, first=9 * MINUTE)]
    assert await frame_of(series) == as_frame(whole)
    assert (await series.verify()).damaged == {}


@pytest.mark.in_rows("it stops what is done with rows and copies")
@pytest.mark.parametrize("count", [8, 12])
async def test_late_sealer_seals_what_is_stored(
    deployment: Deployment, tiny: None, unique: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows were deleted, and as many others written, between its insertion and its sealing."""
    series, finish = _series(unique), CandleWriter._finish
    written, over = asyncio.Event(), asyncio.Event()

    async def wait(self: CandleWriter, *arguments: Any) -> set[int]:
        written.set()
        await over.wait()
        return await finish(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(CandleWriter, "_finish", wait)
        writing = asyncio.ensure_future(series.write_candles_data(candles(count)))
        await written.wait()
    assert (await series.delete()).rows == count
    assert await series.write_candles_data(corrected(count)) == count
    await current_hub().database["candle-blocks"].delete_many({})
    over.set()
    assert await writing == count
    assert (await series.sealed()).rows == count
    assert await frame_of(series) == as_frame(corrected(count))
    assert (await series.verify()).damaged == {}


@pytest.mark.in_rows("it stops what is done with rows and copies")
async def test_cancelled_deletion_can_be_run_again(
    deployment: Deployment, tiny: None, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = _series(unique)
    await series.write_candles_data(candles(12))
    assert await series.read_candles_data(12, 0) == candles(12)
    delete, batches = CandleRows.delete, 0

    async def cancel_the_caller(*arguments: Any) -> int:
        nonlocal batches
        batches += 1
        if batches == 2:
            deleting.cancel()
            await asyncio.sleep(0)
        return await delete(*arguments)

    monkeypatch.setattr(CandleRows, "delete", cancel_the_caller)
    deleting = asyncio.ensure_future(series.delete(0, 10 * MINUTE))
    with pytest.raises(asyncio.CancelledError):
        await deleting
    # The batch that had begun is done, and what is left is what every read gives.
    assert await frame_of(series) == as_frame(candles(6, first=6 * MINUTE))
    assert await series.read_candles_data(12, 0) is None
    assert (await series.verify()).damaged == {}
    assert (await series.delete(0, 10 * MINUTE)).rows == 4
    assert await frame_of(series) == as_frame(candles(2, first=10 * MINUTE))


@pytest.mark.in_rows("it stops what is done with rows and copies")
@pytest.mark.heavy
async def test_process_that_is_killed_at_any_step_leaves_no_wrong_answer(
    deployment: Deployment, tiny: None, unique: str
) -> None:
    """A process that deletes kills itself before each of its requests in turn, with a sealer at work in between."""
    series, step, ended = _series(unique), 0, False
    while not ended:
        await series.delete()
        await series.write_candles_data(candles(12))
        command = [
            sys.executable,
            "-m",
            "tests.support.deleting_worker",
            json.dumps(deployment.config),
            unique,
            str(step),
        ]
        worker = await asyncio.create_subprocess_exec(*command)
        code = await worker.wait()
        assert code in (0, -signal.SIGKILL)
        ended = code == 0
        collection = await deployment.collection(series.spec)
        left = {row["timestamp"] for row in await collection.find({"exchangeName": unique}).to_list(None)}
        assert left >= {0, MINUTE, *range(9 * MINUTE, 12 * MINUTE, MINUTE)}
        # No stored row is hidden.
        assert {time for time, _ in await frame_of(series)} >= left
        assert (await series.delete(2 * MINUTE, 9 * MINUTE)).rows == len(left) - 5
        kept = [*candles(2), *candles(3, first=9 * MINUTE)]
        assert await frame_of(series) == as_frame(kept)
        assert (await series.verify()).damaged == {}
        new = corrected(7, 2 * MINUTE)
        assert await series.write_candles_data(new) == 7
        whole = [*kept[:2], *new, *kept[2:]]
        assert await frame_of(series) == as_frame(whole)
        assert await series.read_candles_data(12, 0) == whole
        assert (await series.verify()).damaged == {}
        step += 1
    assert step > 8  # it was killed so often


async def test_unreachable_server_is_reported(unique: str, servers: dict[str, Any], driver: str) -> None:
    nowhere = "mongodb://127.0.0.1:1/nowhere?serverSelectionTimeoutMS=200"
    config = {**servers, "CC_MONGO_CONNECTION_STRING": nowhere, "CC_MONGO_DRIVER": driver, "CC_MONGO_TIMEOUT_MS": 300}
    backtest_mongo.set_config(config)
    try:
        with pytest.raises(StoreUnavailableError):
            await CandleAdapter("BTCUSDT", "1m", unique).delete()
    finally:
        await backtest_mongo.close()

"""Sealed blocks: what is sealed and when, what drops it, and what is done about damage. The answers never differ."""

from __future__ import annotations

import asyncio
import os
import tracemalloc
from typing import Any

import numpy as np
import pytest
from bson import ObjectId
from hypothesis import given, settings
from hypothesis import strategies as st

import backtest_mongo
from backtest_mongo import CandleAdapter, types
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.core.arrays import CandleArrays, decode_rows, encode_rows
from backtest_mongo.core.interval_grid import GRIDS
from backtest_mongo.series.block_store import BlockStore
from backtest_mongo.series.blocks import BlockGrid, DamagedBlockError, decode_into, encode_block, lacks_any, parse_block
from backtest_mongo.series.rows import CandleRows
from backtest_mongo.series.sealing import Sealer
from backtest_mongo.types import PRICES
from tests.conftest import Deployment
from tests.support.uniform import candles

pytestmark = [pytest.mark.either_driver, pytest.mark.two_pythons]

MINUTE = 60_000
GRID = GRIDS["1m"]
ROWS = 4096
SPAN = ROWS * MINUTE


async def blocks(deployment: Deployment) -> list[dict[str, Any]]:
    collection = (await backtest_mongo.get_mongo())[deployment.name]["candle-blocks"]
    return await collection.find().sort("start", 1).to_list(None)


async def change_block(deployment: Deployment, start: int, **fields: Any) -> None:
    collection = (await backtest_mongo.get_mongo())[deployment.name]["candle-blocks"]
    assert (await collection.update_one({"start": start}, {"$set": fields})).matched_count == 1


async def times(series: CandleAdapter, start: int | None = None, end: int | None = None) -> list[int]:
    frame = await series.read_frame(start, end, as_="numpy")
    found: list[int] = frame["timestamp"].astype(np.int64).tolist()
    return found


def random_candles(rows: int, seed: int = 0) -> CandleArrays:
    rng = np.random.default_rng(seed)
    return CandleArrays(MINUTE * np.arange(rows), *(np.round(rng.normal(100, 10, rows), 2) for _ in PRICES))


# What is sealed, and when


async def test_large_write_seals_what_is_complete_and_leaves_the_end_open(
    series: CandleAdapter, deployment: Deployment
) -> None:
    await series.write_candles_data(candles(2 * ROWS + 100))
    assert [(block["start"], block["rows"], "present" in block) for block in await blocks(deployment)] == [
        (0, ROWS, False),
        (SPAN, ROWS, False),
    ]
    assert (await series.sealed()).rows == 2 * ROWS


async def test_block_whose_last_place_is_filled_is_sealed(series: CandleAdapter, deployment: Deployment) -> None:
    await series.write_candles_data(candles(ROWS))
    assert [block["rows"] for block in await blocks(deployment)] == [ROWS]


@pytest.mark.parametrize("many", [1, 512])
async def test_small_writes_seal_a_block_once_they_are_past_it(
    series: CandleAdapter, deployment: Deployment, tiny: None, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    monkeypatch.setattr(CandleRows, "many", many)
    for position in range(3):
        await series.write_candles_data(candles(1, first=position * MINUTE))
    assert await blocks(deployment) == []
    await series.write_candles_data(candles(1, first=3 * MINUTE))
    assert [(block["start"], block["rows"]) for block in await blocks(deployment)] == [(0, 4)]
    await series.write_candles_data(candles(3, first=4 * MINUTE))
    await series.write_candles_data(candles(2, first=9 * MINUTE))
    await series.write_candles_data(candles(2, first=11 * MINUTE))
    assert [(block["start"], block["rows"]) for block in await blocks(deployment)] == [(0, 4), (8 * MINUTE, 3)]
    assert await series.seal() == types.SealReport(2, 4)
    assert [block["rows"] for block in await blocks(deployment)] == [4, 3, 3, 1]


async def test_block_with_gaps_is_sealed_once_its_stretch_is_over(
    series: CandleAdapter, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = candles(ROWS + 10)
    await series.write_candles_data(rows[:50] + rows[60:4000])
    for now, sealed in ((SPAN + 19 * MINUTE, 0), (SPAN + 20 * MINUTE, 1)):
        monkeypatch.setattr(types, "now_ms", lambda now=now: now)
        assert (await series.seal()).blocks == sealed
    assert await series.read_candles_data(3940, 60 * MINUTE) == rows[60:4000]
    assert await series.read_candles_data(600, 0) is None
    assert len(await times(series)) == 3990


async def test_sealing_again_does_nothing(series: CandleAdapter, deployment: Deployment, tiny: None) -> None:
    await series.write_candles_data(candles(10))
    await series.seal()
    before = await blocks(deployment)
    assert await series.seal() == types.SealReport(0, 0)
    assert await blocks(deployment) == before


async def test_off_grid_rows_keep_a_stretch_from_being_sealed(
    series: CandleAdapter, deployment: Deployment, tiny: None
) -> None:
    await series.write_candles_data([*candles(8), *candles(1, first=MINUTE + 1)])
    await series.seal()
    assert [block["start"] for block in await blocks(deployment)] == [4 * MINUTE]
    assert await times(series) == [0, MINUTE, MINUTE + 1, *(MINUTE * position for position in range(2, 8))]


async def test_off_grid_row_drops_a_complete_block(series: CandleAdapter, deployment: Deployment, tiny: None) -> None:
    await series.write_candles_data(candles(8))
    assert len(await blocks(deployment)) == 2
    await series.write_candles_data(candles(1, first=MINUTE + 1))
    assert [block["start"] for block in await blocks(deployment)] == [4 * MINUTE]
    assert len(await times(series)) == 9


@pytest.mark.parametrize("blocks_used", [True, False])
async def test_switch_turns_off_sealing_and_reading_of_blocks(
    series: CandleAdapter, deployment: Deployment, tiny: None, blocks_used: bool
) -> None:
    await backtest_mongo.setup(CC_CANDLE_BLOCKS=blocks_used)
    await series.write_candles_data(candles(8))
    assert len(await blocks(deployment)) == 2 * blocks_used
    await (await deployment.collection(CandleAdapter.spec)).delete_many({})
    assert len(await times(series, 0, 8 * MINUTE)) == 8 * blocks_used


async def test_late_candles_drop_blocks_with_blocks_switched_off(
    series: CandleAdapter, deployment: Deployment, tiny: None
) -> None:
    rows = candles(8)
    await series.write_candles_data(rows[:1] + rows[2:])
    await series.seal()
    await backtest_mongo.setup(CC_CANDLE_BLOCKS=False)
    await series.write_candles_data(rows)
    await backtest_mongo.setup(CC_CANDLE_BLOCKS=True)
    assert await series.read_candles_data(8, 0) == rows


async def test_page_of_blocks_is_in_memory_twice_at_most(series: CandleAdapter, deployment: Deployment) -> None:
    """Once as the server sends it, and once decoded: each copy more costs as much as the request."""
    store = BlockStore(current_hub(), CandleAdapter.spec)
    grid = BlockGrid.of(GRID)
    await store.read_page(series._context, grid, 0, 100 * SPAN)  # connects
    key = store.make_key(series._context)
    column, number = 40_000, 40
    rows = [{**key, "start": at * SPAN, **{name: os.urandom(column) for name in PRICES}} for at in range(number)]
    await (await backtest_mongo.get_mongo())[deployment.name]["candle-blocks"].insert_many(rows)
    del rows
    tracemalloc.start()
    try:
        page = await store.read_page(series._context, grid, 0, 100 * SPAN)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(page.blocks) == number
    assert peak < 2.5 * number * column * len(PRICES)


async def test_with_other_writers_only_complete_blocks_are_sealed_and_read(
    series: CandleAdapter, deployment: Deployment, tiny: None
) -> None:
    rows = candles(8)
    await series.write_candles_data(rows[:6] + rows[7:])
    await series.seal()
    assert [block["rows"] for block in await blocks(deployment)] == [4, 3]
    await backtest_mongo.setup(CC_CANDLE_SHARED_WRITERS=True)
    # As the Node package writes it, which drops no block.
    key = {"exchangeName": series.context["exchange_name"], "symbol": "BTCUSDT", "interval": "1m"}
    await (await deployment.collection(CandleAdapter.spec)).insert_one({**key, **rows[6], "timestamp": 6.0 * MINUTE})
    assert await series.read_candles_data(8, 0) == rows
    assert len(await times(series)) == 8
    await (await backtest_mongo.get_mongo())[deployment.name]["candle-blocks"].delete_many({})
    await series.write_candles_data(candles(3, first=8 * MINUTE))
    await series.seal()
    assert [block["start"] for block in await blocks(deployment)] == [0, 4 * MINUTE]


# Late candles


async def test_late_candle_drops_the_block_before_its_write_returns(
    series: CandleAdapter, deployment: Deployment, tiny: None
) -> None:
    rows = candles(8)
    await series.write_candles_data(rows[:1] + rows[2:])
    await series.seal()
    assert [block["rows"] for block in await blocks(deployment)] == [3, 4]
    assert await series.write_candles_data(rows[1:2]) == 1
    assert [block["rows"] for block in await blocks(deployment)] == [4]
    assert await series.read_candles_data(8, 0) == rows
    await series.seal()
    assert [block["rows"] for block in await blocks(deployment)] == [4, 4]


async def test_writing_again_drops_a_block_that_lacks_a_stored_row(
    series: CandleAdapter, deployment: Deployment, tiny: None
) -> None:
    # As a process leaves it that is killed at the worst moment, with another one that seals.
    rows = candles(4)
    await series.write_candles_data(rows[:1] + rows[2:])
    await series.seal()
    key = {"exchangeName": series.context["exchange_name"], "symbol": "BTCUSDT", "interval": "1m"}
    await (await deployment.collection(CandleAdapter.spec)).insert_one({**key, **rows[1]})
    assert await series.write_candles_data(rows[1:2]) == 0
    assert await blocks(deployment) == []
    assert await series.read_candles_data(4, 0) == rows


async def test_block_of_deleted_rows_is_dropped_when_they_are_written_again(
    series: CandleAdapter, deployment: Deployment, tiny: None
) -> None:
    await series.write_candles_data(candles(8, price=1.0))
    await (await deployment.collection(CandleAdapter.spec)).delete_many({"timestamp": {"$gte": 4 * MINUTE}})
    report = await series.verify()
    assert list(report.damaged) == [4 * MINUTE]
    await series.write_candles_data(candles(4, first=4 * MINUTE, price=9.0))
    await deployment.forget()
    assert await series.read_candles_data(8, 0) == candles(4, price=1.0) + candles(4, first=4 * MINUTE, price=9.0)


async def test_late_candle_during_sealing_is_never_lost(
    series: CandleAdapter, deployment: Deployment, tiny: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sealer has read the rows and not finished when a late candle is written completely."""
    rows = candles(4)
    await series.write_candles_data(rows[:1] + rows[2:])
    read = Sealer._fetch

    async def read_and_let_others_write(self: Sealer, *arguments: Any) -> CandleArrays:
        found = await read(self, *arguments)
        monkeypatch.setattr(Sealer, "_fetch", read)
        assert await series.write_candles_data(rows[1:2]) == 1
        return found

    (block,) = await blocks(deployment)
    await (await backtest_mongo.get_mongo())[deployment.name]["candle-blocks"].delete_one({"_id": block["_id"]})
    monkeypatch.setattr(Sealer, "_fetch", read_and_let_others_write)
    assert await series.seal() == types.SealReport(0, 0)
    assert await blocks(deployment) == []
    assert await series.read_candles_data(4, 0) == rows


async def test_sealer_that_is_killed_leaves_nothing_that_is_read(
    series: CandleAdapter, deployment: Deployment, tiny: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = candles(7)
    await series.write_candles_data(rows)

    async def killed(self: Sealer, *arguments: Any) -> CandleArrays:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Sealer, "_fetch", killed)
        sealing = asyncio.ensure_future(Sealer.seal(_sealer(), series._context, BlockGrid.of(GRID), [4 * MINUTE]))
        with pytest.raises(KeyboardInterrupt):
            # By hand: a task that raises it ends the event loop.
            await sealing.get_coro()  # type: ignore[misc]
        sealing.cancel()
    assert [block["rows"] for block in await blocks(deployment)] == [4, 0]
    assert await series.read_candles_data(7, 0) == rows
    assert await series.seal() == types.SealReport(1, 3)


def _sealer() -> Sealer:
    store: Any = CandleAdapter._store()
    sealer: Sealer = store._sealer
    return sealer


async def test_two_sealers_at_once_and_late_writers_leave_whole_blocks(
    series: CandleAdapter, deployment: Deployment, tiny: None
) -> None:
    rows = candles(120)
    late = rows[1::3]
    await series.write_candles_data([row for row in rows if row not in late])
    writers = (series.write_candles_data([row]) for row in late)
    await asyncio.gather(*writers, *(series.seal() for _ in range(4)))
    assert (await series.verify()).damaged == {}
    assert await series.read_candles_data(120, 0) == rows
    await series.seal()
    assert [block["rows"] for block in await blocks(deployment)] == [4] * 30


# Damage


@pytest.mark.parametrize(
    "fields",
    [
        {"close": b"rubbish"},
        {"close": "text"},
        {"checksum": 1},
        {"present": b"\xff" * 512},
        {"rows": 4000},
        {"format": 1, "volume": b""},
        {"exchangeName": "elsewhere"},
    ],
    ids=lambda fields: "-".join(fields),
)
async def test_damaged_block_is_detected_reported_ignored_and_rebuilt(
    series: CandleAdapter, deployment: Deployment, fields: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    import logging

    backtest_mongo.set_logger(logging.getLogger("test"))
    rows = candles(2 * ROWS)
    await series.write_candles_data(rows)
    whole = [{**block, "_id": None} for block in await blocks(deployment)]
    if "exchangeName" in fields:
        # Misplaced: the block of one series under the key of another.
        series = CandleAdapter("BTCUSDT", "1m", str(fields["exchangeName"]))
        await series.write_candles_data(candles(2 * ROWS, price=7.0))
        rows = candles(2 * ROWS, price=7.0)
        (other, *_) = [block for block in await blocks(deployment) if block["exchangeName"] != "elsewhere"]
        collection = (await backtest_mongo.get_mongo())[deployment.name]["candle-blocks"]
        misplaced = {**other, "exchangeName": "elsewhere"}
        del misplaced["_id"]
        await collection.replace_one({"exchangeName": "elsewhere", "start": 0}, misplaced)
    else:
        await change_block(deployment, 0, **fields)
    await deployment.forget()
    assert await series.read_candles_data(2 * ROWS, 0) == rows
    assert "a block of candles is damaged" in caplog.text
    caplog.clear()
    assert await times(series) == [row["timestamp"] for row in rows]
    assert "damaged" not in caplog.text
    if "exchangeName" not in fields:
        assert [{**block, "_id": None} for block in await blocks(deployment)] == whole
    assert (await series.verify()).damaged == {}


async def test_verify_finds_what_differs_from_the_rows_and_repairs_it(
    series: CandleAdapter, deployment: Deployment, tiny: None
) -> None:
    rows = candles(12)
    await series.write_candles_data(rows)
    await change_block(deployment, 0, close=b"rubbish")
    collection = await deployment.collection(CandleAdapter.spec)
    await collection.update_one({"timestamp": 5 * MINUTE}, {"$set": {"high": 9.0}})
    await collection.delete_one({"timestamp": 9 * MINUTE})
    report = await series.verify()
    assert (report.blocks, report.rows, report.repaired) == (3, 12, 0)
    assert report.damaged == {
        0: "its checksum differs",
        4 * MINUTE: "its prices differ from the store's",
        8 * MINUTE: "its candles are not those of its rows, of which there are 3; it has 4",
    }
    assert (await series.verify(repair=True)).repaired == 3
    assert (await series.verify()).damaged == {}
    assert [block["rows"] for block in await blocks(deployment)] == [4, 4, 3]


async def test_block_of_a_later_format_is_ignored_and_kept(
    series: CandleAdapter, deployment: Deployment, tiny: None
) -> None:
    rows = candles(8)
    await series.write_candles_data(rows)
    await change_block(deployment, 0, format=2)
    assert await series.read_candles_data(8, 0) == rows
    assert len(await times(series)) == 8
    await series.seal()
    assert [block["format"] for block in await blocks(deployment)] == [2, 1]


# The format, and documents in bulk


columns = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=16, max_size=16)


@given(present=st.sets(st.integers(0, 15), min_size=1), column=columns, start=st.integers(-5, 5))
def test_block_returns_every_bit_that_was_sealed(present: set[int], column: list[float], start: int) -> None:
    grid = BlockGrid(GRID, 16)
    key: dict[str, Any] = {"exchangeName": "binance", "symbol": "BTCUSDT", "interval": "1m"}
    key["start"] = start * 16 * MINUTE
    places = np.array(sorted(present))
    prices = np.array(column)[places]
    rows = CandleArrays(key["start"] + places * MINUTE, *(prices * factor for factor in (1, -1, 0, 0.1, 1)))
    block = encode_block(key, grid, rows)
    back = CandleArrays.empty(len(rows) + 2)
    decode_into(parse_block(block, grid), grid, back, 1)
    for one, other in zip((rows.timestamp, *rows.prices), (back.timestamp, *back.prices), strict=True):
        assert one.tobytes() == other[1:-1].tobytes()
    for place in range(16):
        assert lacks_any(block, grid, [key["start"] + place * MINUTE]) == (place not in present)


@given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_every_flipped_bit_is_detected(at: int, bit: int) -> None:
    grid = BlockGrid(GRID, 16)
    key = {"exchangeName": "binance", "symbol": "BTCUSDT", "interval": "1m", "start": 0}
    block = encode_block(key, grid, random_candles(16).take(np.arange(16) != 3))
    names = [name for name, value in block.items() if isinstance(value, bytes)]
    name = names[at % len(names)]
    damaged = bytearray(block[name])
    damaged[at % len(damaged)] ^= 1 << bit
    with pytest.raises(DamagedBlockError):
        decode_into(parse_block({**block, name: bytes(damaged)}, grid), grid, CandleArrays.empty(16), 0)


@settings(max_examples=30)
@given(rows=st.integers(0, 30), seed=st.integers(0, 99))
def test_documents_made_in_bulk_are_those_of_the_driver(rows: int, seed: int) -> None:
    import bson

    key = {"exchangeName": "börse", "symbol": "BTCUSDT", "interval": "1m"}
    candles_ = random_candles(rows, seed)
    documents, ids = encode_rows(key, candles_)
    decoded = [bson.decode(document.raw) for document in documents]
    assert [document["_id"].binary for document in decoded] == ids
    assert len(set(ids)) == rows
    assert [{name: document[name] for name in ("timestamp", *PRICES)} for document in decoded] == candles_.candles()
    assert all(document | key == document and document["__v"] == 0 for document in decoded)
    reply = b"".join(bson.encode({name: row[name] for name in ("timestamp", *PRICES)}) for row in decoded)
    assert decode_rows(reply).candles() == candles_.candles()


def test_rows_that_node_wrote_are_read_whatever_their_numbers_are() -> None:
    import bson

    rows: list[dict[str, Any]] = [
        {"timestamp": 60_000.0, "open": 1, "high": 2.5, "low": 1, "close": 2, "volume": 10},
        {"volume": 0.5, "open": 1.5, "high": 2.5, "low": 1.0, "close": 2.0, "timestamp": 120_000},
        {"timestamp": 180_000.0, "open": 1.5, "high": 2.5, "low": 1.0, "close": 2.0, "volume": 2**40},
    ]
    for some in (rows, rows[:1], rows[1:2], rows[2:], []):
        found = decode_rows(b"".join(map(bson.encode, some))).candles()
        assert found == [{name: row[name] for name in found[0]} for row in some] if some else found == []
        assert all(type(row["timestamp"]) is int and type(row["open"]) is float for row in found)


def test_a_block_is_over_only_when_every_clock_says_so() -> None:
    grid = BlockGrid(GRID, ROWS)
    assert not grid.is_over(0, SPAN + 20 * MINUTE - 1)
    assert grid.is_over(0, SPAN + 20 * MINUTE)
    assert grid.start(-1) == -SPAN


# The answers


async def test_blocks_and_rows_give_identical_numbers(
    series: CandleAdapter, deployment: Deployment, tiny: None
) -> None:
    """Random series, ranges and fills, read with blocks and without."""
    rng = np.random.default_rng(7)
    for round_ in range(12):
        here = CandleAdapter("BTCUSDT", "1m", f"{series.context['exchange_name']}-{round_}")
        whole = random_candles(60, round_)
        whole = whole.take(rng.random(60) < rng.choice([0.4, 0.9, 1.0]))
        await here.write_frame(_frame(whole))
        if round_ % 2:
            await here.seal()
        if round_ % 3 == 0:
            await (await backtest_mongo.get_mongo())[deployment.name]["candle-blocks"].delete_one({"start": 8 * MINUTE})
        asked = [sorted(rng.integers(-4, 64, 2).tolist()) for _ in range(8)]
        answers = []
        for used in (True, False):
            await backtest_mongo.setup(CC_CANDLE_BLOCKS=used)
            await deployment.forget()
            frames = [
                await here.read_frame(first * MINUTE, last * MINUTE + 1, as_="numpy", fill=fill)
                for first, last in asked
                for fill in (None, "null", "forward")
            ]
            windows = [await here.read_candles_data(last - first + 1, first * MINUTE) for first, last in asked]
            answers.append(([{name: column.tobytes() for name, column in frame.items()} for frame in frames], windows))
        assert answers[0] == answers[1]


def _frame(candles_: CandleArrays) -> dict[str, Any]:
    return {"timestamp": candles_.timestamp, **dict(zip(PRICES, candles_.prices, strict=True))}


async def test_object_id_of_bulk_documents_is_that_of_now() -> None:
    _, (binary, *_) = encode_rows({"exchangeName": "e", "symbol": "s", "interval": "1m"}, random_candles(2))
    oid = ObjectId(binary)
    assert abs(oid.generation_time.timestamp() - ObjectId().generation_time.timestamp()) <= 2

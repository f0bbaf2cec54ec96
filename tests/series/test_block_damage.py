"""Damaged blocks: whatever has become of one, the answers are those of the rows, and it is found and rebuilt."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import bson
import numpy as np
import pytest
from bson import Binary, Decimal128, Int64, ObjectId
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pymongo.errors import PyMongoError

import backtest_mongo
from backtest_mongo import CandleAdapter, types
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.core.arrays import CandleArrays
from backtest_mongo.core.interval_grid import GRIDS
from backtest_mongo.series.blocks import (
    UNREADABLE,
    BlockGrid,
    DamagedBlockError,
    decode_documents,
    decode_into,
    encode_block,
    is_block,
    is_newer_format,
    lacks_any,
    parse_block,
)
from backtest_mongo.series.sealing import NO_SERIES
from backtest_mongo.series.store import MongoSeriesStore
from backtest_mongo.types import PRICES
from tests.conftest import Deployment
from tests.support.uniform import candles

pytestmark = [pytest.mark.heavy, pytest.mark.either_driver]

MINUTE = 60_000
GRID = BlockGrid(GRIDS["1m"], 4)
KEY: dict[str, Any] = {"exchangeName": "binance", "symbol": "BTCUSDT", "interval": "1m"}
FIELDS = (*KEY, "start", "format", "rows", "head", "present", *PRICES, "checksum")

Damage = Callable[[dict[str, Any]], Any]


def small_block(start: int = 0, **key: str) -> dict[str, Any]:
    """A block with a gap, as it is stored."""
    columns = (np.array([1.5, -2.25, 3.125]) * factor for factor in range(1, 6))
    rows = CandleArrays(start + MINUTE * np.array([0, 2, 3]), *columns)
    return {"_id": ObjectId(), **encode_block({**KEY, **key, "start": start}, GRID, rows)}


def _is_whole(block: dict[str, Any], key: dict[str, Any]) -> bool:
    """Tell whether a reader of this series takes a document for a block."""
    try:
        decode_into(parse_block(block, GRID, key), GRID, CandleArrays.empty(GRID.rows), 0)
    except DamagedBlockError:
        return False
    return True


# One document


def _elements(document: bytes) -> Iterator[tuple[str, int, int]]:
    """Yield the name of each field of a block, and where its name and its value begin and end."""
    at = 4
    for name, value in bson.decode(document).items():
        size = len(bson.encode({name: value})) - 5
        yield name, at, at + size
        at += size


def test_every_flipped_bit_is_detected_or_harmless() -> None:
    block = small_block()
    whole = bson.encode(block)
    assert _is_whole(decode_documents(whole)[0], KEY)
    lengths = {"exchangeName", "symbol", "interval", "present", *PRICES}
    kinds = set()
    for name, first, end in _elements(whole):
        for at in range(first, end):
            beginning = first + 1 + len(name) + 1
            if at == first or (name in lengths and beginning <= at < beginning + 4) or whole[at] == 0 == at - end + 1:
                continue  # another type or length is another layout, which no server stores: see below
            for bit in range(8):
                flipped = bytearray(whole)
                flipped[at] ^= 1 << bit
                if first < at < beginning and not all(flipped[first + 1 : beginning - 1]):
                    continue  # a shorter name: another layout
                if at == beginning - 1:
                    continue  # a longer name: another layout
                if name in ("exchangeName", "symbol", "interval") and flipped[end - 1] != 0:
                    continue
                (decoded,) = decode_documents(bytes(flipped))
                if is_newer_format(decoded):
                    assert name == "format"
                    continue
                kinds.add(name)
                assert is_block(decoded)
                # The id is the server's own; any other is as good.
                is_id = name == "_id" and at >= beginning
                assert _is_whole(decoded, KEY) == is_id, (name, at - first, bit)
                assert lacks_any(decoded, GRID, [0, MINUTE]) is True
    assert kinds == {"_id", *FIELDS}


def _other_values(value: Any) -> list[Any]:
    """Values of every other type, the closest ones that there are."""
    number = value if type(value) in (int, Int64) else 1
    return [
        float(number),
        Decimal128(str(number)),
        str(value),
        None,
        True,
        [value],
        [],
        {"value": value},
        *(Binary(bytes(value) if isinstance(value, bytes) else b"1234", subtype) for subtype in (3, 5, 128)),
        math.nan,
        -1,
        2**40,
        ObjectId(),
        *([b"1234"] if not isinstance(value, bytes) else [1, value.decode("latin1"), b""]),
    ]


@pytest.mark.parametrize("field", FIELDS)
def test_every_dropped_renamed_and_retyped_field_is_detected(field: str) -> None:
    block = small_block()
    damaged = [{name: value for name, value in block.items() if name != field}]
    damaged += [{**damaged[0], f"{field}{end}": block[field]} for end in ("x", " ", "\u202e")]
    damaged += [{**block, field: value} for value in _other_values(block[field]) if value is not block[field]]
    for one in damaged:
        (decoded,) = decode_documents(bson.encode(one))
        if is_newer_format(decoded):
            assert field == "format"
            continue
        assert is_block(decoded)
        assert not _is_whole(decoded, KEY), one
        lacks_any(decoded, GRID, [0])


def test_announcement_is_no_block_and_a_block_of_no_rows_is_a_damaged_one() -> None:
    announcement = {"_id": ObjectId(), **KEY, "start": 0, "format": 1, "rows": 0, "token": ObjectId()}
    assert not is_block(announcement)
    assert lacks_any(announcement, GRID, [])
    for damaged in (
        {**announcement, "rows": 4},
        {**announcement, "token": None},
        {**announcement, "format": 1.0},
        {**small_block(), "rows": 0},
        {**small_block(), "rows": 0, "token": ObjectId()},
        {**small_block(), "token": ObjectId()},
    ):
        assert is_block(damaged)
        assert not _is_whole(damaged, KEY)


@pytest.mark.parametrize("field", [*KEY, "start"])
def test_checksum_covers_each_part_of_the_key(field: str) -> None:
    """A block's bytes under another key, whose header is its own: the checksum alone can tell."""
    other: Any = 4 * MINUTE if field == "start" else "1h" if field == "interval" else "elsewhere"
    here = small_block()
    there = small_block(other) if field == "start" else small_block(**{field: other})
    columns = {name: here[name] for name in (*PRICES, "present", "checksum")}
    moved = {**there, **columns}
    with pytest.raises(DamagedBlockError, match=r"^its checksum differs$"):
        decode_into(parse_block(moved, GRID), GRID, CandleArrays.empty(4), 0)
    # And the checksum of the header is not that of another key, so that what reads the index alone notices too.
    assert here["head"] != there["head"]
    assert lacks_any({**there, "head": here["head"]}, GRID, [other if field == "start" else 0])


def test_fields_of_undecodable_documents_are_decoded_one_by_one() -> None:
    raw = _with_rubbish(bson.encode({"_id": 1, "start": 0, "close": b"abcdefgh", "text": "abcd", "at": 5}))
    assert decode_documents(bson.encode({"a": 1}) + raw) == [
        {"a": 1},
        {"_id": 1, "start": 0, "close": UNREADABLE, "text": "\ufffdbcd", "at": 5},
    ]
    everything = bson.encode(
        {
            "a": 1.5,
            "b": "x",
            "c": {"y": 1},
            "d": [1],
            "e": b"12345678",
            "f": ObjectId(),
            "g": True,
            "h": None,
            "i": bson.Regex("a", "i"),
            "j": bson.Code("x"),
            "k": bson.Code("x", {"y": 1}),
            "l": 1,
            "m": 2**40,
            "n": bson.Timestamp(1, 1),
            "o": Decimal128("1"),
            "p": bson.MinKey(),
            "q": bson.MaxKey(),
            "r": bson.DatetimeMS(2**62),
        }
    )
    (decoded,) = decode_documents(_with_rubbish(everything, b"12345678"))
    assert list(decoded) == list("abcdefghijklmnopqr")
    assert [name for name, value in decoded.items() if value is UNREADABLE] == ["e"]


def _with_rubbish(document: bytes, value: bytes = b"abcdefgh") -> bytes:
    # Binary data of the old kind has a length of its own in it, which is wrong here.
    assert document.count(b"\0" + value) == 1
    return document.replace(b"\0" + value, b"\x02" + value).replace(b"abcd\0", b"\xffbcd\0")


# A series with such a block


def forget() -> None:
    """Drop the candles that this process has read."""
    current_hub().candle_cache.clear()


class Damaged:
    """A series of three blocks, the first with a gap, which is damaged, and the second complete."""

    def __init__(self, deployment: Deployment, name: str) -> None:
        self._deployment = deployment
        self.series = CandleAdapter("BTCUSDT", "1m", name)
        rows = candles(12)
        self.late, self.rows = rows[1:2], rows[:1] + rows[2:]
        self.key = {**KEY, "exchangeName": name}

    async def collection(self) -> Any:
        return (await backtest_mongo.get_mongo())[self._deployment.name]["candle-blocks"]

    async def blocks(self) -> list[dict[str, Any]]:
        found = await (await self.collection()).find(self.key, {"_id": 0}).sort("start", 1).to_list(None)
        return list(found)

    async def store(self, damage: Damage, number: int = 0) -> dict[str, Any]:
        """Write and seal the series, damage a block, and return what was stored for it."""
        await (await self.collection()).delete_many({})
        await self.series.write_candles_data(self.rows)
        await self.series.seal()
        self.whole = await self.blocks()
        assert [block["rows"] for block in self.whole] == [3, 4, 4]
        collection = await self.collection()
        block = await collection.find_one({**self.key, "start": 4 * MINUTE * number})
        await collection.delete_one({"_id": block["_id"]})
        stored = damage(block)
        await collection.insert_one(stored)
        forget()
        return stored if isinstance(stored, dict) else {}

    async def check_reads(self) -> None:
        frame = await self.series.read_frame(as_="numpy")
        assert frame["timestamp"].astype(np.int64).tolist() == [row["timestamp"] for row in self.rows]
        for name in PRICES:
            assert frame[name].tolist() == [row[name] for row in self.rows]
        forget()
        assert await self.series.read_candles_data(10, 2 * MINUTE) == self.rows[-10:]

    async def check_index(self) -> None:
        assert await self.series.coverage() == types.Coverage(0, 11 * MINUTE, 11)
        assert await self.series.gaps(0, 12 * MINUTE) == [(MINUTE, 2 * MINUTE, 1)]
        await self.series.sealed()


async def check(deployment: Deployment, name: str, damage: Damage, number: int = 0, found: bool = True) -> None:
    """Go through all that reads, seals, verifies and writes, each with the same damage."""
    one, two, three, four = (Damaged(deployment, f"{name}-{letter}") for letter in "abcd")
    await one.store(damage, number)
    await one.check_index()
    await one.check_reads()
    await one.check_index()
    await two.store(damage, number)
    assert len((await two.series.verify()).damaged) == found
    await two.check_index()
    await two.series.verify(repair=True)
    assert (await two.series.verify()).damaged == {}
    await two.check_index()
    await two.check_reads()
    await two.series.seal()
    assert await two.blocks() == two.whole
    await three.store(damage, number)
    await three.series.seal()
    await three.check_index()
    await three.check_reads()
    await four.store(damage, number)
    assert await four.series.write_candles_data(four.late) == 1
    four.rows = candles(12)
    await four.check_reads()
    assert await four.series.coverage() == types.Coverage(0, 11 * MINUTE, 12)
    await four.series.verify(repair=True)
    assert (await four.series.verify()).damaged == {}
    await four.series.seal()
    assert [block["rows"] for block in await four.blocks()] == [4, 4, 4]


def drop(field: str) -> Damage:
    return lambda block: {name: value for name, value in block.items() if name != field}


def rename(field: str) -> Damage:
    return lambda block: {f"{name}x" if name == field else name: value for name, value in block.items()}


def change(field: str, value: Callable[[Any], Any]) -> Damage:
    return lambda block: {**block, field: value(block[field])}


def _constant(value: Any, _: Any) -> Any:
    return value


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 1


RETYPED: dict[str, Callable[[Any], Any]] = {
    "double": lambda value: float(_number(value)),
    "decimal": lambda value: Decimal128(str(_number(value))),
    "text": lambda value: value.hex() if isinstance(value, bytes) else str(value) + "x" * isinstance(value, str),
    "null": lambda value: None,
    "list": lambda value: [value],
    "object": lambda value: {"value": value},
    "boolean": lambda value: True,
    "binary": lambda value: Binary(value if isinstance(value, bytes) else b"12345678", 5),
    "later": lambda value: 2**40 + 7,
    "negative": lambda value: -7,
}

#: One of each kind of field: the tests of one document go through all.
STORED = ("exchangeName", "start", "format", "rows", "head", "present", "close", "checksum")
#: What the driver reads as another number, and what the server's queries may take for the same as before.
KINDS = ("double", "list", "null", "text")
NUMBERS = ("start", "format", "rows")
#: In the documents of other series, or of none: not one of this.
ELSEWHERE = ("exchangeName", "symbol", "interval")


@pytest.mark.parametrize("field", STORED)
async def test_block_without_a_field_is_no_block(deployment: Deployment, tiny: None, unique: str, field: str) -> None:
    number = int(field == "rows")
    for name, damage in (("drop", drop(field)), ("rename", rename(field))):
        await check(deployment, f"{unique}-{name}", damage, number, field not in ELSEWHERE)


@pytest.mark.parametrize(
    ("field", "kind"),
    [*((field, kind) for field in STORED for kind in KINDS)]
    + [(field, kind) for field in NUMBERS for kind in RETYPED if kind not in KINDS],
)
async def test_block_with_a_field_of_another_type_is_no_block(
    deployment: Deployment, tiny: None, unique: str, field: str, kind: str
) -> None:
    if field == "format" and kind == "later":
        found, repaired = False, False  # which is ignored and kept
    else:
        found, repaired = field not in ELSEWHERE or kind == "list", True
    damage = change(field, RETYPED[kind])
    if repaired:
        await check(deployment, unique, damage, found=found)
    else:
        damaged = Damaged(deployment, unique)
        stored = await damaged.store(damage)
        await damaged.check_index()
        await damaged.check_reads()
        await damaged.series.seal()
        assert (await damaged.series.verify(repair=True)).damaged == {}
        assert stored["format"] in [block["format"] for block in await damaged.blocks()]


@pytest.mark.parametrize("id_", [None, "text", 5, 1.5, {"a": 1}, Binary(b"12", 5)], ids=lambda id_: type(id_).__name__)
async def test_block_with_another_kind_of_id_is_no_block(
    deployment: Deployment, tiny: None, unique: str, id_: Any
) -> None:
    damaged = Damaged(deployment, unique)
    await damaged.store(lambda block: {**block, "_id": id_})
    await damaged.check_index()
    assert list((await damaged.series.verify(repair=True)).damaged) == [0]
    await damaged.check_reads()
    assert await damaged.blocks() == damaged.whole


def _encoded(field: str, value: bytes, rubbish: bytes) -> Damage:
    """Put bytes into a field's value, so that the driver can't decode it."""

    def damage(block: dict[str, Any]) -> RawBSONDocument:
        raw = bson.encode({**block, field: "??????????" if value == b"text" else b"??????????"})
        assert raw.count(b"??????????") == 1
        raw = raw.replace(b"\0??????????" if value == b"old" else b"??????????", rubbish)
        return RawBSONDocument(raw)

    return damage


@pytest.mark.parametrize("field", ["start", "rows", "close", "extra"])
@pytest.mark.parametrize("kind", ["text", "old binary", "name"])
async def test_block_that_cannot_be_decoded_is_no_block(
    deployment: Deployment, tiny: None, unique: str, field: str, kind: str
) -> None:
    if kind == "name":

        def damage(block: dict[str, Any]) -> RawBSONDocument:
            value = block.pop(field, 1)
            return RawBSONDocument(bson.encode({**block, "???": value}).replace(b"???\0", b"\xff\xfe\xfd\0"))

    elif kind == "text":
        damage = _encoded(field, b"text", b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\xf7\xf6")  # type: ignore[assignment]
    else:
        damage = _encoded(field, b"old", b"\x02??????????")  # type: ignore[assignment]
    await check(deployment, unique, damage)


async def test_flipped_bits_of_stored_blocks_change_no_answer(deployment: Deployment, tiny: None, unique: str) -> None:
    """A spread of all bits that the server takes; what none of them changes is all of the answer."""
    damaged = Damaged(deployment, unique)
    await damaged.series.write_candles_data(damaged.rows)
    await damaged.series.seal()
    whole = await damaged.blocks()
    collection = await damaged.collection()
    (stored,) = await collection.find({**damaged.key, "start": 0}).to_list(None)
    raw = bson.encode(stored)
    tried = 0
    for bit in range(8 * len(raw) - 8)[32::61]:
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        await collection.delete_many({"start": {"$not": {"$in": [4 * MINUTE, 8 * MINUTE]}}})
        try:
            await collection.insert_one(RawBSONDocument(bytes(flipped)))
        except (PyMongoError, BSONError):  # no document, by the driver or the server
            await collection.delete_many({})
            await damaged.series.seal()
            continue
        tried += 1
        forget()
        await damaged.check_index()
        await damaged.check_reads()
        await damaged.series.verify(repair=True)
        assert (await damaged.series.verify()).damaged == {}
        await collection.delete_many({"format": {"$gt": 1}})
        await damaged.series.seal()
        assert [block for block in await damaged.blocks() if block["start"] == 0] == whole[:1]
    assert tried > 10


@pytest.mark.parametrize("field", [*KEY, "start"])
async def test_block_that_was_moved_is_detected(deployment: Deployment, tiny: None, unique: str, field: str) -> None:
    """The document of one stretch under the key of another, whose rows are as many."""
    here = CandleAdapter("BTCUSDT", "1m", unique)
    await here.write_candles_data(candles(8))
    collection = (await backtest_mongo.get_mongo())[deployment.name]["candle-blocks"]
    there, start = here, 4 * MINUTE
    if field != "start":
        interval: types.Interval = "3m" if field == "interval" else "1m"
        symbol = "ETHUSDT" if field == "symbol" else "BTCUSDT"
        there = CandleAdapter(symbol, interval, f"{unique}-2" if field == "exchangeName" else unique)
        step = types.INTERVAL_MS[interval]
        rows: list[Any] = [
            {**row, "timestamp": row["timestamp"] // MINUTE * step, "volume": 77.0} for row in candles(8)
        ]
        await there.write_candles_data(rows)
        start = 0
    before = await there.read_frame(as_="numpy")
    source: Any = await collection.find_one({"exchangeName": unique, "symbol": "BTCUSDT", "interval": "1m", "start": 0})
    names = {"exchange_name": "exchangeName", "symbol": "symbol", "interval": "interval"}
    key = {names[name]: value for name, value in there.context.items()} | {"start": start}
    target: Any = await collection.find_one(key)
    del source["_id"]
    assert source["rows"] == target["rows"] == 4
    await collection.replace_one({"_id": target["_id"]}, {**source, **key})
    forget()
    assert list((await there.verify()).damaged) == [start]
    after = await there.read_frame(as_="numpy")
    assert {name: column.tolist() for name, column in before.items()} == {
        name: column.tolist() for name, column in after.items()
    }
    assert (await there.verify()).damaged == {}


async def test_rows_of_a_block_count_only_as_its_head_says(deployment: Deployment, tiny: None, unique: str) -> None:
    """Coverage and gaps answer out of the index, in which a number that was changed looks as good as any."""
    for number, rows in ((0, 4), (0, 2), (0, 1), (1, 3), (1, 1)):
        damaged = Damaged(deployment, f"{unique}-{number}-{rows}")
        await damaged.store(change("rows", partial(_constant, rows)), number)
        await damaged.check_index()
        assert (await damaged.series.sealed()).rows == 11 - (3, 4)[number]
        assert list((await damaged.series.verify()).damaged) == [4 * MINUTE * number]


async def test_announcements_with_a_changed_number_of_rows_are_no_blocks(
    deployment: Deployment, tiny: None, unique: str
) -> None:
    damaged = Damaged(deployment, unique)
    await damaged.store(
        lambda block: {**{name: block[name] for name in (*KEY, "start", "format")}, "rows": 4, "token": ObjectId()}
    )
    await damaged.check_index()
    assert list((await damaged.series.verify(repair=True)).damaged) == [0]
    assert await damaged.blocks() == damaged.whole


async def test_heads_are_read_from_the_index_alone(deployment: Deployment, tiny: None, unique: str) -> None:
    damaged = Damaged(deployment, unique)
    await damaged.store(dict)
    collection = await damaged.collection()
    projection = {"_id": 0, **dict.fromkeys(KEY, 1), "start": 1, "format": 1, "rows": 1, "head": 1}
    query = {**damaged.key, "start": {"$gte": 0, "$lt": 2**40}, "format": 1}
    plan = await collection.find(query, projection).sort("start", 1).explain()
    stages = repr(plan["queryPlanner"]["winningPlan"])
    assert "PROJECTION_COVERED" in stages
    assert "FETCH" not in stages


async def test_doctor_s_sample_reports_blocks_of_no_series(deployment: Deployment, tiny: None, unique: str) -> None:
    damaged = Damaged(deployment, unique)
    for field, value in (("interval", "7m"), ("symbol", None), ("exchangeName", 5), ("start", "soon"), ("rows", 1.5)):
        await damaged.store(change(field, partial(_constant, value)))
        store = CandleAdapter._open(current_hub())
        assert isinstance(store, MongoSeriesStore)
        problems = [problem async for _, problem in store.verify_sample(8) if problem]
        assert len(problems) == 1
        assert (problems[0] == NO_SERIES) == (field in ELSEWHERE)
        await (await damaged.collection()).delete_many({})


async def test_damage_among_more_blocks_than_fit_a_page_is_skipped(
    deployment: Deployment, tiny: None, unique: str
) -> None:
    rows = candles(4 * 140)
    series = CandleAdapter("BTCUSDT", "1m", unique)
    await series.write_candles_data(rows)
    collection = (await backtest_mongo.get_mongo())[deployment.name]["candle-blocks"]
    for number in (0, 63, 64, 127, 128, 139):
        await collection.update_one({"start": 4 * MINUTE * number}, [{"$set": {"start": {"$add": ["$start", 0.5]}}}])
    forget()
    assert len((await series.read_frame(as_="numpy"))["timestamp"]) == len(rows)
    await series.seal()
    assert (await series.verify()) == types.VerifyReport(140, len(rows), {}, 0)


async def test_nan_prices_of_another_writer_are_no_damage(deployment: Deployment, tiny: None, unique: str) -> None:
    collection = await deployment.collection(CandleAdapter.spec)
    row: dict[str, Any] = {**KEY, "exchangeName": unique, "__v": 0}
    odd = [math.nan, math.inf, -0.0, -math.nan]
    for place, value in enumerate(odd):
        await collection.insert_one({**row, "timestamp": place * MINUTE, **dict.fromkeys(PRICES, value)})
    series = CandleAdapter("BTCUSDT", "1m", unique)
    await asyncio.gather(series.seal(), series.seal())
    assert await series.verify(repair=True) == types.VerifyReport(1, 4, {}, 0)
    frame = await series.read_frame(as_="numpy")
    assert frame["close"].tobytes() == np.array(odd).tobytes()
    # What has another sign, or is another number, is.
    await collection.update_one({"exchangeName": unique, "timestamp": 2 * MINUTE}, {"$set": {"close": 0.0}})
    assert list((await series.verify()).damaged) == [0]

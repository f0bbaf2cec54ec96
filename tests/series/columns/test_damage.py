"""Blocks and groups that another program has changed: an error says which rows are lost, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest
from bson import Timestamp

from backtest_mongo import StoreError
from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.connection.hub_registry import current_hub
from tests.support.column_stores import FIRST, LAST

pytestmark = [pytest.mark.usefixtures("tiny"), pytest.mark.either_driver]

both = pytest.mark.parametrize("slot", [FIRST, LAST])

#: Marks a field that is removed.
REMOVED: Any = object()
#: Instead of a value: other values of its type, and of other types.
INSTEAD: tuple[Any, ...] = (REMOVED, None, 17, 2**40, 2.5, "text", [], True)
#: Fields of which nothing depends: the same rows are read whatever they hold.
FREE = {"_id", "written", "bytes", "keys"}


def make_rows(slot: str, times: range, value: float = 1.0) -> list[dict[str, Any]]:
    if slot == FIRST:
        more: dict[str, Any] = {"trade_id": 1, "price": value, "amount": 2.0, "side": "buy"}
    else:
        more = {"rate": value, "mark_price": 3.0, "interval_hours": 8}
    return [{"timestamp": time, **more} for time in times]


class Damaged:
    """A series with four blocks of four rows each, and a tail of two groups."""

    def __init__(self, slot: str) -> None:
        self.slot = slot
        self.series: Any = ADAPTERS[slot]("BTCUSDT", "binance")
        self.rows = make_rows(slot, range(20))
        database = current_hub().get_database(self.series.spec)
        self.blocks = database[f"{slot}-blocks"]
        self.groups = database[f"{slot}-items"]

    async def fill(self) -> None:
        await self.series.append(self.rows[:16])
        await self.series.seal()
        await self.series.append(self.rows[16:18])
        await self.series.append(self.rows[18:])
        assert await self.blocks.count_documents({}) == 4

    async def read(self, start: int | None = None, end: int | None = None) -> list[dict[str, Any]]:
        frame = await self.series.read_frame(start, end)
        return [{**row, "timestamp": int(time)} for row, time in zip(frame.to_dicts(), self._times(frame), strict=True)]

    def _times(self, frame: Any) -> list[int]:
        return frame["timestamp"].to_physical().to_list()  # type: ignore[no-any-return]


@pytest.fixture
async def damaged(slot: str, tiny: None) -> Damaged:
    made = Damaged(slot)
    await made.fill()
    assert await made.read() == made.rows
    return made


def list_changes(document: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the fields of a document with what takes the place of their values."""
    changes = []
    for name, value in document.items():
        if name == "_id":
            continue
        if name == "columns":
            changes += [(name, instead) for instead in INSTEAD]
            for column, stored in value.items():
                flipped = bytes([*stored[:-1], stored[-1] ^ 1])
                changes += [
                    (f"{name}.{column}", instead) for instead in (REMOVED, None, 17, b"bytes", flipped, stored[:-1])
                ]
        else:
            changes += [(name, instead) for instead in INSTEAD if instead is REMOVED or instead != value]
    return changes


def make_update(name: str, instead: Any) -> dict[str, Any]:
    return {"$unset": {name: ""}} if instead is REMOVED else {"$set": {name: instead}}


@pytest.mark.heavy
@both
async def test_block_with_any_field_changed_is_an_error_for_its_rows_alone(damaged: Damaged) -> None:
    (original,) = await damaged.blocks.find({"first": 4}).to_list(None)
    failures = []
    for name, instead in list_changes(original):
        await damaged.blocks.update_one({"_id": original["_id"]}, make_update(name, instead))
        what = f"{name} {instead!r}"
        try:
            if await damaged.read() != damaged.rows:
                failures.append(f"{what}: other rows were read")
            is_lost = False
        except StoreError as error:
            is_lost = True
            if "rows from" not in str(error):
                failures.append(f"{what}: {error}")
        if is_lost:
            if name in FREE:
                failures.append(f"{what}: nothing depends on it")
            with pytest.raises(StoreError):
                await damaged.read(5, 6)
            if not (await damaged.series.verify()).damaged:
                failures.append(f"{what}: verify() does not find it")
        for first, end in ((0, 4), (8, 20)):
            if is_lost and await damaged.read(first, end) != damaged.rows[first:end]:
                failures.append(f"{what}: {first} to {end} are other rows")
        await damaged.blocks.replace_one({"_id": original["_id"]}, original)
    assert failures == []
    assert await damaged.read() == damaged.rows


@pytest.mark.heavy
@both
@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("columns.timestamp", b"\0" * 40),
        ("columns", REMOVED),
        ("first", "text"),
        ("rows", 3),
        ("head", REMOVED),
        ("end", 9),
        ("start", REMOVED),
        ("start", 9),
        ("exchangeName", "elsewhere"),
    ],
)
@pytest.mark.parametrize("block", range(4))
async def test_range_of_a_damaged_block_is_deleted_and_written_again(
    damaged: Damaged, name: str, instead: Any, block: int
) -> None:
    """What is left of the block is in the way of nothing, whichever block it is."""
    times = range(4 * block, 4 * block + 4)
    await damaged.blocks.update_one({"first": times[0]}, make_update(name, instead))
    with pytest.raises(StoreError):
        await damaged.read()
    # Where a block is missing, the first one has all that is before, and the last one all that is after it.
    start, end = times[0] if block else None, times[-1] + 1 if block < 3 else None
    await damaged.series.delete(start, end)
    kept = [row for row in damaged.rows if row["timestamp"] < times[0] or row["timestamp"] > times[-1]]
    if block == 3:
        kept = kept[:12]
    assert await damaged.read() == kept
    again = make_rows(damaged.slot, times, 5.0)
    assert await damaged.series.append(again) == 4
    assert await damaged.read() == sorted([*kept, *again], key=lambda row: row["timestamp"])
    await damaged.series.seal()
    assert await damaged.read() == sorted([*kept, *again], key=lambda row: row["timestamp"])


@both
async def test_missing_blocks_are_never_a_gap(damaged: Damaged) -> None:
    originals = await damaged.blocks.find().sort("start", 1).to_list(None)
    for original in originals:
        await damaged.blocks.delete_one({"_id": original["_id"]})
        with pytest.raises(StoreError, match="is missing"):
            await damaged.read()
        with pytest.raises(StoreError, match="is missing"):
            await damaged.read(original["first"], original["first"] + 1)
        assert len((await damaged.series.verify()).damaged) == 1
        await damaged.blocks.insert_one(original)
    assert await damaged.read() == damaged.rows
    await damaged.blocks.delete_many({})
    with pytest.raises(StoreError, match="is missing"):
        await damaged.read()
    assert (await damaged.series.verify()).damaged
    await damaged.series.delete()
    assert await damaged.read() == []
    assert await damaged.series.append(damaged.rows) == 20
    assert await damaged.read() == damaged.rows


@both
async def test_delete_of_a_part_of_a_damaged_block_keeps_the_error(damaged: Damaged) -> None:
    await damaged.blocks.update_one({"first": 4}, {"$set": {"first": 6}})
    with pytest.raises(StoreError):
        await damaged.series.delete(6, 8)
    with pytest.raises(StoreError):
        await damaged.read(4, 6)


@pytest.mark.heavy
@both
async def test_group_with_any_field_changed_is_an_error_for_its_rows(damaged: Damaged) -> None:
    """A group whose times have become others is found by who reads those, or all: there is no list of groups."""
    (original,) = await damaged.groups.find({"first": 16}).to_list(None)
    spec = damaged.series.spec
    failures = []
    for name, instead in list_changes(original):
        if name in spec.context_fields or (name == "at" and isinstance(instead, Timestamp)):
            continue
        await damaged.groups.update_one({"_id": original["_id"]}, make_update(name, instead))
        what = f"{name} {instead!r}"
        try:
            if await damaged.read() != damaged.rows:
                failures.append(f"{what}: other rows were read")
            if (await damaged.series.verify()).damaged:
                failures.append(f"{what}: verify() is wrong")
        except StoreError:
            if name in FREE:
                failures.append(f"{what}: nothing depends on it")
            if len((await damaged.series.verify()).damaged) != 1:
                failures.append(f"{what}: verify() does not find it")
        await damaged.series.size()
        await damaged.groups.replace_one({"_id": original["_id"]}, original)
    assert failures == []


@both
async def test_damaged_group_is_deleted_with_its_range_and_does_not_stop_sealing(damaged: Damaged) -> None:
    await damaged.groups.update_one({"first": 16}, {"$set": {"columns.timestamp": b"", "rows": 7}})
    with pytest.raises(StoreError):
        await damaged.read()
    await damaged.series.seal()
    assert await damaged.read(18) == damaged.rows[18:]
    await damaged.series.delete(16, 18)
    assert await damaged.read() == [*damaged.rows[:16], *damaged.rows[18:]]
    assert await damaged.series.append(damaged.rows[16:18]) == 2
    assert await damaged.read() == damaged.rows

"""Processes that end at each of their steps: what was acknowledged is there once, and others go on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from bson import ObjectId

from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.series.columns import heads
from tests.series.columns.conftest import CROWDED, STORED
from tests.support.column_stores import FIRST, Killed, Process, each_step, number

pytestmark = [pytest.mark.usefixtures("times"), pytest.mark.either_driver]

heavy = pytest.mark.heavy
both = pytest.mark.parametrize(("slot", "times"), STORED, indirect=True)
all_of_them = pytest.mark.parametrize(("slot", "times"), [*STORED, (FIRST, CROWDED)], indirect=True)

A, B = 1_000.0, 2_000.0


@heavy
@all_of_them
async def test_sealers(slot: str) -> None:
    rows = number(range(8), A)
    async for steps in each_step(kills=True):
        symbol = f"S{steps.last}"
        writer = Process(slot, symbol)
        await writer.write_each(rows)
        try:
            await Process(slot, symbol, steps).seal()
        except Killed:
            assert steps.reached.is_set()
        assert await writer.write({8: A}) == 1
        await writer.check(rows | {8: A})
        await Process(slot, symbol).seal()
        await writer.check(rows | {8: A})
        assert (await writer.store.size(writer.context)).tail_rows == 0


@heavy
@all_of_them
async def test_bulk_writes(slot: str) -> None:
    """A part is stored, and the same call stores the rest; what was read in between stays where the first row wins."""
    frame = number(range(10), A)
    async for steps in each_step(kills=True):
        symbol = f"S{steps.last}"
        writer = Process(slot, symbol)
        stored = number((2, 7), B)
        await writer.write(stored)
        try:
            await Process(slot, symbol, steps).write(frame)
        except Killed:
            assert steps.reached.is_set()
        found = await writer.read()
        assert all(value == (frame | stored)[time] or value == frame[time] for time, value in found.items())
        assert {*stored} <= {*found}
        assert await writer.write({20: B, 3: B}) == (2 - (3 in found) if slot == FIRST else 2)
        kept = await writer.read()
        await writer.write(frame)
        expected = {**frame, **kept} if slot == FIRST else {**kept, **frame}
        await writer.check(expected)
        await Process(slot, symbol).seal()
        await writer.check(expected)


@heavy
@both
async def test_deletions(slot: str) -> None:
    rows = number(range(12), A)
    rest = {time: value for time, value in rows.items() if not 3 <= time < 10}
    async for steps in each_step(kills=True):
        symbol = f"S{steps.last}"
        writer = Process(slot, symbol)
        await writer.write(rows)
        replaced = {5: B, 9: B, 10: B}
        await writer.write(replaced)
        now = rows | ({} if slot == FIRST else replaced)
        try:
            await Process(slot, symbol, steps).delete(3, 10)
        except Killed:
            assert steps.reached.is_set()
        found = await writer.read()
        assert found == {time: now[time] for time in found}
        await writer.delete(3, 10)
        await writer.check({time: now[time] for time in rest})


async def test_announcement_that_was_left_is_withdrawn_by_who_meets_it_later() -> None:
    writer = Process(FIRST, "S")
    await writer.write(number(range(8), A))
    documents = current_hub().get_database(writer.spec)["trade-series"]
    old = datetime.now(UTC) - timedelta(seconds=heads._ANNOUNCED_SECONDS + 60)
    left, fresh = ObjectId.from_datetime(old), ObjectId()
    await documents.update_one({}, {"$set": {"announced": [left, fresh]}})
    assert await writer.write({3: B, 5: B}) == 0
    (document,) = await documents.find().to_list(None)
    assert document["announced"] == [fresh]


async def test_bulk_write_whose_announcement_is_withdrawn_makes_another_one() -> None:
    """As who takes it for one that was left does, in the midst of its parts."""
    documents = current_hub().get_database(Process(FIRST, "S").spec)["trade-series"]
    process = Process(FIRST, "S")
    commit = process.store._merger._commit
    withdrawn: list[list[ObjectId]] = []

    async def withdraw_first(*arguments: object) -> bool:
        if len(withdrawn) < 2:
            withdrawn.append((await documents.find_one({}))["announced"])  # type: ignore[index]  # it is there
            await documents.update_one({}, {"$set": {"announced": []}})
            assert not await commit(*arguments)  # type: ignore[arg-type]
            return False
        return await commit(*arguments)  # type: ignore[arg-type]

    process.store._merger._commit = withdraw_first  # type: ignore[method-assign,assignment]
    assert await process.write(number(range(10), A)) == 10
    assert len({*map(tuple, withdrawn)}) == 2
    await process.check(number(range(10), A))
    assert (await documents.find_one({}))["announced"] == []  # type: ignore[index]  # it is there

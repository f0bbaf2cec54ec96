"""What a fork has of each row, on MongoDB, by both drivers, and on SQLite."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from datetime import UTC, datetime
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import SLOTS, SlotSpec, as_of, fork, lease, persist, reset, transaction
from backtest_mongo.types import ForkReport
from tests.support.forks import HISTORY, Forks
from tests.support.uniform import WHEN, candles, context, entry, nothing, payload, read, write

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]

ROWS = [spec for spec in SLOTS if spec.shape != "series"]
STATE = next(spec for spec in SLOTS if spec.name == "state")
FUTURE = 4_000_000_000_000


def adapter_of(spec: SlotSpec, unique: str) -> Any:
    return getattr(persist, spec.name)(**context(spec, unique))


def value_of(spec: SlotSpec, key: str, number: int) -> Any:
    value = payload(spec, number)
    return {"id": key, **value} if spec.shape == "collection" else value


async def write_all(unique: str, number: int, when: int) -> None:
    """Write a row of every slot at a simulation time, in one transaction."""
    async with transaction(when=when):
        for spec in ROWS:
            await write(adapter_of(spec, unique), payload(spec, number), entry(spec, unique), when)


async def remove_all(unique: str, when: int) -> None:
    async with transaction(when=when):
        for spec in ROWS:
            if spec.soft_delete:
                await getattr(adapter_of(spec, unique), f"remove_{spec.noun}_data")(entry(spec, unique))


async def read_everything(unique: str, when: int | None = None) -> dict[str, Any]:
    """Return what reads of every slot find."""
    found = {}
    for spec in ROWS:
        adapter, key = adapter_of(spec, unique), entry(spec, unique)
        found[spec.name] = await read(adapter, key, when if spec.when else None)
        if spec.shape == "collection":
            found[spec.name] = next(iter(found[spec.name]), nothing(spec))
    return found


def expect(number: int | None, *, are_removed: bool = False) -> dict[str, Any]:
    return {
        spec.name: nothing(spec) if number is None or (are_removed and spec.soft_delete) else payload(spec, number)
        for spec in ROWS
    }


def list_unknown(report: ForkReport) -> list[tuple[str, str]]:
    return sorted((one.slot, one.reason) for one in report.unknown)


async def test_fork_has_every_row_as_it_was(forks: Forks, unique: str) -> None:
    await forks.set(CC_HISTORY=HISTORY)
    for number in range(3):
        await write_all(unique, number, WHEN + 10 * number)
    await remove_all(unique, WHEN + 25)
    before = await forks.read()
    moments: list[tuple[int, int | None]] = [(-1, None), (0, 0), (9, 0), (10, 1), (24, 2), (25, 2), (10**9, 2)]
    for offset, last in moments:
        at, are_removed = WHEN + offset, offset >= 25
        planned = await forks.make(at, dry_run=True)
        assert planned.is_dry_run
        assert not await forks.exists(planned.path or planned.name)
        report = await forks.make(at)
        assert report.is_whole
        there = [spec.name for spec in ROWS if last is not None and not (are_removed and spec.soft_delete)]
        assert report.rows == planned.rows == dict.fromkeys(there, 1)
        assert (report.source, report.at, report.candles) == (forks.source, at, None)
        rows = await forks.read(report.path or report.name)
        assert [*rows] == there
        for spec in ROWS:
            for row in rows.get(spec.name, {}).values():
                assert row[spec.field] == value_of(spec, entry(spec, unique), last or 0)
                if spec.when:
                    assert row["when"] == WHEN + 10 * (last or 0)
        async with forks.on(report):
            await forks_read(unique, at, last, are_removed=are_removed)
    assert await forks.read() == before


async def forks_read(unique: str, at: int, number: int | None, *, are_removed: bool) -> None:
    """Read a fork in every way: as it is, as of its time, and before that of its rows."""
    assert await read_everything(unique) == expect(number, are_removed=are_removed)
    assert await read_everything(unique, at) == expect(number, are_removed=are_removed)
    if number is not None:
        found = await read_everything(unique, WHEN + 10 * number - 1)
        assert all(found[spec.name] == nothing(spec) for spec in ROWS if spec.when)


async def test_history_goes_on_from_a_fork(forks: Forks, unique: str) -> None:
    await forks.set(CC_HISTORY=HISTORY)
    for number in range(3):
        await write_all(unique, number, WHEN + 10 * number)
    report = await forks.make(WHEN + 15)
    async with forks.on(report):
        await write_all(unique, 7, WHEN + 30)
        async with as_of(WHEN + 29) as past:
            for spec in ROWS:
                then = getattr(past, spec.name)(**context(spec, unique))
                found = await read(then, entry(spec, unique))
                assert found == ([payload(spec, 1)] if spec.shape == "collection" else payload(spec, 1))
        assert await read_everything(unique) == expect(7)
        state = adapter_of(STATE, unique)
        assert [(one.when, one.value) async for one in state.history()] == [
            (WHEN + 10, payload(STATE, 1)),
            (WHEN + 30, payload(STATE, 7)),
        ]
        # What the fork does not know, it does not guess.
        again = await forks.make(WHEN + 12)
        assert again.rows == dict.fromkeys((spec.name for spec in ROWS), 1)
        early = await forks.make(WHEN + 5)
        assert early.rows == {}
        assert list_unknown(early) == sorted(
            (spec.name, "it is older than the versions of it that are kept") for spec in ROWS
        )


async def test_rows_without_versions_are_known_if_they_were_not_written_since(forks: Forks, unique: str) -> None:
    state, memory = persist.state(unique, "old"), persist.memory(unique, "m")
    await state.write_state_data({"n": 1}, WHEN)
    await persist.state(unique, "new").write_state_data({"n": 2}, WHEN + 20)
    await memory.write_memory_data({"n": 3}, "kept", WHEN)
    await memory.write_memory_data({"n": 4}, "removed", WHEN)
    await memory.remove_memory_data("removed")
    await persist.signal("BTCUSDT", unique, "x").write_signal_data({"id": "s"})
    report = await forks.make(WHEN + 10)
    assert report.rows == {"memory": 1, "state": 1}
    reason = "it was written since, and no version of it is kept"
    assert sorted(report.unknown, key=lambda one: one.slot) == [
        ("signal", {"symbol": "BTCUSDT", "strategyName": unique, "exchangeName": "x"}, reason),
        ("state", {"signalId": unique, "bucketName": "new"}, reason),
    ]
    async with forks.on(report):
        assert await persist.state(unique, "old").read_state_data() == {"n": 1}
        assert await persist.state(unique, "new").read_state_data() is None
        assert [row async for row in persist.memory(unique, "m").list_memory_data()] == [("kept", {"n": 3})]
    # By the clock of whoever wrote it, the signal was there in the far future.
    assert (await forks.make(datetime(2096, 1, 1, tzinfo=UTC))).rows == {"signal": 1, "memory": 1, "state": 2}


async def test_row_that_is_older_than_its_versions_is_not_taken_for_one_that_was_not_there(
    forks: Forks, unique: str
) -> None:
    old, fresh = persist.state(unique, "old"), persist.state(unique, "fresh")
    for time in (-10, 0):
        await old.write_state_data({"n": 0}, WHEN + time)
        await asyncio.sleep(0.002)  # two times of writing
    await forks.set(CC_HISTORY="state")
    for state in (old, fresh):
        await state.write_state_data({"n": 1}, WHEN + 20)
        await state.write_state_data({"n": 2}, WHEN + 30)
    assert (await forks.make(WHEN + 10)).rows == {"state": 1}  # the row as it was before its first version
    report = await forks.make(WHEN - 5)
    assert report.rows == {}
    assert report.unknown == (
        (
            "state",
            {"signalId": unique, "bucketName": "old"},
            "it is older than the versions of it that are kept",
        ),
    )
    assert (await forks.make(WHEN + 25)).rows == {"state": 2}


async def test_versions_that_are_stored_count_where_none_are_kept_any_more(forks: Forks, unique: str) -> None:
    await forks.set(CC_HISTORY="state")
    kept, over = persist.state(unique, "kept"), persist.state(unique, "over")
    for state in (kept, over):
        for number in range(3):
            await state.write_state_data({"n": number}, WHEN + 10 * number)
    await forks.set(CC_HISTORY="")
    await over.write_state_data({"n": 3}, WHEN + 30)
    report = await forks.make(WHEN + 15)
    assert report.rows == {"state": 1}
    assert list_unknown(report) == [("state", "it was written since, and no version of it is kept")]
    async with forks.on(report):
        assert await persist.state(unique, "kept").read_state_data() == {"n": 1}


async def test_cleared_rows_are_copied_as_such(forks: Forks, unique: str) -> None:
    await forks.set(CC_HISTORY="signal,schedule")
    signal = persist.signal("BTCUSDT", unique, "x")
    for number, row in enumerate(({"id": "a"}, None, {"id": "b"})):
        async with transaction(when=WHEN + 10 * number):
            await signal.write_signal_data(row)
    report = await forks.make(WHEN + 15)
    assert report.rows == {"signal": 1}
    ((row,),) = (rows.values() for rows in (await forks.read(report.path or report.name)).values())
    assert row["payload"] is None


async def test_lists_of_the_newest_rows_keep_their_order(forks: Forks, unique: str) -> None:
    await forks.set(CC_HISTORY="log")
    log = persist.log()
    names = [f"{unique}-{number * 7 % 10}" for number in range(10)]
    for start in (0, 5):
        async with transaction(when=WHEN + start):
            await log.write_log_data([{"id": name, "n": 0} for name in names[start : start + 5]])
    async with transaction(when=WHEN + 20):
        await log.write_log_data([{"id": names[2], "n": 1}])
    live = [row["id"] for row in await log.read_log_data()]
    for at, count in ((WHEN, 5), (WHEN + 5, 10), (WHEN + 20, 10)):
        report = await forks.make(at)
        async with forks.on(report):
            found = await persist.log().read_log_data()
            assert [row["id"] for row in found] == live[:count]
            assert [row["id"] for row in await persist.log().read_log_data(3)] == live[:count][-3:]
            assert sum(row["n"] for row in found) == int(at == WHEN + 20)


async def test_rows_of_a_fork_belong_to_no_run(forks: Forks, unique: str) -> None:
    await forks.set(CC_HISTORY="state", CC_RUN="first")
    await persist.state(unique, "a").write_state_data({"n": 1}, WHEN)
    await persist.state(unique, "b").write_state_data({"n": 1}, WHEN)
    await persist.state(unique, "b").write_state_data({"n": 2}, WHEN + 10)
    await forks.set(CC_RUN="")
    report = await forks.make(WHEN + 5)
    async with forks.on(report):
        assert (await reset("first")).deleted == {}
        assert await persist.state(unique, "b").read_state_data() == {"n": 1}


async def test_rows_that_are_written_meanwhile_change_nothing(forks: Forks, unique: str) -> None:
    await forks.set(CC_HISTORY="state")
    names = [f"s-{number}" for number in range(40)]
    for name in names:
        await persist.state(unique, name).write_state_data({"n": 0}, WHEN)
    going, written = True, asyncio.Event()

    async def write_on() -> None:
        number = 0
        while going:
            number += 1
            for name in names[::7]:
                await persist.state(unique, name).write_state_data({"n": number}, WHEN + 10 * number)
            written.set()

    writer = asyncio.create_task(write_on())
    try:
        await written.wait()
        report = await forks.make(WHEN + 5)
    finally:
        going = False
        await writer
    async with forks.on(report):
        found = await type(persist.state(unique, "x")).read_many([(unique, name) for name in names])
        assert found == [{"n": 0}] * len(names)


async def test_more_rows_than_one_batch(forks: Forks, unique: str) -> None:
    await forks.set(CC_HISTORY="memory")
    memory = persist.memory(unique, "m")
    keys = [f"k{number:04}" for number in range(1_203)]
    async with transaction(when=WHEN):
        for key in keys:
            await memory.write_memory_data({"n": 0}, key)
    async with transaction(when=WHEN + 10):
        for key in keys[::3]:
            await memory.write_memory_data({"n": 1}, key)
        await memory.write_memory_data({"n": 1}, "late")
    seen: list[tuple[str, int]] = []
    report = await forks.make(WHEN + 5, progress=lambda slot, count: seen.append((slot, count)))
    assert report.rows == {"memory": 1_203}
    assert seen[-1] == ("memory", 1_203)
    async with forks.on(report):
        found = [row async for row in persist.memory(unique, "m").list_memory_data()]
        assert found == [(key, {"n": 0}) for key in keys]


async def test_many_bars_in_one_commit_have_their_versions(forks: Forks, unique: str) -> None:
    await forks.set(CC_HISTORY="state,log")
    state = persist.state(unique, "s")
    async with lease(state, commit_every=64, max_delay=600):
        for number in range(6):
            async with transaction(when=WHEN + 10 * number):
                await state.write_state_data({"n": number})
                await persist.log().write_log_data([{"id": f"{unique}-{number}"}])
    moments: list[tuple[int, int | None]] = [(-1, None), (0, 0), (35, 3), (50, 5)]
    for offset, last in moments:
        report = await forks.make(WHEN + offset)
        assert report.rows == ({} if last is None else {"log": last + 1, "state": 1})
        assert report.is_whole
        async with forks.on(report):
            expected = None if last is None else {"n": last}
            assert await persist.state(unique, "s").read_state_data() == expected


async def test_row_that_can_t_be_read_is_listed(forks: Forks, unique: str) -> None:
    await persist.state(unique, "good").write_state_data({"n": 1}, WHEN)
    await persist.state(unique, "bad").write_state_data({"n": 1}, WHEN)
    if forks.is_file:
        with contextlib.closing(sqlite3.connect(forks.source)) as connection, connection:
            connection.execute("UPDATE [state-items] SET payload='{' WHERE bucketName='bad'")
        reason = "it holds no JSON"
    else:
        collection: Any = (await backtest_mongo.get_mongo())[forks.source]["state-items"]
        await collection.update_one({"bucketName": "bad"}, {"$unset": {"payload": ""}})
        reason = "the document lacks payload"
    report = await forks.make(FUTURE)
    assert report.rows == {"state": 1}
    assert list_unknown(report) == [("state", reason)]


async def test_empty_database_is_forked(forks: Forks, unique: str) -> None:
    if forks.is_file:
        await persist.state(unique, "s").wait_for_init()
    report = await forks.make(WHEN)
    assert (report.rows, report.is_whole) == ({}, True)
    assert "mongodb://" not in repr(report)
    assert "CC_CANDLE_DATABASE" in repr(report)
    async with forks.on(report):
        await persist.state(unique, "s").write_state_data({"n": 1}, WHEN)
        assert await persist.state(unique, "s").read_state_data() == {"n": 1}


async def test_slots_of_one_s_own_are_forked(forks: Forks, unique: str) -> None:
    spec = SlotSpec(
        name=f"order_{unique}",
        shape="entry",
        context=("exchange_name",),
        key=("exchangeName", "orderId"),
        redis=("exchangeName", "orderId"),
        when=True,
        history=True,
    )
    adapter: Any = persist.register(spec)
    del adapter
    order: Any = getattr(persist, spec.name)("binance")
    for number in range(3):
        await getattr(order, f"write_{spec.noun}_data")({"n": number}, "o-1", WHEN + 10 * number)
    report = await forks.make(WHEN + 15)
    assert report.rows == {spec.name: 1}
    async with forks.on(report):
        there: Any = getattr(persist, spec.name)("binance")
        assert await getattr(there, f"read_{spec.noun}_data")("o-1") == {"n": 1}
    # A program that has not registered it can't read it, and says so.
    persist._adapters.pop(spec.name)
    report = await forks.make(WHEN + 15)
    assert report.left_out == ((spec.collection, 1, "its slot is not registered"),)


async def test_live_rows_become_a_backtest_s(forks: Forks, unique: str) -> None:
    await forks.set(CC_HISTORY=HISTORY)
    async with transaction(when=WHEN):
        await persist.session(unique, "x", "", "BTCUSDT", False).write_session_data({"n": 1})
        await persist.recent("BTCUSDT", unique, "x", "", False).write_recent_data({"id": "s-1"})
        await persist.storage(False).write_storage_data([{"id": "s-1", "n": 1}, {"id": "s-2", "n": 2}])
        await persist.notification(False).write_notification_data([{"id": "n-1"}])
        await persist.notification(True).write_notification_data([{"id": "n-2"}])
        await persist.state("s-1", "b").write_state_data({"n": 1})
    async with transaction(when=WHEN + 10):
        await persist.storage(True).write_storage_data([{"id": "s-1", "n": 3}])
    report = await forks.make(WHEN + 5, as_backtest=True)
    assert report.as_backtest
    assert report.rows == {"storage": 2, "notification": 2, "recent": 1, "session": 1, "state": 1}
    async with forks.on(report):
        assert await persist.session(unique, "x", "", "BTCUSDT", True).read_session_data() == {"n": 1}
        assert await persist.session(unique, "x", "", "BTCUSDT", False).read_session_data() is None
        assert await persist.recent("BTCUSDT", unique, "x", "", True).read_recent_data() == {"id": "s-1"}
        assert [row["n"] for row in await persist.storage(True).read_storage_data()] == [1, 2]
        assert await persist.storage(False).read_storage_data() == []
        assert len(await persist.notification(True).read_notification_data()) == 2
        # So have their versions.
        async with transaction(when=WHEN + 20):
            await persist.storage(True).write_storage_data([{"id": "s-1", "n": 4}])
        async with as_of(WHEN + 5) as past:
            assert [row["n"] for row in await past.storage(True).read_storage_data()] == [1, 2]


async def test_two_rows_of_one_key_are_refused_before_anything_is_written(forks: Forks, unique: str) -> None:
    await forks.set(CC_HISTORY="storage")
    async with transaction(when=WHEN):
        await persist.storage(False).write_storage_data([{"id": "a", "strategyName": "one"}, {"id": "b"}])
    async with transaction(when=WHEN + 10):
        await persist.storage(True).write_storage_data([{"id": "a", "strategyName": "two"}, {"id": "c"}])
    name = forks.next_name()
    with pytest.raises(backtest_mongo.InputError, match=r"storage: .*1 live row would get the key of a backtest row"):
        await fork(name, at=WHEN + 10, as_backtest=True)
    for options in ({"at": WHEN + 5}, {"at": WHEN + 10, "strategy_name": "one"}):
        report = await fork(name, as_backtest=True, dry_run=True, **options)
        assert not await forks.exists(report.path or report.name)
    assert (await fork(name, at=WHEN + 5, as_backtest=True)).rows == {"storage": 2}


async def test_candles_stay_or_are_copied(forks: Forks, unique: str) -> None:
    series = persist.candle("BTCUSDT", "1m", unique)
    await series.write_candles_data(candles(1_500))
    report = await forks.make(WHEN)
    assert report.candles is None
    async with forks.on(report):
        there = persist.candle("BTCUSDT", "1m", unique)
        assert await there.read_candles_data(1_500, 0) == candles(1_500)
        assert await there.write_candles_data(candles(1, first=1_500 * 60_000)) == 1
    assert (await series.coverage()).rows == 1_501
    copied = await forks.make(WHEN, copy_candles=True)
    assert copied.candles == 1_501
    async with forks.on(copied):
        there = persist.candle("BTCUSDT", "1m", unique)
        assert await there.read_candles_data(1_501, 0) == candles(1_501)
        assert await there.write_candles_data(candles(1, first=1_501 * 60_000)) == 1
    assert (await series.coverage()).rows == 1_501
    # A fork of a fork reads the candles where the first one does.
    async with forks.on(report):
        second = await forks.make(WHEN)
        assert second.config["CC_CANDLE_DATABASE"] == report.config["CC_CANDLE_DATABASE"] == forks.source
        async with forks.on(second):
            assert (await persist.candle("BTCUSDT", "1m", unique).coverage()).rows == 1_501

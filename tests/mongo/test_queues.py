"""Queues of calls: what a call waits for its turn does not count, and without answers nothing is sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import (
    CandleAdapter,
    MemoryAdapter,
    NotificationAdapter,
    SignalAdapter,
    StateAdapter,
    StorageAdapter,
    StoreUnavailableError,
    setup,
)
from tests.support.failing_servers import READS, WRITES, FailingServer
from tests.support.queues import is_unsent, make_states, read_stored, tally, write_one
from tests.support.short_deadlines import LONG_MS, shorten_deadline, until_in_time
from tests.support.uniform import WHEN, candles

pytestmark = [pytest.mark.heavy, pytest.mark.either_driver, pytest.mark.timeout(300)]


# Queues that are longer than the deadline


@pytest.mark.parametrize("kind", ["writes", "write_many", "two slots"])
async def test_many_writes_may_take_longer_than_the_deadline_of_each_request(
    set_deadline: Callable[[int], Coroutine[Any, Any, None]], failing: FailingServer, unique: str, kind: str
) -> None:
    await set_deadline(6_000)
    failing.hold("update", "findAndModify", milliseconds=800)
    count = 20_000
    calls: list[Awaitable[Any]]
    if kind == "write_many":
        calls = [StateAdapter.write_many([((unique, f"b{n:05}"), {"n": n}) for n in range(count)], WHEN)]
    elif kind == "two slots":
        calls = [slot.write_state_data({"n": n}, WHEN) for n, slot in enumerate(make_states(unique, count // 2))]
        calls += [SignalAdapter(unique, f"b{n:05}", "binance").write_signal_data({"n": n}) for n in range(count // 2)]
    else:
        calls = [slot.write_state_data({"n": n}, WHEN) for n, slot in enumerate(make_states(unique, count))]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    failing.end()
    assert tally(outcomes) == {"fine": len(calls)}
    database = failing.client[unique]
    stored = database["state-items"].count_documents({}) + database["signal-items"].count_documents({})
    assert stored == count


async def test_many_reads_may_take_longer_than_the_deadline_of_each_request(
    set_deadline: Callable[[int], Coroutine[Any, Any, None]], failing: FailingServer, unique: str
) -> None:
    await set_deadline(30_000)
    slots = make_states(unique, 12_000)
    await StateAdapter.write_many([((unique, f"b{n:05}"), {"n": n}) for n in range(len(slots))], WHEN)
    await set_deadline(3_000)
    failing.hold("find", milliseconds=700)
    outcomes = await asyncio.gather(*(slot.read_state_data() for slot in slots), return_exceptions=True)
    failing.end()
    assert tally(outcomes) == {"fine": len(slots)}
    assert outcomes == [{"n": n} for n in range(len(slots))]


@pytest.mark.parametrize("kind", ["windows", "long windows", "lists", "newest", "memory lists", "frames"])
async def test_many_windows_and_lists_may_take_longer_than_the_deadline_of_each_request(
    set_deadline: Callable[[int], Coroutine[Any, Any, None]], failing: FailingServer, unique: str, kind: str
) -> None:
    await set_deadline(30_000)
    series, memory = CandleAdapter("BTCUSDT", "1m", unique), MemoryAdapter(unique, "notes")
    await series.write_candles_data(candles(600))
    await StorageAdapter(True).write_storage_data([{"id": "1", "n": 1}])
    await NotificationAdapter(True).write_notification_data([{"id": "1", "n": 1}])
    await memory.write_memory_data({"n": 1}, "m", WHEN)
    await set_deadline(3_000)

    async def read() -> int:
        if kind == "windows":
            return len(await series.read_candles_data(10, 0) or ())
        if kind == "long windows":
            return len(await series.read_candles_data(600, 0) or ())
        if kind == "lists":
            return len(await StorageAdapter(True).read_storage_data())
        if kind == "newest":
            return len(await NotificationAdapter(True).read_notification_data())
        if kind == "frames":
            return len((await series.read_frame(0, 600 * 60_000, as_="numpy"))["close"])
        return len([row async for row in memory.list_memory_data()])

    failing.hold("find", milliseconds=300)
    outcomes = await asyncio.gather(*(read() for _ in range(40)), return_exceptions=True)
    failing.end()
    assert tally(outcomes) == {"fine": 40}
    assert set(outcomes) == {{"windows": 10, "long windows": 600, "frames": 600}.get(kind, 1)}


async def test_concurrent_calls_of_every_kind_may_take_longer_than_the_deadline(
    set_deadline: Callable[[int], Coroutine[Any, Any, None]], failing: FailingServer, unique: str
) -> None:
    await set_deadline(3_000)
    series = CandleAdapter("BTCUSDT", "1m", unique)
    failing.hold(*READS, *WRITES, milliseconds=250)
    calls: list[Awaitable[Any]] = []
    for number in range(15):
        slot = StateAdapter(unique, f"s{number}")
        calls += [
            *(slot.write_state_data({"n": n}, WHEN) for n in range(3)),
            StorageAdapter(True).read_storage_data(),
            StorageAdapter(True).write_storage_data([{"id": f"{number}"}]),
            MemoryAdapter(unique, "notes").remove_memory_data(f"m{number}"),
            series.read_candles_data(5, 0),
            CandleAdapter(f"S{number}", "1m", unique).write_candles_data(candles(5)),
        ]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    failing.end()
    assert tally(outcomes) == {"fine": len(calls)}


# Queues without answers


async def test_blocked_event_loop_fails_no_queued_call(
    set_deadline: Callable[[int], Coroutine[Any, Any, None]], unique: str
) -> None:
    deadline = 2.0
    await set_deadline(int(deadline * 1000))

    async def hold_up() -> None:
        time.sleep(2 * deadline)  # noqa: ASYNC251  # as an application does that computes

    state = StateAdapter(unique, "s")
    await asyncio.sleep(1.1 * deadline)  # the last answer is older than the deadline
    writes = [state.write_state_data({"n": number}, WHEN) for number in range(6)]
    outcomes = await asyncio.gather(*writes, hold_up(), return_exceptions=True)
    assert tally(outcomes) == {"fine": 7}
    assert await state.read_state_data() == {"n": 5}


async def test_queued_calls_behind_an_unanswered_one_fail_as_not_sent_and_are_not_stored(
    set_deadline: Callable[[int], Coroutine[Any, Any, None]], failing: FailingServer, unique: str
) -> None:
    await set_deadline(1_500)
    slots = make_states(unique, 30_000)
    failing.hold("update", "findAndModify", milliseconds=9_000)
    outcomes = await asyncio.gather(
        *(slot.write_state_data({"n": n}, WHEN) for n, slot in enumerate(slots)), return_exceptions=True
    )
    failing.end()
    await failing.until_idle()
    assert {type(outcome) for outcome in outcomes} == {StoreUnavailableError}
    unsent = {slot.context["bucket_name"] for slot, error in zip(slots, outcomes, strict=True) if is_unsent(error)}
    unknown = [error for error in outcomes if not is_unsent(error)]
    assert unsent, "everything was sent at once"
    assert [error for error in unknown if not getattr(error, "may_be_applied", None)] == []
    stored = {row["bucketName"] for row in failing.client[unique]["state-items"].find({}, {"bucketName": 1})}
    assert stored & unsent == set()


@pytest.mark.parametrize("kind", ["single", "batch", "list", "remove"])
async def test_write_behind_an_unanswered_one_fails_as_not_sent_and_is_not_stored(
    set_deadline: Callable[[int], Coroutine[Any, Any, None]], failing: FailingServer, unique: str, kind: str
) -> None:
    await set_deadline(1_500)
    await write_one(kind, unique, 0)
    failing.hold(*WRITES, milliseconds=6_000, times=1)
    first = asyncio.ensure_future(write_one(kind, unique, 1))
    await failing.until_held()
    # Behind it, within its time or when this is over.
    others = await asyncio.gather(*(write_one(kind, unique, number) for number in (2, 3)), return_exceptions=True)
    with pytest.raises(StoreUnavailableError) as caught:
        await first
    failing.end()
    assert caught.value.may_be_applied
    await failing.until_idle()
    found = read_stored(failing, kind, unique)
    for number, other in zip((2, 3), others, strict=True):
        # What was answered meanwhile may be stored, and what was not sent can't be.
        if is_unsent(other):
            assert found != number
        else:
            assert other is None or getattr(other, "may_be_applied", False)


async def test_error_of_a_request_past_its_deadline_is_no_answer(
    set_deadline: Callable[[int], Coroutine[Any, Any, None]], failing: FailingServer, unique: str
) -> None:
    """Each write of a key takes 0.6 of the deadline to fail, so the third is not sent any more."""
    deadline_ms = 2_000
    await set_deadline(deadline_ms)
    await write_one("single", unique, 0)
    out_of_time = 50
    failing.fail(*WRITES, errorCode=out_of_time, blockConnection=True, blockTimeMS=int(0.6 * deadline_ms))
    writes = [asyncio.ensure_future(write_one("single", unique, number)) for number in range(1, 5)]
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    failing.end()
    assert {type(outcome) for outcome in outcomes} == {StoreUnavailableError}
    assert [is_unsent(outcome) for outcome in outcomes[2:]] == [True, True]
    await failing.until_idle()
    assert read_stored(failing, "single", unique) == 0


async def test_wait_for_a_lane_does_not_count_for_calls_queued_behind(
    failing: FailingServer, failing_config: dict[str, Any], unique: str
) -> None:
    """Each answer takes 0.6 of the deadline: one of another slot, then those to two writes of one key."""
    deadline_ms = 5_000
    uri = failing.uri(unique, maxPoolSize=1)
    await setup({**failing_config, "CC_MONGO_CONNECTION_STRING": uri, "CC_MONGO_TIMEOUT_MS": LONG_MS})
    state, signal = StateAdapter(unique, "s"), SignalAdapter(unique, "s", "binance")
    await shorten_deadline(deadline_ms, state, signal)
    await until_in_time(lambda: state.write_state_data({"n": 0}, WHEN))
    await until_in_time(lambda: signal.write_signal_data({"n": 0}))
    failing.hold(*WRITES, milliseconds=int(0.6 * deadline_ms))
    other = asyncio.ensure_future(signal.write_signal_data({"n": 1}))
    await failing.until_held()
    writes = [state.write_state_data({"n": number}, WHEN) for number in (1, 2)]
    outcomes = await asyncio.gather(other, *writes, return_exceptions=True)
    failing.end()
    assert tally(outcomes) == {"fine": 3}
    assert await state.read_state_data() == {"n": 2}
    await backtest_mongo.close()

"""How long Redis may hold up an operation, what opens the circuit breaker, and whose fault lag of the event loop is.

The numbers that the README promises stand here as numbers: five failures in a row, 50 ms for an operation.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from os import kill
from typing import Any

import pytest
import structlog

import backtest_mongo
from backtest_mongo import CandleAdapter, StateAdapter, stats
from backtest_mongo.connection import command_guard
from backtest_mongo.connection.command_guard import CommandGuard
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.connection.loop_clock import LoopClock
from backtest_mongo.connection.operation import WaitBudget, get_wait_budget
from tests.conftest import Deployment
from tests.support import redis_servers
from tests.support.redis_servers import RedisNode
from tests.support.uniform import WHEN, candles

pytestmark = [pytest.mark.either_driver, pytest.mark.wait_budget]


@pytest.fixture(scope="module")
def node() -> Iterator[RedisNode]:
    with redis_servers.node() as started:
        yield started


@pytest.fixture
async def redis(deployment: Deployment, node: RedisNode) -> AsyncIterator[RedisNode]:
    """A Redis that a test may freeze."""
    await backtest_mongo.setup({**deployment.config, "CC_REDIS_HOST": "127.0.0.1", "CC_REDIS_PORT": node.port})
    yield node
    kill(node.pid, signal.SIGCONT)
    await backtest_mongo.close()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each command may hold up its operation, in the order in which they are sent."""
    allowed: list[float] = []
    wait = LoopClock.wait

    async def spy(clock: LoopClock, work: asyncio.Future[Any], seconds: float) -> None:
        allowed.append(seconds)
        await wait(clock, work, seconds)

    monkeypatch.setattr(LoopClock, "wait", spy)
    return allowed


async def never() -> Any:
    await asyncio.Event().wait()


async def refuse() -> Any:
    raise ConnectionError


async def answer() -> int:
    return 1


# Five failures in a row


@pytest.mark.parametrize("fault", [refuse, never])
async def test_breaker_opens_with_the_fifth_failure_in_a_row(fault: Callable[[], Awaitable[Any]]) -> None:
    guard = CommandGuard("Redis")
    opened = []
    for _ in range(4):
        await guard.run(fault)
        opened.append(guard.is_breaker_open)
    assert await guard.run(answer) == 1
    for _ in range(5):
        await guard.run(fault)
        opened.append(guard.is_breaker_open)
    assert opened == [False] * 8 + [True]
    assert await guard.run(answer) is None
    await guard.close()


async def test_breaker_opens_with_the_fifth_operation_on_an_unreachable_redis(
    deployment: Deployment, unique: str
) -> None:
    await backtest_mongo.setup({**deployment.config, "CC_REDIS_PORT": 1})
    found = []
    for _ in range(7):
        await StateAdapter(unique, "absent").read_state_data()
        found.append(stats().redis)
    assert found == ["closed"] * 4 + ["open"] * 3


async def test_breaker_opens_with_the_fifth_operation_on_a_redis_that_is_frozen(redis: RedisNode, unique: str) -> None:
    await StateAdapter(unique, "absent").read_state_data()
    await current_hub().id_cache.settle()
    kill(redis.pid, signal.SIGSTOP)
    current_hub().id_cache._guard._breaker.record_success()  # whatever a busy machine has made of the first one
    found = []
    for _ in range(7):
        await StateAdapter(unique, "absent").read_state_data()
        found.append(stats().redis)
    assert found == ["closed"] * 4 + ["open"] * 3


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time by which a breaker waits for its next probe."""
    now = [1_000.0]
    monkeypatch.setattr("backtest_mongo.connection.breaker.monotonic", lambda: now[0])
    return now


async def test_probe_that_succeeds_closes_the_breaker_and_one_that_fails_does_not(clock: list[float]) -> None:
    guard = CommandGuard("Redis")
    with structlog.testing.capture_logs() as lines:
        for _ in range(5):
            await guard.run(refuse)
        clock[0] += 5
        assert await guard.run(refuse) is None  # the probe
        assert await guard.run(answer) is None
        assert guard.is_breaker_open
        clock[0] += 5
        assert await guard.run(answer) == 1
        assert not guard.is_breaker_open
    assert [(line["log_level"], line["server"], line.get("error")) for line in lines] == [
        ("warning", "Redis", "ConnectionError"),
        ("info", "Redis", None),
    ]


async def test_answer_to_a_command_from_before_the_failures_does_not_close_the_breaker() -> None:
    released = asyncio.Event()

    async def answer_when_released() -> int:
        await released.wait()
        return 1

    guard = CommandGuard("Redis")
    first = asyncio.ensure_future(guard.run(answer_when_released))
    await asyncio.sleep(0)  # it is sent
    for _ in range(5):
        await guard.run(refuse)
    assert guard.is_breaker_open
    released.set()
    await first
    assert guard.is_breaker_open


# Closing


async def test_guard_that_was_closed_sends_nothing() -> None:
    sent = []

    async def work() -> int:
        sent.append(1)
        return 1

    guard = CommandGuard("Redis")
    assert await guard.run(work) == 1
    await guard.close()
    assert await guard.run(work) is None
    assert sent == [1]
    assert not guard.is_breaker_open


async def test_command_whose_cancellation_gets_lost_is_aborted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_guard, "COMMAND_SECONDS", 0.06)
    lost: list[int] = []

    async def lose_two() -> Any:
        while len(lost) < 2:
            try:
                await never()
            except asyncio.CancelledError:
                lost.append(1)
        await never()

    guard = CommandGuard("Redis")
    assert await guard.run(lose_two) is None
    await guard.settle()
    assert len(lost) == 2


# 50 ms for an operation


async def test_unanswered_command_delays_its_caller_by_50_ms(waits: list[float]) -> None:
    guard = CommandGuard("Redis")
    for _ in range(3):  # each is an operation of its own
        assert await guard.run(never) is None
    assert waits == [0.05] * 3
    await guard.close()


async def test_command_is_late_after_50_ms_and_aborted_after_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    alarms: list[float] = []
    set_alarm = LoopClock.set_alarm

    def spy(clock: LoopClock, seconds: float, callback: Callable[[], object]) -> Any:
        alarms.append(seconds)
        return set_alarm(clock, seconds, callback)

    guard = CommandGuard("Redis")
    monkeypatch.setattr(LoopClock, "set_alarm", spy)
    assert await guard.run(never) is None
    await guard.settle()
    waiting, late, broken_off = alarms[:3]
    assert (waiting, late, late + broken_off) == (0.05, 0.05, 1.0)


async def test_commands_of_an_operation_share_a_wait_budget_of_50_ms(waits: list[float]) -> None:
    guard = CommandGuard("Redis")
    began = guard._clock.now()
    with WaitBudget():
        for _ in range(4):
            with WaitBudget():  # within another one it changes nothing
                assert await guard.run(never) is None
    assert waits == [0.05, 0, 0, 0]
    assert guard._clock.now() - began >= 0.05
    await guard.close()


async def test_failed_commands_count_against_the_shared_wait_budget(waits: list[float]) -> None:
    async def fail_later() -> Any:
        await asyncio.sleep(0.01)
        raise ConnectionError

    guard = CommandGuard("Redis")
    with WaitBudget():
        for work in (fail_later, fail_later, never, fail_later):
            assert await guard.run(work) is None
    assert waits[0] == 0.05
    assert 0.05 > waits[1] > waits[2] > waits[3] == 0
    await guard.close()


async def test_command_that_fails_at_once_uses_next_to_none_of_the_wait_budget(waits: list[float]) -> None:
    guard = CommandGuard("Redis")
    await guard.run(never)  # the clock has counted something
    with WaitBudget():
        for work in (refuse, never):
            assert await guard.run(work) is None
    assert waits[2] > 0
    await guard.close()


async def test_command_that_had_less_than_50_ms_left_is_not_late_yet() -> None:
    guard = CommandGuard("Redis")
    for _ in range(4):
        await guard.run(never)
    with WaitBudget():
        get_wait_budget().spend(0.045)
        assert await guard.run(never) is None
    assert not guard.is_breaker_open
    await guard.close()


async def test_answered_commands_use_none_of_the_wait_budget(waits: list[float]) -> None:
    async def answer_later() -> int:
        await asyncio.sleep(0.01)
        return 1

    guard = CommandGuard("Redis")
    with WaitBudget():
        assert [await guard.run(answer_later) for _ in range(10)] == [1] * 10
    assert waits == [0.05] * 10


@pytest.mark.parametrize("operation", ["read", "write_candles"])
async def test_operation_of_several_commands_waits_50_ms_for_a_frozen_redis(
    redis: RedisNode, deployment: Deployment, unique: str, waits: list[float], operation: str
) -> None:
    ports = {"CC_REDIS_HOST": "127.0.0.1", "CC_REDIS_PORT": redis.port}
    await backtest_mongo.setup({**deployment.config, **ports, "CC_CANDLE_ID_CACHE": True})
    state = StateAdapter(unique, "counter")
    await state.write_state_data({"n": 1}, WHEN)
    await backtest_mongo.close()
    kill(redis.pid, signal.SIGSTOP)
    waits.clear()
    if operation == "read":  # asks for the id, and then sends it
        assert await state.read_state_data() == {"n": 1}
    else:  # sends a thousand ids per command
        assert await CandleAdapter("BTCUSDT", "1m", unique).write_candles_data(candles(4_000)) == 4_000
    assert waits[0] == 0.05
    assert set(waits[1:]) == {0}


# Lag of the event loop


@pytest.mark.parametrize(("turns", "seconds"), [(1, 0.5), (12, 0.06), (40, 0.01)])
async def test_time_in_which_the_loop_is_blocked_does_not_count_against_redis(turns: int, seconds: float) -> None:
    async def answer_after_turns() -> int:
        for _ in range(turns):
            time.sleep(seconds)  # noqa: ASYNC251  # what holds the loop up
            await asyncio.sleep(0)
        return 1

    guard = CommandGuard("Redis")
    for _ in range(6):
        assert await guard.run(answer_after_turns) == 1
    assert not guard.is_breaker_open
    assert guard._breaker._failures == 0


async def test_loop_that_is_blocked_in_each_turn_still_sees_redis_answers(redis: RedisNode, unique: str) -> None:
    """First handshakes, too, which take several turns."""

    async def hold_up() -> None:
        while not done:
            time.sleep(0.03)  # noqa: ASYNC251  # what holds the loop up
            await asyncio.sleep(0)

    done = False
    holding_up = asyncio.ensure_future(hold_up())
    found = []
    for number in range(6):
        await StateAdapter(unique, f"b{number}").write_state_data({"n": number}, WHEN)
        id_cache = current_hub().id_cache
        found.append((id_cache.is_breaker_open, id_cache._guard._breaker._failures, len(id_cache._guard._commands)))
        await backtest_mongo.close()
    done = True
    await holding_up
    assert found == [(False, 0, 0)] * 6


async def test_breaker_opens_on_a_loop_that_is_blocked_in_each_turn(waits: list[float]) -> None:
    async def hold_up() -> None:
        while not guard.is_breaker_open:
            time.sleep(0.01)  # noqa: ASYNC251  # what holds the loop up
            await asyncio.sleep(0)

    guard = CommandGuard("Redis")
    holding_up = asyncio.ensure_future(hold_up())
    for _ in range(5):
        assert not guard.is_breaker_open
        assert await guard.run(never) is None
    assert guard.is_breaker_open
    await holding_up
    await guard.close()


async def test_clock_stands_still_while_no_command_is_under_way() -> None:
    guard = CommandGuard("Redis")
    clock = guard._clock
    for work in (answer, refuse, never):
        await guard.run(work)
    assert clock._tick_handle is not None  # the last one is under way
    await guard.settle()
    assert [clock._tick_handle, clock._ring_handle, *clock._alarms, *guard._commands] == [None, None]
    stands = clock.now()
    await asyncio.sleep(0.01)
    assert clock.now() == stands


async def test_commands_without_a_connection_within_the_budget_are_not_sent_and_do_not_count_against_redis(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[int] = []
    released = asyncio.Event()

    async def hold() -> int:
        started.append(1)
        await released.wait()
        return 1

    guard = CommandGuard("Redis")
    held = [asyncio.ensure_future(guard.run(hold)) for _ in range(40)]
    assert await asyncio.gather(*held) == [None] * 40
    assert len(started) == 32
    assert guard._breaker._failures == 32
    released.set()
    await guard.settle()
    assert len(started) == 32
    assert guard.is_breaker_open

"""The clock that counts only the time in which the event loop was running, with a time that the test sets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from backtest_mongo.connection import loop_clock
from backtest_mongo.connection.loop_clock import TICK_SECONDS, LoopClock

GRACE = 5


class Time:
    """The time that the clock reads."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(loop_clock, "monotonic", time)
    return time


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def tick(clock: LoopClock, time: Time, seconds: float = 1.0) -> None:
    """Have the clock read a time that is so much later, as the event loop does."""
    time.seconds += seconds
    assert clock._tick_handle is not None
    clock._tick_handle.cancel()
    clock._tick()


def note(events: list[str], name: str) -> Callable[[], None]:
    return lambda: events.append(name)


async def test_clock_stands_still_while_no_alarm_is_set(time: Time) -> None:
    clock = LoopClock()
    assert clock.now() == 0
    time.seconds += 1
    assert clock.now() == 0
    alarm = clock.set_alarm(1, print)
    assert clock.now() == 0
    time.seconds += 0.0015
    assert clock.now() == pytest.approx(0.0015)
    alarm.cancel()
    time.seconds += 1
    assert clock.now() == pytest.approx(0.0015)
    assert (clock._tick_handle, clock._ring_handle, clock._alarms) == (None, None, [])
    again = clock.set_alarm(1, print)
    assert again.due == pytest.approx(1.0015)
    again.cancel()


async def test_no_more_than_a_tick_is_counted_between_two_readings(time: Time) -> None:
    clock = LoopClock()
    alarm = clock.set_alarm(1, print)
    time.seconds += 0.5
    assert clock.now() == TICK_SECONDS
    tick(clock, time)
    assert clock.now() == TICK_SECONDS
    tick(clock, time, 0.001)
    assert clock.now() == pytest.approx(0.003)
    tick(clock, time, 7)
    assert clock.now() == pytest.approx(0.005)
    alarm.cancel()
    assert clock.now() == pytest.approx(0.005)


async def test_alarm_rings_once_its_time_is_counted_and_a_few_turns_are_over(time: Time) -> None:
    clock, events = LoopClock(), list[str]()
    alarm = clock.set_alarm(0.005, note(events, "rang"))
    assert alarm.is_set
    assert alarm.due == 0.005
    for _ in range(2):
        tick(clock, time)
        await turns(GRACE)
    assert events == []
    tick(clock, time)
    await turns(GRACE - 1)
    assert events == []
    await turns(2)
    assert events == ["rang"]
    assert not alarm.is_set
    alarm.ring()
    alarm.cancel()
    assert events == ["rang"]
    assert clock._tick_handle is None


@pytest.mark.parametrize("seconds", [0, -1])
async def test_alarm_that_is_due_rings_after_the_turns_of_grace(time: Time, seconds: float) -> None:
    clock, events = LoopClock(), list[str]()
    clock.set_alarm(seconds, note(events, "rang"))
    await turns(GRACE - 1)
    assert events == []
    await turns(1)
    assert events == ["rang"]


async def test_alarms_ring_in_the_order_in_which_they_are_due(time: Time) -> None:
    clock, events = LoopClock(), list[str]()
    clock.set_alarm(0.003, note(events, "third"))
    clock.set_alarm(0.001, note(events, "first"))
    clock.set_alarm(0.002, note(events, "second")).cancel()
    clock.set_alarm(0.002, note(events, "second"))
    clock.set_alarm(0.004, note(events, "fourth"))
    tick(clock, time)
    await turns(GRACE + 1)
    assert events == ["first", "second"]
    assert clock._set == 2
    tick(clock, time)
    await turns(GRACE + 1)
    assert events == ["first", "second", "third", "fourth"]
    assert (clock._set, clock._tick_handle, clock._alarms) == (0, None, [])


async def test_alarm_that_was_cancelled_does_not_ring_and_leaves_the_others(time: Time) -> None:
    clock, events = LoopClock(), list[str]()
    cancelled, kept = clock.set_alarm(0.001, note(events, "x")), clock.set_alarm(0.002, note(events, "kept"))
    for _ in range(2):
        cancelled.cancel()
    assert not cancelled.is_set
    assert kept.is_set
    tick(clock, time)
    await turns(GRACE + 1)
    assert events == ["kept"]


async def test_alarm_that_is_cancelled_in_its_grace_does_not_ring(time: Time) -> None:
    clock, events = LoopClock(), list[str]()
    alarm = clock.set_alarm(0, note(events, "x"))
    await turns(2)
    alarm.cancel()
    await turns(GRACE)
    assert events == []
    clock.set_alarm(0, note(events, "next"))
    await turns(GRACE)
    assert events == ["next"]


async def test_alarm_may_be_set_while_another_rings(time: Time) -> None:
    clock, events = LoopClock(), list[str]()

    def set_next() -> None:
        events.append("first")
        clock.set_alarm(TICK_SECONDS, note(events, "second"))

    clock.set_alarm(0, set_next)
    await turns(GRACE)
    assert events == ["first"]
    tick(clock, time)
    await turns(GRACE)
    assert events == ["first", "second"]


async def test_alarm_rings_by_itself() -> None:
    clock, rang = LoopClock(), asyncio.Event()
    clock.set_alarm(0.003, rang.set)
    await rang.wait()
    assert clock.now() >= 0.003


async def test_clock_is_read_as_soon_as_an_alarm_may_be_due(time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, delays = asyncio.get_running_loop(), list[float]()
    call_later = loop.call_later

    def spy(delay: float, *arguments: object) -> asyncio.TimerHandle:
        delays.append(delay)
        return call_later(delay, *arguments)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(loop, "call_later", spy)
    clock = LoopClock()
    clock.set_alarm(0.0004, print).cancel()
    alarm = clock.set_alarm(0.0025, print)
    tick(clock, time)
    tick(clock, time)  # it is due, and has its turns of grace
    alarm.cancel()
    assert delays == [0.0004, 0.001, pytest.approx(0.0005), 0.001]


class TestWaiting:
    async def test_work_that_is_done_is_not_waited_for(self, time: Time) -> None:
        clock, work = LoopClock(), asyncio.get_running_loop().create_future()
        work.set_result(None)
        await clock.wait(work, 1)
        assert clock._tick_handle is None

    async def test_wait_ends_with_the_work(self, time: Time) -> None:
        clock, work = LoopClock(), asyncio.get_running_loop().create_future()
        waiting = asyncio.ensure_future(clock.wait(work, 1))
        await turns(3)
        assert not waiting.done()
        work.set_exception(LookupError("no matter"))
        await turns(3)
        assert waiting.done()
        assert waiting.result() is None
        assert clock._tick_handle is None
        assert isinstance(work.exception(), LookupError)

    async def test_wait_ends_with_the_time_and_leaves_the_work(self, time: Time) -> None:
        clock, work = LoopClock(), asyncio.get_running_loop().create_future()
        waiting = asyncio.ensure_future(clock.wait(work, 0.002))
        await turns(3)
        tick(clock, time)
        await turns(GRACE + 3)
        assert waiting.done()
        assert not work.done()
        assert not work._callbacks
        assert clock._tick_handle is None

    async def test_wait_that_is_cancelled_leaves_no_alarm_and_no_callback(self, time: Time) -> None:
        clock, work = LoopClock(), asyncio.get_running_loop().create_future()
        waiting = asyncio.ensure_future(clock.wait(work, 1))
        await turns(3)
        waiting.cancel()
        await turns(3)
        assert waiting.cancelled()
        assert not work.done()
        assert not work._callbacks
        assert clock._tick_handle is None

    async def test_work_that_ends_while_the_alarm_rings_releases_once(self, time: Time) -> None:
        clock, work = LoopClock(), asyncio.get_running_loop().create_future()
        clock.set_alarm(0, lambda: work.set_result(None))
        await clock.wait(work, 0)
        assert work.done()

"""A clock of the time that an event loop was running: lag of the loop is not counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heappop, heappush
from time import monotonic
from typing import Any, Final

__all__ = ["TICK_SECONDS", "Alarm", "LoopClock"]

#: The most time that is counted between two readings of the clock; the rest is lag of the event loop.
TICK_SECONDS: Final = 0.002
#: How soon it reads the clock again: even on an idle loop timers are late by up to a millisecond.
_PAUSE_SECONDS: Final = 0.001
#: An event loop that was held up finds an alarm and the answer due in the same turn: the answer gets a few turns more.
_GRACE_TURNS: Final = 5


class Alarm:
    """A callback that is due at a time of a :class:`LoopClock`."""

    __slots__ = ("_callback", "_clock", "due")

    def __init__(self, clock: LoopClock, due: float, callback: Callable[[], object]) -> None:
        self._clock = clock
        self._callback: Callable[[], object] | None = callback
        self.due: float = due

    def __lt__(self, other: Alarm) -> bool:
        return self.due < other.due

    @property
    def is_set(self) -> bool:
        return self._callback is not None

    def ring(self) -> None:
        callback = self._callback
        self.cancel()
        if callback is not None:
            callback()

    def cancel(self) -> None:
        if self._callback is not None:
            self._callback = None
            self._clock._drop()


class LoopClock:
    """A clock of one event loop that runs while an alarm is set, in ticks of 2 ms at most.

    If more than a tick passes between two turns, a callback held up the loop or the process was not scheduled: the rest
    is lag, and not counted. So in every 50 ms the loop gets at least 25 turns, however long they take.
    """

    def __init__(self) -> None:
        self._counted = 0.0
        self._read_at = 0.0
        self._alarms: list[Alarm] = []  # a heap; those that were cancelled stay in it until they are due
        self._set = 0
        self._tick_handle: asyncio.TimerHandle | None = None
        self._ring_handle: asyncio.Handle | None = None

    def now(self) -> float:
        """Return the seconds counted so far. The clock stands still while no alarm is set."""
        if self._tick_handle is None:
            return self._counted
        return self._counted + min(monotonic() - self._read_at, TICK_SECONDS)

    def set_alarm(self, seconds: float, callback: Callable[[], object]) -> Alarm:
        """Call ``callback`` once, after ``seconds`` of counted time and a few turns of grace."""
        if self._tick_handle is None:
            self._read_at = monotonic()
            self._tick_handle = asyncio.get_running_loop().call_later(min(seconds, _PAUSE_SECONDS), self._tick)
        alarm = Alarm(self, self.now() + seconds, callback)
        heappush(self._alarms, alarm)
        self._set += 1
        if seconds <= 0:
            self._ring_soon()
        return alarm

    async def wait(self, work: asyncio.Future[Any], seconds: float) -> None:
        """Wait until ``work`` is done, for at most ``seconds`` of counted time. It is not cancelled then."""
        if work.done():
            return
        released: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def release(_: object = None) -> None:
            if not released.done():
                released.set_result(None)

        alarm = self.set_alarm(seconds, release)
        work.add_done_callback(release)
        try:
            await released
        finally:
            alarm.cancel()
            work.remove_done_callback(release)

    def _tick(self) -> None:
        read_at = self._read_at
        self._read_at = monotonic()
        self._counted += min(self._read_at - read_at, TICK_SECONDS)
        while not self._alarms[0].is_set:
            heappop(self._alarms)
        left = self._alarms[0].due - self._counted
        if left <= 0:
            self._ring_soon()
        delay = min(left, _PAUSE_SECONDS) if left > 0 else _PAUSE_SECONDS
        self._tick_handle = asyncio.get_running_loop().call_later(delay, self._tick)

    def _ring_soon(self) -> None:
        if self._ring_handle is None:
            self._ring(_GRACE_TURNS)

    def _ring(self, turns: int) -> None:
        if turns:
            self._ring_handle = asyncio.get_running_loop().call_soon(self._ring, turns - 1)
            return
        self._ring_handle = None
        now = self.now()
        while self._alarms and (self._alarms[0].due <= now or not self._alarms[0].is_set):
            heappop(self._alarms).ring()

    def _drop(self) -> None:
        self._set -= 1
        if self._set:
            return
        self._counted = self.now()
        self._alarms.clear()
        for handle in (self._tick_handle, self._ring_handle):
            if handle is not None:
                handle.cancel()
        self._tick_handle = self._ring_handle = None

"""Commands to a server that may fail at any time, and must not hold up operations when it does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import Any, Final, TypeVar

from backtest_mongo.connection import operation
from backtest_mongo.connection.breaker import Breaker, BreakerState
from backtest_mongo.connection.loop_clock import TICK_SECONDS, Alarm, LoopClock

__all__ = ["COMMAND_SECONDS", "MAX_CONCURRENT", "CommandGuard", "CommandState"]

#: How long a command may take in all, lag of the event loop not included.
COMMAND_SECONDS: Final = 1.0
#: Commands under way at a time, below the size of a client's pool of connections.
MAX_CONCURRENT: Final = 32

T = TypeVar("T")


class CommandState(Enum):
    """What has become of a command."""

    QUEUED = auto()  # it waits: as many as may be sent at a time are under way
    SENT = auto()
    LATE = auto()  # it counts as a failure, and goes on without its caller; what it answers no longer matters
    ANSWERED = auto()
    FAILED = auto()
    WITHDRAWN = auto()  # its caller's budget was spent before it was sent
    ABORTED = auto()  # it had no answer in ``COMMAND_SECONDS``


class _Command:
    """One command. A probe is sent while the circuit breaker is half-open."""

    __slots__ = ("alarm", "answer", "is_probe", "sent_at", "state", "task")

    def __init__(self, is_probe: bool) -> None:
        self.is_probe = is_probe
        self.state = CommandState.QUEUED
        self.answer: Any = None
        #: When it was sent, by the guard's clock.
        self.sent_at = 0.0
        self.alarm: Alarm
        self.task: asyncio.Future[None]


class CommandGuard:
    """Runs commands for at most 50 ms of an operation's time, and none while the circuit breaker is open.

    A command that takes longer goes on without its caller: a first handshake over a slow network would never complete
    otherwise, and aborting a command costs a connection.

    Lag of the event loop counts neither towards a wait budget nor towards a command being late.
    """

    def __init__(self, name: str) -> None:
        self._breaker = Breaker(name)
        self._clock = LoopClock()
        self._slots = asyncio.Semaphore(MAX_CONCURRENT)
        self._commands: set[_Command] = set()
        self._closed = False

    @property
    def is_breaker_open(self) -> bool:
        """Whether the circuit breaker is open or half-open."""
        return self._breaker.state is not BreakerState.CLOSED

    async def run(self, work: Callable[[], Awaitable[T]]) -> T | None:
        """Return the result of ``work``; ``None`` if it fails, whatever the error, or has none in time."""
        if self._closed or not self._breaker.allow_command():
            return None
        command = _Command(is_probe=self._breaker.state is BreakerState.HALF_OPEN)
        command.task = asyncio.ensure_future(self._carry_out(command, work))
        self._commands.add(command)
        command.task.add_done_callback(lambda _: self._commands.discard(command))
        budget = operation.get_wait_budget()
        began = self._clock.now()
        await self._clock.wait(command.task, budget.seconds_left)
        if command.state is CommandState.ANSWERED:
            answer: T = command.answer
            return answer
        budget.spend(self._clock.now() - began)
        if command.state is CommandState.SENT and self._elapsed(command) >= operation.WAIT_SECONDS - TICK_SECONDS:
            self._mark_late(command)  # before the operation goes on, and not in the tick after
        if command.state is CommandState.QUEUED and budget.seconds_left == 0:
            command.state = CommandState.WITHDRAWN  # which says nothing of the server
            command.task.cancel()
        return None

    async def settle(self) -> None:
        """Wait until all commands under way have ended, late ones included."""
        while self._commands:
            await asyncio.wait([command.task for command in self._commands])

    async def close(self) -> None:
        """Run no more commands, and give those under way their 50 ms to end."""
        self._closed = True
        settled = asyncio.ensure_future(self.settle())
        await self._clock.wait(settled, operation.WAIT_SECONDS)
        tasks = [settled, *(command.task for command in self._commands)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _carry_out(self, command: _Command, work: Callable[[], Awaitable[Any]]) -> None:
        async with self._slots:
            command.state = CommandState.SENT
            command.sent_at = self._clock.now()
            command.alarm = self._clock.set_alarm(operation.WAIT_SECONDS, lambda: self._mark_late(command))
            try:
                command.answer = await work()
            except Exception as error:
                if command.state is CommandState.SENT:
                    self._breaker.record_failure(error)
                command.state = CommandState.FAILED
            else:
                # While the breaker is not closed, only a probe shows that the server is well: any other command was
                # sent before those that failed.
                if command.state is CommandState.SENT and (command.is_probe or not self.is_breaker_open):
                    self._breaker.record_success()
                command.state = CommandState.ANSWERED
            finally:
                command.alarm.cancel()

    def _mark_late(self, command: _Command) -> None:
        command.alarm.cancel()
        command.state = CommandState.LATE
        self._breaker.record_failure(TimeoutError())
        command.alarm = self._clock.set_alarm(COMMAND_SECONDS - operation.WAIT_SECONDS, lambda: self._abort(command))

    def _abort(self, command: _Command) -> None:
        command.state = CommandState.ABORTED
        command.task.cancel()
        # A cancellation can get lost in a client.
        command.alarm = self._clock.set_alarm(COMMAND_SECONDS, lambda: self._abort(command))

    def _elapsed(self, command: _Command) -> float:
        """Return the seconds since a command was sent, without lag of the event loop."""
        return self._clock.now() - command.sent_at

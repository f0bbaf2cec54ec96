"""Commands to a server that may fail at any time, and must then hold nobody up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar, Token
from time import monotonic
from types import TracebackType
from typing import Any, Final, TypeVar

from backtest_mongo.breaker import Breaker

__all__ = ["AT_ONCE", "COMMAND_SECONDS", "WAIT_SECONDS", "Guard", "Patience"]

#: How long commands may hold up one operation by failing, and how long a command may take in all.
WAIT_SECONDS: Final = 0.05
COMMAND_SECONDS: Final = 1.0
#: Commands under way at a time, below the size of a client's pool of connections.
AT_ONCE: Final = 32
#: An event loop that was held up finds the timer and the answer due in the same turn; the answer gets so many more.
_TURNS_OF_GRACE: Final = 5

T = TypeVar("T")


class Patience:
    """What the operation in its block will wait for commands that fail, all of them together.

    Tasks that the operation starts share it. Inside another one it changes nothing.
    """

    __slots__ = ("_token", "seconds")

    def __init__(self) -> None:
        self.seconds: float = WAIT_SECONDS

    def __enter__(self) -> None:
        self._token: Token[Patience | None] | None = None if _patience.get() is not None else _patience.set(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._token is not None:
            _patience.reset(self._token)


_patience: ContextVar[Patience | None] = ContextVar("_patience", default=None)


class _Command:
    """One command: whether it has begun, was given up as too late, and probes a server that was left alone."""

    __slots__ = ("has_begun", "is_late", "is_probe", "task")

    def __init__(self, is_probe: bool) -> None:
        self.has_begun = self.is_late = False
        self.is_probe = is_probe
        self.task: asyncio.Future[Any]


class Guard:
    """Runs commands for at most 50 ms of an operation's time, and none at all while the breaker is open.

    A command that takes longer goes on without its caller: a first handshake over a slow network would never come to
    its end otherwise, and a command that is broken off costs a connection.
    """

    def __init__(self, name: str) -> None:
        self._breaker = Breaker(name)
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._commands: set[_Command] = set()
        self._closed = False

    @property
    def is_open(self) -> bool:
        """Whether the server is left alone."""
        return self._breaker.is_open

    async def run(self, work: Callable[[], Awaitable[T]]) -> T | None:
        """Return the outcome of ``work``; ``None`` if it fails, whatever the error, or has none in time."""
        if self._closed or not self._breaker.allows():
            return None
        command = _Command(self._breaker.is_open)
        task = asyncio.ensure_future(self._in_turn(command, work))
        command.task = task
        self._commands.add(command)
        task.add_done_callback(lambda _: self._ended(command))
        patience = _patience.get() or Patience()
        began = monotonic()
        await asyncio.wait([task], timeout=patience.seconds)
        for _ in range(_TURNS_OF_GRACE):
            if task.done():
                break
            await asyncio.sleep(0)
        if task.done() and not task.cancelled() and task.exception() is None:
            return task.result()
        patience.seconds = max(0.0, patience.seconds - (monotonic() - began))
        if patience.seconds == 0 and not command.has_begun:
            task.cancel()  # others had all the turns, which says nothing of the server
        return None

    async def close(self) -> None:
        """Run no more, and give what is under way its 50 ms to end."""
        self._closed = True
        tasks = [command.task for command in self._commands]
        if tasks:
            await asyncio.wait(tasks, timeout=WAIT_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _in_turn(self, command: _Command, work: Callable[[], Awaitable[T]]) -> T:
        loop = asyncio.get_running_loop()
        async with self._turns:
            command.has_begun = True
            timer = loop.call_later(WAIT_SECONDS, self._judge, command, _TURNS_OF_GRACE)
            try:
                async with asyncio.timeout(COMMAND_SECONDS):
                    return await work()
            finally:
                timer.cancel()

    def _judge(self, command: _Command, turns: int) -> None:
        if command.task.done():
            return
        if turns:
            asyncio.get_running_loop().call_soon(self._judge, command, turns - 1)
            return
        command.is_late = True
        self._breaker.failed(TimeoutError())

    def _ended(self, command: _Command) -> None:
        self._commands.discard(command)
        if command.task.cancelled():
            return
        error = command.task.exception()
        if command.is_late:
            return
        if error is not None:
            self._breaker.failed(error)
        elif command.is_probe or not self._breaker.is_open:
            # One that was sent before the others failed does not tell that the server is well.
            self._breaker.succeeded()

"""One operation: its deadline, its wait budget for Redis, and its retries when the connection to MongoDB is lost.

The library carries out every request in a task of its own, within a :class:`Deadline`, by :func:`attempt`. Which task
that is, and when it may begin, is decided in :mod:`backtest_mongo.connection.batching`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar, Token
from time import monotonic
from types import TracebackType
from typing import Any, Final, Protocol, TypeVar

from pymongo import _csot

from backtest_mongo.connection.driver_errors import DRIVER_ERRORS, is_answer, is_transient

__all__ = [
    "WAIT_SECONDS",
    "AnswerCounter",
    "Attempts",
    "Deadline",
    "WaitBudget",
    "attempt",
    "caller_seconds_left",
    "get_wait_budget",
    "seconds_left",
]

#: How long failing commands to Redis may hold up one operation, lag of the event loop not included.
WAIT_SECONDS: Final = 0.05
#: What rounding leaves of a spent budget.
_NOTHING: Final = 1e-6

_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.5

T = TypeVar("T")


class AnswerCounter(Protocol):
    """Whatever needs to know that MongoDB answers: each answer adds one to it."""

    answers: int


class WaitBudget:
    """How long the operation in this context waits for commands that fail, all of them together.

    Tasks that the operation starts share it. Inside another budget it changes nothing.
    """

    _spent: float = 0.0

    def __enter__(self) -> None:
        self._token: Token[WaitBudget | None] | None = None if _budget.get() is not None else _budget.set(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._token is not None:
            _budget.reset(self._token)

    @property
    def seconds_left(self) -> float:
        """How long the operation still waits."""
        left = WAIT_SECONDS - self._spent
        return left if left > _NOTHING else 0.0

    def spend(self, seconds: float) -> None:
        self._spent += seconds


_budget: ContextVar[WaitBudget | None] = ContextVar("_budget", default=None)


def get_wait_budget() -> WaitBudget:
    """Return the budget of this task's operation, or one of its own."""
    return _budget.get() or WaitBudget()


class Deadline:
    """Bounds a request: the driver's calls in this context, its waiting and retrying included, and the wait for Redis.

    A caller's ``pymongo.timeout()`` does not shorten it. It is entered before the driver is called, so a call of
    Motor's that still waits for a thread when time is up is never sent.

    Args:
        seconds: the time for the whole block; infinity for no deadline.
        counters: what counts the answers of MongoDB in the block.
    """

    __slots__ = ("_budget", "_driver", "_ends", "_outer", "_seconds", "_timeout", "counters")

    def __init__(self, seconds: float, counters: Sequence[AnswerCounter] = ()) -> None:
        self._seconds = seconds
        self.counters: Sequence[AnswerCounter] = counters

    def __enter__(self) -> None:
        self.start()

    def start(self) -> None:
        """Bound the rest of this task, which must have a context of its own, as nothing is restored."""
        self._ends = monotonic() + self._seconds
        self._outer: Token[Deadline | None] = _deadline.set(self)
        # As `with pymongo.timeout():` does at half its price; and nested, its timeouts only ever get shorter.
        self._driver = _csot.DEADLINE.set(self._ends)
        self._timeout = _csot.TIMEOUT.set(None if self._seconds == float("inf") else self._seconds)
        # As `with WaitBudget():` does, without its two calls for each operation.
        self._budget = _budget.set(WaitBudget()) if _budget.get() is None else None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._budget is not None:
            _budget.reset(self._budget)
        _csot.TIMEOUT.reset(self._timeout)
        _csot.DEADLINE.reset(self._driver)
        _deadline.reset(self._outer)

    @property
    def seconds_left(self) -> float:
        """How many seconds are left, at least 0."""
        return max(0.0, self._ends - monotonic())


_deadline: ContextVar[Deadline | None] = ContextVar("_deadline", default=None)


def seconds_left() -> float:
    """Return what is left of this task's deadline, at least 0."""
    deadline = _deadline.get()
    return float("inf") if deadline is None else deadline.seconds_left


#: Returns what is left of a caller's own ``pymongo.timeout()``, ``None`` where there is none. PyMongo has no public
#: function that does.
caller_seconds_left: Final[Callable[[], float | None]] = _csot.remaining


class Attempts:
    """The attempts at one operation: the first one, and those after an answer was lost.

    The driver retries by itself on replica sets, and carries out each of its retries once at most. What reaches us is
    what it does not retry: writes to a standalone, the later batches of a long list, the creation of indexes.
    """

    __slots__ = ("_began", "_pause", "is_retry", "progress")

    def __init__(self) -> None:
        self._began = monotonic()
        self._pause = _FIRST_PAUSE
        #: Whether an earlier attempt may have been carried out, though its answer was lost.
        self.is_retry: bool = False
        #: What the work keeps from one attempt to the next.
        self.progress: Any = None

    @property
    def elapsed_seconds(self) -> float:
        """How long ago the first of them began."""
        return monotonic() - self._began

    async def wait_for_next(self, error: Exception) -> bool:
        """Return whether to try again after ``error``, once it is time to."""
        if not is_transient(error) or self._pause >= seconds_left():
            return False
        await asyncio.sleep(self._pause)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        self.is_retry = True
        return True


async def attempt(work: Callable[..., Awaitable[T]], *arguments: Any) -> T:
    """Carry out ``work(*arguments, attempts)``, and again as long as the connection is lost and time is left.

    ``work`` may be carried out any number of times. A write whose outcome differs when it is carried out twice checks
    ``Attempts.is_retry``, and then whether it was already applied.

    Raises:
        PyMongoError, BSONError: the driver's error, if another attempt has no point or no time.
    """
    attempts, deadline = Attempts(), _deadline.get()
    counters = () if deadline is None else deadline.counters
    while True:
        try:
            result = await work(*arguments, attempts)
        except DRIVER_ERRORS as error:
            if is_answer(error):
                for counter in counters:
                    counter.answers += 1
            if not await attempts.wait_for_next(error):
                raise
        else:
            for counter in counters:
                counter.answers += 1
            return result

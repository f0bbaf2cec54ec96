"""How long an operation may go on, and whether it is tried again when its connection is lost."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar, Token
from time import monotonic
from types import TracebackType
from typing import Final

import pymongo

from backtest_mongo.faults import is_transient
from backtest_mongo.guard import Patience

__all__ = ["Attempts", "Limit", "seconds_left"]

_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.5

_ends: ContextVar[float] = ContextVar("_ends", default=float("inf"))


class Limit:
    """Bounds what happens in its block, the driver's own waiting and retrying included.

    It is entered before the driver is called: a call of Motor's that still waits for a thread when its time is over is
    then never sent. Inside another limit, or ``pymongo.timeout()``, the one that ends first counts.
    """

    __slots__ = ("_driver", "_patience", "_seconds", "_token")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        self._token: Token[float] = _ends.set(min(_ends.get(), monotonic() + self._seconds))
        self._driver = pymongo.timeout(None if self._seconds == float("inf") else self._seconds)
        self._driver.__enter__()
        self._patience = Patience()
        self._patience.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._patience.__exit__(kind, error, traceback)
        self._driver.__exit__(kind, error, traceback)
        _ends.reset(self._token)


def seconds_left() -> float:
    """Return what is left of the innermost limit, 0 at least."""
    return max(0.0, _ends.get() - monotonic())


class Attempts:
    """The attempts at one operation.

    The driver retries by itself on replica sets, and each of its retries is carried out once at most. What reaches us
    is what it does not retry: writes to a standalone, the later batches of a long list, the making of indexes.
    """

    __slots__ = ("_began", "_pause")

    def __init__(self) -> None:
        self._began = monotonic()
        self._pause = _FIRST_PAUSE

    @property
    def seconds(self) -> float:
        """How long ago the first of them began."""
        return monotonic() - self._began

    async def another(self, error: Exception) -> bool:
        """Tell whether to try again after ``error``, once it is time to."""
        if not is_transient(error) or self._pause >= seconds_left():
            return False
        await asyncio.sleep(self._pause)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        return True

"""A circuit breaker: a server that keeps failing is left alone, and probed again later."""

from __future__ import annotations

from time import monotonic
from typing import Final

from backtest_mongo.log import log

__all__ = ["Breaker"]

FAILURES_TO_OPEN: Final = 5
SECONDS_OPEN: Final = 5.0


class Breaker:
    """Counts consecutive failures; after five it opens for five seconds, then lets a single probe through."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._failures = 0
        self._open = False
        self._retry_at = 0.0

    def allows(self) -> bool:
        """Tell whether to try. Of all callers, one at most is let through each time the pause is over."""
        if not self._open:
            return True
        now = monotonic()
        if now < self._retry_at:
            return False
        self._retry_at = now + SECONDS_OPEN
        return True

    @property
    def is_open(self) -> bool:
        return self._open

    def succeeded(self) -> None:
        self._failures = 0
        if self._open:
            self._open = False
            log().info(f"{self._name} answers again", server=self._name)

    def failed(self, error: BaseException) -> None:
        self._failures += 1
        if self._open or self._failures < FAILURES_TO_OPEN:
            return
        self._open = True
        self._retry_at = monotonic() + SECONDS_OPEN
        # The error's text stays out: a server may echo what it was sent, credentials included.
        log().warning(
            f"{self._name} keeps failing and is left alone for now; reads and writes go on without it",
            server=self._name,
            error=type(error).__name__,
            retry_seconds=SECONDS_OPEN,
        )

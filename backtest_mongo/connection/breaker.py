"""A circuit breaker: after repeated failures a server is not asked for a while, and then probed."""

from __future__ import annotations

from enum import Enum, auto
from time import monotonic
from typing import Final

from backtest_mongo.core.log import log

__all__ = ["Breaker", "BreakerState"]

FAILURES_TO_OPEN: Final = 5
SECONDS_OPEN: Final = 5.0


class BreakerState(Enum):
    """What a circuit breaker lets through."""

    CLOSED = auto()  # every command
    OPEN = auto()  # none
    HALF_OPEN = auto()  # none: one probe was sent, which decides


class Breaker:
    """Opens after five failures in a row. Every five seconds it half-opens for a probe, and closes if that succeeds."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._failures = 0
        self._probe_at = 0.0
        self.state: BreakerState = BreakerState.CLOSED

    def allow_command(self) -> bool:
        """Return whether to send a command. While the breaker is not closed, that is a probe."""
        if self.state is BreakerState.CLOSED:
            return True
        now = monotonic()
        if now < self._probe_at:
            return False
        self.state = BreakerState.HALF_OPEN
        self._probe_at = now + SECONDS_OPEN  # for the next one: this one may never be sent
        return True

    def record_success(self) -> None:
        self._failures = 0
        if self.state is not BreakerState.CLOSED:
            self.state = BreakerState.CLOSED
            log().info(f"{self._name} answers again: circuit breaker closed", server=self._name)

    def record_failure(self, error: BaseException) -> None:
        self._failures += 1
        if self.state is not BreakerState.CLOSED:
            self.state = BreakerState.OPEN
        elif self._failures >= FAILURES_TO_OPEN:
            self.state = BreakerState.OPEN
            self._probe_at = monotonic() + SECONDS_OPEN
            # The error's text stays out: a server may echo what it was sent, credentials included.
            log().warning(
                f"{self._name} keeps failing: circuit breaker open; reads and writes go on without it",
                server=self._name,
                error=type(error).__name__,
                retry_seconds=SECONDS_OPEN,
            )

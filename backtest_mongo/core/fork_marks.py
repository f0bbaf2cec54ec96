"""What a database that ``fork()`` made says about itself."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ForkMark"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkMark:
    """What a fork was made from, and how.

    Attributes:
        source: the database that it was made from.
        at: the simulation time as of which it was made, in milliseconds since the epoch.
        strategy_name: the strategy whose rows it has, ``None`` if it has all rows.
        as_backtest: whether live rows became a backtest's.
        candles: the database whose candles are read, empty if it has its own.
        begun: when it was begun, in milliseconds since the epoch.
        finished: when it was finished, ``None`` if it was not.
    """

    source: str
    at: int
    strategy_name: str | None
    as_backtest: bool
    candles: str
    begun: int
    finished: int | None = None

    def is_like(self, other: ForkMark) -> bool:
        """Return whether two forks were made with the same arguments."""
        return self._arguments == other._arguments

    @property
    def _arguments(self) -> tuple[object, ...]:
        return self.source, self.at, self.strategy_name, self.as_backtest, self.candles

"""Which block a candle belongs to, and from when on a block can be sealed. Pure arithmetic, in milliseconds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

__all__ = ["FORMAT", "Grid"]

#: The version of the format that is written and read.
FORMAT: Final = 1
#: Places of a block.
ROWS = 4096
#: How far the clocks of two machines may be apart.
_SKEW: Final = 600_000


@dataclass(frozen=True, slots=True)
class Grid:
    """The blocks of an interval of ``step`` milliseconds, each of ``rows`` places; one starts at the epoch."""

    step: int
    rows: int

    @classmethod
    def of(cls, step: int) -> Grid:
        return cls(step, ROWS)

    @property
    def span(self) -> int:
        """The length of a block."""
        return self.step * self.rows

    def start(self, time: int) -> int:
        """Return the start of the block that ``time`` lies in."""
        return time // self.span * self.span

    def starts(self, times: Iterable[int]) -> list[int]:
        """Return the starts of the blocks that these ascending times lie in."""
        span = self.span
        # The first time of each block is looked for, and those between are passed over.
        starts: list[int] = []
        end = None
        for time in times:
            if end is None or time >= end:
                starts.append(time // span * span)
                end = starts[-1] + span
        return starts

    # A block with gaps may be sealed once its stretch is over, and a candle that is written for such a stretch has to
    # drop it. By two clocks that differ: who writes begins to look before anybody seals.

    def may_be_sealed(self, start: int, now: int) -> bool:
        """Tell whether somebody may have sealed the block, gaps and all."""
        return start + self.span + _SKEW <= now

    def is_over(self, start: int, now: int) -> bool:
        """Tell whether the block may be sealed, gaps and all."""
        return start + self.span + 2 * _SKEW <= now

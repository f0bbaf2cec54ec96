"""What a scenario is, and what is asked of its figures."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from faults.load import Outcome
from faults.stage import Stage

__all__ = ["LIMIT_SECONDS", "Figures", "Scenario", "bound"]

#: ``CC_MONGO_TIMEOUT_MS``, unless a scenario sets another.
LIMIT_SECONDS: Final = 15.0


def bound(limit: float = LIMIT_SECONDS) -> float:
    """Return the longest that an operation may take: a tenth over its limit, and what a busy machine adds."""
    return 1.1 * limit + 1.0


@dataclass(kw_only=True)
class Figures:
    """What a scenario gives: what became of the load, how often the fault was made, and what else was measured."""

    outcome: Outcome
    faults: int
    measured: dict[str, float] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One row of the table.

    Args:
        name: how the command names it.
        fault: what happens.
        how: how it is made.
        servers: which servers it happens to, and the write concern.
        play: makes the fault under load, repairs the servers, and returns the figures.
        limit: seconds, the ``CC_MONGO_TIMEOUT_MS`` that it sets.
        may_fail: whether operations may raise StoreUnavailableError, because the fault lasts longer than their limit.
        may_lose: it shows what is not promised: reported, and nothing is asked of it.
        may_misread: reads with MongoDB's default read concern may see what is not there to stay.
        is_possible: whether the library at hand has what it needs.
    """

    name: str
    fault: str
    how: str
    servers: str
    play: Callable[[Stage], Figures]
    limit: float = LIMIT_SECONDS
    may_fail: bool = False
    may_lose: bool = False
    may_misread: bool = False
    goals: tuple[tuple[str, float], ...] = ()
    is_possible: Callable[[], bool] = lambda: True

    def row(self, stage: Stage) -> dict[str, Any]:
        """Play it, and return its figures together with what is wrong with them."""
        start = time.monotonic()
        row: dict[str, Any] = {
            "name": self.name,
            "fault": self.fault,
            "how": self.how,
            "servers": self.servers,
            "command": f"nox -s faults -- --only {self.name}",
        }
        try:
            figures = self.play(stage)
        except Exception:  # a scenario that can't be played must not hide the others
            row |= asdict(Outcome()) | {"faults": 0, "measured": {}, "note": ""}
            row["problems"] = [f"it could not be played: {traceback.format_exc()}"]
        else:
            row |= asdict(figures.outcome)
            row |= {"faults": figures.faults, "measured": figures.measured, "note": figures.note}
            row["problems"] = self._problems(figures)
        return row | {"bound": bound(self.limit), "seconds": time.monotonic() - start, "asserted": not self.may_lose}

    def _problems(self, figures: Figures) -> list[str]:
        outcome = figures.outcome
        longest = bound(self.limit)
        kept = not self.may_lose
        rules = (
            (not figures.faults, "the fault did not happen"),
            (not outcome.operations, "the load did nothing"),
            (kept and outcome.lost, f"{outcome.lost} acknowledged writes lost; {outcome.explanation}"),
            (
                kept and not self.may_misread and (outcome.wrong or outcome.explanation),
                f"{outcome.wrong} wrong reads; {outcome.explanation}",
            ),
            (
                not self.may_fail and outcome.unavailable,
                f"{outcome.unavailable} operations failed; {outcome.example}",
            ),
            (outcome.unexpected, f"{len(outcome.unexpected)} other errors; {outcome.unexpected[:3]}"),
            (
                outcome.longest > longest,
                f"an operation took {outcome.longest:.2f} s, over the bound of {longest:.2f} s",
            ),
            *(
                (figures.measured.get(name, goal) > goal, f"{name} is {figures.measured.get(name)}, over {goal:g}")
                for name, goal in self.goals
            ),
        )
        return [text for broken, text in rules if broken]

"""What a scenario is, and which requirements its figures have to meet."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from faults.load import Outcome
from faults.stage import Stage

__all__ = ["DEADLINE_SECONDS", "Figures", "Scenario", "bound"]

#: ``CC_MONGO_TIMEOUT_MS``, unless a scenario sets another.
DEADLINE_SECONDS: Final = 15.0


def bound(deadline: float = DEADLINE_SECONDS) -> float:
    """Return the longest time that an operation may take if nothing answers, in seconds.

    It may wait in its queue for one deadline, and has another one once it is sent. On top come a tenth, and a second
    for a busy machine.
    """
    return 1.1 * 2 * deadline + 1.0


@dataclass(kw_only=True)
class Figures:
    """The result of a scenario: the outcome of the load, how often the fault happened, and other measurements."""

    outcome: Outcome
    faults: int
    measured: dict[str, float] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One row of the table.

    Args:
        name: name on the command line.
        fault: what happens.
        how: how the fault is injected.
        servers: topology and write concern.
        play: injects the fault under load, repairs the servers, and returns the figures.
        deadline: ``CC_MONGO_TIMEOUT_MS`` of the load, in seconds.
        is_bounded: whether the duration of operations is bounded. It isn't for calls in a queue that gets answers.
        may_fail: whether operations may raise ``StoreUnavailableError``, because the fault exceeds their deadline.
        may_lose: whether the scenario shows what is not promised, so that its figures are only reported.
        may_misread: whether reads may see writes that are rolled back later, as MongoDB's default read concern allows.
        least: how many operations the load does at least, and how many acknowledged writes, in the shortest form and on
            a machine that is busy with ten other programs for its two cores.
        goals: upper bounds of measurements.
        is_possible: whether the library has the settings that the scenario needs.
    """

    name: str
    fault: str
    how: str
    servers: str
    play: Callable[[Stage], Figures]
    deadline: float = DEADLINE_SECONDS
    is_bounded: bool = True
    may_fail: bool = False
    may_lose: bool = False
    may_misread: bool = False
    least: tuple[int, int] = (1, 0)
    goals: tuple[tuple[str, float], ...] = ()
    is_possible: Callable[[], bool] = lambda: True

    def row(self, stage: Stage) -> dict[str, Any]:
        """Run the scenario, and return its figures and problems."""
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
        except Exception:  # a scenario that fails must not hide the others
            row |= asdict(Outcome()) | {"faults": 0, "measured": {}, "note": ""}
            row["problems"] = [f"it could not be played: {traceback.format_exc()}"]
        else:
            row |= asdict(figures.outcome)
            row |= {"faults": figures.faults, "measured": figures.measured, "note": figures.note}
            row["problems"] = self._problems(figures)
        longest = bound(self.deadline) if self.is_bounded else None
        return row | {"bound": longest, "seconds": time.monotonic() - start, "asserted": not self.may_lose}

    def _problems(self, figures: Figures) -> list[str]:
        outcome = figures.outcome
        longest = bound(self.deadline)
        kept = not self.may_lose
        operations, acknowledged = self.least
        rules = (
            (not figures.faults, "the fault did not happen"),
            (outcome.operations < operations, f"the load did {outcome.operations} operations, under {operations}"),
            (
                outcome.acknowledged < acknowledged,
                f"the load had {outcome.acknowledged} writes acknowledged, under {acknowledged}",
            ),
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
                self.is_bounded and outcome.longest > longest,
                f"an operation took {outcome.longest:.2f} s, over the bound of {longest:.2f} s",
            ),
            *(
                (figures.measured.get(name, goal) > goal, f"{name} is {figures.measured.get(name)}, over {goal:g}")
                for name, goal in self.goals
            ),
        )
        return [text for broken, text in rules if broken]

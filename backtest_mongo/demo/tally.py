"""What the runs tell while they work, summed up."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from backtest_mongo import SLOTS
from backtest_mongo.demo.compare import Comparison

__all__ = ["Kill", "Result", "Tally"]


@dataclass(frozen=True)
class Kill:
    """A SIGKILL that landed: the bar of the last checkpoint, and the slots that the bar after it had written to."""

    bar: int
    ahead: list[str]


@dataclass
class Tally:
    """One run, over all of its processes."""

    bar: int = -1
    processes: int = 0
    #: Microseconds by slot and by ``read`` or ``write``.
    calls: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    hits: Counter[str] = field(default_factory=Counter)
    equity: dict[int, float] = field(default_factory=dict)
    kills: list[Kill] = field(default_factory=list)
    end: dict[str, Any] = field(default_factory=dict)
    _written: set[str] = field(default_factory=set)

    def add(self, line: dict[str, Any]) -> None:
        """Take in one line of a worker."""
        if line["what"] == "wrote":
            self._written.add(line["slot"])
            return
        if line["what"] == "resumed":
            self._resumed(line)
        self.bar = line["bar"]
        self._written.clear()
        self.hits.update(line["hits"])
        for slot, kind, microseconds in line["calls"]:
            self.calls[slot, kind].append(microseconds)
        if line["what"] == "bar":
            self.equity[self.bar] = line["equity"]
        elif line["what"] == "done":
            self.end = line

    def _resumed(self, line: dict[str, Any]) -> None:
        self.processes += 1
        if self.processes > 1:
            # What the process before told last, unless its checkpoint was stored and the kill came before it told so.
            ahead = {*line["ahead"]} | (self._written if line["bar"] == self.bar else set())
            self.kills.append(Kill(line["bar"], [spec.name for spec in SLOTS if spec.name in ahead]))


@dataclass(frozen=True)
class Result:
    """Both runs, and how their end states compare."""

    bars: int
    seconds: float
    tallies: dict[str, Tally]
    comparison: Comparison

    @property
    def problems(self) -> list[str]:
        """Everything that should not be, as text; empty if the kills have changed nothing."""
        problems = list(self.comparison.differences)
        for role, tally in self.tallies.items():
            if not tally.end["adds_up"]:
                problems.append(f"{role}: the stored trades do not add up to the balance")
        return problems

    @property
    def equity(self) -> float:
        """What the account is worth at the end."""
        return self.tallies["uninterrupted"].equity[self.bars - 1]

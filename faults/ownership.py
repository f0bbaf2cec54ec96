"""Check what several owners of one strategy were told of its bars against what is stored: none lost, half or twice.

A bar has a place and a unique number. Its owner was told that it is stored, that it is not, or nothing. A lease is a
lock: from the moment that its owner has it to the beginning of the last commit that was acknowledged, nobody else may
have it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Findings", "Hold", "check_bars", "find_overlap", "list_holds"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A time throughout which an owner certainly had the lease, in nanoseconds of the machine's monotonic clock."""

    start: int
    end: int
    who: str = ""


@dataclass
class Findings:
    """Counts of what is wrong, and a description of the first."""

    bars: int = 0
    acknowledged: int = 0
    lost: int = 0
    half: int = 0
    twice: int = 0
    unavailable: int = 0
    errors: list[str] = field(default_factory=list)
    explanation: str = ""

    def explain(self, text: str) -> None:
        self.explanation = self.explanation or text


def list_holds(record: Sequence[Sequence[Any]], who: str = "") -> list[Hold]:
    """Return the holds of a process, by the lines of its record."""
    holds: list[Hold] = []
    start: int | None = None
    begun: dict[int, int] = {}
    last: int | None = None
    for at, kind, *words in record:
        if kind == "held":
            if start is not None and last is not None:
                holds.append(Hold(start=start, end=last, who=who))
            start, last = at, None
        elif kind == "begin":
            begun[words[1]] = at
        elif kind == "ok" and start is not None:
            last = max(last or 0, begun[words[1]])
    if start is not None and last is not None:
        holds.append(Hold(start=start, end=last, who=who))
    return holds


def find_overlap(holds: Iterable[Hold]) -> tuple[Hold, Hold] | None:
    """Return two owners that had the lease at the same time, ``None`` if there are none."""
    latest: Hold | None = None
    for hold in sorted(holds, key=lambda hold: hold.start):
        if latest is not None and hold.start < latest.end:
            return latest, hold
        if latest is None or hold.end > latest.end:
            latest = hold
    return None


def check_bars(records: Sequence[Sequence[Sequence[Any]]], stored: dict[int, int], problems: Sequence[str]) -> Findings:
    """Check the records of all processes.

    Args:
        records: the lines of each process.
        stored: the numbers that are stored at the end, by place.
        problems: what is wrong with the rows that are stored at the end.
    """
    found = Findings()
    told: dict[int, set[int]] = {}
    for record in records:
        for _, kind, *words in record:
            if kind == "begin":
                found.bars += 1
            elif kind == "ok":
                found.acknowledged += 1
                told.setdefault(words[0], set()).add(words[1])
            elif kind == "refused" and stored.get(words[0]) == words[1]:
                found.twice += 1
                found.explain(f"bar {words[0]} is stored, and its writer was told that it is not")
            elif kind == "resumed" and words[1]:
                found.half += 1
                found.explain(f"an owner resumed at half a bar: {words[1][0]}")
            elif kind == "unavailable":
                found.unavailable += 1
            elif kind == "error":
                found.errors.append(str(words[0]))
    for place, numbers in told.items():
        if len(numbers) > 1:
            found.twice += 1
            found.explain(f"bar {place} was acknowledged to two owners: {sorted(numbers)}")
        elif stored.get(place) not in numbers:
            found.lost += 1
            found.explain(f"bar {place} was acknowledged as {numbers}, and {stored.get(place)} is stored")
    if problems:
        found.half += len(problems)
        found.explain(f"what is left is not whole: {problems[0]}")
    overlap = find_overlap(hold for index, record in enumerate(records) for hold in list_holds(record, f"{index}"))
    if overlap is not None:
        found.twice += 1
        found.explain(f"two owners at the same time: {overlap}")
    return found

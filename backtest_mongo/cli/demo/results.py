"""The results of both runs: what they report while they trade, and how their end states compare."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from backtest_mongo import SLOTS, SlotSpec
from backtest_mongo.cli.demo.databases import ROLES, Databases
from backtest_mongo.types import Document

__all__ = ["Comparison", "Kill", "Result", "Tally", "compare"]


#: Fields that differ between equal rows.
_IGNORED: Final = ("_id", "createDate", "updatedDate")


@dataclass(frozen=True)
class Comparison:
    """How the end states of the two runs compare.

    Attributes:
        documents: how many rows each slot has in the interrupted run.
        differences: every difference between the runs, as text.
        equity: what is stored in the equity slot of each run: the account's worth by the time of the bar.
    """

    documents: Mapping[str, int]
    differences: list[str]
    equity: Mapping[str, Mapping[int, float]] = field(default_factory=dict)


async def compare(databases: Databases) -> Comparison:
    """Compare the end states of the two runs in every slot, candles included, field by field."""
    documents: dict[str, int] = {}
    differences: list[str] = []
    for spec in SLOTS:
        interrupted = await _read_rows(databases, "interrupted", spec)
        expected = await _read_rows(databases, "uninterrupted", spec)
        documents[spec.name] = len(interrupted)
        for key in sorted({*interrupted, *expected}):
            where = f"{spec.name} {dict(zip(spec.key, key, strict=True))}"
            if key not in interrupted:
                differences.append(f"{where}: only the uninterrupted run has it")
            elif key not in expected:
                differences.append(f"{where}: only the interrupted run has it")
            else:
                differences += [f"{where}: {text}" for text in _find_differences("", interrupted[key], expected[key])]
    curves = {role: await databases.read_curve(role) for role in ROLES}
    documents["equity"] = len(curves["interrupted"])
    differences += _find_differences("equity", curves["interrupted"], curves["uninterrupted"])
    equity = {role: {time: row["equity"] for time, row in curve.items()} for role, curve in curves.items()}
    return Comparison(documents, differences, equity)


async def _read_rows(databases: Databases, role: str, spec: SlotSpec) -> dict[tuple[Any, ...], Document]:
    return {
        tuple(document[name] for name in spec.key): {
            name: value for name, value in document.items() if name not in _IGNORED
        }
        async for document in databases.documents(role, spec)
    }


def _find_differences(path: str, one: object, other: object) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted({*one, *other}):
            yield from _find_differences(f"{path}.{name}" if path else name, one.get(name, ...), other.get(name, ...))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (item, counterpart) in enumerate(zip(one, other, strict=True)):
            yield from _find_differences(f"{path}[{index}]", item, counterpart)
    elif type(one) is not type(other) or one != other:
        yield f"{path} is {_format_value(one)}, and {_format_value(other)} without interruption"


def _format_value(value: object) -> str:
    return "absent" if value is ... else repr(value)


@dataclass(frozen=True)
class Kill:
    """A SIGKILL: the bar of the last commit, and the slots whose writes by the next bar were dropped with it."""

    bar: int
    dropped: list[str]


@dataclass
class Tally:
    """What one run has reported so far, over all of its processes."""

    bar: int = -1
    processes: int = 0
    #: Microseconds by slot and by ``read`` or ``write``.
    calls: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    hits: Counter[str] = field(default_factory=Counter)
    #: The bars that were traded.
    traded: set[int] = field(default_factory=set)
    kills: list[Kill] = field(default_factory=list)
    #: Seconds that bars took, all told, with their commits.
    seconds: float = 0.0
    #: Rows that did not fit each other when a process resumed from it.
    torn: list[str] = field(default_factory=list)
    end: dict[str, Any] = field(default_factory=dict)
    _written: set[str] = field(default_factory=set)

    def add(self, line: dict[str, Any]) -> None:
        """Add one line of a worker."""
        if line["what"] == "wrote":
            self._written.add(line["slot"])
            return
        self.torn += [f"{slot} did not fit the session of bar {line['bar']}" for slot in line.get("torn", ())]
        if line["what"] == "resumed":
            self._add_resume(line)
        self.bar = line["bar"]
        self._written.clear()
        self.hits.update(line["hits"])
        for slot, kind, microseconds in line["calls"]:
            self.calls[slot, kind].append(microseconds)
        if line["what"] == "bar":
            self.traded.add(self.bar)
            self.seconds += line["seconds"]
        elif line["what"] == "done":
            self.end = line

    def _add_resume(self, line: dict[str, Any]) -> None:
        self.processes += 1
        if self.processes > 1:
            # If the last bar is the one of the last report, what was written after that was not committed.
            dropped = self._written if line["bar"] == self.bar else set()
            self.kills.append(Kill(line["bar"], [spec.name for spec in SLOTS if spec.name in dropped]))


@dataclass(frozen=True)
class Result:
    """Both runs, and how their end states compare."""

    bars: int
    seconds: float
    tallies: dict[str, Tally]
    comparison: Comparison

    @property
    def problems(self) -> list[str]:
        """Everything that is wrong, as text; empty if the kills changed nothing."""
        problems = list(self.comparison.differences)
        for role, tally in self.tallies.items():
            problems += [f"{role}: {text}" for text in tally.torn]
        return problems

    @property
    def speed(self) -> float:
        """Bars a second of both runs, while they traded."""
        bars = sum(len(tally.traded) for tally in self.tallies.values())
        seconds = sum(tally.seconds for tally in self.tallies.values())
        return bars / seconds if seconds else 0.0

    @property
    def equity(self) -> float:
        """The value of the account at the end."""
        curve = self.comparison.equity["uninterrupted"]
        return curve[max(curve)]

"""The table at the end: what each capability has come to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from backtest_mongo.testing.conformance.capabilities import CAPABILITIES

__all__ = ["CAPABILITY", "HOLDS", "describe", "list_hints"]

#: Properties of a report, which reach the terminal from workers of pytest-xdist, too.
CAPABILITY: Final = "conformance_capability"
HOLDS: Final = "conformance_holds"

_ROW: Final = "{:<16}  {:<12}  {:>6}  {:>6}  {:>7}"


def describe(stats: Mapping[str, Sequence[Any]], declared: Collection[str]) -> list[str]:
    """Return the lines of the table.

    Args:
        stats: the terminal reporter's reports, by outcome.
        declared: what the store declares.
    """
    counts = _count(stats)
    lines = [_ROW.format("capability", "result", "passed", "failed", "skipped")]
    for name in CAPABILITIES:
        count = counts.get(name, Counter())
        failed = count["failed"] + count["error"]
        if name not in declared:
            result = "not declared"
        elif failed:
            result = "FAILED"
        else:
            result = "passed" if count["passed"] else "not run"
        lines.append(_ROW.format(name, result, count["passed"], failed, count["skipped"]))
    return lines


def list_hints(stats: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    """Yield a line for each capability that holds though it is not declared."""
    held: dict[str, list[bool]] = {}
    for report in stats.get("skipped", ()):
        properties = dict(report.user_properties)
        if HOLDS in properties:
            held.setdefault(properties[CAPABILITY], []).append(properties[HOLDS])
    passed = {name for name, count in _count(stats).items() if count["passed"] or count["failed"] or count["error"]}
    for name in CAPABILITIES:
        if name in held and all(held[name]) and name not in passed:
            yield f"{name} is not declared, and all of its {len(held[name])} tests pass: declare it to have it checked"


def _count(stats: Mapping[str, Sequence[Any]]) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in stats.get(outcome, ()):
            name = dict(getattr(report, "user_properties", ())).get(CAPABILITY)
            if name is not None:
                counts.setdefault(name, Counter())[outcome] += 1
    return counts

"""Writes the documentation's page of faults from the figures of a run: ``python -m faults.page fault-results``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from faults.scenarios.redis import GOALS

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "faults.md"

TEXT: Final = """\
# Faults

What became of writes and reads while servers were killed, frozen, cut off and full. Each row is one scenario on real
servers; its command gives the row again, on servers of its own. Processes of both drivers write and read one value for
each slot and key, all at once, and note when each operation began and ended; a checker then looks for an order in
which all of them could have happened. {machine}

- **acknowledged writes**: those that returned. **Lost** are the ones that are not found afterwards, by a majority
  read.
- **wrong reads**: values that no order allows: stale ones, ones that came back after they had been replaced, and
  ones that nobody wrote.
- **unavailable**: operations that raised `StoreUnavailableError` within their limit, which is a second where the
  fault lasts longer. **Replaced meanwhile** are writes whose answer was lost and whose row somebody else has written
  since: the caller is told that the outcome is unknown.
- **longest stall**: of one operation. The **bound** is what it may not exceed.
- Rows in italics are shown and not promised: `w=1` in the connection string.
- "Killed" is `kill -9` of the process, not the loss of power. No network was cut between the members of a replica
  set, no disk was full, no clock was wrong, and no sharded cluster was there.

## MongoDB

{mongo}

A primary that is lost is replaced after the election timeout, which is 10 s in the long form and 2 s in the short one
(`--quick`). On a machine that is busy besides, finding and electing the next one can take longer than the default limit
of 15 s; operations are then unavailable.

## Redis

The goals: a Redis that fails adds 60 ms at most to an operation before it is left alone, and 5 % afterwards, as the
ratio of medians in the same run; below 1 it costs nothing. A goal that was missed is in bold. Rubbish in its entries
is no failure of Redis: it answers, and each wrong id costs a round trip.

{redis}

{problems}
"""

MONGO_COLUMNS: Final = (
    ("fault", "fault"),
    ("how it is made", "how"),
    ("servers", "servers"),
    ("times", "faults"),
    ("operations", "operations"),
    ("acknowledged writes", "acknowledged"),
    ("of these lost", "lost"),
    ("wrong reads", "wrong"),
    ("unavailable", "unavailable"),
    ("replaced meanwhile", "replaced"),
    ("longest stall", "longest"),
    ("bound", "bound"),
    ("command", "command"),
)
REDIS_COLUMNS: Final = (
    ("fault", "fault"),
    ("how it is made", "how"),
    ("times", "faults"),
    ("operations", "operations"),
    ("acknowledged writes", "acknowledged"),
    ("of these lost", "lost"),
    ("wrong reads", "wrong"),
    ("failed", "unavailable"),
    ("longest stall", "longest"),
    *((name, name) for name in GOALS),
    ("command", "command"),
)


def table(rows: list[dict[str, Any]], columns: tuple[tuple[str, str], ...]) -> str:
    """Return one line a row; figures that nothing is promised of are in italics, and missed goals in bold."""
    lines = [f"| {' | '.join(title for title, _ in columns)} |", "| --- " * len(columns) + "|"]
    lines += [f"| {' | '.join(_cell(row, name) for _, name in columns)} |" for row in rows]
    return "\n".join(lines)


def _cell(row: dict[str, Any], name: str) -> str:
    if name in GOALS:
        value = row["measured"].get(name)
        if value is None:
            return ""
        text = f"{value:.0f}" if GOALS[name] >= 10 else f"{value:.2f}"
        return text if value <= GOALS[name] else f"**{text}**"
    value = row[name]
    if name == "command":
        return f"`{value}`"
    if name in ("longest", "bound"):
        return f"{value:.1f} s"
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return text if row["asserted"] or name not in ("lost", "wrong") else f"*{text}*"


def problems(rows: list[dict[str, Any]]) -> str:
    """Name everything that went against a promise."""
    found = [f"- {row['name']}: {problem.splitlines()[0]}" for row in rows for problem in row["problems"]]
    return "\n".join(["Broken in this run:", "", *found]) if found else ""


def machine(figures: dict[str, Any]) -> str:
    known = figures["machine"]
    return (
        f"{known['cores']} cores, {known['processor']}, {known['system']}, Python {known['python']}; "
        f"MongoDB {known['mongod']}, Redis {known['redis']}; "
        f"PyMongo {known['pymongo']}, Motor {known['motor']}, redis-py {known['redis-py']}."
    )


def page(figures: dict[str, Any]) -> str:
    of_redis = [row for row in figures["rows"] if row["name"].startswith("redis-")]
    of_mongo = [row for row in figures["rows"] if row not in of_redis]
    text = TEXT.format(
        machine=machine(figures),
        mongo=table(of_mongo, MONGO_COLUMNS),
        redis=table(of_redis, REDIS_COLUMNS),
        problems=problems(figures["rows"]),
    )
    return text.rstrip() + "\n"


def main(results: Path) -> None:
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(json.loads((results / "faults.json").read_text())))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

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

{machine}

## MongoDB

{mongo}

## Redis

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
    form = "short" if figures["quick"] else "long"
    return (
        f"{known['cores']} cores, {known['processor']}, {known['system']}, Python {known['python']}; "
        f"MongoDB {known['mongod']}, Redis {known['redis']}; "
        f"PyMongo {known['pymongo']}, Motor {known['motor']}, redis-py {known['redis-py']}; the {form} form."
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

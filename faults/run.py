"""Run the fault scenarios on servers that it starts: ``nox -s faults``, or ``python -m faults.run --help``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from backtest_mongo.embedded import find_mongod, find_redis_server
from faults.scenarios import SCENARIOS, Scenario
from faults.stage import Stage

COUNTS: Final = ("faults", "operations", "acknowledged", "lost", "wrong", "unavailable", "replaced")


def machine() -> dict[str, Any]:
    """Describe the machine and the versions that the figures are from."""
    return {
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "mongod": _version(find_mongod()),
        "redis": _version(find_redis_server()),
        "pymongo": version("pymongo"),
        "motor": version("motor"),
        "redis-py": version("redis"),
    }


def _version(program: Path) -> str:
    """Return the first version that a program prints: ``db version v6.0.5``, ``Redis server v=6.2.14``."""
    text = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return next(word.lstrip("v=") for word in text.split() if word.startswith("v") and word[-1].isdigit())


def play_all(scenarios: list[Scenario], stage: Stage, console: Console) -> list[dict[str, Any]]:
    rows = []
    for scenario in scenarios:
        console.print(f"[dim]{scenario.name}: {scenario.fault}[/]", highlight=False)
        row = scenario.row(stage)
        rows.append(row)
        for problem in row["problems"]:
            console.print(f"{scenario.name}: {problem}", style="red", highlight=False, markup=False)
    return rows


def print_table(console: Console, rows: list[dict[str, Any]]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    numbers = ("faults", "operations", "acknowledged", "lost", "wrong", "failed", "replaced", "longest", "took")
    for column in ("scenario", *numbers, ""):
        table.add_column(column, justify="right" if column in numbers else "left")
    for row in rows:
        verdict = "FAILED" if row["problems"] else "ok" if row["asserted"] else "reported"
        extra = "; ".join(f"{name}: {value:.2f}" for name, value in row["measured"].items())
        table.add_row(
            row["name"],
            *(f"{row[name]:,}" for name in COUNTS),
            f"{row['longest']:.2f} s",
            f"{row['seconds']:.0f} s",
            f"{verdict} {extra}",
        )
    console.print(table)


def keep(path: Path, rows: list[dict[str, Any]], *, quick: bool) -> None:
    """Write the rows, and keep those of other scenarios if they were run on the same machine."""
    for row in rows:
        row["quick"] = quick
        if quick:
            row["command"] = row["command"].replace(" -- ", " -- --quick ")
    known = json.loads(path.read_text()) if path.is_file() else {}
    if known.get("machine") == machine():
        played = {row["name"] for row in rows}
        rows = [*rows, *(row for row in known["rows"] if row["name"] not in played)]
    order = [scenario.name for scenario in SCENARIOS]
    rows = sorted(rows, key=lambda row: order.index(row["name"]))
    path.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1))


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="run each scenario in its shortest form")
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=names, help=f"scenarios: {', '.join(names)}")
    parser.add_argument("--operations", type=int, default=100_000, help="operations of a long register scenario")
    parser.add_argument("--out", type=Path, default=Path("fault-results"), help="directory for the figures")
    arguments = parser.parse_args(words)
    chosen = [each for each in SCENARIOS if each.name in (arguments.only or names) and each.is_possible()]
    with Stage(quick=arguments.quick, operations=arguments.operations) as stage:
        rows = play_all(chosen, stage, Console(stderr=True))
    arguments.out.mkdir(exist_ok=True)
    keep(arguments.out / "faults.json", rows, quick=arguments.quick)
    print_table(Console(width=140), rows)
    return int(any(row["problems"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())

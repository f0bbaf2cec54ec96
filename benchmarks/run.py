"""Runs the benchmarks on embedded servers: ``nox -s bench``, or ``python -m benchmarks.run --help``.

Each row is measured several times, ours and the bare driver's in turn, on fresh keys; the table has the ratios of the
medians. Figures of one machine compare with nothing but figures of the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

from backtest_mongo import close, embedded, setup
from benchmarks.cases import CASES, Case, Work
from benchmarks.scale import draw, measure_scale

ROUNDS: Final = 5
DRIVERS: Final = ("motor", "pymongo")
LOOPS: Final = ("asyncio", "uvloop")
CONCERNS: Final = ("majority", "1")
#: What this package imports anyway, and what it may cost beside that.
IMPORTS: Final = "import motor.motor_asyncio, redis.asyncio, pydantic_settings, structlog"
IMPORT_GOAL: Final = 1.3
#: Candles that a frame must have for there to be days and windows to read.
LEAST: Final = 100_000


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if name == "uvloop":
        import uvloop

        return uvloop.new_event_loop
    return asyncio.new_event_loop


async def measure(case: Case, rounds: int) -> dict[str, Any]:
    """Return the medians of both sides in microseconds an operation, and their ratio."""
    ours: list[float] = []
    bare: list[float] = []
    for number in range(rounds):
        prepared = await case.prepare()
        sides = [(prepared.ours, ours), *([(prepared.bare, bare)] if prepared.bare else [])]
        # In turn, so that neither side always comes first.
        for work, times in sides if number % 2 else sides[::-1]:
            times.append(await _timed(work) / prepared.operations * 1e6)
    row: dict[str, Any] = {"case": case.name, "ours_us": statistics.median(ours), "goal": case.goal}
    if bare:
        row["bare_us"] = statistics.median(bare)
        row["ratio"] = row["ours_us"] / row["bare_us"]
        row["met"] = row["ratio"] <= case.goal
    else:
        row["seconds"] = row["ours_us"] * prepared.operations / 1e6
        row["met"] = row["seconds"] <= case.goal
    if case.reference:
        row["reference_us"] = case.reference
    return row


async def _timed(work: Work) -> float:
    start = time.perf_counter()
    await work()
    return time.perf_counter() - start


def combinations(quick: bool) -> Iterator[tuple[str, str, str]]:
    for driver in DRIVERS:
        for loop in LOOPS:
            for concern in CONCERNS:
                if not quick or (loop, concern) == ("asyncio", "majority"):
                    yield driver, loop, concern


def run_cases(servers: embedded.Servers, rounds: int, quick: bool, console: Console) -> list[dict[str, Any]]:
    rows = []
    for driver, loop, concern in combinations(quick):
        cases = [case for case in CASES if case.writes or concern == CONCERNS[0]]

        async def measure_all(
            driver: str = driver, loop: str = loop, concern: str = concern, cases: list[Case] = cases
        ) -> None:
            uri = f"{servers.config['CC_MONGO_CONNECTION_STRING']}&w={concern}"
            async with setup({**servers.config, "CC_MONGO_CONNECTION_STRING": uri}, CC_MONGO_DRIVER=driver):
                for case in cases:
                    console.print(f"[dim]{driver}, {loop}, w={concern}: {case.name}[/]", highlight=False)
                    rows.append({"driver": driver, "loop": loop, "w": concern, **await measure(case, rounds)})
            await close()

        with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
            runner.run(measure_all())
    return rows


async def run_scale(servers: embedded.Servers, console: Console) -> dict[str, Any]:
    console.print("[dim]cost against size[/]")
    async with setup(servers.config, CC_MONGO_DRIVER="pymongo"):
        return await measure_scale()


def measure_import(rounds: int) -> dict[str, Any]:
    """Return how long the package takes to import, beside what it needs anyway."""

    def seconds(code: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - start

    empty, bare, ours = [], [], []
    for _ in range(2 * rounds):
        empty.append(seconds("pass"))
        bare.append(seconds(IMPORTS))
        ours.append(seconds("import backtest_mongo"))
    start = statistics.median(empty)
    times = {"bare_us": statistics.median(bare) - start, "ours_us": statistics.median(ours) - start}
    ratio = times["ours_us"] / times["bare_us"]
    row = {"case": "import", "goal": IMPORT_GOAL, "ratio": ratio, "met": ratio <= IMPORT_GOAL}
    return {**row, **{name: value * 1e6 for name, value in times.items()}}


def machine(rounds: int) -> dict[str, Any]:
    """Describe what the figures were taken on, and how often."""
    return {
        "rounds": rounds,
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def print_table(console: Console, rows: list[dict[str, Any]], imported: dict[str, Any]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("", "driver", "loop", "w", "ours", "bare", "ratio", "goal", ""):
        table.add_column(column, justify="right" if column in ("ours", "bare", "ratio", "goal") else "left")
    for row in [*rows, {"driver": "", "loop": "", "w": "", **imported}]:
        in_seconds = "seconds" in row
        table.add_row(
            row["case"],
            row["driver"],
            row["loop"],
            row["w"],
            f"{row['seconds']:.2f} s" if in_seconds else f"{row['ours_us']:,.1f} µs",
            "" if in_seconds else f"{row['bare_us']:,.1f} µs",
            "" if in_seconds else f"{row['ratio']:.2f}",
            f"{row['goal']:g} s" if in_seconds else f"{row['goal']:g}",
            "met" if row["met"] else "missed",
        )
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often each row is measured")
    parser.add_argument("--quick", action="store_true", help="asyncio's loop and w=majority only, and no frames")
    parser.add_argument("--candles", action="store_true", help="frames of candles only")
    parser.add_argument("--rows", type=int, help=f"candles of a frame, if not 20 years of minutes; {LEAST:,} or more")
    parser.add_argument("--out", type=Path, default=Path("benchmark-results"), help="where figures and chart go")
    arguments = parser.parse_args()
    if arguments.rows is not None and arguments.rows < LEAST:
        parser.error(f"--rows must be {LEAST:,} or more")
    # So that temporary files go with it when it is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    arguments.out.mkdir(exist_ok=True)
    if not arguments.candles:
        run_operations(arguments)
    if arguments.candles or not arguments.quick:
        run_candles(arguments)


def run_operations(arguments: argparse.Namespace) -> None:
    """Measure what operations cost, and print the table."""
    console = Console(stderr=True)
    with embedded.Servers() as servers:
        rows = run_cases(servers, arguments.rounds, arguments.quick, console)
        scale = asyncio.run(run_scale(servers, console))
    imported = measure_import(arguments.rounds)
    figures = {"machine": machine(arguments.rounds), "rows": rows, "import": imported, "scale": scale}
    (arguments.out / "benchmark.json").write_text(json.dumps(figures, indent=1))
    draw(scale, str(arguments.out / "scale.png"))
    print_table(Console(width=120), rows, imported)


def run_candles(arguments: argparse.Namespace) -> None:
    """Measure frames of candles, and print the tables."""
    # Imported here, because what frames are made of is installed for them alone.
    from benchmarks.candle_data import FULL
    from benchmarks.candle_page import section
    from benchmarks.candles import measure_candles

    start = time.perf_counter()
    with embedded.Servers() as servers:  # of their own: nothing else is in their caches
        rows = arguments.rows or FULL
        figures = measure_candles(servers.config, DRIVERS, rows, arguments.rounds, Console(stderr=True))
    figures |= {"machine": machine(arguments.rounds), "minutes": (time.perf_counter() - start) / 60}
    (arguments.out / "candles.json").write_text(json.dumps(figures, indent=1))
    Console(width=120).print(Markdown(section(figures)))


if __name__ == "__main__":
    main()

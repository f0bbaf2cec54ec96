"""Run the benchmarks on embedded servers: ``nox -s bench``, or ``python -m benchmarks.run --help``.

Each row is measured call by call in turn by this library, by a client that was given nothing but the connection string,
and by this library's own collection object; lone reads and writes also by beanie and SQLite. Rounds begin on fresh
keys, and the figures are medians and 20th percentiles over the calls of all rounds. Figures are only comparable within
one run.

The whole documentation is measured by ``nox -s bench`` alone, on a quiet machine: five rounds of every row on both
drivers, both event loops and both Pythons, then growth, the ways to write code, frames of candles, series with columns,
and the overhead of telemetry. It writes ``benchmark-results/``; ``python -m benchmarks.page benchmark-results`` makes
docs/performance.md, docs/fast-code.md and docs/scale.png of these. The largest cost of each row, ``cost`` in
``benchmarks/cases.py``, is named by hand: ``python -m benchmarks.run --only "a lone read" --profile`` shows it.

``nox -s bench -- --quick`` is for changes: a few minutes on one Python, without frames, series and the largest sizes.
``nox -s bench -- --series`` measures series with columns alone, on ten million trades; ``--rows 200000`` takes minutes,
and ``--large`` adds a series ten times as long.
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
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

from backtest_mongo import close, embedded, persist, setup
from backtest_mongo.adapters.sqlite import bind_to_sqlite
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.embedded.servers import DATABASE
from benchmarks.cases import CASES, Bench, Case, open_plain
from benchmarks.fast_code import make_loop_factory, measure_codes, measure_foundations
from benchmarks.history import CONTEXTS, SETTING, VERSIONS, measure_history
from benchmarks.node_month import measure_node_month
from benchmarks.others import open_others
from benchmarks.profiles import profile
from benchmarks.scale import draw, measure_scale
from benchmarks.serverless import measure_serverless
from benchmarks.timing import Times, interleave
from benchmarks.transactions import MONTH, measure_month, measure_transactions

#: Rounds by default, and with ``--quick``.
ROUNDS: Final = 5
QUICK_ROUNDS: Final = 1
DRIVERS: Final = ("motor", "pymongo")
LOOPS: Final = ("asyncio", "uvloop")
#: Code whose time to start is compared with that of other code, both with Python's own time if the goal includes it.
STARTS: Final = (
    (
        "from backtest_mongo import *",
        "import motor.motor_asyncio, redis.asyncio, pydantic_settings, structlog",
        1.3,
        False,
    ),
    (
        "import sys; sys.argv[1:] = ['--help']; from backtest_mongo.cli.main import main; main()",
        "import typer",
        1.5,
        True,
    ),
)
#: Fewest candles of a frame that has days and windows to read, and trades of one that has hours.
LEAST: Final = 100_000


def configure(servers: embedded.Servers) -> dict[str, Any]:
    """Return the configuration, with time for 20,000 writes on a busy machine."""
    return {**servers.config, "CC_MONGO_TIMEOUT_MS": 600_000}


@asynccontextmanager
async def open_bench(servers: embedded.Servers, driver: str) -> AsyncIterator[Bench]:
    """Connect every side to the servers."""
    async with setup(configure(servers), CC_MONGO_DRIVER=driver):
        own = current_hub().database
        uri = f"{servers.config['CC_MONGO_CONNECTION_STRING']}&w=majority"
        async with open_plain(driver, uri, own.name) as plain, open_others(uri, f"{own.name}-others") as others:
            yield Bench({"plain": plain, "own": own}, others)
    await close()


async def measure(case: Case, bench: Bench, rounds: int) -> dict[str, Any]:
    """Return the figures of each side in microseconds per operation, and what is asked of ours."""
    times: dict[str, Times] = {}
    operations = 1
    for _ in range(rounds):
        prepared = await case.prepare(bench)
        operations = prepared.operations
        times = times or {side: Times() for side in prepared.sides}
        await interleave(prepared.sides, case.calls, times, is_large=operations > 1)
    sides = {side: taken.summarize(operations) for side, taken in times.items()}
    return {"case": case.name, "operations": operations, "sides": sides, "goals": judge(case, operations, sides)}


def judge(case: Case, operations: int, sides: dict[str, dict[str, float]]) -> dict[str, dict[str, Any]]:
    """Return, for each goal, how it came out."""
    ours = sides["ours"]
    found = {}
    for against, goal in case.goals.items():
        if against == "seconds":
            reached = ours["median_us"] * operations / 1e6
        elif against == "processor":
            reached = ours["processor_us"] / sides["plain"]["processor_us"]
        else:
            reached = ours["median_us"] / sides[against]["median_us"]
        found[against] = {"goal": goal, "reached": reached, "met": reached <= goal}
    return found


def run_cases(
    servers: embedded.Servers, rounds: int, quick: bool, cases: list[Case], console: Console
) -> Iterator[dict[str, Any]]:
    for driver in DRIVERS:
        for loop in LOOPS[:1] if quick else LOOPS:
            rows: list[dict[str, Any]] = []

            async def measure_all(driver: str = driver, loop: str = loop, rows: list[dict[str, Any]] = rows) -> None:
                async with open_bench(servers, driver) as bench:
                    for case in cases:
                        console.print(f"[dim]{driver}, {loop}: {case.name}[/]", highlight=False)
                        rows.append({"driver": driver, "loop": loop, **await measure(case, bench, rounds)})

            with asyncio.Runner(loop_factory=make_loop_factory(loop)) as runner:
                runner.run(measure_all())
            yield from rows


def measure_starts(rounds: int) -> list[dict[str, Any]]:
    """Return how long our code takes to start, and what it is compared with."""

    def start(code: str) -> float:
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - begin

    rows = []
    for code, against, goal, is_whole in STARTS:
        times: dict[str, list[float]] = {"pass": [], code: [], against: []}
        for _ in range(2 * rounds):
            for one, taken in times.items():
                taken.append(start(one))
        empty, ours, other = (statistics.median(taken) for taken in times.values())
        base = 0.0 if is_whole else empty
        ratio = (ours - base) / (other - base)
        row = {"code": code, "against": against, "ours_us": (ours - base) * 1e6, "other_us": (other - base) * 1e6}
        rows.append({**row, "ratio": ratio, "goal": goal, "met": ratio <= goal})
    return rows


def describe_machine(rounds: int) -> dict[str, Any]:
    return {
        "rounds": rounds,
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def print_table(console: Console, figures: dict[str, Any]) -> None:
    """Print every row with its goals, met and missed."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("", "driver", "loop", "against", "ours", "other", "median", "20 %", "processor", "goal", ""):
        is_text = column in ("", "driver", "loop", "against")
        table.add_column(column, justify="left" if is_text else "right")
    for row in figures["rows"]:
        ours, goals = row["sides"]["ours"], row["goals"]
        labels = [row["case"], row["driver"], row["loop"]]
        for side, other in row["sides"].items():
            if side == "ours":
                continue
            ratios = [f"{ours[name] / other[name]:.2f}" for name in ("median_us", "p20_us", "processor_us")]
            found = [goals[name] for name in (side, *(["processor"] if side == "plain" else [])) if name in goals]
            micros = [f"{one['median_us']:,.1f} µs" for one in (ours, other)]
            table.add_row(*labels, side, *micros, *ratios, *_tell_goals(found))
            labels = ["", "", ""]
        if "seconds" in goals:
            reached = f"{goals['seconds']['reached']:.2f} s"
            table.add_row(*labels, "", reached, "", "", "", "", *_tell_goals([goals["seconds"]]))
    for row in figures["starts"]:
        micros = [f"{row[name] / 1e3:,.0f} ms" for name in ("ours_us", "other_us")]
        label = f"{row['code'].rsplit(';')[-1].strip()} / {row['against']}"
        table.add_row(label, "", "", "", *micros, f"{row['ratio']:.2f}", "", "", *_tell_goals([row]))
    console.print(table)


def _tell_goals(goals: list[dict[str, Any]]) -> tuple[str, str]:
    met = ["met" if goal["met"] else "missed" for goal in goals]
    return ", ".join(f"{goal['goal']:g}" for goal in goals), ", ".join(met)


def print_goals(figures: Any, path: str = "") -> None:
    """Print every goal of nested figures, met or missed."""
    if isinstance(figures, dict):
        if "met" in figures:
            print(f"{path}: goal {figures['goal']:g}, {'met' if figures['met'] else 'missed'}")
        for name, part in figures.items():
            print_goals(part, f"{path} {name}")
    elif isinstance(figures, list):
        for part in figures:
            driver = part.get("driver", "") if isinstance(part, dict) else ""
            if driver is not None:  # those of other stores are held against nothing
                print_goals(part, f"{path} {driver}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rounds", type=int, help=f"rounds of each row; default: {ROUNDS}, with --quick {QUICK_ROUNDS}"
    )
    parser.add_argument(
        "--quick", action="store_true", help="only asyncio's event loop, and no frames, series or largest sizes"
    )
    parser.add_argument("--operations", action="store_true", help="only the rows of operations")
    parser.add_argument("--candles", action="store_true", help="only frames of candles")
    parser.add_argument("--series", action="store_true", help="only series with columns")
    parser.add_argument("--large", action="store_true", help="with --series: also a series ten times as long")
    parser.add_argument("--only", help="only rows of operations whose names contain this text; nothing is written")
    parser.add_argument(
        "--profile", action="store_true", help="show where the time of the rows of --only goes, instead"
    )
    parser.add_argument(
        "--rows",
        type=int,
        help=f"candles per frame and trades per series, at least {LEAST:,}; default: 20 years of minutes, 10,000,000",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("benchmark-results"), help="directory for the figures and the chart"
    )
    arguments = parser.parse_args()
    if arguments.rows is not None and arguments.rows < LEAST:
        parser.error(f"--rows must be {LEAST:,} or more")
    if arguments.profile and not arguments.only:
        parser.error("--profile needs --only")
    if arguments.large and not arguments.series:
        parser.error("--large needs --series")
    arguments.rounds = arguments.rounds or (QUICK_ROUNDS if arguments.quick else ROUNDS)
    # End by an exception, so that temporary files are removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if arguments.profile:
        run_profile(arguments)
        return
    if not arguments.only:
        arguments.out.mkdir(exist_ok=True)
    is_part = arguments.candles or arguments.series
    if not is_part:
        run_operations(arguments)
    if not (is_part or arguments.operations or arguments.only):
        run_growth(arguments)
        run_serverless(arguments)
        run_transactions(arguments)
        run_history(arguments)
    if arguments.quick or arguments.operations or arguments.only:
        return
    if arguments.candles or not is_part:
        run_candles(arguments)
    if arguments.series or not is_part:
        run_series(arguments)


def run_operations(arguments: argparse.Namespace) -> None:
    """Measure operations on this Python, and print the table."""
    cases = [case for case in CASES if not arguments.only or arguments.only in case.name]
    with embedded.Servers() as servers:
        rows = list(run_cases(servers, arguments.rounds, arguments.quick, cases, Console(stderr=True)))
    figures = {"machine": describe_machine(arguments.rounds), "rows": rows, "starts": []}
    if not arguments.only:
        figures["starts"] = measure_starts(arguments.rounds)
        (arguments.out / f"operations-{sys.version_info.minor}.json").write_text(json.dumps(figures, indent=1))
    print_table(Console(width=160), figures)


def run_profile(arguments: argparse.Namespace) -> None:
    """Show the modules that cost more of our side's time than of the plain client's."""

    async def profile_all(driver: str) -> None:
        async with open_bench(servers, driver) as bench:
            for case in CASES:
                if arguments.only in case.name and case.against:
                    print(f"\n{case.name}, {driver}: µs per operation of ours, and of the plain client")
                    for name, ours, plain in await profile(await case.prepare(bench), case.calls):
                        print(f"{ours:10.1f}{plain:10.1f}  {name}")

    with embedded.Servers() as servers:
        for driver in DRIVERS:
            asyncio.run(profile_all(driver))


def run_growth(arguments: argparse.Namespace) -> None:
    """Measure cost against size, and ways to write code."""
    console = Console(stderr=True)

    async def measure_growth() -> dict[str, Any]:
        async with open_bench(servers, "pymongo") as bench:
            return await measure_scale(bench, quick=arguments.quick)

    async def measure_all_codes(driver: str) -> dict[str, Any]:
        async with setup(configure(servers), CC_MONGO_DRIVER=driver):
            return await measure_codes(arguments.rounds)

    with embedded.Servers() as servers:
        console.print("[dim]cost against size[/]")
        scale = asyncio.run(measure_growth())
    with embedded.Servers() as servers:  # separate servers, whose collections hold nothing else
        console.print("[dim]ways to write code[/]")
        codes = {driver: asyncio.run(measure_all_codes(driver)) for driver in DRIVERS}
        foundations = measure_foundations(configure(servers), 3 * arguments.rounds)
    figures = {"machine": describe_machine(arguments.rounds), "scale": scale}
    figures |= {"codes": codes, "foundations": foundations}
    (arguments.out / "growth.json").write_text(json.dumps(figures, indent=1))
    draw(scale, str(arguments.out / "scale.png"))
    memory = scale["memory"]
    print(f"\nA context takes {memory['bytes']:,.0f} bytes; {memory['left']} of {memory['held']:,} objects are left.")


def run_serverless(arguments: argparse.Namespace) -> None:
    """Measure SQLite beside files and MongoDB, and print the ratios."""
    console = Console(stderr=True)

    def say(what: str) -> None:
        console.print(f"[dim]without servers: {what}[/]", highlight=False)

    with embedded.Servers() as servers:
        rows = asyncio.run(measure_serverless(configure(servers), arguments.rounds, say))
    (arguments.out / "serverless.json").write_text(json.dumps({"rows": rows}, indent=1))
    for row in rows:
        ratios = [f"{ratio:.2f} of {side}" for side, ratio in row["ratios"].items() if side != "sqlite"]
        print(f"{row['name']}: {row['sides']['sqlite']['median_us']:,.1f} µs, {', '.join(ratios)}")
        print_goals(row["goals"], row["name"])


async def measure_sqlite_month(bars: int, path: Path) -> dict[str, Any]:
    """Return the seconds of a month of bars in a fresh file."""
    persist.use_sqlite(path)
    try:
        return await measure_month(bars, bind=bind_to_sqlite(path))
    finally:
        await close()


def run_transactions(arguments: argparse.Namespace) -> None:
    """Measure transactions and leases with both drivers, and print the ratios."""
    console = Console(stderr=True)

    async def measure_all(servers: embedded.Servers, driver: str) -> dict[str, Any]:
        def say(what: str) -> None:
            console.print(f"[dim]transactions, {driver}: {what}[/]", highlight=False)

        uri = f"{servers.config['CC_MONGO_CONNECTION_STRING']}&w=majority"
        async with setup(configure(servers), CC_MONGO_DRIVER=driver):
            own = current_hub().database
            async with open_plain(driver, uri, own.name) as plain:
                rows = await measure_transactions(plain, arguments.rounds, say)
                say("a month of bars")
                return {"driver": driver, "rows": rows, "month": await measure_month(bars, plain)}

    bars = MONTH // 100 if arguments.quick else MONTH
    found = []
    for driver in DRIVERS:
        with embedded.Servers() as servers:
            found.append(asyncio.run(measure_all(servers, driver)))
    console.print("[dim]transactions, SQLite: a month of bars[/]", highlight=False)
    with tempfile.TemporaryDirectory(prefix="backtest-mongo-bench-") as name:
        month = asyncio.run(measure_sqlite_month(bars, Path(name) / "backtest.db"))
    console.print("[dim]transactions: a month of bars as the Node package runs them[/]", highlight=False)
    with embedded.Servers() as servers:
        node = measure_node_month(servers.config, bars)
    figures = {"machine": describe_machine(arguments.rounds), "drivers": found, "sqlite": month, "node": node}
    (arguments.out / "transactions.json").write_text(json.dumps(figures, indent=1))
    if node is not None:
        print(f"Node, {bars:,} bars: {node:.1f} s")
    print(f"SQLite, {bars:,} bars: {month['many']:.1f} s, committed alone {month['alone']:.1f} s")
    for one in found:
        for row in one["rows"]:
            ratios = [f"{ratio:.3f} of {side}" for side, ratio in row["ratios"].items() if side != "ours"]
            print(f"{one['driver']}, {row['name']}: {row['sides']['ours']['median_us']:,.1f} µs, {', '.join(ratios)}")
            print_goals(row["goals"], row["name"])
        month = one["month"]
        print(
            f"{one['driver']}, {month['bars']:,} bars: {month['many']:.1f} s, committed alone {month['alone']:.1f} s, "
            f"plain {month['plain']:.1f} s"
        )


def run_history(arguments: argparse.Namespace) -> None:
    """Measure versions with both drivers, and print the ratios."""
    console = Console(stderr=True)
    versions = VERSIONS // 10 if arguments.quick else VERSIONS

    async def measure_all(servers: embedded.Servers, driver: str) -> dict[str, Any]:
        def say(what: str) -> None:
            console.print(f"[dim]versions, {driver}: {what}[/]", highlight=False)

        uri = f"{servers.config['CC_MONGO_CONNECTION_STRING']}&w=majority"
        connected = setup(configure(servers), CC_MONGO_DRIVER=driver, CC_HISTORY=SETTING)
        async with connected, open_plain(driver, uri, DATABASE) as plain:
            rows, sizes = await measure_history(plain, arguments.rounds, versions, say)
            return {"driver": driver, "rows": rows, "sizes": sizes}

    found = []
    for driver in DRIVERS:
        with embedded.Servers() as servers:
            found.append(asyncio.run(measure_all(servers, driver)))
    figures = {"machine": describe_machine(arguments.rounds), "versions": CONTEXTS * versions, "drivers": found}
    (arguments.out / "history.json").write_text(json.dumps(figures, indent=1))
    for one in found:
        for row in one["rows"]:
            ratios = [f"{ratio:.2f} of {side}" for side, ratio in row["ratios"].items() if side != "ours"]
            print(f"{one['driver']}, {row['name']}: {row['sides']['ours']['median_us']:,.0f} µs, {', '.join(ratios)}")
            print_goals(row["goals"], row["name"])
        print(f"{one['driver']}, bytes of a version: " + ", ".join(f"{k} {v:.0f}" for k, v in one["sizes"].items()))


def run_candles(arguments: argparse.Namespace) -> None:
    """Measure frames of candles, and print the tables."""
    # Imported here, because only frames need the packages that these modules import.
    from benchmarks.candle_data import FULL
    from benchmarks.candle_page import section
    from benchmarks.candles import measure_candles

    start = time.perf_counter()
    with embedded.Servers() as servers:  # separate servers, whose caches hold nothing else
        rows = arguments.rows or FULL
        figures = measure_candles(servers.config, DRIVERS, rows, arguments.rounds, Console(stderr=True))
    figures |= {"machine": describe_machine(arguments.rounds), "minutes": (time.perf_counter() - start) / 60}
    (arguments.out / "candles.json").write_text(json.dumps(figures, indent=1))
    Console(width=120).print(Markdown(section(figures)))
    print_goals(figures)


def run_series(arguments: argparse.Namespace) -> None:
    """Measure series with columns, and print the tables."""
    # Imported here, because only frames need the packages that these modules import.
    from benchmarks.series import ROWS, measure_series
    from benchmarks.series_page import section

    start = time.perf_counter()
    with embedded.Servers() as servers:  # separate servers, whose caches hold nothing else
        figures = measure_series(
            configure(servers),
            DRIVERS,
            arguments.rows or ROWS,
            arguments.rounds,
            Console(stderr=True),
            is_large=arguments.large,
        )
    figures |= {"machine": describe_machine(arguments.rounds), "minutes": (time.perf_counter() - start) / 60}
    (arguments.out / "series.json").write_text(json.dumps(figures, indent=1))
    Console(width=120).print(Markdown(section(figures)))
    print_goals(figures)


if __name__ == "__main__":
    main()

"""The command ``fork``: copies everything as it was at a simulation time into another database."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from backtest_mongo.cli.arguments import parse_moment
from backtest_mongo.cli.databases import DATABASES, Files, Mongo, SQLite, choose_storage, confirm, run_on_database
from backtest_mongo.core.wording import format_count

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from backtest_mongo.types import ForkReport

__all__ = ["fork_database"]

#: How many rows with an unknown past are printed.
_LISTED: Final = 10


def fork_database(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="The database to create; it must be empty or missing. With --sqlite: a path, or a bare name for a "
            "file next to FILE.",
        ),
    ],
    at: Annotated[
        str,
        typer.Option(
            "--at", metavar="TIME", help="The simulation time: ISO 8601, in UTC if it has no zone, or milliseconds."
        ),
    ],
    strategy: Annotated[
        str | None, typer.Option("--strategy", metavar="NAME", help="Copy only the rows of this strategy.")
    ] = None,
    copy_candles: Annotated[
        bool, typer.Option("--copy-candles", help="Copy all candles instead of reading them where they are.")
    ] = False,
    as_backtest: Annotated[
        bool, typer.Option("--as-backtest", help="Turn live rows into backtest rows in the fork.")
    ] = False,
    sqlite: SQLite = None,
    files: Files = None,
    mongo: Mongo = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON and don't ask; without --yes, nothing is copied.")
    ] = False,
) -> None:
    """Copy every slot, as it was at a simulation time, into another, empty database, to continue from there.

    Shows what it would copy, and asks. Rows are copied as they were then, from the versions that CC_HISTORY keeps.
    Rows whose past is unknown are left out and listed. With --strategy, so are rows that can't be attributed to a
    strategy.

    Candles stay where they are, and the fork reads them there: CC_CANDLE_DATABASE of the program that continues names
    the place. Other processes may go on writing to the source. If the command is killed, a fork in MongoDB stays
    unfinished; run the same command again to start it over.

    Exits with status 0 if everything is copied, 1 if the answer is no or it fails, 2 for a mistake in the arguments,
    or if there is no terminal to ask on and --yes is not given.
    """
    # Here, because help does not need it.
    from backtest_mongo.cli.terminal import Terminal

    when = parse_moment(at, "--at")
    storage = choose_storage(sqlite, files, mongo, DATABASES)

    def run(*, dry_run: bool) -> ForkReport:
        async def work() -> ForkReport:
            from backtest_mongo.forks.fork import fork

            with _show_progress(as_json or dry_run) as progress:
                return await fork(
                    name,
                    at=when,  # type: ignore[arg-type]  # it is given
                    strategy_name=strategy,
                    copy_candles=copy_candles,
                    as_backtest=as_backtest,
                    dry_run=dry_run,
                    progress=progress,
                )

        return run_on_database(work, storage)

    if as_json:
        _print_json(run(dry_run=not yes))
        return
    console = Terminal()
    planned = run(dry_run=True)
    _print_plan(console, planned)
    confirm("Copy it?", "nothing copied", yes)
    _print_done(console, run(dry_run=False))


@contextmanager
def _show_progress(is_quiet: bool) -> Iterator[Any]:
    from backtest_mongo.cli.terminal import Terminal, can_redraw, escape_text

    console = Terminal(stderr=True)
    if is_quiet or not can_redraw(console):
        yield None
        return
    with console.status("") as status:
        yield lambda slot, count: status.update(escape_text(f"{slot}: {count:,}"))


def _print_json(report: ForkReport) -> None:
    from backtest_mongo.cli.terminal import print_json

    print_json(json.dumps(_to_json(report), indent=2, ensure_ascii=False, default=str))


def _to_json(report: ForkReport) -> dict[str, Any]:
    """Return all of a report; the connection string is shown without its password."""
    return {
        "name": report.name,
        "source": report.source,
        "at": report.at,
        "strategy_name": report.strategy_name,
        "as_backtest": report.as_backtest,
        "applied": not report.is_dry_run,
        "rows": report.rows,
        "candles": report.candles,
        "unknown": [one._asdict() for one in report.unknown],
        "left_out": [one._asdict() for one in report.left_out],
        "config": {name: str(value) for name, value in report.config.items()},
    }


def _print_plan(console: Console, report: ForkReport) -> None:
    from backtest_mongo.cli.formatting import format_extended_json, format_iso_time
    from backtest_mongo.cli.terminal import escape_text, print_line, print_table

    of_strategy = "" if report.strategy_name is None else f", of the strategy {report.strategy_name}"
    print_line(console, f"{report.source} as of {format_iso_time(report.at)}{of_strategy}, to {report.name}")
    if report.rows:
        rows: Sequence[Sequence[str | Text]] = [
            (escape_text(slot), f"{count:,}") for slot, count in report.rows.items()
        ]
        print_table(console, ("slot", "rows"), rows)
    else:
        print_line(console, "There were no rows.")
    if report.unknown:
        count = format_count(len(report.unknown), "row")
        print_line(console, f"Left out, because their past is unknown: {count}", "yellow")
        for one in report.unknown[:_LISTED]:
            print_line(console, f"  {one.slot} {format_extended_json(dict(one.key))}: {one.reason}")
        if len(report.unknown) > _LISTED:
            print_line(console, f"  and {len(report.unknown) - _LISTED:,} more")
    if report.left_out:
        print_line(console, "Left out, because nothing says which strategy they belong to:", "yellow")
        for left in report.left_out:
            print_line(console, f"  {left.slot}: {format_count(left.rows, 'row')}: {left.reason}")
    if report.candles is None:
        print_line(console, f"Candles stay in {report.config['CC_CANDLE_DATABASE']}, and are read from there.")
    else:
        print_line(console, "All candles are copied.")


def _print_done(console: Console, report: ForkReport) -> None:
    from backtest_mongo.cli.terminal import print_line

    candles = "" if report.candles is None else f" and {format_count(report.candles, 'candle')}"
    print_line(console, f"Copied {format_count(sum(report.rows.values()), 'row')}{candles} to {report.name}.")
    print_line(console, "To continue from there:")
    if report.path is None:
        print_line(console, f"  CC_MONGO_CONNECTION_STRING: the same, with the database {report.name}")
    else:
        print_line(console, f"  persist.use_sqlite({str(Path(report.path))!r})")
    print_line(console, f"  export CC_CANDLE_DATABASE={shlex.quote(report.config['CC_CANDLE_DATABASE'])}")

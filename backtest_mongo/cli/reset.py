"""The command ``reset``: deletes what a run has stored, so that it can be repeated."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer

from backtest_mongo.cli.arguments import AsJson
from backtest_mongo.cli.command_runner import print_error
from backtest_mongo.cli.databases import DATABASES, Files, Mongo, SQLite, Storage, choose_storage, run_on_database
from backtest_mongo.core.wording import format_count

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from backtest_mongo.types import ResetReport

__all__ = ["reset_run"]

#: Signals that are printed.
_LISTED: Final = 10


def reset_run(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The name that was given as run=, or as CC_RUN.")],
    live: Annotated[
        bool, typer.Option("--live", help="Also delete live rows of the run, and rows of its signals that are live.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    sqlite: SQLite = None,
    files: Files = None,
    mongo: Mongo = False,
    as_json: AsJson = False,
) -> None:
    """Delete what a run has stored, so that it can be repeated from scratch.

    Shows what it would delete and what would stay, and asks. It deletes the rows that carry the run's name, and rows of
    the run's signals that carry no name. Candles and other series stay. Nothing is deleted if a process holds the lease
    of such a row, or if live rows are among them and --live is not given.

    Stop the run first. The command can be interrupted, and run again to delete the rest.

    Exits with status 0 if the rows are deleted or there are none, 1 if live rows or a lease prevent it or the answer is
    no, and 2 if there is no terminal to ask on and --yes is not given.
    """
    # Here, because help does not need it.
    from backtest_mongo.cli.terminal import Terminal

    console = Terminal()
    storage = choose_storage(sqlite, files, mongo, DATABASES)
    report = _run(run, storage, live=live, dry_run=True)
    if not as_json:
        _print_report(console, report)
    if report.is_empty:
        if as_json:
            _print_json(report)
        return
    if report.is_live and not live:
        if as_json:
            _print_json(report)
        print_error("backtest-mongo: nothing deleted: there are live rows, and --live is not given")
        raise typer.Exit(1)
    if not yes:
        if not sys.stdin.isatty():
            if as_json:
                _print_json(report)
            print_error("backtest-mongo: nothing deleted: there is no terminal to ask on, and --yes is not given")
            raise typer.Exit(2)
        if not typer.confirm("Delete them?", err=as_json):
            raise typer.Exit(1)
    done = _run(run, storage, live=live, dry_run=False)
    if as_json:
        _print_json(done)
    else:
        _print_done(console, done)


def _run(run: str, storage: Storage, *, live: bool, dry_run: bool) -> ResetReport:
    async def work() -> ResetReport:
        from backtest_mongo.adapters.resets import reset

        return await reset(run, live=live, dry_run=dry_run)

    return run_on_database(work, storage)


def _print_json(report: ResetReport) -> None:
    from backtest_mongo.cli.terminal import print_json

    print_json(json.dumps(asdict(report), indent=2, ensure_ascii=False))


def _print_report(console: Console, report: ResetReport) -> None:
    from backtest_mongo.cli.terminal import escape_text, print_line, print_table

    if report.is_empty:
        print_line(console, f"No row belongs to the run {report.run}.")
    else:
        names = list(dict.fromkeys((*report.deleted, *report.left, *report.other_runs)))
        columns = {"to delete": report.deleted, "live": report.live, "without a name": report.left} | (
            {"of other runs": report.other_runs} if report.other_runs else {}
        )
        if not report.live:
            del columns["live"]
        rows: list[tuple[str | Text, ...]] = [
            (escape_text(name), *(f"{counts.get(name, 0):,}" for counts in columns.values())) for name in names
        ]
        print_table(console, ("slot", *columns), rows)
        if report.left or report.other_runs:
            print_line(console, "Rows without a name, or of other runs, stay.")
    if report.signal_ids:
        print_line(console, f"Signals of the run: {_list(report.signal_ids)}")
    if report.live_signal_ids:
        print_line(console, f"Signals that are live, too: {_list(report.live_signal_ids)}", "yellow")
    if report.skipped:
        print_line(console, f"Slots whose storage has no runs: {', '.join(report.skipped)}")


def _list(names: tuple[str, ...]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more:,} more" if more > 0 else "")


def _print_done(console: Console, report: ResetReport) -> None:
    from backtest_mongo.cli.terminal import print_line

    rows, versions = sum(report.deleted.values()), sum(report.versions.values())
    of_them = f", and {format_count(versions, 'version')} of them" if versions else ""
    print_line(console, f"Deleted {format_count(rows, 'row')}{of_them}.")

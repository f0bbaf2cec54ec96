"""The application ``backtest-mongo``: all commands, and ``serve`` and ``demo``, which need no deployment."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from backtest_mongo import __version__
from backtest_mongo.cli.arguments import CommandGroup, add_command
from backtest_mongo.cli.backup import backup
from backtest_mongo.cli.candles.commands import build_candles_app
from backtest_mongo.cli.command_runner import exit_cleanly, print_error, print_output, require
from backtest_mongo.cli.delete_contexts import delete
from backtest_mongo.cli.doctor.command import doctor
from backtest_mongo.cli.dumps import export_dump, import_dump
from backtest_mongo.cli.explain.command import explain
from backtest_mongo.cli.fork import fork_database
from backtest_mongo.cli.inspect_slot import inspect_slot
from backtest_mongo.cli.leases import build_leases_app
from backtest_mongo.cli.ls import ls
from backtest_mongo.cli.migrate import migrate_rows
from backtest_mongo.cli.prune import prune
from backtest_mongo.cli.rename import rename
from backtest_mongo.cli.reset import reset_run
from backtest_mongo.cli.row_history import show_history
from backtest_mongo.cli.series.commands import build_series_app
from backtest_mongo.cli.status.command import status

__all__ = ["build_app"]


def build_app() -> typer.Typer:
    """Build the application."""
    app = typer.Typer(
        cls=CommandGroup,
        help="State of a trading engine, in SQLite or in MongoDB with a Redis cache of ids in front.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        # Drawing boxes takes longer than all else that help does.
        rich_markup_mode=None,
    )
    app.callback()(take_options)
    for command in (serve, demo, doctor):
        add_command(app, command)
    add_command(app, status)
    add_command(app, inspect_slot, "inspect")
    add_command(app, show_history, "history")
    add_command(app, explain)
    add_command(app, fork_database, "fork")
    add_command(app, ls)
    add_command(app, delete)
    add_command(app, rename)
    app.add_typer(build_leases_app(), name="leases")
    add_command(app, prune)
    add_command(app, migrate_rows, "migrate")
    add_command(app, reset_run, "reset")
    add_command(app, import_dump, "import-dump")
    add_command(app, export_dump, "export-dump")
    add_command(app, backup)
    app.add_typer(build_candles_app(), name="candles")
    app.add_typer(build_series_app(), name="series")
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        print_output(f"backtest-mongo {__version__}")
        raise typer.Exit


def take_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options that come before a command."""


def serve(
    directory: Annotated[
        Path, typer.Option("--dir", metavar="DIR", file_okay=False, help="Where both keep their data and logs.")
    ],
) -> None:
    """Run MongoDB and Redis on free loopback ports until Ctrl-C.

    Prints to standard output the settings that point backtest_mongo at them, for a shell to evaluate.
    """
    from backtest_mongo.embedded import Servers

    with exit_cleanly(), Servers(directory) as servers:
        for name, value in servers.config.items():
            print_output(f"export {name}={shlex.quote(str(value))}")
        print_error(f"MongoDB and Redis are running on {servers.directory}; Ctrl-C stops them")
        try:
            ended = servers.wait()
        except (KeyboardInterrupt, SystemExit):
            print_error("stopping")
            return
        print_error(f"{ended} exited by itself: see {servers.directory / ended}.log")
        sys.exit(1)


def demo(
    bars: Annotated[int, typer.Option(min=50, max=5000, help="How many hourly candles to trade.")] = 5000,
    kills: Annotated[int, typer.Option(min=0, help="How often to kill the trading process, at random.")] = 3,
    seed: Annotated[int | None, typer.Option(help="Repeat a run's random choice of when to kill.")] = None,
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", file_okay=False, help="Keep data, logs and picture in DIR.")
    ] = None,
) -> None:
    """Trade real candles twice at once, killing one of the two: both must end in the same state.

    Runs on embedded servers, or on yours if CC_MONGO_CONNECTION_STRING or CC_REDIS_HOST is set.

    Either way it uses two databases of its own, which are removed at the end.

    Exits with status 0 if the end states are equal, 1 if they differ.
    """
    if kills > bars // 10:
        raise typer.BadParameter(f"at most one kill in 10 bars, so {bars // 10}", param_hint="'--kills'")
    require("demo", "matplotlib")
    from backtest_mongo.cli.demo.main import demo as run_demo

    with exit_cleanly():
        equal = run_demo(bars=bars, kills=kills, seed=seed, keep=keep)
    sys.exit(0 if equal else 1)

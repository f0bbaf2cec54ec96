"""The command line: ``backtest-mongo serve``, ``demo``, ``doctor``, ``inspect``, ``candles`` and moving data."""

# No `from __future__ import annotations` here: typer evaluates the annotations of commands, and these are local.

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from backtest_mongo import __version__
from backtest_mongo.console import reported, require, say

if TYPE_CHECKING:
    import typer

__all__ = ["main"]


def main() -> None:
    """Run the command that the arguments name."""
    require("cli", "typer", "rich")
    _app()()


def _app() -> "typer.Typer":
    import typer

    app = typer.Typer(
        help="State of a trading engine in MongoDB, with a Redis cache of ids in front.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )

    def show_version(wanted: bool) -> None:
        if wanted:
            typer.echo(f"backtest-mongo {__version__}")
            raise typer.Exit

    @app.callback()
    def options(
        version: Annotated[
            bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and exit.")
        ] = False,
    ) -> None:
        pass

    @app.command()
    def serve(
        directory: Annotated[
            Path, typer.Option("--dir", metavar="DIR", file_okay=False, help="Where both keep their data and logs.")
        ],
    ) -> None:
        """Run MongoDB and Redis on free loopback ports until Ctrl-C.

        Standard output has the lines that point backtest_mongo at them, for a shell to evaluate.
        """
        from backtest_mongo.embedded import Servers

        with reported(), Servers(directory) as servers:
            for name, value in servers.config.items():
                print(f"export {name}={shlex.quote(str(value))}", flush=True)
            say(f"MongoDB and Redis are running on {servers.directory}; Ctrl-C stops them")
            try:
                ended = servers.wait()
            except (KeyboardInterrupt, SystemExit):
                say("stopping")
                return
            say(f"{ended} ended by itself: see {servers.directory / ended}.log")
            sys.exit(1)

    @app.command()
    def demo(
        bars: Annotated[int, typer.Option(min=50, max=5000, help="How many hourly candles to trade.")] = 5000,
        kills: Annotated[int, typer.Option(min=0, help="How often to kill the trading process, at random.")] = 3,
        seed: Annotated[int | None, typer.Option(help="Repeat a run's choice of where to kill.")] = None,
        keep: Annotated[
            Path | None, typer.Option(metavar="DIR", file_okay=False, help="Keep data, logs and picture in DIR.")
        ] = None,
    ) -> None:
        """Trade real candles twice at once, killing one of the two: both must end in the same state.

        Runs on embedded servers, or on yours if CC_MONGO_CONNECTION_STRING or CC_REDIS_HOST is set.

        Either way in two databases of its own, which are removed at the end.
        """
        if kills > bars // 10:
            raise typer.BadParameter(f"at most one kill in 10 bars, so {bars // 10}", param_hint="'--kills'")
        require("demo", "matplotlib")
        from backtest_mongo.demo.main import demo as run_demo

        with reported():
            equal = run_demo(bars=bars, kills=kills, seed=seed, keep=keep)
        sys.exit(0 if equal else 1)

    from backtest_mongo.candles.commands import candles_app
    from backtest_mongo.care.commands import add_care
    from backtest_mongo.dumps.commands import add_dumps

    add_care(app)
    add_dumps(app)
    app.add_typer(candles_app(), name="candles")
    return app


if __name__ == "__main__":
    main()

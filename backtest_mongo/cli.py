"""The command line: ``backtest-mongo serve`` and ``backtest-mongo demo``."""

# No `from __future__ import annotations` here: typer evaluates the annotations of commands, and these are local.

import importlib.util
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

from backtest_mongo import BacktestMongoError, __version__

if TYPE_CHECKING:
    import typer

__all__ = ["main"]

_MISSING = 2
#: A shell's way to say that a signal ended a command.
_BY_SIGNAL = 128


def main() -> None:
    """Run the command that the arguments name."""
    _require("cli", "typer", "rich")
    _app()()


def _require(extra: str, *modules: str) -> None:
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        _say(f'backtest-mongo: {" and ".join(missing)} missing: pip install "backtest-mongo[{extra}]"')
        sys.exit(_MISSING)


def _say(text: str) -> None:
    """Print one line to standard error."""
    print(" ".join(text.split()), file=sys.stderr)


@contextmanager
def _reported() -> Iterator[None]:
    """End with one line instead of a traceback where the library or the user ends a command early."""

    def terminate(number: int, frame: FrameType | None) -> NoReturn:
        sys.exit(_BY_SIGNAL + number)  # an exception, so that servers and processes are stopped on the way out

    signals = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    previous = [signal.signal(number, terminate) for number in signals]
    try:
        yield
    except (BacktestMongoError, OSError) as error:  # OSError: a directory that can't be written to, and the like
        _say(f"backtest-mongo: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(_BY_SIGNAL + signal.SIGINT)
    finally:
        for number, handler in zip(signals, previous, strict=True):
            signal.signal(number, handler)


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

        with _reported(), Servers(directory) as servers:
            for name, value in servers.config.items():
                print(f"export {name}={shlex.quote(str(value))}", flush=True)
            _say(f"MongoDB and Redis are running on {servers.directory}; Ctrl-C stops them")
            try:
                ended = servers.wait()
            except (KeyboardInterrupt, SystemExit):
                _say("stopping")
                return
            _say(f"{ended} ended by itself: see {servers.directory / ended}.log")
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
        _require("demo", "matplotlib")
        from backtest_mongo.demo.main import demo as run_demo

        with _reported():
            equal = run_demo(bars=bars, kills=kills, seed=seed, keep=keep)
        sys.exit(0 if equal else 1)

    return app


if __name__ == "__main__":
    main()

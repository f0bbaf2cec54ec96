"""The whole demo, from finding servers to the picture."""

from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Final

from backtest_mongo.cli.command_runner import run_command
from backtest_mongo.cli.demo.databases import Databases, has_own_servers, provide_servers
from backtest_mongo.cli.demo.picture import draw
from backtest_mongo.cli.demo.report import Screen, print_result
from backtest_mongo.cli.demo.runner import run
from backtest_mongo.cli.terminal import Terminal, print_line

__all__ = ["demo"]

_PICTURE: Final = "backtest-mongo-demo.png"


def demo(*, bars: int, kills: int, seed: int | None, keep: Path | None) -> bool:
    """Run the demo, print its result, and return whether the end states are equal.

    Raises:
        BacktestMongoError: a server can't be started or reached, or a trading process failed.
    """
    console = Terminal()
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    with ExitStack() as stack:
        logs = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="backtest-mongo-demo-")))
        logs.mkdir(parents=True, exist_ok=True)
        config = stack.enter_context(provide_servers(keep))
        databases = Databases(config)
        whose = "your servers" if has_own_servers() else "embedded servers"
        names = " and ".join(databases.names.values())
        print_line(console, f"seed {seed}; {whose}, databases {names}")
        with Screen(console, bars, kills) as screen:
            result = run_command(
                lambda: run(
                    databases,
                    bars=bars,
                    kills=kills,
                    random=Random(seed),  # noqa: S311  # when to kill is no secret
                    logs=logs,
                    show=screen.show,
                    keep=keep is not None,
                ),
                connect=False,
            )
    print_result(console, result)
    picture = _picture_path(keep)
    draw(result, picture)
    print_line(console, f"picture: {picture}")
    if keep is not None and not has_own_servers():
        print_line(console, f"kept: `backtest-mongo serve --dir {keep}` runs its servers again")
    return not result.problems


def _picture_path(keep: Path | None) -> Path:
    directory = keep or Path.cwd()
    if not os.access(directory, os.W_OK):
        directory = Path(tempfile.gettempdir())
    return directory.resolve() / _PICTURE

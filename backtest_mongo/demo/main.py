"""The whole demo, from finding servers to the picture."""

from __future__ import annotations

import asyncio
import os
import secrets
import tempfile
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Final

from rich.console import Console

from backtest_mongo.demo.databases import Databases, servers, users_own
from backtest_mongo.demo.picture import draw
from backtest_mongo.demo.report import Screen, print_result
from backtest_mongo.demo.runner import run

__all__ = ["demo"]

_PICTURE: Final = "backtest-mongo-demo.png"


def demo(*, bars: int, kills: int, seed: int | None, keep: Path | None) -> bool:
    """Run the demo, print what it found, and return whether the kills have changed nothing.

    Raises:
        BacktestMongoError: a server can't be started or reached, or a trading process failed.
    """
    console = Console()
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    with ExitStack() as stack:
        logs = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="backtest-mongo-demo-")))
        logs.mkdir(parents=True, exist_ok=True)
        config = stack.enter_context(servers(keep))
        databases = Databases(config)
        whose = "your servers" if users_own() else "embedded servers"
        names = " and ".join(databases.names.values())
        console.print(f"seed {seed}; {whose}, databases {names}", highlight=False, soft_wrap=True)
        with Screen(console, bars, kills) as screen:
            result = asyncio.run(
                run(
                    databases,
                    bars=bars,
                    kills=kills,
                    random=Random(seed),  # noqa: S311  # where to kill is no secret
                    logs=logs,
                    show=screen.show,
                    keep=keep is not None,
                )
            )
    print_result(console, result)
    picture = _picture_path(keep)
    draw(result, picture)
    console.print(f"picture: {picture}", highlight=False, soft_wrap=True)
    if keep is not None and not users_own():
        console.print(
            f"kept: `backtest-mongo serve --dir {keep}` runs its servers again", highlight=False, soft_wrap=True
        )
    return not result.problems


def _picture_path(keep: Path | None) -> Path:
    directory = keep or Path.cwd()
    if not os.access(directory, os.W_OK):
        directory = Path(tempfile.gettempdir())
    return directory.resolve() / _PICTURE

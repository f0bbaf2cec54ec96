"""A database of a test, and the options that name it on a command line."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import backtest_mongo
from backtest_mongo import persist, setup
from backtest_mongo.core.config import reset_config

__all__ = ["Stored"]


@dataclass
class Stored:
    """A database of its own, and the options that name it."""

    kind: str
    options: list[str]
    path: Path

    def run(self, work: Callable[[], Awaitable[Any]], **config: Any) -> Any:
        """Work on it as a process of its own would."""

        async def run() -> Any:
            if self.kind == "mongodb":
                await setup(**config)
            else:
                backtest_mongo.set_config(config)
                (persist.use_sqlite if self.kind == "sqlite" else persist.use_files)(self.path)
            try:
                return await work()
            finally:
                await backtest_mongo.close()
                reset_config()

        return asyncio.run(run())

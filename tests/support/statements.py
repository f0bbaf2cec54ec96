"""The steps of the SQLite storage in this process: each SQL statement, just before it is executed, and each outcome."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from backtest_mongo.sqlite import database

__all__ = ["OUTCOME", "Steps", "steps"]

#: The step after the transaction of a write is over, before its caller knows.
OUTCOME: Final = "the outcome"


class Steps:
    """Calls a function at each step, in the thread that takes it."""

    def __init__(self) -> None:
        self.on_step: Callable[[str], Any] | None = None

    def trace(self, patch: pytest.MonkeyPatch) -> None:
        """Trace the connections that are opened from now on."""
        settle = database.Write.settle

        def settle_and_step(write: Any, *outcome: Any) -> None:
            settle(write, *outcome)
            self.take(OUTCOME)

        patch.setattr(database, "Connection", _TracedConnection)
        patch.setattr(database.Write, "settle", settle_and_step)

    def take(self, step: str) -> None:
        if self.on_step is not None:
            self.on_step(step)


steps: Final = Steps()


class _TracedConnection(database.Connection):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.set_trace_callback(steps.take)

"""Qubx's own way to a backend."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qubx.utils.runner.configs import StatePersistenceConfig
from qubx.utils.runner.factory import create_state_persistence

ROOT = Path(__file__).resolve().parents[3]
NAME = "backtest_mongo.integrations.qubx.BacktestMongoStatePersistence"


@contextmanager
def running(parameters: Mapping[str, Any], strategy: str = "trend") -> Iterator[Any]:
    """A strategy's persistence, as Qubx makes it of a configuration; in the end all that was saved is stored."""
    persistence = create_state_persistence(StatePersistenceConfig(type=NAME, parameters=dict(parameters)), strategy)
    try:
        yield persistence
        flush(persistence)
    finally:
        persistence.stop()


def flush(persistence: Any) -> None:
    """Wait until Qubx has written what was saved; its own stop() waits for five seconds."""
    while persistence._pending or persistence._inflight:
        time.sleep(0.01)

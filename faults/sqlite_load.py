"""The load on an SQLite file: processes that may be killed at any moment, after which another one goes on."""

from __future__ import annotations

import sqlite3
import time
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import backtest_mongo
from backtest_mongo import persist
from backtest_mongo.core.config import reset_config
from faults.history import Op
from faults.load import Load
from faults.registers import read_all

__all__ = ["SQLiteLoad"]


class SQLiteLoad(Load):
    """Processes that use registers of all slots in one SQLite file.

    Args:
        directory: where the file and the records are.
        config: configuration of the library.
        **options: those of :class:`~faults.load.Load`.
    """

    def __init__(self, directory: Path, config: dict[str, Any], **options: Any) -> None:
        self.path: Path = directory / f"{uuid.uuid4().hex}.db"
        super().__init__(directory, config, uri="", sqlite=str(self.path), **{"forget": 0.0, **options})
        #: Records of processes that were killed.
        self._cut_records: set[Path] = set()

    def kill(self, number: int) -> None:
        """Kill a process, and start another one in its place."""
        worker = self._workers[number]
        worker.kill()
        worker.communicate()
        self._cut_records.add(self._record_by_worker[number])
        self._workers[number] = self._start(number)
        self._set_to_work(self._workers[number])

    def _make_config(self, number: int) -> dict[str, Any]:
        return self._config

    def _enter_unreturned(self, record: Path, begun: list[Any]) -> None:
        if record not in self._cut_records:
            super()._enter_unreturned(record, begun)
            return
        _, start, kind, name, number, who, _ = begun
        self._outcome.operations += 1
        if kind == "write":  # it may have been carried out
            self._ops.setdefault(name, []).append(Op(kind="write", value=number, start=start, end=None, who=who))

    def _read_raw(self) -> None:
        with closing(sqlite3.connect(self.path)) as connection:
            problems = [text for (text,) in connection.execute("PRAGMA integrity_check") if text != "ok"]
        self._outcome.unexpected += problems

    async def _read_again(self) -> None:
        reset_config()
        persist.use_sqlite(self.path)
        start = time.monotonic_ns()
        found = await read_all(one for name in self._ops for one in self._list_registers(name))
        end = time.monotonic_ns()
        await backtest_mongo.close()
        for name, ops in self._ops.items():
            for register in self._list_registers(name):
                value = found[register]
                ops.append(Op(kind="read", value=value, start=start, end=end, who="afterwards, by the library"))

"""The load of processes that trade bars under leases, each of which may be killed or stopped at any moment."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import backtest_mongo
from backtest_mongo import persist
from backtest_mongo.core.config import reset_config
from faults.bars import BarJob, Strategy
from faults.load import DRIVERS, Outcome, _said, _tell, _wait_until_ready
from faults.ownership import Findings, check_bars
from faults.topology import until

__all__ = ["BarLoad", "is_locked", "stop"]

_END_SECONDS: Final = 120


class BarLoad:
    """Processes that go for the leases of one strategy.

    Args:
        directory: where the records, and an SQLite file, are.
        config: configuration of the library.
        uri: connection string with the database's name, for what is read at the end; empty for an SQLite file.
        through: the connection string that the processes use; default: ``uri``.
        processes: number of processes.
        job: more fields of each process's :class:`~faults.bars.BarJob`.
    """

    def __init__(
        self,
        directory: Path,
        config: dict[str, Any],
        *,
        uri: str,
        through: str = "",
        processes: int = 2,
        **job: Any,
    ) -> None:
        self._directory = directory
        self._config = config
        self._uri = uri
        self._through = through or uri
        self._processes = processes
        self.path: Path = directory / f"{uuid.uuid4().hex}.db"
        self._job = {"sqlite": "" if uri else str(self.path), **job}
        self._records: list[Path] = []
        self._workers: list[subprocess.Popen[str]] = []
        self._record_by_worker: dict[int, Path] = {}
        #: Records of processes that were killed.
        self._cut: set[Path] = set()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the processes during the block."""
        self._workers = [self._start(number) for number in range(self._processes)]
        try:
            for worker in self._workers:
                _wait_until_ready(worker)
                _tell(worker)
            yield
            for worker in self._workers:
                _tell(worker)
            for worker in self._workers:
                worker.communicate(timeout=_END_SECONDS)
        finally:
            for worker in self._workers:
                worker.kill()
                worker.wait()
                for pipe in (worker.stdin, worker.stdout):
                    if pipe is not None:
                        pipe.close()
        codes = [worker.returncode for worker in self._workers]
        if any(codes):
            raise RuntimeError(f"processes ended with exit statuses {codes}")

    def find_owner(self) -> int:
        """Wait until one of the processes has written a bar under the leases, and return its number."""

        def find() -> list[int]:
            owners = []
            for number, record in self._record_by_worker.items():
                kinds = [line[1] for line in _read(record)]
                if "ok" in kinds and "held" in kinds and "lost" not in kinds[_last(kinds, "held") :]:
                    owners.append((_last_time(record), number))
            return [number for _, number in sorted(owners)[-1:]]

        return int(until(find, "an owner")[0])

    def until_bars(self, more: int) -> None:
        """Wait until so many more bars are acknowledged."""
        wanted = self.count_bars() + more
        until(lambda: self.count_bars() >= wanted, f"{more} more bars")

    def count_bars(self) -> int:
        return sum(record.read_bytes().count(b'"ok"') for record in self._records if record.exists())

    def kill(self, number: int) -> None:
        """Kill a process, and start another one in its place."""
        worker = self._workers[number]
        worker.kill()
        worker.communicate()
        self._cut.add(self._record_by_worker[number])
        self._workers[number] = self._start(number)
        _wait_until_ready(self._workers[number])
        _tell(self._workers[number])

    def stop(self, number: int) -> None:
        """Let a process stand still, with whatever it has sent.

        One that has the lock of an SQLite file keeps all others from writing, and nothing can take it: it goes on.
        """
        pid = self._workers[number].pid
        stop(pid)
        while not self._uri and is_locked(self.path):
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.01)  # until it is stopped at another place
            stop(pid)

    def resume(self, number: int) -> None:
        os.kill(self._workers[number].pid, signal.SIGCONT)

    def outcome(self) -> tuple[Outcome, Findings]:
        """Read what is stored, check it against the records, and return the results."""
        stored, problems = asyncio.run(self._read_stored())
        records = [_read(record) for record in self._records]
        found = check_bars(records, stored, problems)
        outcome = Outcome(
            operations=found.bars,
            acknowledged=found.acknowledged,
            lost=found.lost,
            wrong=found.half + found.twice,
            unavailable=found.unavailable,
            unexpected=found.errors,
            explanation=found.explanation,
        )
        for record in self._records:
            said = _said(record).read_text()
            if said and record not in self._cut:
                outcome.unexpected.append(f"on standard error: {said[-2000:]}")
        if not self._uri:
            with closing(sqlite3.connect(self.path)) as connection:
                outcome.unexpected += [text for (text,) in connection.execute("PRAGMA integrity_check") if text != "ok"]
        return outcome, found

    async def _read_stored(self) -> tuple[dict[int, int], list[str]]:
        reset_config()  # otherwise another scenario's configuration would be kept
        if not self._uri:
            persist.use_sqlite(self.path)
            try:
                return await Strategy().read()
            finally:
                await backtest_mongo.close()
        async with backtest_mongo.setup({**self._config, "CC_MONGO_CONNECTION_STRING": self._uri}):
            return await Strategy().read()

    def _start(self, number: int) -> subprocess.Popen[str]:
        record = self._directory / f"{uuid.uuid4().hex}.jsonl"
        self._records.append(record)
        self._record_by_worker[number] = record
        config = dict(self._config)
        if self._uri:
            config |= {"CC_MONGO_CONNECTION_STRING": self._through, "CC_MONGO_DRIVER": DRIVERS[number % len(DRIVERS)]}
        job = BarJob(process=len(self._records), record=str(record), config=config, **self._job)
        with _said(record).open("w") as said:
            return subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "faults.bars", json.dumps(asdict(job))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
            )


def stop(pid: int) -> None:
    """Send SIGSTOP to a process that this one has started, and wait until all of its threads stand still."""
    os.kill(pid, signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)


def is_locked(path: Path) -> bool:
    """Return whether a process has the lock of an SQLite file for longer than a write takes."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=1)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        connection.execute("ROLLBACK")
        return False


def _read(record: Path) -> list[list[Any]]:
    """Return the lines of a record; the last one may have been cut by a kill."""
    if not record.exists():
        return []
    lines = record.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _last(kinds: list[str], kind: str) -> int:
    return len(kinds) - 1 - kinds[::-1].index(kind)


def _last_time(record: Path) -> int:
    return max((int(line[0]) for line in _read(record) if line[1] == "ok"), default=0)

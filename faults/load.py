"""The load on a database while a fault is made: its processes, what they recorded, and what is found afterwards."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import pymongo
from pymongo import ReadPreference
from pymongo.read_concern import ReadConcern

import backtest_mongo
from backtest_mongo.config import reset_config
from faults.history import Op, Verdict, check, check_first_write_wins
from faults.registers import SPECS, Register, numbers_stored, read_all
from faults.worker import Job

__all__ = ["Load", "Outcome"]

DRIVERS: Final = ("motor", "pymongo")
ALL_SLOTS: Final = tuple(SPECS)


@dataclass
class Outcome:
    """What became of all operations of a load."""

    operations: int = 0
    acknowledged: int = 0
    lost: int = 0
    wrong: int = 0
    #: Operations that raised StoreUnavailableError.
    unavailable: int = 0
    #: Writes of which the library said that another writer has replaced them, or came first, while it tried again.
    replaced: int = 0
    #: Those that raised anything else, which nothing may.
    unexpected: list[str] = field(default_factory=list)
    longest: float = 0.0
    explanation: str = ""
    example: str = ""
    #: What the longest operation was.
    slowest: str = ""

    def add(self, name: str, verdict: Verdict) -> None:
        self.lost += verdict.lost
        self.wrong += verdict.wrong_reads
        if verdict.explanation and not self.explanation:
            self.explanation = f"{name}: {verdict.explanation}"


class Load:
    """Processes that use registers of all slots in a database of their own.

    Args:
        directory: where they leave their records.
        config: the library's, without a driver: every second process has the other one.
        uri: of the database, with its name, past all proxies.
        processes: how many.
        job: what else each does.
    """

    def __init__(self, directory: Path, config: dict[str, Any], *, uri: str, processes: int = 2, **job: Any) -> None:
        self._directory = directory
        self._config = config
        self._uri = uri
        self._processes = processes
        self._job = {"slots": list(ALL_SLOTS), **job}
        self._records: list[Path] = []
        self._ops: dict[str, list[Op]] = {}
        self._outcome = Outcome()

    @contextmanager
    def running(self) -> Iterator[None]:
        """The processes work for as long as the block runs, and until each has done its share."""
        workers = [self._start(number) for number in range(self._processes)]
        try:
            for worker in workers:
                assert worker.stdout is not None  # for the type checker: it has a pipe
                if worker.stdout.readline() != "ready\n":
                    raise RuntimeError(f"a process of the load ended at its start, with code {worker.wait()}")
            for worker in workers:
                _tell(worker)
            yield
            for worker in workers:
                _tell(worker)
            for worker in workers:
                worker.communicate(timeout=600)
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
                for pipe in (worker.stdin, worker.stdout):
                    if pipe is not None:
                        pipe.close()
        codes = [worker.returncode for worker in workers]
        if any(codes):
            raise RuntimeError(f"the processes of the load ended with codes {codes}")
        for record in self._records:
            said = _said(record).read_text()
            if said:
                self._outcome.unexpected.append(f"on its standard error: {said[-2000:]}")

    def has_done(self, operations: int) -> bool:
        """Tell whether all processes together have returned from so many operations."""
        return sum(record.read_bytes().count(b"\n") for record in self._records if record.exists()) >= 2 * operations

    def outcome(self) -> Outcome:
        """Read every register again, and check the whole history of each."""
        for record in self._records:
            self._take(record)
        self._read_raw()
        asyncio.run(self._read_again())
        for name, ops in self._ops.items():
            is_immutable = Register.named(name).is_immutable
            self._outcome.add(name, check_first_write_wins(ops) if is_immutable else check(ops))
        return self._outcome

    def _start(self, number: int) -> subprocess.Popen[str]:
        record = self._directory / f"{uuid.uuid4().hex}.jsonl"
        self._records.append(record)
        config = {**self._config, "CC_MONGO_DRIVER": DRIVERS[number % len(DRIVERS)]}
        job = Job(process=len(self._records), record=str(record), config=config, **self._job)
        with _said(record).open("w") as said:
            return subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "faults.worker", json.dumps(asdict(job))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
            )

    def _take(self, record: Path) -> None:
        begun: dict[int, list[Any]] = {}
        with record.open() as lines:
            for line in lines:
                entry = json.loads(line)
                if entry[0] not in begun:
                    begun[entry[0]] = entry
                else:
                    self._enter(begun.pop(entry[0]), entry)
        for entry in begun.values():
            self._outcome.unexpected.append(f"{entry[2]} of {entry[3]} never returned")

    def _enter(self, begun: list[Any], returned: list[Any]) -> None:
        _, start, kind, name, number, who = begun
        _, end, how, result, note = returned
        outcome = self._outcome
        outcome.operations += 1
        seconds = (end - start) / 1e9
        if seconds > outcome.longest:
            outcome.longest, outcome.slowest = seconds, f"{kind} of {name} by {who}: {how} {note}"
        if how == "unavailable" and "another writer" in note:
            outcome.replaced += 1
        elif how == "unavailable":
            outcome.unavailable += 1
            outcome.example = outcome.example or f"{kind}: {note}"
        elif how == "error":
            outcome.unexpected.append(f"{kind} of {name}: {note[-1500:]}")
        outcome.acknowledged += how == "ok" and kind == "write"
        if kind == "write":
            known = end if how == "ok" else None
            op = Op(kind="write", value=number, start=start, end=known, who=who, refused=result is False)
        elif how == "ok":
            op = Op(kind="read", value=result, start=start, end=end, who=who)
        else:
            return
        self._ops.setdefault(name, []).append(op)

    def _read_raw(self) -> None:
        """Read all rows from the primary, without the library: those that are there, and those on the majority."""
        client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(self._uri)
        with client:
            for level in ("local", "majority"):
                start = time.monotonic_ns()
                database = client.get_default_database(
                    read_concern=ReadConcern(level), read_preference=ReadPreference.PRIMARY
                )
                found = numbers_stored(database)
                end = time.monotonic_ns()
                for name, ops in self._ops.items():
                    register = Register.named(name)
                    value = found.get((register.slot, register.natural_key))
                    ops.append(Op(kind="read", value=value, start=start, end=end, who=f"afterwards, {level}"))

    async def _read_again(self) -> None:
        """Read every register through the library, as a process that has just started."""
        reset_config()  # of another scenario's, which would be kept
        async with backtest_mongo.setup({**self._config, "CC_MONGO_CONNECTION_STRING": self._uri}):
            start = time.monotonic_ns()
            found = await read_all(map(Register.named, self._ops))
            end = time.monotonic_ns()
        for register, value in found.items():
            op = Op(kind="read", value=value, start=start, end=end, who="afterwards, by the library")
            self._ops[register.name].append(op)


def _said(record: Path) -> Path:
    """Return where a process says what nobody asked: a warning, a task's error that was never retrieved."""
    return record.with_suffix(".stderr")


def _tell(worker: subprocess.Popen[str]) -> None:
    assert worker.stdin is not None  # for the type checker: it has a pipe
    worker.stdin.write("\n")
    worker.stdin.flush()

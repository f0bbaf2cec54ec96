"""The load on a database during a fault: its processes, their records, and what is found afterwards."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import pymongo
from pymongo import ReadPreference
from pymongo.read_concern import ReadConcern

import backtest_mongo
from backtest_mongo.core.config import reset_config
from faults.history import Op, Verdict, check, check_first_write_wins
from faults.registers import SPECS, Register, numbers_stored, read_all
from faults.worker import Job

__all__ = ["Load", "Outcome"]

DRIVERS: Final = ("motor", "pymongo")
ALL_SLOTS: Final = tuple(SPECS)


@dataclass
class Outcome:
    """The results of all operations of a load."""

    operations: int = 0
    acknowledged: int = 0
    lost: int = 0
    wrong: int = 0
    #: Operations that raised ``StoreUnavailableError``.
    unavailable: int = 0
    #: Writes that another writer replaced, or preceded, while the library retried them.
    replaced: int = 0
    #: Operations that raised any other error, which none may.
    unexpected: list[str] = field(default_factory=list)
    longest: float = 0.0
    explanation: str = ""
    example: str = ""
    #: A description of the longest operation.
    slowest: str = ""

    def __iadd__(self, other: Outcome) -> Self:
        """Add the outcome of another load."""
        if other.longest > self.longest:
            self.longest, self.slowest = other.longest, other.slowest
        for name in ("operations", "acknowledged", "lost", "wrong", "unavailable", "replaced", "unexpected"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.explanation = self.explanation or other.explanation
        self.example = self.example or other.example
        return self

    def add(self, name: str, verdict: Verdict) -> None:
        self.lost += verdict.lost
        self.wrong += verdict.wrong_reads
        if verdict.explanation and not self.explanation:
            self.explanation = f"{name}: {verdict.explanation}"


class Load:
    """Processes that use registers of all slots in one database.

    Args:
        directory: where the processes write their records.
        config: configuration of the library, without a driver: the processes alternate between both.
        uri: connection string with the database's name that bypasses all proxies.
        through: connection strings that the processes use, two processes per string; default: ``uri``.
        processes: number of processes.
        program: module that each process runs.
        job: more fields of each process's :class:`~faults.worker.Job`.
    """

    def __init__(
        self,
        directory: Path,
        config: dict[str, Any],
        *,
        uri: str,
        through: Sequence[str] = (),
        processes: int = 2,
        program: str = "faults.worker",
        **job: Any,
    ) -> None:
        self._directory = directory
        self._config = config
        self._uri = uri
        self._through = through or [uri]
        self._program = program
        self._processes = processes
        self._job = {"slots": list(ALL_SLOTS), **job}
        self._records: list[Path] = []
        self._workers: list[subprocess.Popen[str]] = []
        #: The record of each of them.
        self._record_by_worker: dict[int, Path] = {}
        self._ops: dict[str, list[Op]] = {}
        self._outcome = Outcome()
        #: Writes that took effect by a known time, if at all.
        self._settled: list[tuple[str, Op]] = []
        #: By connection string: when its server stopped being the primary, and when the library has to know.
        self._deposed: dict[str, tuple[int, int]] = {}

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the processes during the block, and until each has done its share of operations."""
        workers = self._workers = [self._start(number) for number in range(self._processes)]
        try:
            for worker in workers:
                _wait_until_ready(worker)
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
            raise RuntimeError(f"the load processes ended with exit statuses {codes}")
        for record in self._records:
            said = _said(record).read_text()
            if said:
                self._outcome.unexpected.append(f"on standard error: {said[-2000:]}")

    def tell(self, word: str) -> None:
        """Send a word to the standard input of each process."""
        for worker in self._workers:
            _tell(worker, word)

    def depose(self, uri: str, began: int, known: int) -> None:
        """Note that the server at ``uri``, one of ``through``, stopped being the primary for good.

        Args:
            uri: the server's connection string.
            began: when it stopped, in nanoseconds of the monotonic clock.
            known: when the library has to know. Reads between the two are not judged; later ones must not be answered.
        """
        self._deposed[uri] = (began, known)

    def has_done(self, operations: int) -> bool:
        """Tell whether the processes have completed this many operations altogether."""
        return sum(record.read_bytes().count(b"\n") for record in self._records if record.exists()) >= 2 * operations

    def outcome(self) -> Outcome:
        """Read every register again, check the whole history of each, and return the results."""
        for number, record in enumerate(self._records):
            self._take(record, self._deposed.get(self._route(number)))
        self._read_raw()
        asyncio.run(self._read_again())
        self._enter_settled()
        for name, ops in self._ops.items():
            is_immutable = Register.named(name).is_immutable
            self._outcome.add(name, check_first_write_wins(ops) if is_immutable else check(ops))
        return self._outcome

    def _start(self, number: int) -> subprocess.Popen[str]:
        record = self._directory / f"{uuid.uuid4().hex}.jsonl"
        self._records.append(record)
        self._record_by_worker[number] = record
        job = Job(process=len(self._records), record=str(record), config=self._make_config(number), **self._job)
        with _said(record).open("w") as said:
            return subprocess.Popen(
                [sys.executable, "-W", "error", "-m", self._program, json.dumps(asdict(job))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
            )

    def _make_config(self, number: int) -> dict[str, Any]:
        return {
            **self._config,
            "CC_MONGO_CONNECTION_STRING": self._route(number),
            "CC_MONGO_DRIVER": DRIVERS[number % len(DRIVERS)],
        }

    def _set_to_work(self, worker: subprocess.Popen[str]) -> None:
        _wait_until_ready(worker)
        _tell(worker)

    def _route(self, number: int) -> str:
        """Return the connection string by which a process reaches the database."""
        return self._through[number // len(DRIVERS) % len(self._through)]

    def _take(self, record: Path, deposed: tuple[int, int] | None) -> None:
        begun: dict[int, list[Any]] = {}
        with record.open() as lines:
            for line in lines:
                entry = json.loads(line)
                if entry[0] not in begun:
                    begun[entry[0]] = entry
                else:
                    self._enter(begun.pop(entry[0]), entry, deposed)
        for entry in begun.values():
            self._enter_unreturned(record, entry)

    def _enter_unreturned(self, record: Path, begun: list[Any]) -> None:
        self._outcome.unexpected.append(f"{begun[2]} of {begun[3]} never returned")

    def _enter(self, begun: list[Any], returned: list[Any], deposed: tuple[int, int] | None) -> None:
        _, start, kind, name, number, who, delay_before = begun
        _, end, how, result, note, delay_after = returned
        outcome = self._outcome
        outcome.operations += 1
        # A machine that is busy gives the process no processor, which is no stall of the library's.
        seconds = (end - start - (delay_after - delay_before)) / 1e9
        if seconds > outcome.longest:
            outcome.longest, outcome.slowest = seconds, f"{kind} of {name} by {who}: {how} {note}"
        if how == "unavailable" and "another writer" in note:
            outcome.replaced += 1
        elif how in ("unavailable", "not applied"):
            outcome.unavailable += 1
            outcome.example = outcome.example or f"{kind}: {note}"
        elif how == "error":
            outcome.unexpected.append(f"{kind} of {name}: {note[-1500:]}")
        outcome.acknowledged += how == "ok" and kind == "write"
        if kind == "write" and how == "not applied":
            return  # a read of it is a read of a value that nobody wrote
        if kind == "write":
            known = end if how in ("ok", "settled") else None
            op = Op(kind="write", value=number, start=start, end=known, who=who, refused=result is False)
            if how == "settled":
                self._settled.append((name, op))
                return
        elif how == "ok":
            op = Op(kind="read", value=result, start=start, end=end, who=who)
            if deposed is not None and start >= deposed[0]:
                self._judge_deposed(name, op, *deposed)
                return
        else:
            return
        self._ops.setdefault(name, []).append(op)

    def _judge_deposed(self, name: str, op: Op, began: int, known: int) -> None:
        """Count an answer of a server that the library has to know is not the primary any more."""
        if op.start < known:
            return
        self._outcome.wrong += 1
        since = (op.start - began) / 1e9
        text = f"{op.who} read {op.value} from a server that had stopped being the primary {since:.1f} s before"
        self._outcome.explanation = self._outcome.explanation or f"{name}: {text}"

    def _enter_settled(self) -> None:
        """Enter the settled writes that a read has seen, which took effect in time. The others may not have."""
        seen = {(name, op.value) for name, ops in self._ops.items() for op in ops if op.kind == "read"}
        for name, op in self._settled:
            if (name, op.value) in seen:
                self._ops[name].append(op)

    def _read_raw(self) -> None:
        """Read all rows from the primary without the library, with read concern local and majority."""
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
                    for register in self._list_registers(name):
                        value = found.get((register.slot, register.natural_key))
                        ops.append(Op(kind="read", value=value, start=start, end=end, who=f"afterwards, {level}"))

    def _list_registers(self, name: str) -> list[Register]:
        """Return the registers that a name of the records stands for."""
        return [Register.named(name)]

    async def _read_again(self) -> None:
        """Read every register through the library, as a fresh process does."""
        reset_config()  # otherwise another scenario's configuration would be kept
        async with backtest_mongo.setup({**self._config, "CC_MONGO_CONNECTION_STRING": self._uri}):
            start = time.monotonic_ns()
            found = await read_all(one for name in self._ops for one in self._list_registers(name))
            end = time.monotonic_ns()
        for name, ops in self._ops.items():
            for register in self._list_registers(name):
                value = found[register]
                ops.append(Op(kind="read", value=value, start=start, end=end, who="afterwards, by the library"))


def _said(record: Path) -> Path:
    """Return the file for a process's standard error: warnings, and exceptions of tasks that were never retrieved."""
    return record.with_suffix(".stderr")


def _wait_until_ready(worker: subprocess.Popen[str]) -> None:
    assert worker.stdout is not None  # for the type checker: it has a pipe
    if worker.stdout.readline() != "ready\n":
        raise RuntimeError(f"a load process ended at its start, with exit status {worker.wait()}")


def _tell(worker: subprocess.Popen[str], word: str = "") -> None:
    assert worker.stdin is not None  # for the type checker: it has a pipe
    worker.stdin.write(f"{word}\n")
    worker.stdin.flush()

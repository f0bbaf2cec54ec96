"""A process that times single operations, so that they can be timed with and without a fault in turn.

It reads orders from standard input, one JSON line each, and answers with the seconds that each operation took. Before
each operation it forgets the row's id, so that Redis is asked as by a fresh process.
"""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import time
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeAlias

import backtest_mongo
from faults.registers import Register

__all__ = ["Kind", "Probe"]

Kind: TypeAlias = Literal["read", "write"]
SLOT: Final = "state"


class Probe:
    """The parent's handle on the process; a context manager that ends it."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "faults.probe", json.dumps(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._process:
            self._process.communicate("\n")

    def run(self, kind: Kind, count: int) -> list[float]:
        """Time ``count`` operations, one after another, and return the seconds of each."""
        return self._ask([kind, count])

    def reset(self) -> None:
        """Close all connections and open them again, as if the process had just started."""
        self._ask(["reset", 0])

    def _ask(self, order: list[Any]) -> list[float]:
        assert self._process.stdin is not None  # for the type checker: both are pipes
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: list[float] = json.loads(self._process.stdout.readline())
        return answer


async def main(config: dict[str, Any]) -> None:
    backtest_mongo.set_logger(quiet())
    async with backtest_mongo.setup(config):
        register = Register(SLOT, f"probe-{id(config)}")
        await register.write(0)
        while (line := await asyncio.to_thread(sys.stdin.readline)).strip():
            kind, count = json.loads(line)
            if kind == "reset":
                await backtest_mongo.close()
                # Twice, so that nothing is left to be opened when operations are timed.
                for number in range(2):
                    await register.write(number)
                    await register.read()
            print(json.dumps([await _timed(register, kind) for _ in range(count)]), flush=True)


async def _timed(register: Register, kind: Kind) -> float:
    register.forget()
    start = time.perf_counter()
    await (register.read() if kind == "read" else register.write(1))
    return time.perf_counter() - start


def quiet() -> logging.Logger:
    """Return a logger that discards everything: opening the circuit breaker is expected here."""
    logger = logging.getLogger("faults")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))

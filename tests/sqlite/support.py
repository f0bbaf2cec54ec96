"""Locks, workers and raw access for the tests of SQLite."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import backtest_mongo
from backtest_mongo.sqlite.database import Database, get_database
from backtest_mongo.sqlite.file_format import STEPS
from tests.support.deadlines import SECONDS

T = TypeVar("T")

ROOT = Path(backtest_mongo.__file__).parent.parent


def worker(*arguments: str, ignored: tuple[str, ...] = (), cwd: Path = ROOT, **options: Any) -> subprocess.Popen[str]:
    # Without the variables that name servers, as no server is needed.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CC_")}
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-W", "error", *ignored, "-m", "tests.support.sqlite_worker", *arguments]
    return subprocess.Popen(command, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE, **options)


def list_names(directory: Path) -> list[str]:
    """Return what is in a directory."""
    return sorted(entry.name for entry in directory.iterdir())


def put(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def get(path: Path) -> bytes:
    return path.read_bytes()


def query(path: Path, statement: str, *parameters: Any) -> list[Any]:
    """Return what another program reads."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement, parameters).fetchall()


def change(path: Path, *statements: str) -> None:
    """Do what another program, or somebody with a shell, does."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Hold the lock of writers, as another process would."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


@contextlib.contextmanager
def locked_for_all(path: Path) -> Iterator[None]:
    """Hold the lock of readers and writers."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute(f"PRAGMA user_version={len(STEPS)}")
        yield


async def until(condition: Callable[[], Any]) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.001)


def database_of(path: Path) -> Database:
    return get_database(os.path.realpath(path))


async def start(path: Path, call: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Call a write, and wait until the thread that writes has taken it, to wait for a lock that somebody holds."""
    database = database_of(path)
    await until(lambda: database._called == database._finished)
    task = asyncio.ensure_future(call)
    await until(lambda: database._called > database._finished and not database._queue)
    return task

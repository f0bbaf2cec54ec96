"""Servers that several processes share, such as the workers of a test run, for as long as one of them needs them.

The first user starts a keeper: a process that runs the servers. All users hold one shared lock, and a process releases
it when it ends, whatever ends it. Once the keeper gets the lock exclusively, no user is left, and it stops the servers.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from backtest_mongo.embedded.server_process import REDIS_DATABASES
from backtest_mongo.embedded.servers import Servers
from backtest_mongo.errors import ServerError

__all__ = ["share_servers"]

_USERS: Final = "users.lock"
_STARTING: Final = "starting.lock"
_CONFIG: Final = "config.json"


@contextmanager
def share_servers(directory: Path, *, redis_database: int | None = None) -> Iterator[dict[str, Any]]:
    """Give what ``setup()`` needs to use the servers of all processes that name this directory; start them if needed.

    Args:
        directory: where the processes meet; it is created if it is missing.
        redis_database: use this Redis database, modulo the number of databases, instead of the first one.

    Raises:
        ServerError: a program is missing or does not start.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with _lock(directory / _USERS, fcntl.LOCK_SH):  # which waits for a keeper that is stopping
        with _lock(directory / _STARTING, fcntl.LOCK_EX):
            if not (directory / _CONFIG).exists():
                _start_keeper(directory)
        config = json.loads((directory / _CONFIG).read_text())
        if redis_database is not None:
            server = f"{config['CC_REDIS_HOST']}:{config['CC_REDIS_PORT']}"
            config["CC_REDIS_URL"] = f"redis://{server}/{redis_database % REDIS_DATABASES}"
        yield config


def _start_keeper(directory: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "backtest_mongo.embedded.shared", directory],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None  # for the type checker: both are pipes
    assert process.stderr is not None
    with process.stdout, process.stderr:
        problem = process.stdout.read()
        if not (directory / _CONFIG).exists():
            trace = process.stderr.read().decode(errors="replace")
            process.wait()
            fields = (
                json.loads(problem) if problem else {"message": f"the keeper of the servers failed: {trace[-600:]}"}
            )
            raise ServerError(**fields)
    process.returncode = 0  # it outlives this process, so there is nothing to wait for


@contextmanager
def _lock(path: Path, kind: int) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)  # which releases the lock


def _keep(directory: Path) -> None:
    """Start servers, announce it by closing standard output, and stop them when no user is left."""
    try:
        with Servers() as servers:
            unfinished = directory / f".{_CONFIG}"
            unfinished.write_text(json.dumps(servers.config))
            unfinished.rename(directory / _CONFIG)
            nowhere = os.open(os.devnull, os.O_RDWR)
            for stream in (1, 2):
                os.dup2(nowhere, stream)
            with _lock(directory / _USERS, fcntl.LOCK_EX):
                (directory / _CONFIG).unlink()
                servers.stop()
    except ServerError as error:
        print(json.dumps({"message": error.message, "hint": error.hint}))


if __name__ == "__main__":
    _keep(Path(sys.argv[1]))

"""Servers that several processes share, such as the workers of a run of tests, as long as one of them needs them.

Whoever comes first starts a process that keeps them. All users hold one lock together, and a process lets go of it when
it ends, whatever ends it. When the keeper gets it for itself, nobody is left, and it stops the servers.
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

from backtest_mongo.embedded.servers import Servers
from backtest_mongo.errors import ServerError

__all__ = ["shared"]

_USERS: Final = "users.lock"
_STARTING: Final = "starting.lock"
_CONFIG: Final = "config.json"


@contextmanager
def shared(directory: Path) -> Iterator[dict[str, Any]]:
    """Give what ``setup()`` needs to use the servers of all who name this directory; they are started if need be.

    Raises:
        ServerError: a program is missing or does not start.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with _locked(directory / _USERS, fcntl.LOCK_SH):  # which waits for a keeper that is stopping
        with _locked(directory / _STARTING, fcntl.LOCK_EX):
            if not (directory / _CONFIG).exists():
                _start_keeper(directory)
        yield json.loads((directory / _CONFIG).read_text())


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
    process.returncode = 0  # it outlives us, and nobody has forgotten to wait for it


@contextmanager
def _locked(path: Path, kind: int) -> Iterator[None]:
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, kind)
        yield
    finally:
        os.close(lock)


def _keep(directory: Path) -> None:
    """Start servers, tell so by closing standard output, and stop them when they have no user left."""
    try:
        with Servers() as servers:
            unfinished = directory / f".{_CONFIG}"
            unfinished.write_text(json.dumps(servers.config))
            unfinished.rename(directory / _CONFIG)
            nowhere = os.open(os.devnull, os.O_RDWR)
            for stream in (1, 2):
                os.dup2(nowhere, stream)
            with _locked(directory / _USERS, fcntl.LOCK_EX):
                (directory / _CONFIG).unlink()
                servers.stop()
    except ServerError as error:
        print(json.dumps({"message": error.message, "hint": error.hint}))


if __name__ == "__main__":
    _keep(Path(sys.argv[1]))

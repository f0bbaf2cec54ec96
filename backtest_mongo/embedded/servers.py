"""Both servers together: their directory, their ports, and their lifetime."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from backtest_mongo.embedded.server_process import HOST, REPLICA_SET, Mongod, RedisServer, ServerProcess
from backtest_mongo.errors import ServerError

__all__ = ["Servers"]

DATABASE: Final = "backtest-kit"
#: Another process can take a free port between finding and using it.
START_TRIES: Final = 3
_PORTS_FILE: Final = "ports.json"


class Servers:
    """A ``mongod`` and a ``redis-server`` that live as long as the ``with`` block, and no longer than this process.

    Args:
        directory: where both keep their data and logs; it is created if it is missing, and kept. The next start there
            finds the data, on the same ports if they are free. ``None`` is a temporary directory, which is removed at
            the end.

    Raises:
        ServerError: on entering the block, if a program is missing or does not start.
    """

    def __init__(self, directory: str | Path | None = None) -> None:
        self._temporary = directory is None
        self._directory = Path(directory).resolve() if directory is not None else None
        self._processes: dict[str, ServerProcess] = {}
        self._owner = os.getpid()

    @property
    def config(self) -> dict[str, Any]:
        """What ``setup()`` needs to use these servers."""
        mongod, redis_server = (self._processes[kind.name].port for kind in (Mongod, RedisServer))
        return {
            "CC_MONGO_CONNECTION_STRING": f"mongodb://{HOST}:{mongod}/{DATABASE}?replicaSet={REPLICA_SET}",
            "CC_REDIS_URL": "",  # a URL in the environment would take precedence over host and port
            "CC_REDIS_HOST": HOST,
            "CC_REDIS_PORT": redis_server,
        }

    @property
    def directory(self) -> Path:
        """Where the servers keep their data and logs."""
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="backtest-mongo-"))
        return self._directory

    def pid(self, name: str) -> int:
        """Return the process id of ``mongod`` or ``redis-server``, for tests that kill it (Linux only)."""
        return self._processes[name].pid

    def start(self) -> Self:
        """Start both and wait until they answer.

        Raises:
            ServerError: a program is missing or does not start.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            for name in (RedisServer.name, Mongod.name):
                self._start(name)
            if not self._temporary:
                ports = {name: process.port for name, process in self._processes.items()}
                (self.directory / _PORTS_FILE).write_text(json.dumps(ports))
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop both, and remove the directory if it is temporary. Stopping twice is fine."""
        if os.getpid() != self._owner:
            return  # a fork leaves the block too, but the servers belong to its parent
        while self._processes:
            _, process = self._processes.popitem()
            process.stop(kill=self._temporary)
        if self._temporary and self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def restart(self, name: str) -> None:
        """Stop ``mongod`` or ``redis-server`` if it still runs, and start it again on its port."""
        process = self._processes[name]
        process.stop()
        process.start()

    def wait(self) -> str:
        """Block until one of the servers ends by itself, and return its name."""
        while True:
            for name, process in self._processes.items():
                if process.has_ended:
                    return name
            time.sleep(0.1)  # the system has no wait for the first of several processes

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self, name: str) -> None:
        former = self._former_port(name)
        port = former if former is not None and _is_free(former) else _free_port()
        for tries_left in reversed(range(START_TRIES)):
            # Kept before it runs, so that an interrupted start is stopped too.
            process = self._processes[name] = self._make(name, port, former)
            try:
                process.start()
            except ServerError:
                if not tries_left:
                    raise
                port = _free_port()
            else:
                return

    def _make(self, name: str, port: int, former: int | None) -> ServerProcess:
        if name == RedisServer.name:
            return RedisServer(self.directory, port, keep=not self._temporary)
        return Mongod(self.directory, port, keep=not self._temporary, former_port=former)

    def _former_port(self, name: str) -> int | None:
        path = self.directory / _PORTS_FILE
        return json.loads(path.read_text()).get(name) if path.is_file() else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the servers do, so that connections of a run that has just ended do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True

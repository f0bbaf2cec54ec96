"""Starting and stopping the two servers."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pymongo
import redis
from pymongo.errors import OperationFailure, PyMongoError
from redis.exceptions import RedisError

from backtest_mongo.embedded import supervisor
from backtest_mongo.embedded.programs import find_mongod, find_redis_server
from backtest_mongo.errors import ServerError

__all__ = ["Servers"]

HOST: Final = "127.0.0.1"
REPLICA_SET: Final = "backtest"
DATABASE: Final = "backtest-kit"
START_SECONDS: Final = 30.0
#: A free port can be taken by somebody else between finding and using it.
START_TRIES: Final = 3
_PORTS_FILE: Final = "ports.json"


class Servers:
    """A ``mongod`` and a ``redis-server`` that live as long as the ``with`` block, and no longer than this process.

    Args:
        directory: where both keep their data and logs; made if absent, and kept. A second start there finds the data
            again. ``None`` means a temporary one, which is removed at the end.

    Raises (on entering):
        ServerError: a program is missing or does not start.
    """

    def __init__(self, directory: str | Path | None = None) -> None:
        self._temporary = directory is None
        self._directory = Path(directory).resolve() if directory is not None else None
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ports: dict[str, int] = {}

    @property
    def config(self) -> dict[str, Any]:
        """What ``setup()`` needs to use these servers."""
        return {
            "CC_MONGO_CONNECTION_STRING": f"mongodb://{HOST}:{self._ports['mongod']}/{DATABASE}?replicaSet={REPLICA_SET}",
            "CC_REDIS_HOST": HOST,
            "CC_REDIS_PORT": self._ports["redis-server"],
        }

    @property
    def directory(self) -> Path:
        """Where the servers keep their data and logs."""
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="backtest-mongo-"))
        return self._directory

    def pid(self, name: str) -> int:
        """Return the process id of ``mongod`` or ``redis-server``, to test what happens when it dies or hangs."""
        children = Path(f"/proc/{self._processes[name].pid}/task/{self._processes[name].pid}/children")
        return int(children.read_text().split()[0])

    def start(self) -> Self:
        """Start both and wait until they answer."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._start("redis-server")
            self._start("mongod")
            if not self._temporary:
                (self.directory / _PORTS_FILE).write_text(json.dumps(self._ports))
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop both, and remove the directory if it is a temporary one. Stopping twice is fine."""
        processes, self._processes = self._processes, {}
        for process in processes.values():
            _let_go(process, kill=self._temporary)
        for process in processes.values():
            process.wait()
        if self._temporary and self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def restart(self, name: str) -> None:
        """Start ``mongod`` or ``redis-server`` again, after it has died or to see that it comes back, on its port."""
        process = self._processes.pop(name)
        _let_go(process)
        process.wait()
        self._start(name)

    def wait(self) -> str:
        """Wait until one of the servers ends by itself, and return its name."""
        while True:
            for name, process in self._processes.items():
                try:
                    process.wait(0.2)
                except subprocess.TimeoutExpired:
                    continue
                return name

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self, name: str) -> None:
        is_mongod = name == "mongod"
        command = self._mongod_command if is_mongod else self._redis_command
        answers = _mongod_answers if is_mongod else _redis_answers
        for attempt in range(START_TRIES):
            port = self._ports[name] = self._port(name, attempt)
            log = self.directory / f"{name}.log"
            with log.open("ab") as output:
                self._processes[name] = subprocess.Popen(
                    [sys.executable, "-I", "-S", supervisor.__file__, *map(str, command(port))],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            deadline = time.monotonic() + START_SECONDS
            while self._processes[name].poll() is None and time.monotonic() < deadline:
                if answers(port):
                    return
                time.sleep(0.02)
            process = self._processes.pop(name)
            _let_go(process, kill=True)
            process.wait()
        tail = log.read_text(errors="replace")[-600:].strip()
        raise ServerError(f"{name} does not start on port {port}; its log {log} ends with: {tail}")

    def _port(self, name: str, attempt: int) -> int:
        if attempt == 0 and name in self._ports:
            return self._ports[name]
        if attempt == 0 and not self._temporary and (self.directory / _PORTS_FILE).is_file():
            kept = json.loads((self.directory / _PORTS_FILE).read_text()).get(name)
            if isinstance(kept, int) and _is_free(kept):
                return kept
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            return int(probe.getsockname()[1])

    def _redis_command(self, port: int) -> list[Any]:
        data = self.directory / "redis"
        data.mkdir(exist_ok=True)
        keep = ["--save", ""] if self._temporary else ["--save", "60 1"]
        return [find_redis_server(), "--port", port, "--bind", HOST, "--dir", data, "--appendonly", "no", *keep]

    def _mongod_command(self, port: int) -> list[Any]:
        data = self.directory / "mongo"
        data.mkdir(exist_ok=True)
        return [
            find_mongod(),
            *("--port", port, "--bind_ip", HOST, "--nounixsocket"),
            *("--dbpath", data, "--replSet", REPLICA_SET, "--oplogSize", 64),
            # mongod would take half of the machine's memory.
            *("--wiredTigerCacheSizeGB", 0.5),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
        ]


def _redis_answers(port: int) -> bool:
    client = redis.Redis(host=HOST, port=port, socket_timeout=1)
    try:
        return bool(client.ping())
    except RedisError:
        return False
    finally:
        client.close()


def _mongod_answers(port: int) -> bool:
    with pymongo.MongoClient[dict[str, Any]](
        HOST, port, directConnection=True, serverSelectionTimeoutMS=200, socketTimeoutMS=5000
    ) as client:
        try:
            if client.admin.command("hello").get("isWritablePrimary"):
                return True
            _be_primary(client, f"{HOST}:{port}")
        except PyMongoError:
            return False  # not listening yet, or busy electing itself: asked again soon
    return False


def _be_primary(client: pymongo.MongoClient[dict[str, Any]], address: str) -> None:
    """Make mongod the only member of its replica set, also where it was one under another port before."""
    try:
        config = client.admin.command("replSetGetConfig")["config"]
    except OperationFailure:
        client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": [{"_id": 0, "host": address}]})
        return
    if config["members"][0]["host"] != address:
        config["members"][0]["host"] = address
        config["version"] += 1
        client.admin.command("replSetReconfig", config, force=True)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _let_go(process: subprocess.Popen[bytes], kill: bool = False) -> None:
    assert process.stdin is not None  # for the type checker: it was started with a pipe
    try:
        if kill:
            process.stdin.write(supervisor.KILL)
        process.stdin.close()
    except BrokenPipeError:
        pass  # it has ended already

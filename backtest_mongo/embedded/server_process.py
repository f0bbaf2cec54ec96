"""One server process: starting it, waiting until it answers, and stopping it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import weakref
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Final

import pymongo
import redis
from pymongo.errors import OperationFailure, PyMongoError
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from backtest_mongo.embedded import supervisor
from backtest_mongo.embedded.programs import find_mongod, find_redis_server
from backtest_mongo.errors import ServerError

__all__ = ["HOST", "REDIS_DATABASES", "REPLICA_SET", "Mongod", "RedisServer", "ServerProcess"]

HOST: Final = "127.0.0.1"
REPLICA_SET: Final = "backtest"
#: Each worker of a test run has its own, and so does a worker that replaces another.
REDIS_DATABASES: Final = 1024
START_SECONDS: Final = 60.0


_started: weakref.WeakSet[subprocess.Popen[bytes]] = weakref.WeakSet()


def _close_pipes_after_fork() -> None:
    # A supervisor ends when its pipe closes, so a child must not keep the pipes open after this process has ended.
    for process in _started:
        if process.stdin is not None:
            process.stdin.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_pipes_after_fork)


class ServerProcess(ABC):
    """A server on a loopback port, with its log in a directory and its data below that."""

    name: ClassVar[str]
    has_large_data: ClassVar[bool] = False

    def __init__(self, directory: Path, port: int, *, keep: bool) -> None:
        self.port = port
        self._log = directory / f"{self.name}.log"
        self._data = directory / self.name
        self._keep = keep
        #: The directory that the supervisor removes if this process dies.
        self._temporary = "" if keep or not self.has_large_data else str(directory)
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def _command(self) -> list[Any]: ...

    @abstractmethod
    def _answers(self) -> bool: ...

    @property
    def pid(self) -> int:
        """The server's own process id."""
        assert self._process is not None  # for the type checker: only a started server is asked
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return int(children.read_text().split()[0])

    @property
    def has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            ServerError: it does not start; the message has the end of its log.
        """
        self._run(self._command())

    def stop(self, *, kill: bool = False) -> None:
        """Stop the server and wait until it has ended; ``kill`` ends it at once, for data that is not needed."""
        if self._process is None:
            return
        assert self._process.stdin is not None  # for the type checker: it was started with a pipe
        try:
            self._process.stdin.write(supervisor.KILL if kill else supervisor.STOP)
            self._process.stdin.close()
        except BrokenPipeError:
            pass  # it has ended already
        self._process.wait()
        self._process = None

    def _run(self, command: list[Any]) -> None:
        self._data.mkdir(exist_ok=True)
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", supervisor.__file__, self._temporary, *map(str, command)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        _started.add(self._process)
        deadline = time.monotonic() + START_SECONDS
        while not self.has_ended and time.monotonic() < deadline:
            if self._answers():
                return
            time.sleep(0.02)  # a server does not announce that it listens
        self.stop(kill=True)
        tail = self._log.read_text(errors="replace")[-600:].strip()
        raise ServerError(f"{self.name} does not start on port {self.port}; its log {self._log} ends with: {tail}")


class RedisServer(ServerProcess):
    name = "redis-server"

    def _command(self) -> list[Any]:
        save = "60 1" if self._keep else ""
        return [
            find_redis_server(),
            *("--port", self.port, "--bind", HOST, "--dir", self._data),
            *("--appendonly", "no", "--save", save, "--databases", REDIS_DATABASES),
        ]

    def _answers(self) -> bool:
        # Without the client's retries, which take seconds while no server listens.
        client = redis.Redis(host=HOST, port=self.port, socket_timeout=1, retry=Retry(NoBackoff(), 0))
        try:
            return bool(client.ping())
        except RedisError:
            return False
        finally:
            client.close()


class Mongod(ServerProcess):
    """A ``mongod`` that is the only member of a replica set."""

    name = "mongod"
    has_large_data = True

    def __init__(self, directory: Path, port: int, *, keep: bool, former_port: int | None = None) -> None:
        super().__init__(directory, port, keep=keep)
        self._former_port = former_port
        self._as_member = True

    def start(self) -> None:
        if self._former_port not in (None, self.port):
            self._move()
        super().start()

    def _command(self) -> list[Any]:
        return [
            find_mongod(),
            *("--port", self.port, "--bind_ip", HOST, "--nounixsocket", "--dbpath", self._data),
            # By default mongod takes half of the machine's memory.
            *("--wiredTigerCacheSizeGB", 0.5),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            *(("--replSet", REPLICA_SET, "--oplogSize", 64) if self._as_member else ()),
        ]

    def _answers(self) -> bool:
        with self._client() as client:
            try:
                if client.admin.command("hello").get("isWritablePrimary"):
                    return True
                self._initiate(client)
            except PyMongoError:
                pass  # it does not listen yet or is electing itself; the caller asks again
        return False

    def _initiate(self, client: pymongo.MongoClient[dict[str, Any]]) -> None:
        try:
            client.admin.command("replSetGetStatus")
        except OperationFailure:
            members = [{"_id": 0, "host": f"{HOST}:{self.port}"}]
            client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": members})

    def _move(self) -> None:
        """Update the configuration of the replica set, which names another port, to the port of this process.

        Started as a member, mongod would first look for itself at its old address, where any process may listen by now.
        """
        self._as_member = False
        self._run(self._command())
        with self._client() as client:
            client.local["system.replset"].update_one({}, {"$set": {"members.0.host": f"{HOST}:{self.port}"}})
        self.stop()
        self._as_member = True

    def _client(self) -> pymongo.MongoClient[dict[str, Any]]:
        return pymongo.MongoClient(
            HOST, self.port, directConnection=True, serverSelectionTimeoutMS=200, socketTimeoutMS=5000
        )

"""The servers that faults are made on, each a process of ours: a mongod, a replica set of three, a Redis."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pymongo
import redis
from pymongo.errors import PyMongoError
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from backtest_mongo.embedded.process import HOST, RedisServer, ServerProcess
from backtest_mongo.embedded.programs import find_mongod

__all__ = ["Mongod", "RedisNode", "ReplicaSet", "temporary_directory", "until"]

SET_NAME: Final = "faults"
MEMBERS: Final = 3
#: What a server gets to come back, on a loaded machine.
RECOVERY_SECONDS: Final = 60.0


def until(condition: Callable[[], Any], what: str, seconds: float = RECOVERY_SECONDS) -> Any:
    """Return what ``condition`` returns as soon as that is true.

    Raises:
        TimeoutError: it is not, for so many seconds.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)  # nothing tells when a server has become what is waited for
    raise TimeoutError(f"waited {seconds:g} s for {what}")


@contextmanager
def temporary_directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="backtest-mongo-faults-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class _Mortal(ServerProcess):
    """A server that is killed, frozen and started again on the same data and port."""

    def kill(self) -> None:
        """SIGKILL: nothing is flushed."""
        os.kill(self.pid, signal.SIGKILL)
        self.stop()

    def freeze(self) -> None:
        """SIGSTOP: its connections stay open and nobody answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def heal(self) -> None:
        """Make it run and answer, whatever has been done to it."""
        if self.has_ended:
            self.stop()
            self.start()
        else:
            self.thaw()
            until(self._answers, f"an answer on port {self.port}")


class Mongod(_Mortal):
    """A mongod with a small cache: a standalone, or a member of a replica set."""

    name = "mongod"
    has_large_data = True

    def __init__(self, directory: Path, *, is_member: bool = False) -> None:
        directory.mkdir()
        super().__init__(directory, free_port(), keep=False)
        self._is_member = is_member

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def uri(self, database: str, **options: Any) -> str:
        return f"mongodb://{self.address}/{database}?{_query(options)}"

    def client(self) -> pymongo.MongoClient[dict[str, Any]]:
        return pymongo.MongoClient(
            HOST,
            self.port,
            directConnection=True,
            serverSelectionTimeoutMS=1000,
            connectTimeoutMS=1000,
            socketTimeoutMS=10_000,
        )

    def _command(self) -> list[Any]:
        return [
            find_mongod(),
            *("--port", self.port, "--bind_ip", HOST, "--nounixsocket", "--dbpath", self._data),
            *("--wiredTigerCacheSizeGB", 0.25),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            *(("--replSet", SET_NAME, "--oplogSize", 64) if self._is_member else ()),
        ]

    def _answers(self) -> bool:
        with self.client() as client:
            try:
                client.admin.command("ping")
            except PyMongoError:
                return False
        return True


class ReplicaSet:
    """Three members, of which any two are a majority.

    Args:
        directory: where each gets a directory of its own.
        election_seconds: how long the others miss a primary before they elect another; 10 is MongoDB's default.
    """

    def __init__(self, directory: Path, election_seconds: float) -> None:
        self.election_seconds = election_seconds
        self.members = [Mongod(directory / f"member-{number}", is_member=True) for number in range(MEMBERS)]

    def start(self) -> None:
        for member in self.members:
            member.start()
        members = [{"_id": number, "host": member.address} for number, member in enumerate(self.members)]
        # A heartbeat a second at least, for an election sooner than the default's.
        settings = {
            "electionTimeoutMillis": int(self.election_seconds * 1000),
            "heartbeatIntervalMillis": int(min(2.0, self.election_seconds / 2) * 1000),
        }
        with self.members[0].client() as client:
            config = {"_id": SET_NAME, "members": members, "settings": settings}
            client.admin.command("replSetInitiate", config)
        self.until_whole()

    def stop(self, *, kill: bool = True) -> None:
        for member in self.members:
            member.stop(kill=kill)

    def uri(self, database: str, **options: Any) -> str:
        hosts = ",".join(member.address for member in self.members)
        return f"mongodb://{hosts}/{database}?{_query({'replicaSet': SET_NAME, **options})}"

    def primary(self, *, other_than: Mongod | None = None) -> Mongod:
        """Return the member that is the primary, once there is one."""
        candidates = [member for member in self.members if member is not other_than]

        def found() -> Mongod | None:
            return next((member for member in candidates if _state(member) == "PRIMARY"), None)

        return until(found, "a primary")  # type: ignore[no-any-return]

    def step_down(self) -> None:
        """Make the primary hand over, and wait for the next one."""
        before = self.primary()
        # It may answer, or close its connections first; busy secondaries can be too far behind.
        with before.client() as client, suppress(PyMongoError):
            client.admin.command("replSetStepDown", 5, secondaryCatchUpPeriodSecs=3)
        self.primary()

    def heal(self) -> None:
        for member in self.members:
            member.heal()
        self.until_whole()

    def until_whole(self) -> None:
        """Wait until there is a primary and everybody else follows it."""
        until(lambda: sorted(map(_state, self.members)) == ["PRIMARY", "SECONDARY", "SECONDARY"], "a whole replica set")


def _state(member: Mongod) -> str:
    """Return what a member calls itself: its state, once it is ready to take writes where that is PRIMARY."""
    if member.has_ended:
        return "DOWN"
    with member.client() as client:
        try:
            hello = client.admin.command("hello")
            if hello.get("isWritablePrimary"):
                return "PRIMARY"
            return "SECONDARY" if hello.get("secondary") else "OTHER"
        except PyMongoError:
            return "SILENT"


def _query(options: dict[str, Any]) -> str:
    return "&".join(f"{name}={value}" for name, value in options.items())


class RedisNode(_Mortal, RedisServer):
    """A Redis whose settings are changed while it runs."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        super().__init__(directory, free_port(), keep=False)
        #: More arguments for its next start.
        self.arguments: tuple[Any, ...] = ()
        self.password: str | None = None

    def client(self) -> redis.Redis:
        return redis.Redis(
            host=HOST, port=self.port, password=self.password, socket_timeout=5, retry=Retry(NoBackoff(), 0)
        )

    def command(self, *words: Any) -> Any:
        with self.client() as client:
            return client.execute_command(*words)

    def fill(self, keys: int, size: int) -> None:
        """Store so many values of so many bytes."""
        value = b"x" * size
        with self.client() as client:
            for start in range(0, keys, 100):
                client.mset({f"filler:{number}": value for number in range(start, start + 100)})

    def is_loading(self) -> bool:
        try:
            self.command("PING")
        except BusyLoadingError:
            return True
        return False

    def protect(self, password: str) -> None:
        """Ask for a password from now on, of those too that are connected already."""
        self.command("CONFIG", "SET", "requirepass", password)
        self.password = password
        self.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def reset(self) -> None:
        """Take back every setting, and forget all that is stored, by starting it anew."""
        if not self.has_ended:
            self.thaw()
        self.stop(kill=True)
        self.arguments, self.password = (), None
        (self._data / "dump.rdb").unlink(missing_ok=True)
        self.start()

    def _command(self) -> list[Any]:
        return [*super()._command(), *self.arguments]

    def _answers(self) -> bool:
        try:
            self.command("PING")
        except RedisConnectionError as error:
            # A refusal is an answer too; redis-py has the ones that it knows below this class.
            return type(error) is not RedisConnectionError
        return True

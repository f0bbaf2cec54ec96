"""The servers that faults are injected into: a mongod, a replica set, a Redis."""

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

from backtest_mongo.embedded.programs import find_mongod
from backtest_mongo.embedded.server_process import HOST, RedisServer, ServerProcess

__all__ = ["Mongod", "RedisNode", "ReplicaSet", "temporary_directory", "until"]

SET_NAME: Final = "faults"
MEMBERS: Final = 3
#: How long a server may take to come back on a loaded machine.
RECOVERY_SECONDS: Final = 60.0


def until(condition: Callable[[], Any], what: str, seconds: float = RECOVERY_SECONDS) -> Any:
    """Call ``condition`` until its result is true, and return that.

    Raises:
        TimeoutError: ``condition`` was false for ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)  # servers send no notification of their state
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
    """A server that can be killed, frozen and restarted on the same data and port."""

    def kill(self) -> None:
        """Send SIGKILL, so that nothing is flushed."""
        os.kill(self.pid, signal.SIGKILL)
        self.stop()

    def freeze(self) -> None:
        """Send SIGSTOP: connections stay open, and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def heal(self) -> None:
        """Restart or thaw the server, and wait until it answers."""
        if self.has_ended:
            self.stop()
            self.start()
        else:
            self.thaw()
            until(self._answers, f"an answer on port {self.port}")


class Mongod(_Mortal):
    """A mongod with a small cache: standalone, or a member of a replica set."""

    name = "mongod"
    has_large_data = True

    def __init__(self, directory: Path, *, is_member: bool = False, fails_on_demand: bool = False) -> None:
        directory.mkdir()
        super().__init__(directory, free_port(), keep=False)
        self._is_member = is_member
        self._fails_on_demand = fails_on_demand

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

    def fail(self, *commands: str, mode: Any, **data: Any) -> int:
        """Make these commands of the library fail as ``data`` says, and return how many have failed so far."""
        point = {"configureFailPoint": "failCommand", "mode": mode}
        with self.client() as client:
            answer = client.admin.command(
                {**point, "data": {"appName": "backtest-mongo", "failCommands": list(commands), **data}}
            )
        return int(answer["count"])

    def _command(self) -> list[Any]:
        return [
            find_mongod(),
            *("--port", self.port, "--bind_ip", HOST, "--nounixsocket", "--dbpath", self._data),
            *("--wiredTigerCacheSizeGB", 0.25),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            *(("--setParameter", "enableTestCommands=1") if self._fails_on_demand else ()),
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
    """A replica set.

    Args:
        directory: parent of the members' data directories.
        election_seconds: how long the others wait for a lost primary before an election; MongoDB's default is 10.
        count: number of members.
        fails_on_demand: whether the members accept failpoints.
    """

    def __init__(
        self, directory: Path, election_seconds: float, count: int = MEMBERS, *, fails_on_demand: bool = False
    ) -> None:
        self.election_seconds = election_seconds
        self.members = [
            Mongod(directory / f"member-{number}", is_member=True, fails_on_demand=fails_on_demand)
            for number in range(count)
        ]

    def start(self) -> None:
        for member in self.members:
            member.start()
        members = [{"_id": number, "host": member.address} for number, member in enumerate(self.members)]
        # A shorter interval between heartbeats makes the election start sooner.
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
        """Wait for a primary, and return it."""
        candidates = [member for member in self.members if member is not other_than]

        def found() -> Mongod | None:
            return next((member for member in candidates if _state(member) == "PRIMARY"), None)

        return until(found, "a primary")  # type: ignore[no-any-return]

    def step_down(self) -> None:
        """Make the primary step down, and wait for the next one."""
        before = self.primary()
        # It may close its connections before it answers, and fails if the secondaries are too far behind.
        with before.client() as client, suppress(PyMongoError):
            client.admin.command("replSetStepDown", 5, secondaryCatchUpPeriodSecs=3)
        self.primary()

    def depose(self, member: Mongod) -> None:
        """Make the primary step down, and wait until it is a secondary."""

        def is_deposed() -> bool:
            with member.client() as client, suppress(PyMongoError):
                client.admin.command("replSetStepDown", 60, secondaryCatchUpPeriodSecs=10)
            return _state(member) == "SECONDARY"

        until(is_deposed, "a primary to step down")

    def heal(self) -> None:
        for member in self.members:
            member.heal()
        self.until_whole()

    def until_whole(self) -> None:
        """Wait until there is a primary and all other members are secondaries."""
        whole = ["PRIMARY", *["SECONDARY"] * (len(self.members) - 1)]
        until(lambda: sorted(map(_state, self.members)) == whole, "a whole replica set")


def _state(member: Mongod) -> str:
    """Return the state that a member reports: ``PRIMARY`` once it accepts writes."""
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
    """A Redis whose settings can be changed while it runs."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        super().__init__(directory, free_port(), keep=False)
        #: Additional arguments for the next start.
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
        """Store ``keys`` values of ``size`` bytes."""
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
        """Require a password from now on, also from clients that are connected already."""
        self.command("CONFIG", "SET", "requirepass", password)
        self.password = password
        self.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def reset(self) -> None:
        """Restart without data and with default settings."""
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
            # A refusal is an answer too: redis-py raises subclasses of this error for those that it knows.
            return type(error) is not RedisConnectionError
        return True

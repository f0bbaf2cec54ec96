"""Where scenarios run: servers that start when they are first used, and a database per scenario."""

from __future__ import annotations

import time
import uuid
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from faults.bar_load import BarLoad
from faults.group_load import GroupLoad, SQLiteGroupLoad
from faults.load import Load
from faults.proxy import Proxy
from faults.sqlite_load import SQLiteLoad
from faults.topology import Mongod, RedisNode, ReplicaSet, temporary_directory

__all__ = ["Stage"]

#: MongoDB's default, and a shorter one for quick runs.
ELECTION_SECONDS: Final = 10.0
QUICK_ELECTION_SECONDS: Final = 2.0


class Stage:
    """The servers of a run, which end with the ``with`` block.

    Args:
        quick: run each scenario in its shortest form.
        operations: operations of each register scenario in its long form.
    """

    def __init__(self, *, quick: bool, operations: int = 100_000) -> None:
        self.quick = quick
        self.operations = 2_000 if quick else operations
        self._stack = ExitStack()
        self._directory = Path()

    def __enter__(self) -> Self:
        self._directory = self._stack.enter_context(temporary_directory())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def times(self, quick: int, long: int) -> int:
        """Return how often to inject a fault."""
        return quick if self.quick else long

    def work(self, seconds: float) -> None:
        """Let the load run for a time."""
        time.sleep(seconds)  # not a wait for a condition: this is how long the load runs

    @cached_property
    def standalone(self) -> Mongod:
        server = Mongod(self._directory / "standalone")
        self._stack.callback(server.stop, kill=True)
        server.start()
        return server

    @cached_property
    def replica_set(self) -> ReplicaSet:
        servers = ReplicaSet(self._directory, QUICK_ELECTION_SECONDS if self.quick else ELECTION_SECONDS)
        self._stack.callback(servers.stop)
        servers.start()
        return servers

    @cached_property
    def failing_set(self) -> ReplicaSet:
        """A replica set of one member whose commands fail on demand."""
        directory = self._directory / "failing"
        directory.mkdir()
        servers = ReplicaSet(directory, QUICK_ELECTION_SECONDS, 1, fails_on_demand=True)
        self._stack.callback(servers.stop)
        servers.start()
        return servers

    @cached_property
    def redis(self) -> RedisNode:
        """The Redis that faults are injected into."""
        return self._redis("redis")

    @cached_property
    def redis_proxy(self) -> Proxy:
        """A proxy to :attr:`redis`."""
        return self._stack.enter_context(Proxy(self.redis.port))

    @cached_property
    def healthy_redis(self) -> RedisNode:
        """A Redis without faults."""
        return self._redis("healthy-redis")

    def _redis(self, name: str) -> RedisNode:
        server = RedisNode(self._directory / name)
        self._stack.callback(server.stop, kill=True)
        server.start()
        return server

    def proxy(self, port: int) -> Proxy:
        """Return a proxy to a server, for a ``with`` block."""
        return Proxy(port)

    def database(self) -> str:
        """Return a unique name for a database."""
        return f"faults-{uuid.uuid4().hex[:12]}"

    def load(self, uri: str, *, config: dict[str, Any] | None = None, **options: Any) -> Load:
        """Return a load on the database at ``uri``; the options are those of :class:`~faults.load.Load`."""
        full = {"CC_REDIS_PORT": self.healthy_redis.port, **(config or {})}
        return Load(self._directory, full, uri=uri, **options)

    def group_load(self, uri: str, *, config: dict[str, Any] | None = None, **options: Any) -> Load:
        """Return a load of transactions on the database at ``uri``."""
        return GroupLoad(
            self._directory, {"CC_REDIS_PORT": self.healthy_redis.port, **(config or {})}, uri=uri, **options
        )

    def sqlite_group_load(self, **options: Any) -> SQLiteLoad:
        """Return a load of transactions on an SQLite file."""
        return SQLiteGroupLoad(self._directory, {}, **options)

    def bar_load(self, uri: str, *, config: dict[str, Any] | None = None, **options: Any) -> BarLoad:
        """Return a load of bars on the database at ``uri``; without one it is on an SQLite file."""
        redis = {"CC_REDIS_PORT": self.healthy_redis.port} if uri else {}
        return BarLoad(self._directory, {**redis, **(config or {})}, uri=uri, **options)

    def sqlite_load(self, *, config: dict[str, Any] | None = None, **options: Any) -> SQLiteLoad:
        """Return a load on an SQLite file; the options are those of :class:`~faults.load.Load`."""
        return SQLiteLoad(self._directory, config or {}, **options)

"""Redis in its other shapes, as real processes: a cluster, Sentinels, behind TLS."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from backtest_mongo.embedded.programs import find_redis_server
from backtest_mongo.embedded.server_process import HOST, RedisServer, ServerProcess
from tests.support.deadlines import SECONDS

SLOTS = 16384
#: How far a cluster's nodes talk to each other above the port that clients use.
BUS = 10_000


def until(condition: Callable[[], Any]) -> Any:
    """Poll until ``condition`` holds, and return what it answers. Redis errors count as not yet."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(RedisError):
            if answer := condition():
                return answer
        time.sleep(0.02)  # nothing signals when a server has become what is waited for
    raise TimeoutError(f"{getattr(condition, '__name__', condition)} did not hold within {SECONDS:g} s")


async def eventually(condition: Callable[[], Awaitable[Any]]) -> None:
    """Wait until ``condition`` holds: what is on its way to Redis, nobody waits longer than a moment for."""
    async with asyncio.timeout(SECONDS):
        while not await condition():  # noqa: ASYNC110 - what another process does sets no event
            await asyncio.sleep(0.02)


def free_port(*, bus: bool = False) -> int:
    """Return a port that is free, and if it is for a cluster's node the port above it as well."""
    while True:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port = int(probe.getsockname()[1])
        if not bus:
            return port
        with socket.socket() as other, contextlib.suppress(OSError, OverflowError):
            other.bind((HOST, port + BUS))
            return port


class RedisNode(RedisServer):
    """A ``redis-server`` with options of its own."""

    def __init__(self, directory: Path, *options: Any, port: int = 0, password: str = "") -> None:
        directory.mkdir(exist_ok=True)
        super().__init__(directory, port or free_port(), keep=False)
        self._options = (*options, *(("--requirepass", password, "--masterauth", password) if password else ()))
        self.password = password

    def client(self, **options: Any) -> Any:
        """Return a client that tries once. Closing it is left to the garbage collector, which does so in silence."""
        return redis.Redis(
            host=HOST, port=self.port, password=self.password or None, retry=Retry(NoBackoff(), 0), **options
        )

    def _command(self) -> list[Any]:
        return [*super()._command(), *self._options]

    def _answers(self) -> bool:
        try:
            return bool(self.client(socket_timeout=1).ping())
        except ResponseError:
            return True  # it wants another user
        except RedisError:
            return False


class SentinelNode(ServerProcess):
    """A ``redis-server`` that watches over a master."""

    name = "sentinel"

    def __init__(self, directory: Path, master: RedisNode, service: str, password: str = "") -> None:
        directory.mkdir()
        super().__init__(directory, free_port(), keep=False)
        self.password = password
        self._file = directory / "sentinel.conf"
        lines = [
            f"port {self.port}",
            f"bind {HOST}",
            f"sentinel monitor {service} {HOST} {master.port} 2",
            f"sentinel down-after-milliseconds {service} 500",
            f"sentinel failover-timeout {service} 3000",
            *([f"sentinel auth-pass {service} {master.password}"] if master.password else ()),
            *([f"requirepass {password}", f"sentinel sentinel-pass {password}"] if password else ()),
        ]
        self._file.write_text("\n".join(lines) + "\n")

    def client(self) -> Any:
        return redis.Redis(
            host=HOST, port=self.port, password=self.password or None, socket_timeout=1, retry=Retry(NoBackoff(), 0)
        )

    def _command(self) -> list[Any]:
        return [find_redis_server(), self._file, "--sentinel", "--dir", self._data]

    def _answers(self) -> bool:
        try:
            return bool(self.client().ping())
        except RedisError:
            return False


@contextlib.contextmanager
def node(*options: Any, password: str = "") -> Iterator[RedisNode]:
    """One ``redis-server`` with options."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        started = RedisNode(Path(directory), *options, password=password)
        stack.callback(started.stop, kill=True)
        started.start()
        yield started


class ClusterServers:
    """The nodes of a Redis Cluster that share the slots, and replicas of the first ones of them."""

    def __init__(self, nodes: list[RedisNode], replicas: list[RedisNode], start: Callable[[], RedisNode]) -> None:
        self.nodes = nodes
        self.replicas = replicas
        self.ids = [_id(one) for one in nodes]
        self._start = start

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"{HOST}:{one.port}" for one in self.nodes)

    def form(self) -> None:
        share = -(-SLOTS // len(self.nodes))
        for number, one in enumerate(self.nodes):
            slots = range(number * share, min((number + 1) * share, SLOTS))
            one.client().execute_command("CLUSTER", "ADDSLOTS", *slots)
            one.client().execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        self.meet()
        for number, replica in enumerate(self.replicas):
            client = replica.client()
            # It must have heard of its master first.
            until(partial(client.execute_command, "CLUSTER", "REPLICATE", self.ids[number]))
            until(partial(_is_linked, client))

    def meet(self) -> None:
        """Make the nodes known to each other, and wait until they agree."""
        for other in (*self.nodes[1:], *self.replicas):
            self.nodes[0].client().execute_command("CLUSTER", "MEET", HOST, other.port)
        until(self.agree)

    def agree(self) -> bool:
        """Tell whether every node finds the cluster whole."""
        every = [*self.nodes, *self.replicas]
        expected = {b"cluster_state:ok", b"cluster_known_nodes:%d" % len(every)}
        return all(expected <= set(one.client().execute_command("CLUSTER", "INFO").splitlines()) for one in every)

    def has_promoted(self) -> bool:
        """Tell whether the first replica has become a master."""
        return bool(self.replicas[0].client().info("replication")["role"] == "master")

    @contextlib.contextmanager
    def joined(self) -> Iterator[int]:
        """Let a node without slots join, and yield its number."""
        self.nodes.append(self._start())
        self.ids.append(_id(self.nodes[-1]))
        self.meet()
        yield len(self.nodes) - 1

    def owner(self, slot: int) -> int:
        """Return which node owns a slot, as the nodes have agreed."""
        for first, last, (_, port, *_), *_ in self._run(0, "CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(number for number, one in enumerate(self.nodes) if one.port == port)
        raise LookupError(slot)

    def begin_move(self, slot: int, target: int) -> None:
        source = self.owner(slot)
        self._run(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", self.ids[source])
        self._run(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", self.ids[target])

    def move_keys(self, slot: int, source: int, target: int, most: int = 1_000_000) -> int:
        """Move keys of a slot, whose move has begun, and return how many there were."""
        keys = self._run(source, "CLUSTER", "GETKEYSINSLOT", slot, most)
        node = self.nodes[target]
        login = ("AUTH", node.password) if node.password else ()
        if keys:
            self._run(source, "MIGRATE", HOST, node.port, "", 0, 5000, "REPLACE", *login, "KEYS", *keys)
        return len(keys)

    def end_move(self, slot: int, source: int, target: int) -> None:
        while self.move_keys(slot, source, target):
            pass
        for number in (target, source, *range(len(self.nodes))):
            self._run(number, "CLUSTER", "SETSLOT", slot, "NODE", self.ids[target])

    def move(self, slot: int, target: int) -> None:
        source = self.owner(slot)
        self.begin_move(slot, target)
        self.end_move(slot, source, target)

    def _run(self, number: int, *command: Any) -> Any:
        return self.nodes[number].client().execute_command(*command)


def _is_linked(client: Any) -> bool:
    return bool(client.info("replication")["master_link_status"] == "up")


def _id(one: RedisNode) -> str:
    return str(one.client().execute_command("CLUSTER", "MYID"), "ascii")


@contextlib.contextmanager
def cluster(count: int, replicas: int = 0, password: str = "") -> Iterator[ClusterServers]:
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:

        def start() -> RedisNode:
            port = free_port(bus=True)
            one = RedisNode(
                Path(directory) / str(port),
                *("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", 1000),
                port=port,
                password=password,
            )
            stack.callback(one.stop, kill=True)
            one.start()
            return one

        servers = ClusterServers([start() for _ in range(count)], [start() for _ in range(replicas)], start)
        servers.form()
        yield servers


class SentinelServers:
    """A master, its replica, and the Sentinels that decide which of the two is the master."""

    service = "ids"

    def __init__(self, nodes: list[RedisNode], sentinels: list[SentinelNode]) -> None:
        self.nodes = nodes
        self.sentinels = sentinels

    @property
    def places(self) -> str:
        return ",".join(f"{HOST}:{one.port}" for one in self.sentinels)

    def master(self) -> RedisNode:
        """Return the node that the Sentinels take for the master."""
        client = self.sentinels[0].client()
        _, port = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
        return next(one for one in self.nodes if one.port == int(port))

    def has_formed(self) -> bool:
        for one in self.sentinels:
            state = one.client().sentinel_master(self.service)
            if state["num-slaves"] != len(self.nodes) - 1 or state["num-other-sentinels"] != len(self.sentinels) - 1:
                return False
        replica = next(one for one in self.nodes if one is not self.master())
        return _is_linked(replica.client())


@contextlib.contextmanager
def sentinels(password: str = "", sentinel_password: str = "") -> Iterator[SentinelServers]:
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        place = Path(directory)

        def start(process: Any) -> Any:
            stack.callback(process.stop, kill=True)
            process.start()
            return process

        master = start(RedisNode(place / "master", password=password))
        replica = start(RedisNode(place / "replica", "--replicaof", HOST, master.port, password=password))
        watchers = [
            start(SentinelNode(place / f"sentinel-{number}", master, SentinelServers.service, sentinel_password))
            for number in range(3)
        ]
        servers = SentinelServers([master, replica], watchers)
        until(servers.has_formed)
        yield servers


@contextlib.asynccontextmanager
async def tls(context: ssl.SSLContext, port: int) -> AsyncIterator[int]:
    """Terminate TLS in front of a server on ``port``, and yield the port to dial: the wheels' servers have no TLS."""
    tasks: set[asyncio.Task[None]] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # either side may go when it likes
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(task := asyncio.current_task())  # type: ignore[arg-type]  # a connection is served by a task
        task.add_done_callback(tasks.discard)  # type: ignore[union-attr]
        try:
            server = await asyncio.open_connection(HOST, port)
            await asyncio.gather(copy(reader, server[1]), copy(server[0], writer))
        finally:
            writer.close()

    proxy = await asyncio.start_server(serve, HOST, 0, ssl=context)
    try:
        yield int(proxy.sockets[0].getsockname()[1])
    finally:
        proxy.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

"""A replica set of one whose server fails or holds commands on demand, and a client that looks behind the library."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pymongo

from backtest_mongo.embedded.server_process import HOST, REPLICA_SET, Mongod
from backtest_mongo.embedded.servers import _free_port

__all__ = ["FailingServer", "failing_server", "until"]

#: How long anything is waited for, on a loaded machine.
MAX_WAIT_SECONDS: Final = 60.0
WRITES: Final = ("findAndModify", "update", "insert")
READS: Final = ("find", "aggregate", "getMore")


class _FailingMember(Mongod):
    """The only member of a replica set, which takes ``configureFailPoint``."""

    def _command(self) -> list[Any]:
        return [*super()._command(), "--setParameter", "enableTestCommands=1"]


class FailingServer:
    """A server, and a client of its own, whose commands no failpoint of this class hits."""

    def __init__(self, mongod: Mongod, client: pymongo.MongoClient[dict[str, Any]]) -> None:
        self.port = mongod.port
        self.client = client
        self._before = 0

    def uri(self, database: str, **options: Any) -> str:
        query = "&".join(f"{name}={value}" for name, value in {"replicaSet": REPLICA_SET, **options}.items())
        return f"mongodb://{HOST}:{self.port}/{database}?{query}"

    def fail(self, *commands: str, mode: Any = "alwaysOn", **data: Any) -> None:
        """Let these commands of the library fail as ``data`` says."""
        self._configure(mode, {"appName": "backtest-mongo", "failCommands": list(commands), **data})

    def hold(self, *commands: str, milliseconds: int, times: int | None = None, skip: int = 0) -> None:
        """Let the server wait before it carries these commands of the library out."""
        mode: Any = {"times": times} if times is not None else {"skip": skip} if skip else "alwaysOn"
        self.fail(*commands, mode=mode, blockConnection=True, blockTimeMS=milliseconds)

    def end(self) -> None:
        """End the fault; commands that are held already stay so until their time is over."""
        self._configure("off")

    async def until_held(self, times: int = 1) -> None:
        """Wait until so many commands have been held, or failed, since the fault was made."""
        wait = {
            "waitForFailPoint": "failCommand",
            "timesEntered": self._before + times,
            "maxTimeMS": int(MAX_WAIT_SECONDS * 1000),
        }
        await asyncio.to_thread(self.client.admin.command, wait)

    async def until_idle(self) -> None:
        """Wait until the server is done with every command of the library, those included that were held."""
        await asyncio.to_thread(until, lambda: not self._under_way(), "the end of all that was sent")

    def _under_way(self) -> bool:
        stages: list[dict[str, Any]] = [
            {"$currentOp": {"allUsers": True}},
            {"$match": {"appName": "backtest-mongo", "active": True, "command.hello": {"$exists": False}}},
        ]
        # Its monitors wait for news of the server all the time.
        return any("isMaster" not in row.get("command", {}) for row in self.client.admin.aggregate(stages))

    def _configure(self, mode: Any, data: dict[str, Any] | None = None) -> None:
        more = {"data": data} if data is not None else {}
        answer = self.client.admin.command({"configureFailPoint": "failCommand", "mode": mode, **more})
        self._before = int(answer["count"])


def until(condition: Callable[[], Any], what: str) -> None:
    """Wait until ``condition`` is true."""
    deadline = time.monotonic() + MAX_WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)  # nothing signals when a server has become what is waited for


@contextmanager
def failing_server(directory: Path) -> Iterator[FailingServer]:
    mongod = _FailingMember(directory, _free_port(), keep=False)
    mongod.start()
    uri = f"mongodb://{HOST}:{mongod.port}/?directConnection=true"
    try:
        with pymongo.MongoClient[dict[str, Any]](uri, appname="observer") as client:
            yield FailingServer(mongod, client)
    finally:
        mongod.stop(kill=True)

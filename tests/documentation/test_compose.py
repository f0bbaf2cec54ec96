"""The connection strings of docs/deployment.md, on a replica set whose member has the name that compose.yaml gives it.

A name that containers can resolve, and this machine can't, is in the hosts of a mount namespace.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pymongo
import pytest
from pymongo.errors import OperationFailure

from backtest_mongo import StateAdapter, setup, transaction
from backtest_mongo.embedded.server_process import REPLICA_SET, Mongod
from tests.support.deadlines import PROCESS_SECONDS
from tests.support.redis_servers import free_port

pytestmark = pytest.mark.one_python

ROOT: Final = Path(__file__).parents[2]
COMPOSE: Final = (ROOT / "compose.yaml").read_text("utf-8")
#: What the first run of MongoDB's health check names the set and its member.
((SET, MEMBER),) = re.findall(
    r'rs\.initiate\(\{_id: "(\w+)", members: \[\{_id: 0, host: "(\w+):27017"\}\]\}\)', COMPOSE
)

#: Writes and reads as an engine does, and prints what a transaction has stored.
ENGINE: Final = """
import asyncio, sys
from backtest_mongo import close, persist, setup, transaction

async def main():
    await setup(CC_MONGO_CONNECTION_STRING=sys.argv[1], CC_REDIS_REQUIRED=False, CC_REDIS_PORT=int(sys.argv[2]))
    state = persist.state("signal", sys.argv[3])
    async with transaction(when=1):
        await state.write_state_data({"n": 1})
    print(await state.read_state_data())
    await close()

asyncio.run(main())
"""


def enter_namespace(hosts: Path) -> list[Any]:
    """Return the beginning of a command that runs another one where these hosts are known."""
    script = 'mount --bind "$0" /etc/hosts && exec "$@"'
    return ["unshare", "--mount", "--user", "--map-root-user", "sh", "-c", script, hosts]


class NamedMongod(Mongod):
    """The only member of a replica set, under the name that compose.yaml gives it."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, free_port(), keep=False)
        self.hosts = directory / "hosts"
        self.hosts.write_text(f"127.0.0.1 localhost {MEMBER}\n", "utf-8")

    def _command(self) -> list[Any]:
        return [*enter_namespace(self.hosts), *super()._command()]

    def _initiate(self, client: pymongo.MongoClient[dict[str, Any]]) -> None:
        try:
            client.admin.command("replSetGetStatus")
        except OperationFailure:
            members = [{"_id": 0, "host": f"{MEMBER}:{self.port}"}]
            client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": members})


def has_namespaces() -> bool:
    program = shutil.which("unshare")
    return (
        program is not None and not subprocess.run([program, "--mount", "--user", "--map-root-user", "true"]).returncode
    )


@pytest.fixture(scope="module")
def mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NamedMongod]:
    if not has_namespaces():
        pytest.skip("this system lets nobody make a mount namespace")
    made = NamedMongod(tmp_path_factory.mktemp("compose"))
    made.start()
    yield made
    made.stop()


def find_uri(where: str, mongod: NamedMongod, database: str) -> str:
    """Return the connection string of the page for an engine that runs somewhere, with the server's own port."""
    page = (ROOT / "docs" / "deployment.md").read_text("utf-8")
    row: str
    (row,) = re.findall(rf"^\| {where} \| `([^`]+)` \|", page, re.MULTILINE)
    return row.replace(":27017/backtest-kit", f":{mongod.port}/{database}")


async def test_engine_on_this_machine(mongod: NamedMongod, servers: dict[str, Any], unique: str) -> None:
    uri = find_uri("on this machine", mongod, unique)
    async with setup(servers, CC_MONGO_CONNECTION_STRING=uri):
        state = StateAdapter("signal", "bucket")
        async with state.watch() as changes:
            async with transaction(when=1):
                await state.write_state_data({"n": 1})
            change = await anext(changes)
        assert (change.kind, await state.read_state_data()) == ("written", {"n": 1})


def test_engine_in_a_container(mongod: NamedMongod, servers: dict[str, Any], unique: str) -> None:
    uri = find_uri("in a container of the same network", mongod, unique)
    assert (REPLICA_SET, uri.partition("://")[2].partition(":")[0]) == (SET, MEMBER)
    program = [sys.executable, "-c", ENGINE, uri, str(servers["CC_REDIS_PORT"]), unique]
    done = subprocess.run(
        [*enter_namespace(mongod.hosts), *program],
        capture_output=True,
        text=True,
        timeout=PROCESS_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "{'n': 1}\n", "")


def test_comments_of_the_file_are_those_of_the_page() -> None:
    page = (ROOT / "docs" / "deployment.md").read_text("utf-8")
    for uri in re.findall(r"mongodb://\S+[^\s\"]", COMPOSE):
        assert uri in page

"""Embedded servers: they are found, started, and stopped whatever happens."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import ServerError, StateAdapter, embedded, setup
from backtest_mongo.embedded import programs
from backtest_mongo.embedded.shared import share_servers
from tests.support.deadlines import PROCESS_SECONDS, SECONDS

pytestmark = [pytest.mark.one_python, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]

WHEN = 1_700_000_000_000


def alive(pid: int) -> bool:
    """Return whether a process runs, which a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter if it ends while it is read
        return False


async def gone(*pids: int) -> None:
    async with asyncio.timeout(SECONDS):
        while any(map(alive, pids)):  # noqa: ASYNC110  # there is no event for the end of another program's process
            await asyncio.sleep(0.02)


async def write_and_read(config: dict[str, Any]) -> Any:
    async with setup(config):
        state = StateAdapter("signal", "counter")
        await state.write_state_data({"n": 1}, WHEN)
        return await state.read_state_data()


async def test_servers_work_and_leave_nothing_behind_after_the_block() -> None:
    with embedded.Servers() as servers:
        pids, directory = [servers.pid("mongod"), servers.pid("redis-server")], servers.directory
        assert await write_and_read(servers.config) == {"n": 1}
        assert all(map(alive, pids))
    assert not any(map(alive, pids))
    assert not directory.exists()


async def test_mongod_is_a_replica_set_so_change_streams_work(servers: dict[str, Any]) -> None:
    async with setup({**servers, "CC_MONGO_DRIVER": "pymongo"}):
        client = await backtest_mongo.get_mongo()
        assert (await client.admin.command("hello"))["setName"]


async def test_servers_end_after_an_exception() -> None:
    servers, pids = embedded.Servers(), []

    def fail() -> None:
        with servers:
            pids.extend([servers.pid("mongod"), servers.pid("redis-server")])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert len(pids) == 2
    assert not any(map(alive, pids))
    servers.stop()


async def test_directory_keeps_the_data_for_the_next_start(tmp_path: Path) -> None:
    with embedded.Servers(tmp_path / "data") as servers:
        first = servers.config
        await write_and_read(first)
    with embedded.Servers(tmp_path / "data") as servers:
        assert servers.config == first
        async with setup(servers.config):
            assert await StateAdapter("signal", "counter").read_state_data() == {"n": 1}
    assert (tmp_path / "data" / "mongod.log").is_file()


async def test_data_is_found_again_if_the_former_port_is_taken(tmp_path: Path) -> None:
    with embedded.Servers(tmp_path) as servers:
        first = servers.config
        await write_and_read(first)
    port = int(first["CC_MONGO_CONNECTION_STRING"].partition("127.0.0.1:")[2].partition("/")[0])
    with socket.create_server(("127.0.0.1", port)), embedded.Servers(tmp_path) as servers:
        assert servers.config["CC_MONGO_CONNECTION_STRING"] != first["CC_MONGO_CONNECTION_STRING"]
        async with setup(servers.config):
            assert await StateAdapter("signal", "counter").read_state_data() == {"n": 1}


async def test_killed_server_is_restarted_on_its_port() -> None:
    with embedded.Servers() as servers:
        config = servers.config
        assert await write_and_read(config) == {"n": 1}
        for name in ("mongod", "redis-server"):
            pid = servers.pid(name)
            os.kill(pid, signal.SIGKILL)
            assert await asyncio.to_thread(servers.wait) == name
            servers.restart(name)
            assert servers.pid(name) != pid
        assert servers.config == config
        async with setup(config):
            # It was acknowledged before the kill.
            assert await StateAdapter("signal", "counter").read_state_data() == {"n": 1}


HOLDER = """
    import sys, time
    from backtest_mongo import embedded

    with embedded.Servers() as servers:
        print(servers.pid("mongod"), servers.pid("redis-server"), servers.directory, flush=True)
        sys.stdin.read()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
async def test_servers_end_with_a_parent_that_is_killed(number: signal.Signals) -> None:
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", textwrap.dedent(HOLDER)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert parent.stdout is not None
    mongod, redis_server, directory = (await parent.stdout.readline()).decode().rstrip("\n").split(maxsplit=2)
    assert alive(int(mongod))
    parent.send_signal(number)
    await gone(int(mongod), int(redis_server))
    async with asyncio.timeout(SECONDS):
        while Path(directory).exists():  # noqa: ASYNC110, ASYNC240  # it is removed after the servers' end
            await asyncio.sleep(0.02)
    await parent.communicate()


FORK = """
    import os, sys, time
    from backtest_mongo import embedded

    servers = embedded.Servers(sys.argv[1]).start()
    child = os.fork()
    if child == 0:
        servers.stop()  # they are the parent's
        time.sleep(60)
        os._exit(0)
    assert all(not process.has_ended for process in servers._processes.values())
    servers.stop()
    os.kill(child, 9)
    print("stopped")
"""


def test_fork_neither_stops_the_servers_nor_keeps_them_alive(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FORK), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=PROCESS_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "stopped\n"), done.stderr


@pytest.mark.heavy
async def test_shared_servers_live_as_long_as_one_of_their_users(tmp_path: Path) -> None:
    program = f"""
import json, pathlib, sys
from backtest_mongo.embedded.shared import share_servers
with share_servers(pathlib.Path({str(tmp_path)!r})) as config:
    print(json.dumps(config), flush=True)
    sys.stdin.read()
"""
    users = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdin=PIPE, stdout=PIPE) for _ in range(2)
    ]
    configs = [json.loads(await user.stdout.readline()) for user in users if user.stdout is not None]
    assert configs[0] == configs[1]
    async with setup(configs[0]):
        pids = [
            (await (await backtest_mongo.get_mongo()).admin.command("serverStatus"))["pid"],
            (await (await backtest_mongo.get_redis()).info("server"))["process_id"],
        ]
    users[0].kill()
    await users[0].wait()
    assert await write_and_read(configs[1]) == {"n": 1}
    users[1].kill()
    await users[1].wait()
    await gone(*pids)
    with share_servers(tmp_path) as config:  # a later user gets other servers
        assert await write_and_read(config) == {"n": 1}


async def test_server_ends_with_a_supervisor_that_is_killed() -> None:
    with embedded.Servers() as servers:
        pid = servers.pid("redis-server")
        process = servers._processes["redis-server"]._process
        assert process is not None
        process.kill()
        await gone(pid)


def fake(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def no_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Pretend that the machine has neither server: an empty PATH and no wheels."""
    monkeypatch.delenv("BACKTEST_MONGOD", raising=False)
    monkeypatch.delenv("BACKTEST_REDIS_SERVER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(programs, "_in_wheels", lambda wheels: None)
    return tmp_path


FINDERS = {"mongod": embedded.find_mongod, "redis-server": embedded.find_redis_server}
VARIABLES = {"mongod": "BACKTEST_MONGOD", "redis-server": "BACKTEST_REDIS_SERVER"}


@pytest.mark.parametrize("name", FINDERS)
def test_error_of_a_missing_program_says_what_to_install(name: str, no_programs: Path) -> None:
    with pytest.raises(ServerError) as caught:
        FINDERS[name]()
    text = str(caught.value)
    assert text.startswith(f"no {name} found")
    assert 'pip install "backtest-mongo[embedded]"' in text
    assert VARIABLES[name] in text
    assert "docker compose up -d" in text


@pytest.mark.parametrize("name", FINDERS)
def test_program_on_path_is_preferred_to_a_wheel_s(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    program = fake(tmp_path / name, "exit 0")
    assert FINDERS[name]() == program


@pytest.mark.parametrize("name", FINDERS)
def test_program_named_by_a_variable_is_preferred_to_path(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    fake(tmp_path / "bin" / name, "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    program = fake(tmp_path / "mine", "exit 0")
    monkeypatch.setenv(VARIABLES[name], str(program))
    assert FINDERS[name]() == program


@pytest.mark.parametrize("name", FINDERS)
def test_error_of_a_program_that_does_not_run_quotes_it(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = fake(tmp_path / "broken", "echo 'libcurl.so.4: cannot open shared object file' >&2; exit 127")
    monkeypatch.setenv(VARIABLES[name], str(program))
    with pytest.raises(ServerError, match=rf"{name} from \${VARIABLES[name]} \(.+\) does not run here: libcurl.so.4"):
        FINDERS[name]()
    monkeypatch.setenv(VARIABLES[name], str(tmp_path / "absent"))
    with pytest.raises(ServerError, match=rf"{name} from \${VARIABLES[name]} \(.+\) does not run here: No such file"):
        FINDERS[name]()


def test_error_of_a_server_that_does_not_start_has_the_end_of_its_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = fake(tmp_path / "broken", '[ "$1" = --version ] && exit 0; echo no space left on device; exit 1')
    monkeypatch.setenv("BACKTEST_REDIS_SERVER", str(program))
    with pytest.raises(ServerError, match=r"redis-server does not start on port \d+; .*no space left on device"):
        embedded.Servers(tmp_path / "data").start()

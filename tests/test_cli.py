"""The command line: what it prints where, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import backtest_mongo
from backtest_mongo import StateAdapter, setup
from tests.test_embedded import gone

PROJECT = Path(backtest_mongo.__file__).parent.parent
COMMAND = (sys.executable, "-m", "backtest_mongo.cli")


def run(*arguments: str, directory: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command, in ``directory``, and return what it printed."""
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(PROJECT), **environment},
    )


def test_version_is_printed() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"backtest-mongo {backtest_mongo.__version__}\n")


def test_help_names_the_commands() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "serve" in done.stdout
    assert "demo" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing"], "No such command 'nothing'"),
        (["serve"], "Missing option '--dir'"),
        (["demo", "--bars", "0"], "Invalid value for '--bars'"),
        (["demo", "--bars", "many"], "Invalid value for '--bars'"),
        (["demo", "--kills", "-1"], "Invalid value for '--kills'"),
        (["demo", "--bars", "50", "--kills", "6"], "Invalid value for '--kills'"),
    ],
)
def test_bad_arguments_are_told_without_a_traceback(arguments: list[str], words: str) -> None:
    done = run(*arguments, COLUMNS="200", NO_COLOR="1")
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [["serve", "--dir", "data"], ["demo"]])
def test_missing_server_program_is_one_line_with_what_to_do(command: list[str], tmp_path: Path) -> None:
    done = run(*command[:2], *(str(tmp_path / part) for part in command[2:]), BACKTEST_MONGOD=str(tmp_path / "absent"))
    assert done.returncode == 1
    assert done.stderr.startswith("backtest-mongo: mongod from $BACKTEST_MONGOD (")
    assert done.stderr.count("\n") == 1
    assert "docker compose up -d" in done.stderr


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_missing_extra_is_named(missing: str, tmp_path: Path) -> None:
    # A finder that knows nothing of one package stands for an installation without it.
    code = f"""
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == {missing!r} else find(name, *rest)
from backtest_mongo.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code, "demo"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f'backtest-mongo: {missing} missing: pip install "backtest-mongo[cli]"\n'


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_serve_prints_what_to_export_and_stops_both_servers(number: signal.Signals, tmp_path: Path) -> None:
    process = subprocess.Popen(  # noqa: ASYNC220  # it only starts it
        [*COMMAND, "serve", "--dir", str(tmp_path / "data")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(4)]
    exported = dict(line.removeprefix("export ").strip().split("=", 1) for line in lines)
    config = {name: value.strip("'") for name, value in exported.items()}
    assert set(config) == {"CC_MONGO_CONNECTION_STRING", "CC_REDIS_URL", "CC_REDIS_HOST", "CC_REDIS_PORT"}
    async with setup(config):
        await StateAdapter("signal", "counter").write_state_data({"n": 1}, 1)
        status = await (await backtest_mongo.get_mongo()).admin.command("serverStatus")
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "")
    assert "Traceback" not in errors
    await gone(int(status["pid"]))
    assert (tmp_path / "data" / "mongod").is_dir()


async def test_serve_tells_when_a_server_ends_by_itself(tmp_path: Path) -> None:
    process = subprocess.Popen(  # noqa: ASYNC220  # it only starts it
        [*COMMAND, "serve", "--dir", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    config = dict(process.stdout.readline().removeprefix("export ").strip().split("=", 1) for _ in range(4))
    async with setup({name: value.strip("'") for name, value in config.items()}):
        status = await (await backtest_mongo.get_redis()).info("server")
        os.kill(int(status["process_id"]), signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "redis-server ended by itself" in errors

"""The command line: what it prints where, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import backtest_mongo
from backtest_mongo import SLOTS, StateAdapter, setup
from backtest_mongo.types import INTERVALS
from tests.embedded.test_embedded import gone
from tests.support.commands import split_storage
from tests.support.deadlines import PROCESS_SECONDS

PROJECT = Path(backtest_mongo.__file__).parent.parent
COMMAND = (sys.executable, "-m", "backtest_mongo")


def run(*arguments: str, directory: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command, in ``directory``, and return what it printed, but for the line that says which storage it used."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=PROCESS_SECONDS,
        check=False,
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(PROJECT), **environment},
    )
    done.stderr = split_storage(done.stderr)[0]
    return done


def test_version_is_printed() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"backtest-mongo {backtest_mongo.__version__}\n")


def test_help_names_the_commands() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "serve" in done.stdout
    assert "demo" in done.stdout


@pytest.mark.parametrize("arguments", [[], ["candles"], ["series"]])
def test_help_is_what_no_argument_prints(arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == run(*arguments, "--help").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["inspect", "--help"],
        ["history", "--help"],
        ["explain", "--help"],
        ["prune", "--help"],
        ["leases", "release", "--help"],
        ["candles", "import", "--help"],
        ["series", "import", "--help"],
    ],
)
def test_help_is_printed_without_drivers(arguments: list[str]) -> None:
    code = f"""
import sys
from backtest_mongo.cli.main import main
sys.argv[1:] = {arguments}
try:
    main()
finally:
    print(*sorted({{"asyncio", "bson", "motor", "pymongo", "redis"}} & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "\n")


def test_module_runs_the_command_under_its_name() -> None:
    done = run("--help", COLUMNS="100", NO_COLOR="1")
    assert "Usage: backtest-mongo [OPTIONS] COMMAND" in done.stdout
    done = run("serve", COLUMNS="100", NO_COLOR="1")
    assert "Usage: backtest-mongo serve [OPTIONS]" in done.stderr


# Shell completion


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("do", {"doctor"}),
        ("candles ver", {"verify"}),
        ("candles coverage --interval 1", {interval for interval in INTERVALS if interval.startswith("1")}),
        ("candles delete BTCUSDT 1", {interval for interval in INTERVALS if interval.startswith("1")}),
        ("candles export --fill ", {"null", "forward"}),
        ("candles import --time-unit ", {"auto", "s", "ms", "us", "ns"}),
        ("candles import --decimal p", {"point"}),
        ("series co", {"coverage"}),
        ("series import t", {"trade", "tick"}),
        ("series import trade --time-unit m", {"ms"}),
        ("history st", {spec.name for spec in SLOTS if spec.name.startswith("st")}),
        ("history ca", set()),
        ("explain x --interval 1", {interval for interval in INTERVALS if interval.startswith("1")}),
        ("inspect st", {spec.name for spec in SLOTS if spec.name.startswith("st")}),
        ("leases rel", {"release"}),
        ("leases release st", {spec.name for spec in SLOTS if spec.name.startswith("st")}),
        ("leases release --sqlite x.db ca", set()),
        ("export-dump dump --slot m", {spec.name for spec in SLOTS if spec.name.startswith("m")}),
        ("import-dump dump --conflicts ", {"newest", "file", "store"}),
    ],
)
def test_shell_completion_offers_the_known_values(words: str, offered: set[str]) -> None:
    environment = {"_BACKTEST_MONGO_COMPLETE": "complete_bash", "COMP_WORDS": f"backtest-mongo {words}"}
    done = run(directory=None, COMP_CWORD=str(1 + words.count(" ")), **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert {*done.stdout.split()} == offered


@pytest.mark.parametrize("option", ["--show-completion", "--install-completion"])
def test_shell_completion_is_shown_and_installed(option: str, tmp_path: Path) -> None:
    # The shell to complete in is the one that the command runs in; `true` keeps it there.
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -m backtest_mongo {option}; true'],
        capture_output=True,
        text=True,
        timeout=PROCESS_SECONDS,
        check=False,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "HOME": str(tmp_path)},
    )
    assert done.stderr == ""
    script = done.stdout
    if option == "--install-completion":
        script = (tmp_path / ".bash_completions" / "backtest-mongo.sh").read_text()
        assert "backtest-mongo.sh" in (tmp_path / ".bashrc").read_text()
    assert "_BACKTEST_MONGO_COMPLETE=complete_bash" in script
    assert script.rstrip().endswith("backtest-mongo")


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
def test_bad_arguments_are_reported_without_a_traceback(arguments: list[str], words: str) -> None:
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
from backtest_mongo.cli.main import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code, "demo"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr
        == f'backtest-mongo: {missing} missing: pip install "backtest-mongo[cli]", or ".[cli]" in a checkout\n'
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("where", ["task", "callback", "work"])
def test_signal_ends_a_command_without_traceback_wherever_it_arrives(number: signal.Signals, where: str) -> None:
    code = f"""
import asyncio, os
from backtest_mongo.cli.command_runner import run_command

def end():
    os.kill(os.getpid(), {number.value})

async def wait():
    end()
    await asyncio.Event().wait()

async def work():
    try:
        if {where!r} == "callback":
            asyncio.get_running_loop().call_soon(end)
        elif {where!r} == "task":
            background = asyncio.create_task(wait())
        else:
            end()
        await asyncio.Event().wait()
    finally:
        print("cleaned up", flush=True)

run_command(work, connect=False)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=PROCESS_SECONDS
    )
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "cleaned up\n", "")


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
    output, errors = process.communicate(timeout=PROCESS_SECONDS)
    assert (process.returncode, output) == (0, "")
    assert "Traceback" not in errors
    await gone(int(status["pid"]))
    assert (tmp_path / "data" / "mongod").is_dir()


async def test_serve_reports_a_server_that_exits_by_itself(tmp_path: Path) -> None:
    process = subprocess.Popen(  # noqa: ASYNC220  # it only starts it
        [*COMMAND, "serve", "--dir", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    config = dict(process.stdout.readline().removeprefix("export ").strip().split("=", 1) for _ in range(4))
    async with setup({name: value.strip("'") for name, value in config.items()}):
        status = await (await backtest_mongo.get_redis()).info("server")
        os.kill(int(status["process_id"]), signal.SIGKILL)
    _, errors = process.communicate(timeout=PROCESS_SECONDS)
    assert process.returncode == 1
    assert "redis-server exited by itself" in errors

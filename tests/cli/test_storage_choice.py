"""Which storage a command works on, with options and without, and what it says about that."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import typer

import backtest_mongo
from backtest_mongo import persist
from backtest_mongo.cli.databases import DATABASES, MONGO_ALONE, SQLITE_ALONE, Storage, choose_storage
from backtest_mongo.core.config import reset_config
from tests.support.commands import commands, get_group, invoke

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]

SECRET = "correct-horse"
URI = f"mongodb://me:{SECRET}@db1.example:27018,db2.example/trading?replicaSet=rs&authSource=admin"
#: What starts servers of its own.
WITHOUT = {"serve", "demo"}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


async def _write() -> None:
    await persist.signal("BTC", "trend", "binance").write_signal_data({"id": "s-1"})
    await backtest_mongo.close()
    reset_config()  # a command is a process of its own, and reads the environment when it begins


def make_file() -> None:
    persist.use_sqlite("backtest.db")
    asyncio.run(_write())


def make_directory() -> None:
    persist.use_files("dump")
    asyncio.run(_write())


def list_slots(*arguments: object) -> list[str]:
    return [one["slot"] for one in json.loads(invoke("ls", "--json", *arguments).out)["slots"]]


def chosen(capsys: pytest.CaptureFixture[str], *works_on: Any, **options: Any) -> tuple[Storage, str]:
    """Return the storage that no option names, and what is said about it."""
    storage = choose_storage(None, None, False, *works_on, **options)
    captured = capsys.readouterr()
    assert captured.out == ""
    return storage, captured.err


def test_servers_of_the_environment_come_first(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_file()
    make_directory()
    monkeypatch.setenv("CC_MONGO_CONNECTION_STRING", URI)
    storage, line = chosen(capsys)
    assert storage == Storage("mongo")
    assert line == (
        "storage: MongoDB at db1.example:27018,db2.example, database trading (CC_MONGO_CONNECTION_STRING)\n"
    )
    assert SECRET not in line


def test_variable_of_redis_names_servers_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_file()
    monkeypatch.setenv("CC_REDIS_HOST", "redis.example")
    assert chosen(capsys) == (
        Storage("mongo"),
        "storage: MongoDB at localhost:27017, database backtest-kit (CC_REDIS_HOST)\n",
    )
    monkeypatch.setenv("CC_REDIS_HOST", "")
    assert chosen(capsys)[0].kind == "sqlite"


def test_what_is_in_the_working_directory_comes_next(capsys: pytest.CaptureFixture[str]) -> None:
    reason = "no CC_*, no ./backtest.db and no ./dump"
    servers = "storage: MongoDB at localhost:27017, database backtest-kit"
    assert chosen(capsys) == (Storage("mongo"), f"{servers} ({reason})\n")
    make_directory()
    assert chosen(capsys) == (Storage("files", Path("dump")), "storage: ./dump (JSON files)\n")
    assert chosen(capsys, default_to_files=False) == (
        Storage("mongo"),
        f"{servers} (no CC_*, and no ./backtest.db)\n",
    )
    make_file()
    assert chosen(capsys) == (Storage("sqlite", Path("backtest.db")), "storage: ./backtest.db (SQLite)\n")


@pytest.mark.parametrize(("works_on", "kind"), [(MONGO_ALONE, "mongo"), (SQLITE_ALONE, "sqlite")])
def test_command_of_one_storage_uses_it(capsys: pytest.CaptureFixture[str], works_on: Any, kind: str) -> None:
    make_file()
    make_directory()
    assert chosen(capsys, works_on)[0].kind == kind


def test_option_wins_and_nothing_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    make_file()
    monkeypatch.setenv("CC_MONGO_CONNECTION_STRING", URI)
    assert choose_storage(Path("a b.db"), None, False) == Storage("sqlite", Path("a b.db"))
    assert choose_storage(None, Path("d"), False) == Storage("files", Path("d"))
    assert choose_storage(None, None, True) == Storage("mongo")
    assert capsys.readouterr().err == ""
    assert Storage("sqlite", Path("a b.db")).option == "--sqlite 'a b.db'"
    assert (Storage("files", Path("d")).option, Storage("mongo").option) == ("--files d", "--mongo")


def test_two_storages_are_refused() -> None:
    for options in (["--sqlite", "a.db", "--files", "d"], ["--files", "d", "--mongo"], ["--sqlite", "a.db", "--mongo"]):
        done = invoke("ls", *options)
        assert (done.code, done.out) == (2, "")
        assert "name one storage, with --sqlite, --files or --mongo" in done.error


def test_storage_that_a_command_does_not_work_on_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    done = invoke("rename", "a", "b", "--files", "dump")
    assert (done.code, done.out) == (2, "")
    assert done.err == "backtest-mongo: this command does not work on JSON files: name --sqlite FILE or --mongo\n"
    done = invoke("migrate", "--sqlite", "a.db")
    assert (done.code, done.err) == (2, "backtest-mongo: this command does not work on SQLite files: name --mongo\n")
    done = invoke("backup", "copy.db", "--mongo")
    assert (done.code, done.err) == (2, "backtest-mongo: this command does not work on MongoDB: name --sqlite FILE\n")
    make_directory()
    with pytest.raises(typer.Exit):
        choose_storage(None, None, False, DATABASES)
    line = "this command does not work on JSON files (./dump is there): name --sqlite FILE or --mongo"
    assert capsys.readouterr().err == f"backtest-mongo: {line}\n"


def test_bad_environment_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC_MONGO_CONNECTION_STRING", f"http://me:{SECRET}@host/x")
    done = invoke("ls")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("backtest-mongo: CC_MONGO_CONNECTION_STRING (from the environment): must start with")
    assert SECRET not in done.err


def test_line_is_on_standard_error_alone() -> None:
    make_directory()
    done = invoke("ls", "--json")
    assert (done.code, done.err, done.storage) == (0, "", "storage: ./dump (JSON files)\n")
    assert list_slots() == ["signal"]
    make_file()
    assert invoke("ls").storage == "storage: ./backtest.db (SQLite)\n"
    assert list_slots() == list_slots("--files", "dump") == list_slots("--sqlite", "backtest.db") == ["signal"]
    assert invoke("ls", "--files", "dump").storage == ""


def test_command_that_works_twice_says_it_once() -> None:
    make_file()
    done = invoke("delete", "signal", "--all", "--yes")
    assert (done.code, done.storage) == (0, "storage: ./backtest.db (SQLite)\n")
    assert "deleted 1 row" in done.out


@pytest.mark.parametrize("command", sorted(commands() - WITHOUT))
def test_every_command_takes_all_three_options(command: str) -> None:
    group: Any = get_group()
    for word in command.split():
        group = group.commands[word]
    options = {option for parameter in group.params for option in parameter.opts}
    assert {"--sqlite", "--files", "--mongo"} <= options

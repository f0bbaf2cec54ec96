"""`ls`, `delete` and `rename`: what is stored, and what becomes of it, on MongoDB, SQLite and files."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from backtest_mongo import persist, transaction
from tests.cli.test_cli import COMMAND
from tests.support.commands import Done, invoke
from tests.support.leases import take_leases
from tests.support.stored import Stored
from tests.support.uniform import WHEN, candles

pytestmark = pytest.mark.one_python

#: Those that have versions, leases and transactions.
DATABASES = pytest.mark.parametrize("stored", ["mongodb", "sqlite"], indirect=True)


async def write_some() -> None:
    for symbol in ("BTC", "ETH"):
        for strategy in ("trend", "trend_2", "tr"):
            await persist.signal(symbol, strategy, "binance").write_signal_data({"strategyName": strategy})
    await persist.session("trend", "binance", "", "BTC").write_session_data({"n": 1}, WHEN)
    await persist.memory("s-1", "notes").write_memory_data({"n": 1}, "one", WHEN)
    await persist.memory("s-1", "notes").remove_memory_data("one")
    await persist.storage(True).write_storage_data([{"id": f"{n}", "strategyName": "trend"} for n in range(3)])
    await persist.candle("BTC", "1m", "binance").write_candles_data(candles(5))


def list_json(stored: Stored, *arguments: str) -> Any:
    done = invoke("ls", *arguments, *stored.options, "--json")
    assert (done.code, done.err) == (0, "")
    return json.loads(done.out)


def find_line(done: Done, start: str) -> str:
    """Return the one line, or row of a table, that begins with a text, with single spaces."""
    (line,) = [line for line in done.out.splitlines() if line.lstrip().startswith(start)]
    return " ".join(line.split())


# ls


def test_slots_are_listed_with_what_they_hold(stored: Stored) -> None:
    before = int(time.time() * 1000) - 60_000
    stored.run(write_some)
    slots = {one["slot"]: one for one in list_json(stored)["slots"]}
    assert [*slots] == ["candle", "signal", "storage", "memory", "session"]
    assert {name: (one["contexts"], one["rows"]) for name, one in slots.items()} == {
        "candle": (1, 5),
        "signal": (6, 6),
        "storage": (1, 3),
        "memory": (1, 1),
        "session": (1, 1),
    }
    for one in slots.values():
        assert one["bytes"] > 0
        assert before < one["written"] < before + 3_600_000
        assert one["versions"] == 0
    done = invoke("ls", *stored.options)
    assert (done.code, done.err) == (0, "")
    assert find_line(done, "slot ") == "slot contexts rows size last write (UTC)"
    assert find_line(done, "signal ").startswith("signal 6 6 ")


def test_contexts_of_a_slot_are_listed_in_order(stored: Stored) -> None:
    stored.run(write_some)
    listed = list_json(stored, "signal")
    assert listed["slot"] == "signal"
    assert [(one["context"]["symbol"], one["context"]["strategy_name"]) for one in listed["contexts"]] == [
        (symbol, strategy) for symbol in ("BTC", "ETH") for strategy in ("tr", "trend", "trend_2")
    ]
    assert sum(one["bytes"] for one in listed["contexts"]) == list_json(stored)["slots"][1]["bytes"]
    chosen = list_json(stored, "signal", "--context", "strategy_name=trend", "--context", "symbol=ETH")
    assert [one["context"] for one in chosen["contexts"]] == [
        {"symbol": "ETH", "strategy_name": "trend", "exchange_name": "binance"}
    ]
    assert list_json(stored, "session", "--context", "backtest=backtest")["contexts"] == []
    done = invoke("ls", "session", *stored.options)
    assert find_line(done, "trend binance").startswith("trend binance '' BTC live 1 ")
    assert invoke("ls", "log", *stored.options).out == "Nothing is stored.\n"


@DATABASES
def test_versions_are_counted(stored: Stored) -> None:

    async def write() -> None:
        for number in range(3):
            async with transaction(when=WHEN + number):
                await persist.signal("BTC", "trend", "binance").write_signal_data({"n": number})

    stored.run(write, CC_HISTORY="signal")
    (slot,) = list_json(stored)["slots"]
    assert (slot["rows"], slot["versions"]) == (1, 3)
    (context,) = list_json(stored, "signal")["contexts"]
    assert context["versions"] == 3
    assert find_line(invoke("ls", *stored.options), "slot ") == "slot contexts rows size versions last write (UTC)"
    done = invoke("delete", "signal", "--all", *stored.options, "--yes")
    assert find_line(done, "BTC ") == "BTC trend binance 1 3"
    assert list_json(stored)["slots"] == []


def test_database_without_rows_has_nothing(stored: Stored) -> None:
    async def write() -> None:
        state = persist.state("a", "b")
        await state.write_state_data({"n": 1}, WHEN)
        await state.delete()

    stored.run(write)
    assert invoke("ls", *stored.options).out == "Nothing is stored.\n"
    assert list_json(stored) == {"slots": []}
    done = invoke("delete", "state", "--all", *stored.options)
    assert (done.code, done.out) == (0, "state: nothing is stored there\n")


def test_control_characters_in_names_are_escaped(stored: Stored) -> None:
    async def write() -> None:
        await persist.state("a\x1b[31m\nb", "c d").write_state_data({"n": 1}, WHEN)

    stored.run(write)
    for arguments in (["ls", "state"], ["delete", "state", "--all"]):
        out = invoke(*arguments, *stored.options).out
        assert "\x1b" not in out
        assert r"'a\u001b[31m\nb' 'c d'" in out


# delete


def test_deletion_is_shown_and_needs_an_answer(stored: Stored) -> None:
    stored.run(write_some)
    done = invoke("delete", "signal", "strategy_name=trend", *stored.options)
    assert done.code == 2
    assert "nothing deleted: there is no terminal to ask on, and --yes is not given" in done.error
    assert find_line(done, "BTC ") == "BTC trend binance 1"
    assert find_line(done, "2 contexts") == "2 contexts, 2 rows"
    assert len(list_json(stored, "signal")["contexts"]) == 6
    planned = invoke("delete", "signal", "strategy_name=trend", *stored.options, "--json")
    assert planned.code == 0
    report = json.loads(planned.out)
    assert (report["slot"], report["applied"], report["deleted"]) == ("signal", False, 0)
    assert [one["rows"] for one in report["contexts"]] == [1, 1]
    assert len(list_json(stored, "signal")["contexts"]) == 6
    done = invoke("delete", "signal", "strategy_name=trend", *stored.options, "--yes")
    assert (done.code, done.err) == (0, "")
    assert find_line(done, "signal: ") == "signal: deleted 2 rows of 2 contexts"
    left = {one["context"]["strategy_name"] for one in list_json(stored, "signal")["contexts"]}
    assert left == {"trend_2", "tr"}


def test_all_contexts_of_a_slot_are_deleted(stored: Stored) -> None:
    stored.run(write_some)
    for slot, rows in (("candle", 5), ("memory", 1), ("storage", 3), ("signal", 6)):
        report = json.loads(invoke("delete", slot, "--all", *stored.options, "--yes", "--json").out)
        assert (report["applied"], report["deleted"]) == (True, rows)
    assert [one["slot"] for one in list_json(stored)["slots"]] == ["session"]


@DATABASES
def test_context_that_is_leased_is_refused_with_what_was_deleted_before(stored: Stored) -> None:
    stored.run(write_some)

    async def take() -> None:
        await take_leases(persist.signal("ETH", "trend", "binance"))

    stored.run(take)
    done = invoke("delete", "signal", "strategy_name=trend", *stored.options, "--yes")
    assert done.code == 1
    assert "is held by process" in done.error
    assert "1 context before it, with 1 row, are deleted" in done.error
    assert len(list_json(stored, "signal")["contexts"]) == 5


# rename


def test_rename_is_shown_and_needs_an_answer(stored: Stored) -> None:
    stored.run(write_some)
    if stored.kind == "files":
        done = invoke("rename", "trend", "drift", *stored.options)
        assert (done.code, "does not work on JSON files" in done.error) == (2, True)
        return
    done = invoke("rename", "trend", "drift", *stored.options)
    assert done.code == 2
    assert "nothing renamed: there is no terminal" in done.error
    assert find_line(done, "signal ") == "signal 2 2"
    assert find_line(done, "storage ") == "storage - 3"
    planned = json.loads(invoke("rename", "trend", "drift", *stored.options, "--json").out)
    assert (planned["old"], planned["new"], planned["applied"]) == ("trend", "drift", False)
    assert {one["slot"]: (one["contexts"], one["rows"]) for one in planned["slots"]} == {
        "signal": (2, 2),
        "storage": (0, 3),
        "session": (1, 1),
    }
    assert len(list_json(stored, "signal", "--context", "strategy_name=trend")["contexts"]) == 2
    done = invoke("rename", "trend", "drift", *stored.options, "--yes")
    assert (done.code, done.err) == (0, "")
    assert find_line(done, "trend is ") == "trend is now drift, in 6 rows of 3 slots"
    assert list_json(stored, "signal", "--context", "strategy_name=trend")["contexts"] == []
    done = invoke("rename", "trend", "drift", *stored.options, "--yes")
    assert (done.code, done.out) == (0, "trend: nothing is stored for a strategy of this name\n")
    report = json.loads(invoke("rename", "drift", "trend", *stored.options, "--yes", "--json").out)
    assert (report["applied"], len(report["slots"])) == (True, 3)


@DATABASES
def test_rename_that_would_merge_contexts_is_refused(stored: Stored) -> None:
    stored.run(write_some)
    for options in ([], ["--yes"], ["--json"]):
        done = invoke("rename", "trend", "tr", *stored.options, *options)
        assert (done.code, done.out) == (1, "")
        assert "2 contexts would be merged with those stored already" in done.error
    assert len(list_json(stored, "signal")["contexts"]) == 6


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["ls", "signals"], "'signals' is not a slot: did you mean signal"),
        (["delete", "x", "--all"], "'x' is not a slot: known are candle"),
        (["ls", "--context", "symbol=x"], "it needs a slot"),
        (["ls", "signal", "--context", "symbol"], "symbol has no value (give symbol=VALUE"),
        (["ls", "signal", "--context", "symbl=x"], "signal has no 'symbl': did you mean symbol"),
        (["ls", "log", "--context", "id=x"], "log has no 'id': it has one context, without names"),
        (["delete", "signal", "symbol=x", "symbol=y"], "symbol is given twice"),
        (["delete", "storage", "backtest=maybe"], "backtest must be backtest or live, not 'maybe'"),
        (["delete", "signal"], "give a value or NAME=VALUE, or pass --all"),
        (["delete", "signal", "symbol=x", "--all"], "--all and values exclude each other"),
        (["ls", "--sqlite", "a.db", "--files", "dump"], "name one storage, with --sqlite, --files or --mongo"),
    ],
)
def test_mistakes_in_the_arguments_are_explained(arguments: list[str], problem: str) -> None:
    done = invoke(*arguments)
    assert (done.code, done.out) == (2, "")
    assert problem in done.error


@pytest.mark.parametrize(
    "arguments", [["ls"], ["ls", "signal"], ["delete", "signal", "--all", "--yes"], ["rename", "a", "b", "--yes"]]
)
def test_missing_file_or_directory_is_not_made(tmp_path: Path, arguments: list[str]) -> None:
    done = invoke(*arguments, "--sqlite", tmp_path / "no.db")
    assert (done.code, done.out) == (1, "")
    assert "there is no file" in done.error
    if arguments[0] != "rename":
        assert "there is no directory" in invoke(*arguments, "--files", tmp_path / "no").error
    assert [*tmp_path.iterdir()] == []


def test_bad_name_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.db").touch()
    done: Done = invoke("rename", "a", "a", "--sqlite", tmp_path / "x.db")
    assert (done.code, done.out, done.error) == (
        1,
        "",
        "backtest-mongo: rename_strategy: both names are the same",
    )


@pytest.mark.parametrize(("answer", "left", "code"), [(b"n\n", 2, 1), (b"\n", 2, 1), (b"y\n", 0, 0)])
@pytest.mark.parametrize("command", ["delete", "rename"])
def test_terminal_is_asked(tmp_path: Path, command: str, answer: bytes, left: int, code: int) -> None:
    stored = Stored("sqlite", ["--sqlite", str(tmp_path / "x.db")], tmp_path / "x.db")
    stored.run(write_some)
    words = {"delete": ["delete", "signal", "strategy_name=trend"], "rename": ["rename", "trend", "drift"]}[command]
    ours, theirs = pty.openpty()
    os.write(ours, answer)
    process = subprocess.Popen([*COMMAND, *words, *stored.options], stdin=theirs, stdout=subprocess.PIPE, text=True)
    out, _ = process.communicate()
    os.close(ours)
    os.close(theirs)
    assert (process.returncode, "them?" in out) == (code, True)
    assert len(list_json(stored, "signal", "--context", "strategy_name=trend")["contexts"]) == left

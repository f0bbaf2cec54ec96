"""`fork`: what it shows, when it asks, and how to go on, in MongoDB and in an SQLite file; and what `doctor` says."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import SLOTS, persist, transaction
from backtest_mongo.core.config import reset_config
from tests.support.candle_commands import PROJECT, Database
from tests.support.commands import invoke
from tests.support.stored import Stored
from tests.support.uniform import candles

pytestmark = pytest.mark.one_python

TIME = 1_733_043_600_000
HISTORY = ",".join(spec.name for spec in SLOTS if not spec.immutable)
OLDER = "it was written since, and no version of it is kept"


async def fill() -> None:
    for number in range(3):
        async with transaction(when=TIME + 60_000 * number):
            await persist.signal("BTCUSDT", "trend", "binance").write_signal_data({"id": f"s-{number}"})
            await persist.session("trend", "binance", "").write_session_data({"n": number})
            await persist.log().write_log_data([{"id": f"l-{number}"}])
            await persist.state(f"s-{number}", "b").write_state_data({"n": number})
    await persist.candle("BTCUSDT", "1m", "binance").write_candles_data(candles(3))


@pytest.fixture(params=["mongodb", "sqlite"])
def stored(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stored]:
    path = tmp_path / "back test.db"
    if request.param == "mongodb":
        database: Database = request.getfixturevalue("database")
        made = Stored("mongodb", [], path)
        made.run(fill, CC_HISTORY=HISTORY)
        monkeypatch.setenv("COLUMNS", "200")
        yield made
        database.client.drop_database(f"{database.name}-fork")
    else:
        made = Stored("sqlite", ["--sqlite", str(path)], path)
        made.run(fill, CC_HISTORY=HISTORY)
        monkeypatch.setenv("COLUMNS", "200")
        yield made
    reset_config()


@pytest.fixture
def name(stored: Stored, unique: str, tmp_path: Path) -> str:
    return f"{unique}-fork" if stored.kind == "mongodb" else str(tmp_path / "what if.db")


def read(stored: Stored, name: str) -> Any:
    """Return what the fork has, read as somebody does who goes on from it."""

    async def read() -> Any:
        if stored.kind == "mongodb":
            uri = backtest_mongo.get_config().CC_MONGO_CONNECTION_STRING.with_database(name)
            await backtest_mongo.setup(CC_MONGO_CONNECTION_STRING=uri)
        else:
            persist.use_sqlite(name)
        signal = await persist.signal("BTCUSDT", "trend", "binance").read_signal_data()
        return signal, [row["id"] for row in await persist.log().read_log_data()]

    return stored.run(read)


def test_plan_is_shown_and_nothing_is_copied_without_an_answer(stored: Stored, name: str, tmp_path: Path) -> None:
    done = invoke("fork", name, "--at", "2024-12-01T09:01", *stored.options)
    assert done.code == 2
    assert "nothing copied: there is no terminal to ask on, and --yes is not given" in done.error
    source = str(stored.path) if stored.kind == "sqlite" else name.removesuffix("-fork")
    assert done.out.splitlines()[0] == f"{source} as of 2024-12-01T09:01:00Z, to {name}"
    rows = {"signal": 1, "log": 2, "state": 2, "session": 1}
    assert [done.line(f" {slot} ") for slot in rows] == [f"{slot} {count}" for slot, count in rows.items()]
    assert done.line("Candles stay") == f"Candles stay in {source}, and are read from there."
    assert not Path(name).exists()
    again = invoke("fork", name, "--at", str(TIME + 60_000), "--json", *stored.options)
    report = json.loads(again.out)
    assert (report["applied"], report["rows"]) == (False, rows)
    assert invoke("fork", name, "--at", str(TIME), "--json", *stored.options).code == 0


def test_fork_is_made_and_what_to_set_is_printed(stored: Stored, name: str) -> None:
    done = invoke("fork", name, "--at", str(TIME + 60_000), "--yes", *stored.options)
    assert (done.code, done.err) == (0, "")
    assert done.line("Copied") == f"Copied 6 rows to {name}."
    source = str(stored.path) if stored.kind == "sqlite" else name.removesuffix("-fork")
    lines = [line.strip() for line in done.out.splitlines()]
    if stored.kind == "sqlite":
        assert lines[-2:] == [f"persist.use_sqlite({name!r})", f"export CC_CANDLE_DATABASE='{source}'"]
    else:
        assert lines[-2:] == [
            f"CC_MONGO_CONNECTION_STRING: the same, with the database {name}",
            f"export CC_CANDLE_DATABASE={source}",
        ]
    assert read(stored, name) == ({"id": "s-1"}, ["l-0", "l-1"])
    refused = invoke("fork", name, "--at", str(TIME), "--yes", *stored.options)
    assert refused.code == 1
    assert "holds" in refused.error


def test_strategy_and_what_is_left_out(stored: Stored, name: str) -> None:
    options = ["--at", str(TIME + 60_000), "--strategy", "trend", "--copy-candles", "--as-backtest", *stored.options]
    done = invoke("fork", name, *options, "--yes")
    assert done.code == 0
    assert "as of 2024-12-01T09:01:00Z, of the strategy trend, to" in done.out.splitlines()[0]
    assert done.line("  log:") == "log: 2 rows: their payloads name no strategy"
    # The signal of the time is known; which strategy had the one before, no row says any more.
    assert done.line("  state:") == "state: 1 row: no row says which strategy their signals belong to"
    assert done.line("All candles") == "All candles are copied."
    assert done.line("Copied") == f"Copied 3 rows and 3 candles to {name}."
    assert done.line("  export") == "export CC_CANDLE_DATABASE=''"


def test_rows_of_which_nothing_is_known_are_listed(stored: Stored, name: str) -> None:
    async def write() -> None:
        for number in range(12):
            await persist.memory("s-1", "notes").write_memory_data({"n": 1}, f"m-{number:02}", TIME + 10**6)

    stored.run(write)
    done = invoke("fork", name, "--at", str(TIME + 60_000), *stored.options)
    assert done.line("Left out") == "Left out, because their past is unknown: 12 rows"
    listed = [line.strip() for line in done.out.splitlines() if line.startswith("  memory")]
    assert len(listed) == 10
    assert listed[0].endswith(f'"memoryId": "m-00"}}: {OLDER}')
    assert done.line("  and") == "and 2 more"
    report = json.loads(invoke("fork", name, "--at", str(TIME), "--json", *stored.options).out)
    assert len(report["unknown"]) == 12
    assert report["unknown"][0] == {
        "slot": "memory",
        "key": {"signalId": "s-1", "bucketName": "notes", "memoryId": "m-00"},
        "reason": OLDER,
    }


@pytest.mark.parametrize("arguments", [["--at", "yesterday"], [], ["--at", ""]])
def test_mistakes(stored: Stored, name: str, arguments: list[str]) -> None:
    assert invoke("fork", name, *arguments, *stored.options).code == 2


def test_answer_is_asked_for_on_a_terminal(stored: Stored, name: str) -> None:
    def ask(answer: bytes) -> subprocess.CompletedProcess[str]:
        parent, child = pty.openpty()
        os.write(parent, answer)
        try:
            command = [sys.executable, "-m", "backtest_mongo", "fork", name, "--at", str(TIME), *stored.options]
            return subprocess.run(command, stdin=child, capture_output=True, text=True, check=False, cwd=PROJECT)
        finally:
            os.close(parent)
            os.close(child)

    refused = ask(b"n\n")
    assert refused.returncode == 1, refused.stderr
    assert "Copied" not in refused.stdout
    done = ask(b"y\n")
    assert done.returncode == 0, done.stderr
    assert "Copy it? [y/N]" in done.stdout
    assert "Copied 4 rows" in done.stdout


def test_doctor_says_what_a_fork_is(stored: Stored, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    invoke("fork", name, "--at", str(TIME), "--strategy", "trend", "--yes", *stored.options)
    if stored.kind == "mongodb":
        source = name.removesuffix("-fork")
        uri = backtest_mongo.get_config().CC_MONGO_CONNECTION_STRING.with_database(name)
        monkeypatch.setenv("CC_MONGO_CONNECTION_STRING", uri.get_secret_value())
        monkeypatch.setenv("CC_CANDLE_DATABASE", source)
        reset_config()
        done = invoke("doctor", "--read-only", "--json")
    else:
        source = str(stored.path)
        done = invoke("doctor", "--json", "--sqlite", name)
    report = json.loads(done.out)
    (text,) = [one["text"] for one in report["findings"] if one["area"] == "fork"]
    assert text.startswith(f"a fork of {source} as of 2024-12-01T09:00:00Z, of the strategy trend, made 20")
    assert text.endswith(f"; it reads the candles of {source}")
    assert (report["facts"]["fork"]["source"], report["facts"]["fork"]["strategy_name"]) == (source, "trend")
    if stored.kind == "mongodb":
        (where,) = [one["text"] for one in report["findings"] if "CC_CANDLE_DATABASE" in one["text"]]
        assert where == f"candles are read from and written to the database {source} (CC_CANDLE_DATABASE)"
        sizes = {one["collection"]: one["rows"] for one in report["collections"]}
        assert (sizes["candle-items"], sizes["signal-items"]) == (3, 1)
        covered = json.loads(invoke("candles", "coverage", "--json").out)
        assert [one["rows"] for one in covered["series"]] == [3]
        assert "candle" in {one["slot"] for one in json.loads(invoke("ls", "--json").out)["slots"]}
        assert invoke("inspect", "candle", "--json").out.count("\n") == 3
    else:
        assert asyncio.run(_count_candles(name, source)) == 3


async def _count_candles(path: str, candle_database: str) -> int:
    persist.use_sqlite(path)
    backtest_mongo.set_config(CC_CANDLE_DATABASE=candle_database)
    try:
        return (await persist.candle("BTCUSDT", "1m", "binance").coverage()).rows
    finally:
        await backtest_mongo.close()

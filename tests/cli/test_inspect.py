"""``backtest-mongo inspect`` and ``migrate``: what they print, for people and for programs, and how they end."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from rich.console import Console

import backtest_mongo
from backtest_mongo import (
    CandleAdapter,
    InputError,
    MemoryAdapter,
    RecentAdapter,
    SessionAdapter,
    SignalAdapter,
    SlotSpec,
    StateAdapter,
)
from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.cli.formatting import format_extended_json, format_iso_time, format_payload
from backtest_mongo.cli.row_printer import RowPrinter
from backtest_mongo.cli.stored_rows import RowFilter, find_rows, list_key_names
from tests.cli.test_cli import COMMAND, PROJECT, run
from tests.conftest import Deployment
from tests.support import uniform
from tests.support.commands import split_storage
from tests.support.deadlines import SECONDS
from tests.support.uniform import WHEN, candles, entry, payload, write

pytestmark = pytest.mark.one_python


@pytest.fixture
def driver() -> str:
    return "pymongo"


async def shown(slot: str, *words: str, limit: int = 20, json_lines: bool = False) -> str:
    """Return what the command prints."""
    spec = ADAPTERS[slot].spec
    output = io.StringIO()
    printer = RowPrinter(Console(file=output, width=100), spec, json_lines)
    printer.print_rows(await find_rows(RowFilter.parse(spec, words), limit))
    return output.getvalue()


@pytest.mark.in_rows("what is called finds rows alone")
async def test_every_slot_is_shown_by_its_key(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
    adapter = uniform.adapter(spec, unique)
    if spec.shape == "series":
        await adapter.write_candles_data(candles(1))
        key = "0"
    else:
        await write(adapter, payload(spec), key := entry(spec, unique))
    flags = {True: "backtest", False: "live"}
    words = [flags.get(value, value) for value in adapter.context.values()] + ([key] if spec.item else [])
    assert len(words) == len(list_key_names(spec))
    text = await shown(spec.name, *words)
    if spec.shape == "series":
        assert "1970-01-01T00:00:00Z" in text
    else:
        assert text.startswith(" ".join((spec.name, *words)) + "\n")
        assert "50000.5" in text
    for index in range(len(words)):
        assert await shown(spec.name, *(["-"] * index), words[index]) == text
        if words[index] not in ("backtest", "live", "1m", "0"):
            assert await shown(spec.name, *words[:index], "other") == "Nothing is stored.\n"


async def test_rows_come_with_times_marks_and_how_many_there_are(deployment: Deployment, unique: str) -> None:
    memory = MemoryAdapter(unique, "notes")
    for name in "abc":
        await memory.write_memory_data({"n": name}, name, WHEN + 5)
    await memory.remove_memory_data("b")
    lines = (await shown("memory", unique, limit=2)).splitlines()
    assert lines[0] == f"memory {unique} notes a"
    assert lines[1].startswith("  when 2023-11-14T22:13:20.005Z  written 20")
    assert lines[2:5] == ["  {", '    "n": "a"', "  }"]
    assert lines[5] == f"memory {unique} notes b  removed"
    assert lines[-1] == "2 of 3; --limit shows more"


async def test_candles_are_a_table_of_the_last_ones(deployment: Deployment, unique: str) -> None:
    await CandleAdapter("BTCUSDT", "1m", unique).write_candles_data(candles(30))
    text = await shown("candle", "BTCUSDT", limit=2)
    assert "1970-01-01T00:29:00Z" in text
    assert "1970-01-01T00:28:00Z" in text
    assert "1970-01-01T00:27:00Z" not in text
    assert text.endswith("2 of 30; --limit shows more\n")


async def test_row_of_an_older_version_is_shown_with_the_defaults(deployment: Deployment, unique: str) -> None:
    collection = await deployment.collection(SessionAdapter.spec)
    await collection.insert_one({"strategyName": unique, "exchangeName": "e", "frameName": "f", "payload": {}})
    assert (await shown("session", unique)).startswith(f'session {unique} e f "" live\n')


def test_values_that_json_has_no_form_for() -> None:
    value = {"inf": float("inf"), "at": datetime(2024, 1, 2, tzinfo=UTC), "price": Decimal("1.50"), "raw": b"abc"}
    text = format_payload(value)
    for part in ('"inf": Infinity', '"at": "2024-01-02T00:00:00Z"', '"price": "1.50"', '"raw": "<3 bytes>"'):
        assert part in text
    extended = json.loads(format_extended_json(value))
    assert extended["inf"] == {"$numberDouble": "Infinity"}
    assert extended["at"] == {"$date": "2024-01-02T00:00:00Z"}
    assert extended["price"] == {"$numberDecimal": "1.50"}
    assert format_iso_time(1_700_000_000_001) == "2023-11-14T22:13:20.001Z"
    assert format_iso_time(10**18) == str(10**18)


@pytest.mark.parametrize(
    ("slot", "words", "message"),
    [
        ("signal", ["a", "b", "c", "d"], "4 parts of a key were given .it has symbol, strategy_name, exchange_name"),
        ("recent", ["a", "b", "c", "d", "maybe"], "backtest must be backtest or live, not 'maybe'"),
        ("candle", ["a", "1m", "b", "noon"], "timestamp must be milliseconds, not 'noon'"),
    ],
)
def test_key_that_is_none_is_refused(slot: str, words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RowFilter.parse(ADAPTERS[slot].spec, words)


async def test_json_has_one_document_per_line(deployment: Deployment, unique: str) -> None:
    await RecentAdapter("BTCUSDT", unique, "x", "", True).write_recent_data({"n": 1}, WHEN)
    await SignalAdapter("BTCUSDT", unique, "x").write_signal_data(None)
    done = run("inspect", "recent", "-", unique, "--json", **deployment.environment)
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    row = json.loads(line)
    assert (row["payload"], row["when"], row["backtest"]) == ({"n": 1}, WHEN, True)


@pytest.mark.parametrize("arguments", [["nothing"], ["signal", "a", "b", "c", "d"], ["signal", "--limit", "-1"]])
def test_mistakes_in_the_arguments_are_reported(arguments: list[str]) -> None:
    done = run("inspect", *arguments, COLUMNS="200", NO_COLOR="1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Invalid value for" in done.stderr


@pytest.mark.parametrize("as_lines", [True, False])
async def test_watching_shows_what_is_stored_and_each_change_until_it_is_interrupted(
    deployment: Deployment, unique: str, as_lines: bool
) -> None:
    state, other = StateAdapter(unique, "one"), StateAdapter(unique, "other")
    await state.write_state_data({"n": 0}, WHEN)
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *("inspect", "state", unique, "one", "--watch", *(["--json"] if as_lines else [])),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "COLUMNS": "100", "PYTHONUNBUFFERED": "1"}
        | deployment.environment,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(SECONDS):
        if as_lines:
            assert json.loads(await process.stdout.readline())["payload"] == {"n": 0}
        else:
            while b"Watching" not in await process.stdout.readline():
                pass
        await other.write_state_data({"n": 1}, WHEN)
        await state.write_state_data({"n": 2}, WHEN)
        line = (await process.stdout.readline()).decode()
        if as_lines:
            change = json.loads(line)
            assert (change["kind"], change["context"], change["payload"]) == ("written", state.context, {"n": 2})
        else:
            assert line.rstrip().endswith(f"written  state {unique} one  when 2023-11-14T22:13:20Z")
        process.send_signal(signal.SIGINT)
        errors = (await process.stderr.read()).decode()
        assert await process.wait() == 128 + signal.SIGINT
    assert split_storage(errors)[0] == ""


async def test_migrate_changes_nothing_without_apply(deployment: Deployment, unique: str) -> None:
    collection = await deployment.collection(SessionAdapter.spec)
    await collection.create_index([(name, 1) for name in SessionAdapter.spec.former], unique=True)
    await collection.insert_one({"strategyName": unique, "exchangeName": "e", "frameName": "f", "payload": {"n": 1}})
    done = run("migrate", **deployment.environment)
    assert (done.returncode, done.stderr) == (1, "")
    assert "incomplete keys, so no read finds the rows: 1;" in done.stdout
    assert "Nothing was changed" in done.stdout
    done = run("migrate", "--apply", "--json", **deployment.environment)
    assert done.returncode == 0
    report: dict[str, Any] = json.loads(done.stdout)
    assert (report["applied"], report["clean"], report["found"][0]["mended"]) == (True, True, 1)
    assert await SessionAdapter(unique, "e", "f").read_session_data() == {"n": 1}
    done = run("migrate", **deployment.environment)
    assert (done.returncode, done.stdout) == (
        0,
        "Nothing to migrate: no index or row of an older version of the Node package.\n",
    )
    await backtest_mongo.close()

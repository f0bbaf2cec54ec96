"""Whether candles are kept in rows or in blocks, chosen on the command line, and what other commands say of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.candle_commands import EUR, EURUSD, Database, run_candles
from tests.support.commands import invoke

pytestmark = [pytest.mark.either_driver, pytest.mark.one_python]


@pytest.fixture
def stored(database: Database) -> Database:
    assert run_candles("import", EURUSD, *EUR).code == 0
    return database


def test_series_is_moved_into_blocks_and_back(stored: Database) -> None:
    before = stored.frame("EURUSD", "1h", "demo")
    done = run_candles("rows")
    assert (done.code, done.out.split()[-6:]) == (0, ["EURUSD", "1h", "rows", "5,000", "5,000", "0"])
    done = run_candles("rows", "--seal", *EUR, "--yes")
    assert (done.code, done.err) == (0, "")
    assert "demo EURUSD 1h: 5,000 rows moved into 2 blocks" in done.out
    assert stored.rows() == 0
    assert stored.frame("EURUSD", "1h", "demo").equals(before)
    done = run_candles("rows", "--seal", "--yes")
    assert done.out.endswith("There is nothing to do: all of it is in blocks.\n")
    (series,) = json.loads(run_candles("coverage", "--json").out)["series"]
    assert (series["rows"], series["sealed_rows"], series["bytes"]) == (5000, 5000, series["sealed_bytes"])
    assert run_candles("verify").code == 0
    done = run_candles("rows", "--restore", *EUR, "--yes")
    assert "demo EURUSD 1h: 5,000 rows written from 2 blocks" in done.out
    assert stored.rows() == 5000
    assert stored.frame("EURUSD", "1h", "demo").equals(before)


def test_it_asks_first(stored: Database) -> None:
    done = run_candles("rows", "--seal")
    assert done.code == 2
    assert "nothing changed: there is no terminal to ask on" in done.err
    assert stored.rows() == 5000


def test_mistakes_are_named(stored: Database, tmp_path: Path) -> None:
    done = run_candles("rows", "--seal", "--restore")
    assert done.code == 2
    assert "exclude each other" in done.err
    assert run_candles("rows", "--symbol", "NONE").code == 1


def test_every_command_sees_candles_in_blocks(stored: Database, tmp_path: Path) -> None:
    frame = stored.frame("EURUSD", "1h", "demo")
    assert run_candles("rows", "--seal", "--yes").code == 0
    shown = invoke("inspect", "candle", "--limit", "2", "--json").out
    assert str(frame["close"][-1]) in shown
    listed = json.loads(invoke("ls", "candle", "--json").out)["contexts"]
    assert [one["rows"] for one in listed] == [5000]
    assert [one["rows"] for one in json.loads(invoke("ls", "--json").out)["slots"]] == [5000]
    assert run_candles("export", *EUR, "--output", tmp_path / "all.csv").code == 0
    assert len((tmp_path / "all.csv").read_text().splitlines()) == 5001
    report = json.loads(invoke("export-dump", "--sqlite", tmp_path / "moved.db", "--slot", "candle", "--json").out)
    assert report["slots"][0]["written"] == 5000
    report = json.loads(invoke("export-dump", tmp_path / "dump", "--slot", "candle", "--json").out)
    assert report["slots"][0]["written"] == 5000
    for source in ("moved.db", "dump"):
        report = json.loads(invoke("import-dump", tmp_path / source, "--apply", "--slot", "candle", "--json").out)
        assert (report["slots"][0]["same"], report["slots"][0]["added"]) == (5000, 0)
    assert (
        run_candles(
            "delete", "EURUSD", "1h", "demo", "--end", int(frame["timestamp"][10].timestamp() * 1000), "--yes"
        ).code
        == 0
    )
    report = json.loads(invoke("import-dump", tmp_path / "dump", "--apply", "--slot", "candle", "--json").out)
    assert (report["slots"][0]["same"], report["slots"][0]["added"]) == (4990, 10)
    assert stored.frame("EURUSD", "1h", "demo").equals(frame)


def test_doctor_finds_blocks_that_are_damaged_or_gone(stored: Database) -> None:
    assert run_candles("rows", "--seal", "--yes").code == 0

    def find_problems() -> list[str]:
        found = json.loads(invoke("doctor", "--json").out)["findings"]
        return [one["text"] for one in found if one["area"] == "blocks" and one["severity"] != "ok"]

    assert find_problems() == []
    data = stored.client[stored.name]["candle-data"]
    first = min(block["start"] for block in data.find())
    data.update_one({"start": first}, {"$set": {"close": b"x"}})
    (problem,) = find_problems()
    assert "is damaged: its checksum differs" in problem
    data.delete_one({"start": first})
    (problem,) = find_problems()
    assert problem.endswith("is lost")
    assert run_candles("verify").code == 1


def test_sqlite_has_nothing_to_do_and_files_refuse(tmp_path: Path, database: Database) -> None:
    import asyncio

    from backtest_mongo import close, persist
    from tests.support.uniform import candles

    async def fill() -> None:
        await persist.candle("BTCUSDT", "1m", "x").write_candles_data(candles(3))
        await close()

    persist.use_sqlite(tmp_path / "a.db")
    asyncio.run(fill())
    (tmp_path / "dump").mkdir()
    persist.use_files(tmp_path / "dump")
    asyncio.run(fill())
    done = run_candles("rows", "--seal", "--sqlite", tmp_path / "a.db")
    assert (done.code, done.out) == (0, "There is nothing to do: SQLite keeps candles in blocks anyway.\n")
    done = run_candles("rows", "--seal", "--files", tmp_path / "dump", "--yes")
    assert done.code == 1
    assert "JSON files hold each candle as a file of its own" in done.err

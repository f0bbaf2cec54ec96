"""`prune`: what it shows, what it deletes, and what it leaves, in MongoDB, in SQLite and in files."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import persist
from backtest_mongo.core.config import reset_config
from tests.sqlite.support import change
from tests.support.candle_commands import Database
from tests.support.commands import Done, invoke
from tests.support.leases import take_leases

pytestmark = pytest.mark.one_python

OLD = datetime.now(UTC) - timedelta(days=31)


class Stored:
    """Where rows are, as the command line names it."""

    def __init__(self, options: list[str], use: Callable[[], Any], make_old: Callable[[str, int], None]) -> None:
        self.options = options
        self._use = use
        self.make_old = make_old

    def run(self, work: Callable[[], Any]) -> Any:
        """Do something with the library's own calls."""

        async def run() -> Any:
            done = self._use()
            if done is not None:
                await done
            try:
                return await work()
            finally:
                await backtest_mongo.close()

        return asyncio.run(run())

    def fill(self, rows: int = 10, status: str = "closed") -> None:
        async def write() -> None:
            signals = [{"id": f"s{number}", "status": status} for number in range(rows)]
            await persist.storage(True).write_storage_data(signals)
            await persist.log().write_log_data([{"id": f"l{number}"} for number in range(rows)])

        self.run(write)

    def count(self) -> tuple[int, int]:
        async def read() -> tuple[int, int]:
            return len(await persist.storage(True).read_storage_data()), len(await persist.log().read_log_data())

        found: tuple[int, int] = self.run(read)
        return found


def find_line(done: Done, start: str) -> str:
    """Return the first line of the output that begins with a text, with single spaces."""
    return next(line for line in (" ".join(line.split()) for line in done.out.splitlines()) if line.startswith(start))


@pytest.fixture(params=["mongodb", "sqlite", "files"])
def stored(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stored:
    if request.param == "mongodb":
        database: Database = request.getfixturevalue("database")

        def age_documents(collection: str, rows: int) -> None:
            documents = database.client[database.name][collection]
            for row in documents.find(sort=[("_id", 1)], limit=rows):
                documents.update_one({"_id": row["_id"]}, {"$set": {"updatedDate": OLD}})

        return Stored([], backtest_mongo.setup, age_documents)
    if request.param == "sqlite":
        path = tmp_path / "back test.db"

        def age_rows(collection: str, rows: int) -> None:
            written = int(OLD.timestamp() * 1000)
            change(path, f'UPDATE "{collection}" SET written={written} WHERE number<={rows}')

        return Stored(["--sqlite", str(path)], lambda: persist.use_sqlite(path), age_rows)
    root = tmp_path / "dump"

    def age_files(collection: str, rows: int) -> None:
        directory = {"log-items": "data/log/log", "storage-items": "data/storage/backtest"}[collection]
        for number in range(rows):
            os.utime(root / directory / f"{collection[0]}{number}.json", (OLD.timestamp(), OLD.timestamp()))

    return Stored(["--files", str(root)], lambda: persist.use_files(root), age_files)


def test_rows_are_shown_and_nothing_is_deleted_without_an_answer(stored: Stored) -> None:
    stored.fill()
    done = invoke("prune", "log", "--keep", "4", *stored.options)
    assert done.code == 2
    assert find_line(done, "log") == "log the last 4 rows 10 6"
    assert "there is no terminal to ask on, and --yes is not given" in done.error
    assert stored.count() == (10, 10)


def test_rows_are_deleted_with_yes(stored: Stored) -> None:
    stored.fill()
    done = invoke("prune", "storage", "log", "--keep", "4", "--yes", *stored.options)
    assert (done.code, done.err) == (0, "")
    assert find_line(done, "storage backtest the") == "storage backtest the last 4 rows 10 6"
    assert find_line(done, "log: ") == "log: 6 rows deleted"
    assert stored.count() == (4, 4)
    done = invoke("prune", "storage", "log", "--keep", "4", *stored.options)
    assert (done.code, done.err) == (0, "")
    assert find_line(done, "log") == "log the last 4 rows 4 0"


def test_days_are_counted_from_the_last_write(stored: Stored) -> None:
    stored.fill()
    stored.make_old("log-items", 3)
    done = invoke("prune", "log", "--keep", "30d", "--yes", *stored.options)
    assert (done.code, done.err) == (0, "")
    assert find_line(done, "log: ") == "log: 3 rows deleted"
    assert stored.count() == (10, 7)


def test_configuration_says_what_is_kept(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    stored.fill()
    monkeypatch.setenv("CC_KEEP", "log=4")
    reset_config()
    done = invoke("prune", "--yes", *stored.options)
    assert (done.code, done.err) == (0, "")
    assert "storage" not in done.out
    assert stored.count() == (10, 4)


def test_open_signals_are_kept(stored: Stored) -> None:
    stored.fill(status="opened")
    done = invoke("prune", "storage", "--keep", "1", "--yes", *stored.options)
    assert (done.code, done.err) == (0, "")
    assert find_line(done, "storage") == "storage backtest the last 1 row 10 0"
    assert stored.count() == (10, 10)


def test_json_shows_first_and_deletes_with_yes(stored: Stored) -> None:
    stored.fill()
    expected = {"slot": "log", "context": {}, "keep": "4", "stored": 10, "prunable": 6, "deleted": 0}
    done = invoke("prune", "log", "--keep", "4", "--json", *stored.options)
    assert (done.code, json.loads(done.out)) == (1, {"contexts": [expected], "versions": [], "series": []})
    assert stored.count() == (10, 10)
    done = invoke("prune", "log", "--keep", "4", "--json", "--yes", *stored.options)
    assert (done.code, json.loads(done.out)) == (
        0,
        {"contexts": [expected | {"deleted": 6}], "versions": [], "series": []},
    )
    assert stored.count() == (10, 4)


def test_leased_context_is_left(stored: Stored) -> None:
    if stored.options[:1] == ["--files"]:
        return
    stored.fill()

    stored.run(lambda: take_leases(persist.log()))
    done = invoke("prune", "log", "--keep", "4", "--json", "--yes", *stored.options)
    assert (done.code, json.loads(done.out)["contexts"][0]["deleted"]) == (1, 0)
    assert stored.count() == (10, 10)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["lgo", "--keep", "4"], "did you mean log?"),
        (["signal", "--keep", "4"], "'signal' is not a slot that can be pruned"),
        (["log", "--keep", "0"], "would keep nothing"),
        (["log", "--keep", "soon"], "must be days such as 90d"),
        (["--keep", "4"], "name the slots that it applies to"),
        (
            ["log", "--keep", "4", "--sqlite", "a.db", "--files", "dump"],
            "name one storage, with --sqlite",
        ),
    ],
)
def test_mistake_in_the_arguments_is_named(arguments: list[str], problem: str) -> None:
    done = invoke("prune", *arguments)
    assert done.code == 2
    assert problem in done.error


def test_nothing_is_kept_in_part_without_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = invoke("prune", "log", "--files", tmp_path)
    assert done.code == 1
    assert "nothing says what is kept of log" in done.error


@pytest.mark.parametrize("name", ["CC_HISTORY", "CC_KEEP"])
def test_mistake_in_the_configuration_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "log=0")
    reset_config()
    done = invoke("prune", "--sqlite", "a.db")
    assert done.code == 1
    assert f"{name} (from the environment): log must keep something" in done.error


def test_missing_storage_is_an_error_and_is_not_made(tmp_path: Path) -> None:
    for option, path in (("--sqlite", tmp_path / "no.db"), ("--files", tmp_path / "no")):
        done = invoke("prune", "log", "--keep", "4", option, path)
        assert done.code == 1
        assert str(path) in done.error
        assert not path.exists()

"""`reset`: what it shows, when it asks, and what it deletes, in MongoDB and in an SQLite file."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import persist, setup, transaction
from tests.support.candle_commands import PROJECT, Database
from tests.support.commands import Done, invoke
from tests.support.leases import take_leases
from tests.support.uniform import WHEN

pytestmark = pytest.mark.one_python

RUN = "trend 2024"


class Stored:
    """A database with a run in it, and the options that name it on a command line."""

    def __init__(self, options: list[str], use: Callable[[], AbstractAsyncContextManager[None]]) -> None:
        self.options = options
        self._use = use

    def do(self, work: Callable[[], Any]) -> Any:
        async def carry_out() -> Any:
            async with self._use():
                return await work()

        return asyncio.run(carry_out())

    def count(self) -> tuple[int, int, int]:
        """Return how many rows of the run, of its signals, and of nobody there are."""

        async def count() -> tuple[int, int, int]:
            rows = len(await persist.storage(True).read_storage_data())
            tied = [await persist.state(name, "tied").read_state_data() for name in ("s-1", "s-2", "other")]
            return rows, sum(row is not None for row in tied[:2]), int(tied[2] is not None)

        found: tuple[int, int, int] = self.do(count)
        return found

    def reset(self, *arguments: str) -> Done:
        return invoke("reset", RUN, *self.options, *arguments)


@pytest.fixture(params=["mongodb", "sqlite"])
def stored(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stored:
    """A run with two signals, and a row of nobody."""
    if request.param == "mongodb":
        request.getfixturevalue("database")
        made = Stored([], setup)
    else:
        path = tmp_path / "back test.db"

        @asynccontextmanager
        async def use() -> Any:
            persist.use_sqlite(path)
            yield
            await backtest_mongo.close()

        made = Stored(["--sqlite", str(path)], use)
    monkeypatch.setenv("COLUMNS", "100")

    async def fill() -> None:
        async with transaction(run=RUN):
            await persist.storage(True).write_storage_data([{"id": "s-1"}, {"id": "s-2"}])
        for name in ("s-1", "s-2", "other"):
            await persist.state(name, "tied").write_state_data({}, WHEN)

    made.do(fill)
    return made


def list_lines(done: Done) -> list[str]:
    """Return the lines of the output that are not empty, with single spaces."""
    return [" ".join(line.split()) for line in done.out.splitlines() if line.strip()]


def test_it_shows_what_goes_and_refuses_without_a_terminal(stored: Stored) -> None:
    done = stored.reset()
    assert done.code == 2
    assert [*list_lines(done)][:1] == ["slot to delete without a name"]
    assert {"storage 2 0", "state 2 1"} <= {*list_lines(done)}
    assert "Signals of the run: s-1, s-2" in done.out
    assert "nothing deleted: there is no terminal to ask on, and --yes is not given" in done.err
    assert stored.count() == (2, 2, 1)


def test_with_yes_it_deletes(stored: Stored) -> None:
    done = stored.reset("--yes")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1] == "Deleted 4 rows."
    assert stored.count() == (0, 0, 1)
    again = stored.reset("--yes")
    assert (again.code, again.out, again.err) == (0, f"No row belongs to the run {RUN}.\n", "")


@pytest.mark.parametrize(("answer", "left", "code"), [(b"n\n", 2, 1), (b"\n", 2, 1), (b"y\n", 0, 0)])
def test_it_asks_on_a_terminal(stored: Stored, answer: bytes, left: int, code: int) -> None:
    ours, theirs = pty.openpty()
    os.write(ours, answer)
    command = [sys.executable, "-m", "backtest_mongo", "reset", RUN, *stored.options]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, stdin=theirs, capture_output=True, text=True, env=environment, check=False)
    os.close(ours)
    os.close(theirs)
    assert (done.returncode, "Delete them?" in done.stdout) == (code, True), done.stderr
    assert stored.count() == (left, left, 1)


def test_json_is_the_report(stored: Stored) -> None:
    planned = stored.reset("--json")
    assert planned.code == 2
    expected = {
        "run": RUN,
        "is_dry_run": True,
        "deleted": {"storage": 2, "state": 2},
        "versions": {},
        "signal_ids": ["s-1", "s-2"],
        "live": {},
        "live_signal_ids": [],
        "left": {"state": 1},
        "other_runs": {},
        "skipped": [],
    }
    assert json.loads(planned.out) == expected
    done = stored.reset("--json", "--yes")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out) == {**expected, "is_dry_run": False}
    empty = stored.reset("--json")
    assert empty.code == 0
    assert json.loads(empty.out)["deleted"] == {}


def test_live_rows_need_an_option(stored: Stored) -> None:
    async def go_live() -> None:
        await persist.storage(False).write_storage_data([{"id": "s-2"}])
        async with transaction(when=WHEN, run=RUN):
            await persist.session("t", "e", "f").write_session_data({})

    stored.do(go_live)
    for options in ([], ["--yes"], ["--json", "--yes"]):
        done = stored.reset(*options)
        assert done.code == 1
        assert "nothing deleted: there are live rows, and --live is not given" in done.err
        assert stored.count() == (2, 2, 1)
    shown = stored.reset()
    assert {"slot to delete live without a name", "session 1 1 0"} <= {*list_lines(shown)}
    assert "Signals that are live, too: s-2" in shown.out
    done = stored.reset("--live", "--yes")
    assert (done.code, done.out.splitlines()[-1]) == (0, "Deleted 5 rows.")
    assert stored.count() == (0, 0, 1)


def test_leased_rows_are_not_deleted(stored: Stored) -> None:
    async def take() -> None:
        await take_leases(persist.state("s-1", "tied"))

    stored.do(take)
    done = stored.reset("--yes")
    assert done.code == 1
    assert f'the lease of state["s-1", "tied"] is held by process {os.getpid()}' in done.error
    assert stored.count() == (2, 2, 1)


def test_bad_name_is_refused(database: Database) -> None:
    done = invoke("reset", "", "--yes")
    assert done.code == 1
    assert done.err == "backtest-mongo: reset: run must not be empty (str)\n"


def test_missing_file_is_not_made(tmp_path: Path) -> None:
    done = invoke("reset", RUN, "--sqlite", tmp_path / "none.db", "--yes")
    assert (done.code, done.out) == (1, "")
    assert "there is no file" in done.err
    assert list(tmp_path.iterdir()) == []

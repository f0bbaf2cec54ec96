"""`prune` of versions: what it shows and deletes, on MongoDB and SQLite."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backtest_mongo import persist
from backtest_mongo.core.config import reset_config
from tests.support.commands import invoke
from tests.support.stored import Stored
from tests.support.uniform import WHEN

pytestmark = pytest.mark.one_python


async def write_versions() -> None:
    for bucket in ("a", "b"):
        state = persist.state("s", bucket)
        for number in range(4):
            await state.write_state_data({"n": number}, WHEN + number)
    await persist.state("s", "c").write_state_data({"n": 0}, WHEN)


async def read_times(bucket: str = "a") -> list[int]:
    return [one.when - WHEN async for one in persist.state("s", bucket).history()]


@pytest.fixture
def versions(kept: Stored, monkeypatch: pytest.MonkeyPatch) -> Stored:
    kept.run(write_versions, CC_HISTORY="state")
    monkeypatch.setenv("CC_HISTORY", "state=2,memory")
    reset_config()
    return kept


def test_versions_are_shown_and_nothing_is_deleted_without_an_answer(versions: Stored) -> None:
    done = invoke("prune", *versions.options)
    assert done.code == 2
    assert done.line(" state") == "state the last 2 of each row 9 4"
    assert "memory" not in done.out  # of which all are kept
    assert "--yes is not given" in done.error
    assert versions.run(read_times, CC_HISTORY="state") == [0, 1, 2, 3]


def test_versions_are_deleted_with_yes(versions: Stored) -> None:
    done = invoke("prune", "state", "--yes", *versions.options)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1] == "versions of state: 4 deleted"
    assert versions.run(read_times, CC_HISTORY="state") == [2, 3]
    assert versions.run(lambda: read_times("c"), CC_HISTORY="state") == [0]
    done = invoke("prune", "state", "--json", *versions.options)
    expected = {"slot": "state", "keep": "2", "stored": 5, "prunable": 0, "deleted": 0}
    assert (done.code, json.loads(done.out)) == (0, {"contexts": [], "versions": [expected], "series": []})


def test_json_says_what_would_be_deleted(versions: Stored) -> None:
    done = invoke("prune", "--json", *versions.options)
    assert done.code == 1
    expected = {"slot": "state", "keep": "2", "stored": 9, "prunable": 4, "deleted": 0}
    assert json.loads(done.out)["versions"] == [expected]
    done = invoke("prune", "--json", "--yes", *versions.options)
    assert (done.code, json.loads(done.out)["versions"]) == (0, [{**expected, "deleted": 4}])


def test_days_count_from_the_time_of_writing(versions: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC_HISTORY", "state=3d")
    reset_config()
    done = invoke("prune", "state", *versions.options)
    assert (done.code, done.line(" state")) == (0, "state the last 3 days 9 0")


def test_rows_and_versions_are_pruned_together(versions: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    async def write() -> None:
        await persist.log().write_log_data([{"id": f"{number}"} for number in range(5)])

    versions.run(write)
    monkeypatch.setenv("CC_KEEP", "log=2")
    reset_config()
    done = invoke("prune", "--yes", *versions.options)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-2:] == ["log: 3 rows deleted", "versions of state: 4 deleted"]


def test_setting_that_keeps_everything_prunes_nothing(versions: Stored) -> None:
    done = invoke("prune", "memory", *versions.options)
    assert (done.code, done.out) == (1, "")
    assert "nothing says what is kept of memory" in done.error
    done = invoke("prune", "state", "--keep", "3", *versions.options)
    assert (done.code, done.out) == (2, "")
    assert "'state' is not a slot that can be pruned" in done.error


def test_files_have_no_versions(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dump").mkdir()
    monkeypatch.setenv("CC_HISTORY", "state=2")
    reset_config()
    done = invoke("prune", "--files", tmp_path / "dump")
    assert (done.code, done.out) == (1, "")
    assert "nothing says what is kept" in done.error

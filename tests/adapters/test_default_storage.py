"""What stores before anything is chosen: an SQLite database in the working directory."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import backtest_mongo
from backtest_mongo import SLOTS, ConfigError, persist, set_logger
from tests.sqlite.support import list_names, query, worker
from tests.support.deadlines import PROCESS_SECONDS


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What is logged in a process that has chosen no storage and works in an empty directory."""
    monkeypatch.chdir(tmp_path)
    set_logger(logging.getLogger("test"))
    return caplog


def test_every_slot_works_without_a_server_or_a_warning(tmp_path: Path) -> None:
    with worker("everything", "", cwd=tmp_path, stderr=-1) as process:
        _, errors = process.communicate(timeout=PROCESS_SECONDS)
    assert (process.returncode, errors) == (0, "")
    assert list_names(tmp_path) == ["backtest.db"]
    tables = {name for (name,) in query(tmp_path / "backtest.db", "SELECT name FROM sqlite_master WHERE type='table'")}
    assert tables >= {spec.collection for spec in SLOTS}


async def test_database_is_in_the_directory_of_the_first_use(
    log: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = persist.state("s", "b")
    assert await state.read_state_data() is None
    assert list_names(tmp_path) == []
    monkeypatch.chdir("/")
    await persist.state("s", "b").write_state_data({"n": 1}, 1)
    await backtest_mongo.close()
    assert list_names(tmp_path) == ["backtest.db"]
    assert await state.read_state_data() == {"n": 1}
    await backtest_mongo.close()


async def test_one_warning_says_how_to_go_on_where_files_are(log: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    (tmp_path / "dump").mkdir()
    for number in range(3):
        assert await persist.state("s", f"b-{number}").read_state_data() is None
    (message,) = log.messages
    assert message.startswith("what is stored goes to ./backtest.db, and ./dump stays as it is")
    assert 'persist.use_files("dump")' in message
    assert "backtest-mongo import-dump dump --sqlite backtest.db --apply" in message


@pytest.mark.parametrize("name", ["backtest.db", "dump"])
async def test_nothing_is_said_where_the_database_is_or_dump_is_no_directory(
    log: pytest.LogCaptureFixture, tmp_path: Path, name: str
) -> None:
    if name == "backtest.db":
        await persist.state("s", "b").write_state_data({"n": 1}, 1)
        await backtest_mongo.close()
        (tmp_path / "dump").mkdir()
        persist._choose = None  # as in another process
    else:
        (tmp_path / "dump").touch()
    persist.state("s", "c")
    assert log.messages == []


async def test_nothing_is_said_where_a_storage_was_chosen(log: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    (tmp_path / "dump").mkdir()
    persist.use_files("dump")
    await persist.state("s", "b").write_state_data({"n": 1}, 1)
    assert log.messages == []
    assert list_names(tmp_path) == ["dump"]


def test_directory_in_the_place_of_the_database_is_refused(log: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    (tmp_path / "backtest.db").mkdir()
    with pytest.raises(ConfigError, match="directory"):
        persist.state("s", "b")

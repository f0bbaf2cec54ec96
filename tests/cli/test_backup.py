"""`backup`: what it prints, and how it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

import backtest_mongo
from backtest_mongo import persist
from tests.sqlite.support import query
from tests.support.commands import invoke


@pytest.fixture
async def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database with a row in the working directory."""
    monkeypatch.chdir(tmp_path)
    persist.use_sqlite("backtest.db")
    await persist.log().write_log_data([{"id": "a"}])
    await backtest_mongo.close()
    return tmp_path / "backtest.db"


def test_default_database_is_copied_and_restored(path: Path) -> None:
    done = invoke("backup", "copy.db")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("copy.db: a copy of backtest.db, ")
    assert len(query(path.with_name("copy.db"), "SELECT * FROM [log-items]")) == 1
    path.write_bytes(b"damaged" * 1_000)
    done = invoke("backup", "backtest.db", "--sqlite", "copy.db", "--force")
    assert done.code == 0
    assert len(query(path, "SELECT * FROM [log-items]")) == 1


def test_errors_are_one_line_with_what_to_do(path: Path) -> None:
    assert invoke("backup", "copy.db").code == 0
    done = invoke("backup", "copy.db")
    assert (done.code, done.out) == (1, "")
    assert "copy.db exists already (name another file, or replace it with --force)" in done.error
    done = invoke("backup", "other.db", "--sqlite", "missing.db")
    assert done.code == 1
    assert "there is no database at" in done.error
    done = invoke("backup", "missing/copy.db")
    assert done.code == 1
    assert "there is no directory" in done.error

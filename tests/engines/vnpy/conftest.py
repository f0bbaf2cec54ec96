"""VeighNa's database next to vnpy's own one for SQLite, in a directory that vnpy takes for the user's.

Without vnpy nothing here is collected; ``nox -s engines-vnpy`` installs it.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from backtest_mongo import sync
from tests.conftest import on_database

#: The system's time zone in these tests, and vnpy's.
ZONE = "Asia/Shanghai"
STORAGES = ("mongodb", "sqlite")

collect_ignore_glob = [] if find_spec("vnpy") else ["test_*.py", "support.py"]


def _import_vnpy() -> None:
    """Import vnpy where it finds settings of ours, and can make its directories."""
    os.environ["TZ"] = ZONE
    time.tzset()
    directory = Path(tempfile.mkdtemp(prefix="backtest-mongo-vnpy-"))
    write_settings(directory)
    with contextlib.chdir(directory):
        import vnpy.trader.database  # noqa: F401  # for what it does on import


def write_settings(directory: Path, **settings: Any) -> None:
    """Make a directory the one of a user of vnpy."""
    (directory / ".vntrader").mkdir()
    quiet = {"log.active": False, "log.console": False, "log.file": False, "database.timezone": ZONE}
    named = {f"database.{name}": value for name, value in settings.items()}
    (directory / ".vntrader" / "vt_setting.json").write_text(json.dumps(quiet | named))


if find_spec("vnpy"):
    _import_vnpy()


@pytest.fixture(params=STORAGES)
def storage(request: pytest.FixtureRequest) -> str:
    """Where the database of this library is."""
    return str(request.param)


@pytest.fixture
def settings(storage: str, request: pytest.FixtureRequest, unique: str, tmp_path: Path) -> dict[str, Any]:
    """What vnpy's settings say about it."""
    if storage == "sqlite":
        return {"database": str(tmp_path / "ours.db")}
    uri = request.getfixturevalue("servers")["CC_MONGO_CONNECTION_STRING"]
    return {"host": on_database(uri, unique), "database": unique}


@pytest.fixture
def database(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A fresh database of this library."""
    from vnpy.trader.setting import SETTINGS

    from vnpy_backtest_mongo import Database

    for name, value in settings.items():
        monkeypatch.setitem(SETTINGS, f"database.{name}", value)
    yield Database()
    sync.close()


@pytest.fixture
def reference(tmp_path: Path) -> Iterator[Any]:
    """A fresh database of vnpy_sqlite."""
    from vnpy_sqlite import sqlite_database

    sqlite_database.db.init(str(tmp_path / "theirs.db"))
    yield sqlite_database.SqliteDatabase()
    sqlite_database.db.close()

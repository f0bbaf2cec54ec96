"""Which storage vnpy's settings choose, and what is wrong with what is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from vnpy.trader.setting import SETTINGS

from backtest_mongo import sync
from backtest_mongo.core.config import get_config
from tests.conftest import on_database
from tests.engines.vnpy.conftest import ZONE, write_settings
from tests.engines.vnpy.support import EVER, make_bars
from tests.support.deadlines import PROCESS_SECONDS
from vnpy_backtest_mongo import Database

pytestmark = pytest.mark.engines

ROOT = Path(__file__).parent.parent.parent.parent
SERIES = ("rb2405", make_bars(1)[0].exchange, make_bars(1)[0].interval)

#: Saves a bar in the database that vnpy finds, and prints where persist stores.
SAVE = """
from datetime import datetime
from vnpy.trader.constant import Exchange, Interval
from vnpy.trader.database import DB_TZ, get_database
from vnpy.trader.object import BarData
from backtest_mongo import sync
database = get_database()
bar = BarData("TEST", "rb2405", Exchange.SHFE, datetime(2024, 1, 2, tzinfo=DB_TZ), Interval.MINUTE, close_price=5.0)
database.save_bar_data([bar])
print(type(database).__module__, database.get_bar_overview()[0].count, DB_TZ)
"""


def run(code: str, directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, as a user of vnpy in a directory."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TZ": ZONE, **environment},
        capture_output=True,
        text=True,
        timeout=PROCESS_SECONDS,
        check=False,
    )


def save(directory: Path, **environment: str) -> None:
    done = run(SAVE, directory, **environment)
    assert done.stderr == ""
    assert done.stdout == f"backtest_mongo.integrations.veighna 1 {ZONE}\n"


def load() -> list[float]:
    return [bar.close_price for bar in Database().load_bar_data(*SERIES, *EVER)]


@pytest.fixture(autouse=True)
def _closed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.chdir(tmp_path)
    yield
    sync.close()


def test_file_is_where_vnpy_has_its_own(tmp_path: Path) -> None:
    write_settings(tmp_path, name="backtest_mongo", database="bars.db")
    save(tmp_path)
    assert (tmp_path / ".vntrader" / "bars.db").exists()
    assert not (tmp_path / "backtest.db").exists()


def test_host_and_port_name_a_mongodb(servers: dict[str, Any], unique: str, tmp_path: Path) -> None:
    uri = servers["CC_MONGO_CONNECTION_STRING"]
    host, port = uri.partition("://")[2].partition("/")[0].split(":")
    write_settings(tmp_path, name="backtest_mongo", host=host, port=int(port), database=unique)
    save(tmp_path)
    sync.setup(CC_MONGO_CONNECTION_STRING=on_database(uri, unique))
    assert load() == [5.0]


def test_connection_string_of_the_environment_names_a_mongodb(
    servers: dict[str, Any], unique: str, tmp_path: Path
) -> None:
    uri = on_database(servers["CC_MONGO_CONNECTION_STRING"], unique)
    write_settings(tmp_path, name="backtest_mongo")
    save(tmp_path, CC_MONGO_CONNECTION_STRING=uri)
    sync.setup(CC_MONGO_CONNECTION_STRING=uri)
    assert load() == [5.0]


def test_without_any_name_it_is_the_default_file(tmp_path: Path) -> None:
    write_settings(tmp_path, name="backtest_mongo")
    save(tmp_path)
    assert (tmp_path / "backtest.db").exists()
    assert load() == [5.0]


def test_what_the_program_has_chosen_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC_MONGO_CONNECTION_STRING", "mongodb://localhost:1/none")
    sync.persist.use_sqlite(tmp_path / "chosen.db")
    Database().save_bar_data(make_bars(1))
    assert (tmp_path / "chosen.db").exists()


@pytest.mark.parametrize(
    ("settings", "uri"),
    [
        ({"host": "db"}, "mongodb://db:27017/"),
        ({"host": "db", "port": 27018, "database": "vnpy"}, "mongodb://db:27018/vnpy"),
        ({"host": "db", "user": "a", "password": "p:/@?"}, "mongodb://a:p%3A%2F%40%3F@db:27017/"),
        (
            {"host": "db", "user": "a", "password": "b", "database": "vnpy"},
            "mongodb://a:b@db:27017/vnpy?authSource=admin",
        ),
        ({"host": "db", "user": "a"}, "mongodb://db:27017/"),
        ({"host": "mongodb://a,b/x?replicaSet=rs0"}, "mongodb://a,b/x?replicaSet=rs0"),
        ({"host": "mongodb+srv://a.b.c/?tls=true", "database": "vnpy"}, "mongodb+srv://a.b.c/vnpy?tls=true"),
    ],
)
def test_connection_string_is_made_of_the_settings(
    settings: dict[str, Any], uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings.items():
        monkeypatch.setitem(SETTINGS, f"database.{name}", value)
    Database()
    assert get_config().CC_MONGO_CONNECTION_STRING.get_secret_value() == uri


def test_missing_vnpy_is_named_with_its_extra(tmp_path: Path) -> None:
    done = run("import sys; sys.modules['vnpy'] = None; import vnpy_backtest_mongo", tmp_path)
    assert done.stderr.splitlines()[-1] == (
        "ImportError: the database of VeighNa needs vnpy, which is not installed "
        '(pip install "backtest-mongo[vnpy]", or ".[vnpy]" in a checkout)'
    )


@pytest.mark.parametrize("version", ["3.9.4", "5.0.0", "40.0"])
def test_version_of_vnpy_that_is_not_supported_is_refused(version: str, tmp_path: Path) -> None:
    (tmp_path / "vnpy.py").write_text(f"__version__ = {version!r}\n")
    done = run("import sys; sys.path.insert(0, ''); import vnpy_backtest_mongo", tmp_path)
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: the database of VeighNa needs vnpy 4, and {version} is installed "
        '(pip install "backtest-mongo[vnpy]", or ".[vnpy]" in a checkout)'
    )


def test_slot_of_bars_needs_no_vnpy(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['vnpy'] = None; import backtest_mongo.integrations.vnpy_bars as m; print(m.BARS.name)"
    )
    assert run(code, tmp_path).stdout == "vnpy_bar\n"


# Time zones

ZONES = """
import json, sys
from datetime import UTC, datetime, timedelta
from vnpy.trader.constant import Exchange, Interval
from vnpy.trader.database import DB_TZ
from vnpy.trader.object import BarData
from vnpy.trader.setting import SETTINGS
SETTINGS["database.database"] = "theirs.db"
from vnpy_sqlite import Database as Theirs
SETTINGS["database.database"] = "ours.db"
from vnpy_backtest_mongo import Database as Ours
first, step = datetime.fromisoformat(sys.argv[1]).replace(tzinfo=DB_TZ).astimezone(UTC), timedelta(hours=1)
times = [(first + number * step).astimezone(DB_TZ) for number in range(6)]
limits = [time.replace(tzinfo=None) for time in (times[1], times[4])]
found = []
for kind in (Ours, Theirs):
    database = kind()
    zone = DB_TZ if sys.argv[2] == "aware" else None
    bars = [BarData("TEST", "a", Exchange.CME, time.replace(tzinfo=zone), Interval.HOUR) for time in times]
    database.save_bar_data(bars)
    (overview,) = database.get_bar_overview()
    found.append([
        str((overview.count, overview.start, overview.end)),
        *(str(bar.datetime) for bar in database.load_bar_data("a", Exchange.CME, Interval.HOUR, *limits)),
    ])
print(json.dumps(found))
"""


def compare(directory: Path, system: str, zone: str, start: str, kind: str) -> tuple[list[str], list[str]]:
    """Return what this library answers about six hourly bars, and vnpy_sqlite."""
    write_settings(directory, timezone=zone)
    done = run(ZONES.replace("sys.argv[1]", repr(start)).replace("sys.argv[2]", repr(kind)), directory, TZ=system)
    assert done.stderr == ""
    ours, theirs = json.loads(done.stdout)
    return ours, theirs


@pytest.mark.parametrize("kind", ["aware", "naive"])
@pytest.mark.parametrize(
    ("zone", "start"),
    [
        ("Asia/Shanghai", "2024-01-02 21:00"),
        ("Asia/Shanghai", "1988-04-16 23:00"),
        ("America/New_York", "2024-06-03 09:00"),
        ("America/New_York", "2024-03-09 23:00"),
        ("Asia/Kolkata", "2024-01-02 09:15"),
        ("UTC", "1969-12-31 22:00"),
    ],
)
def test_times_are_vnpy_s_in_its_zone(zone: str, start: str, kind: str, tmp_path: Path) -> None:
    ours, theirs = compare(tmp_path, zone, zone, start, kind)
    assert ours == theirs
    assert len(ours) > 1


def test_hour_that_the_clocks_show_twice_is_kept_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
from datetime import UTC, datetime, timedelta
from vnpy.trader.constant import Exchange, Interval
from vnpy.trader.object import BarData
from vnpy_backtest_mongo import Database
start = datetime(2024, 11, 3, 4, tzinfo=UTC)
times = [start + timedelta(hours=number) for number in range(4)]
Database().save_bar_data([BarData("TEST", "a", Exchange.CME, time, Interval.HOUR) for time in times])
for bar in Database().load_bar_data("a", Exchange.CME, Interval.HOUR, start, times[-1]):
    print(bar.datetime)
"""
    write_settings(tmp_path, timezone="America/New_York")
    assert run(code, tmp_path, TZ="America/New_York").stdout.splitlines() == [
        "2024-11-03 00:00:00-04:00",
        "2024-11-03 01:00:00-04:00",
        "2024-11-03 01:00:00-05:00",
        "2024-11-03 02:00:00-05:00",
    ]


def test_times_are_the_same_where_the_system_has_another_zone_than_vnpy(tmp_path: Path) -> None:
    ours, theirs = compare(tmp_path, "UTC", "Asia/Shanghai", "2024-01-02 09:00", "aware")
    assert ours[1:] == [f"2024-01-02 {hour}:00:00+08:00" for hour in (10, 11, 12, 13)]
    assert ours[0] == theirs[0]
    assert ours[1:] != theirs[1:]  # vnpy_sqlite takes what it stores for times of the system

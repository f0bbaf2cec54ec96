"""The doctor on an SQLite file: what it finds on sound, damaged and badly placed ones, and how it says so."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import persist
from backtest_mongo.cli.doctor import diagnose_sqlite, history_checks, series_checks, sqlite_checks
from backtest_mongo.cli.doctor.diagnose_sqlite import diagnose_file
from backtest_mongo.cli.doctor.sqlite_checks import check_versions, find_file_system
from backtest_mongo.core.config import reset_config
from backtest_mongo.sqlite import backup, column_documents, columns
from backtest_mongo.sqlite.file_format import STEPS
from tests.cli.test_doctor import found, texts
from tests.sqlite.support import change, get, locked_for_all, put, query
from tests.sqlite.test_backup import damage, make_foreign
from tests.support.built_in_series import equity, trades
from tests.support.commands import invoke
from tests.support.leases import LONG_AGO, take_leases
from tests.support.uniform import WHEN, candles


@pytest.fixture
async def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
    """A sound database, and a doctor who sees no faults of this machine."""
    monkeypatch.setattr(diagnose_sqlite, "_VERSION", "3.51.3")
    monkeypatch.setattr(sqlite_checks, "find_file_system", lambda path: "ext4")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12))
    path = tmp_path / "backtest.db"
    persist.use_sqlite(path)
    await persist.log().write_log_data([{"id": str(number)} for number in range(7)])
    await persist.memory("s", "b").write_memory_data({"n": 1}, "m", WHEN)
    await persist.candle("BTC", "1m", "x").write_candles_data(candles(600))
    await persist.candle("ETH", "1h", "x").write_candles_data(candles(2, step=3_600_000))
    await backtest_mongo.close()
    yield path
    await backtest_mongo.close()


def usage(free: int) -> Any:
    return shutil._ntuple_diskusage(10**12, 10**12 - free, free)


async def test_sound_file_has_no_problem_and_is_not_changed(path: Path) -> None:
    before = get(path)
    diagnosis = diagnose_file(path)
    assert texts(diagnosis, "problem", "warning", "note") == []
    assert diagnosis.is_sound
    assert found(diagnosis, "integrity", "").text == "quick_check: ok"
    assert found(diagnosis, "rows", "").text == "8 rows of the library's slots, all of which can be decoded"
    assert found(diagnosis, "candles", "").text == (
        "candle-items: 602 candles in 2 series: x BTC 1m: 600 (1970-01-01T00:00:00Z to 1970-01-01T09:59:00Z); "
        "x ETH 1h: 2 (1970-01-01T00:00:00Z to 1970-01-01T01:00:00Z)"
    )
    assert [(size.collection, size.rows) for size in diagnosis.sizes] == [
        ("log-items", 7),
        ("memory-items", 1),
        ("candle-items", 602),
    ]
    assert diagnosis.facts["format"] == len(STEPS)
    assert [one["rows"] for one in diagnosis.facts["candles"]] == [600, 2]
    assert get(path) == before
    assert os.listdir(path.parent) == [path.name]


async def test_leases_are_listed_and_expired_ones_are_warned_of(path: Path) -> None:
    await take_leases(persist.state("s", "b"))
    await take_leases(persist.signal("BTCUSDT", "s", "x"))
    await backtest_mongo.close()
    change(path, f"UPDATE leases SET until={LONG_AGO} WHERE slot='signal'")
    diagnosis = diagnose_file(path)
    assert found(diagnosis, "leases", "1 lease held: state s b by process ").severity == "ok"
    expired = found(diagnosis, "leases", "1 lease expired and not given back: signal BTCUSDT s x by process ")
    assert expired.severity == "warning"
    assert "expired 2023-11-14T22:13:20Z" in expired.text
    assert [one["slot"] for one in diagnosis.facts["leases"]] == ["signal", "state"]
    assert json.loads(json.dumps(diagnosis.to_json()))["counts"]["warning"] == 1


async def test_file_of_a_format_without_leases_has_none(path: Path) -> None:
    change(path, "DROP TABLE leases", "PRAGMA user_version=2")
    diagnosis = diagnose_file(path)
    assert diagnosis.facts["leases"] == []
    assert diagnosis.is_sound


async def test_thorough_check_compares_indexes(path: Path) -> None:
    change(
        path,
        "PRAGMA writable_schema=ON",
        # The unique index then says nothing of the rows that are there.
        "UPDATE sqlite_master SET sql=replace(sql, 'UNIQUE ([entryId])', 'UNIQUE ([payload])') WHERE name='log-items'",
    )
    assert found(diagnose_file(path), "integrity", "").severity == "ok"
    found_all = [one for one in diagnose_file(path, thorough=True).findings if one.area == "integrity"]
    assert {finding.severity for finding in found_all} == {"problem"}
    assert found_all[-1].advice


async def test_damaged_file_says_how_to_restore_it(path: Path) -> None:
    damage(path)
    diagnosis = diagnose_file(path)
    assert not diagnosis.is_sound
    (finding,) = [finding for finding in diagnosis.findings if finding.area == "integrity" and finding.advice]
    assert finding.severity == "problem"
    assert "backtest-mongo backup FILE --sqlite BACKUP --force" in finding.advice
    assert "sqlite3 FILE .recover" in finding.advice
    for area in ("rows", "candles"):
        assert found(diagnosis, area, "malformed").severity == "problem"


async def test_file_whose_schema_is_damaged_says_how_to_restore_it(path: Path) -> None:
    content = get(path)
    put(path, content[:100] + b"U" * 3_000 + content[3_100:])  # behind the file's header
    finding = found(diagnose_file(path), "file", "malformed")
    assert finding.severity == "problem"
    assert "restore a backup" in finding.advice
    assert "sqlite3 FILE .recover" in finding.advice


async def test_file_that_can_t_be_opened_is_a_problem(path: Path, tmp_path: Path) -> None:
    foreign, text, empty = (tmp_path / name for name in ("foreign.db", "text.db", "empty.db"))
    make_foreign(foreign)
    put(text, b"text" * 2_000)
    put(empty, b"")
    for file, message in (
        (tmp_path / "missing.db", "there is no database at"),
        (tmp_path, "is a directory"),
        (foreign, "is a database of another program"),
        (text, "file is not a database"),
        (empty, "is not a database of backtest-mongo: it is empty"),
    ):
        diagnosis = diagnose_file(file)
        finding = found(diagnosis, "file", message)
        assert (finding.severity, diagnosis.is_sound) == ("problem", False)
        assert finding.advice


async def test_locked_file_is_a_problem(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "_LOCK_SECONDS", 0.05)
    with locked_for_all(path):
        assert found(diagnose_file(path), "file", "another process holds the lock").severity == "problem"


async def test_older_and_newer_formats_are_named(path: Path) -> None:
    STEPS.append(lambda connection: None)
    try:
        finding = found(diagnose_file(path), "file", f"this version of backtest-mongo writes format {len(STEPS)}")
        assert finding.severity == "note"
        assert query(path, "PRAGMA user_version") == [(len(STEPS) - 1,)]
        assert found(diagnose_file(path), "rows", "8 rows").severity == "ok"
    finally:
        STEPS.pop()
    change(path, f"PRAGMA user_version={len(STEPS) + 1}")
    assert found(diagnose_file(path), "file", f"has format {len(STEPS) + 1}").severity == "problem"


@pytest.mark.parametrize(
    ("version", "is_affected"),
    [
        ("3.6.23", False), ("3.7.0", True), ("3.40.1", True), ("3.44.5", True), ("3.44.6", False), ("3.45.0", True),
        ("3.50.6", True), ("3.50.7", False), ("3.51.2", True), ("3.51.3", False), ("3.52.0", False), ("4.0.0", False),
    ],
)  # fmt: skip
def test_versions_with_the_wal_reset_bug_are_named(version: str, is_affected: bool) -> None:
    first, *others = check_versions(version)
    assert f"SQLite {version}" in first.text
    assert [finding.severity for finding in others] == ["note"] * is_affected


MOUNTS = """\
22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/root rw
23 22 0:21 / /proc rw - proc proc rw
41 22 0:35 / /mnt/share rw,relatime shared:20 - nfs4 host:/export rw,vers=4.2
42 41 0:36 / /mnt/share/local rw - tmpfs tmpfs rw
43 22 0:37 / /mnt/with\\040space rw - fuse.sshfs host:/ rw
44 22 0:38 / /over rw - ext4 /dev/sdb rw
45 44 0:39 / /over rw master:1 - cifs //host/share rw
"""


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("/home/user/backtest.db", "ext4"),
        ("/mnt/share/backtest.db", "nfs4"),
        ("/mnt/sharex/backtest.db", "ext4"),
        ("/mnt/share/local/backtest.db", "tmpfs"),
        ("/mnt/with space/a/backtest.db", "fuse.sshfs"),
        ("/over/backtest.db", "cifs"),
    ],
)
def test_file_system_is_that_of_the_nearest_mount(tmp_path: Path, file: str, kind: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert find_file_system(file, mounts) == kind
    assert find_file_system(file, tmp_path / "missing") is None


def test_file_system_of_this_machine_is_found() -> None:
    if os.path.exists("/proc/self/mountinfo"):
        assert find_file_system("/proc/self") == "proc"


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"])
async def test_network_file_system_is_a_problem(path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(sqlite_checks, "find_file_system", lambda path: kind)
    finding = found(diagnose_file(path), "disk", f"network file system ({kind})")
    assert (finding.severity, bool(finding.advice)) == ("problem", True)


@pytest.mark.parametrize(
    ("free", "severity"), [(10**6, "problem"), (10**8, "warning"), (6 * 10**8, "ok"), (10**12, "ok")]
)
async def test_free_space_is_reported(path: Path, monkeypatch: pytest.MonkeyPatch, free: int, severity: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(free))
    assert found(diagnose_file(path), "disk", "are free").severity == severity


async def test_disk_without_room_for_a_backup_is_noted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_checks, "_NO_BYTES", 0)
    monkeypatch.setattr(sqlite_checks, "_FEW_BYTES", 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1_000))
    assert found(diagnose_file(path), "disk", "less than a backup").severity == "note"


async def test_log_that_a_reader_holds_is_a_warning(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_checks, "_LONG_LOG", 10_000)
    monkeypatch.setattr(sqlite_checks, "_PAUSE", 0.0)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM [log-items]").fetchone()
        await persist.log().write_log_data([{"id": f"late-{number}", "x": "y" * 1_000} for number in range(100)])
        assert found(diagnose_file(path, read_only=True), "log", "").severity == "note"
        finding = found(diagnose_file(path), "log", "can't be moved into the file")
        assert (finding.severity, bool(finding.advice)) == ("warning", True)
        reader.execute("ROLLBACK")
        assert found(diagnose_file(path), "log", "all of it moved").severity == "note"
    await backtest_mongo.close()
    assert found(diagnose_file(path), "log", "").text == "write-ahead log: 0 B"


async def test_what_is_wrong_with_the_file_s_place_is_reported(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.link(path, path.with_name("second.db"))
    put(Path(f"{path}.unfinished"), b"")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    diagnosis = diagnose_file(path)
    assert found(diagnosis, "file", "hard links").severity == "warning"
    assert found(diagnosis, "file", "backtest.db.unfinished").severity == "note"
    assert found(diagnosis, "file", "may not write the file").severity == "problem"
    assert found(diagnosis, "file", "may not write the directory").severity == "problem"


async def test_file_without_a_write_ahead_log_is_noted(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    assert found(diagnose_file(path), "file", "journal mode is delete").severity == "note"


async def test_rows_that_can_t_be_decoded_are_named(path: Path) -> None:
    change(
        path,
        "UPDATE [log-items] SET payload='{'",
        "UPDATE [memory-items] SET payload=CAST(x'ff' AS TEXT)",
        "CREATE TABLE [order-book-items] (x)",
        "INSERT INTO [order-book-items] VALUES (1)",
        "CREATE TABLE [state-items] (x)",
    )
    diagnosis = diagnose_file(path)
    finding = found(diagnosis, "rows", "log-items")
    assert finding.text == (
        "log-items: 7 rows can't be decoded: 0: it holds no JSON; 1: it holds no JSON; 2: it holds no JSON; "
        "3: it holds no JSON; 4: it holds no JSON; and 2 more"
    )
    assert finding.severity == "problem"
    assert found(diagnosis, "rows", "memory-items: 1 row can't be decoded: s, b, m").advice
    assert found(diagnosis, "rows", "order-book-items: 1 row of a slot of your own").severity == "note"
    assert found(diagnosis, "rows", "state-items: the table has other columns").severity == "problem"
    assert not [finding for finding in diagnosis.findings if finding.area == "rows" and finding.severity == "ok"]


async def test_damaged_blocks_and_impossible_candles_are_named(path: Path) -> None:
    ((data,),) = query(path, "SELECT candles FROM [candle-items] WHERE symbol='ETH'")
    infinite = data[:16] + b"\0\0\0\0\0\0\xf0\x7f" + data[24:]
    change(
        path,
        "UPDATE [candle-items] SET candles=x'00' WHERE symbol='BTC' AND start=0",
        "UPDATE [candle-items] SET [rows]=3 WHERE symbol='BTC' AND start>0",
        f"UPDATE [candle-items] SET candles=x'{infinite.hex()}' WHERE symbol='ETH'",
    )
    diagnosis = diagnose_file(path)
    finding = found(diagnosis, "candles", "2 blocks can't be read")
    assert finding.severity == "problem"
    assert "x BTC 1m, from 1970-01-01T00:00:00Z: it has the length of no number of candles" in finding.text
    assert "x BTC 1m, from 1970-01-01T08:32:00Z: its columns don't fit its candles" in finding.text
    assert found(diagnosis, "candles", "1 series with impossible candles: x ETH 1h: 1").severity == "warning"


async def test_check_that_fails_stops_no_other(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shutil, "disk_usage", refuse)
    diagnosis = diagnose_file(path)
    assert found(diagnosis, "disk", "space: could not be checked").severity == "warning"
    assert found(diagnosis, "candles", "602 candles").severity == "ok"


async def test_command_prints_findings_and_ends_with_their_status(path: Path) -> None:
    done = invoke("doctor", "--sqlite", path)
    assert done.code == 0
    assert "quick_check: ok" in done.out
    done = invoke("doctor", "--sqlite", path, "--thorough", "--json")
    printed = json.loads(done.out)
    assert (done.code, printed["ok"], printed["facts"]["path"]) == (0, True, str(path))
    assert any(finding["text"] == "integrity_check: ok" for finding in printed["findings"])
    change(path, "UPDATE [log-items] SET payload='{' WHERE entryId='1'")
    done = invoke("doctor", "--sqlite", path)
    assert done.code == 1
    assert "can't be decoded" in done.out
    done = invoke("doctor", "--thorough")
    assert done.code == 2
    assert "needs an SQLite file" in done.error


async def keep_versions(path: Path) -> None:
    """Let a state have versions, one that was written since, and one without."""
    persist.use_sqlite(path)
    await persist.state("s", "before").write_state_data({"n": 0}, WHEN)
    backtest_mongo.set_config(CC_HISTORY="state=100,dictionary")
    for name in ("same", "since"):
        for number in range(3):
            await persist.state("s", name).write_state_data({"n": number}, WHEN + number)
    backtest_mongo.set_config(CC_HISTORY=None)
    await backtest_mongo.close()
    change(path, "UPDATE [state-items] SET written=written+1 WHERE bucketName='since'")


async def test_versions_are_counted_and_rows_without_one(path: Path) -> None:
    await keep_versions(path)
    diagnosis = diagnose_file(path)
    (finding,) = [one for one in diagnosis.findings if one.area == "history"]
    size = 3 * 2 * len('{"n":0}')
    assert finding.severity == "warning"
    assert finding.text == (
        f"state: 6 versions kept, {size} B; 1 row without one; 1 row written since without one; CC_HISTORY does not "
        "name it here"
    )
    assert "set CC_HISTORY in every process that writes" in finding.advice
    assert diagnosis.facts["history"]["state"] == {
        "keep": None, "versions": 6, "bytes": size, "rows": 3, "rows_without_version": 1, "rows_written_since": 1,
        "more_rows": False,
    }  # fmt: skip
    assert ("state-history", 6) in [(one.collection, one.rows) for one in diagnosis.sizes]
    backtest_mongo.set_config(CC_HISTORY="state=100,dictionary")
    diagnosis = diagnose_file(path)
    assert [one.severity for one in diagnosis.findings if one.area == "history"] == ["warning", "ok"]
    assert found(diagnosis, "history", "dictionary").text == "dictionary: 0 versions kept, 0 B"
    assert diagnosis.facts["history"]["state"]["keep"] == "100"
    assert diagnosis.facts["history"]["dictionary"]["keep"] == "all"


async def test_comparison_with_versions_is_cut_off_and_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await keep_versions(path)
    monkeypatch.setattr(history_checks, "MAX_ROWS", 2)
    monkeypatch.setattr(history_checks, "_MAX_VERSIONS", 5)
    monkeypatch.setattr(history_checks, "_SAMPLE", 2)
    text = found(diagnose_file(path), "history", "state").text
    assert text.startswith("state: 5 versions or more kept, about ")
    assert "1 row without one of the first 2 rows" in text


async def test_setting_that_can_t_be_read_is_a_problem(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC_HISTORY", "nothing")
    reset_config()
    finding = found(diagnose_file(path), "history", "CC_HISTORY")
    assert finding.severity == "problem"


@pytest.fixture
async def series(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Trades in four blocks and a group of the tail, those of another symbol in the tail, and a curve of equity."""
    monkeypatch.setattr(columns, "_BULK", 4)
    monkeypatch.setattr(column_documents, "BLOCK_ROWS", 4)
    persist.use_sqlite(path)
    made = [persist.trade("BTC", "x"), persist.trade("ETH", "x"), persist.equity("trend", "x", "", "BTC", False)]
    await made[0].write_frame(trades(*range(16)))
    await made[0].append(trades(20))
    await made[1].append(trades(1, 2))
    await made[2].write_frame(equity(*range(8)))
    await made[2].retain("2")
    await backtest_mongo.close()
    return made


@pytest.mark.usefixtures("series")
async def test_series_with_columns_are_described(path: Path) -> None:
    before = get(path)
    diagnosis = diagnose_file(path)
    assert texts(diagnosis, "problem", "warning", "note") == []
    text = found(diagnosis, "series", "trade: 2 series").text
    assert "16 rows in 4 blocks (" in text
    assert "3 in 2 groups of the tail (" in text
    assert ", the oldest of which is " in text
    assert "retention" not in text
    text = found(diagnosis, "series", "equity: 1 series").text
    assert text.endswith(" of the tail (0 B); retention: 2 of 1 series")
    assert found(diagnosis, "series", "trade-blocks: ").text == "trade-blocks: random blocks that were read: 4"
    assert found(diagnosis, "rows", "").text == "8 rows of the library's slots, all of which can be decoded"
    shown = {size.collection: (size.rows, bool(size.data_bytes)) for size in diagnosis.sizes}
    assert {name: shown[name] for name in shown if name.startswith(("trade", "equity"))} == {
        "trade-items": (3, True),
        "trade-blocks": (16, True),
        "equity-items": (0, False),
        "equity-blocks": (4, True),
    }
    names = ("slot", "blocks", "block_rows", "tail_groups", "tail_rows", "keep", "prunable")
    assert [tuple(one[name] for name in names) for one in diagnosis.facts["series"]] == [
        ("trade", 4, 16, 1, 1, None, 0),
        ("trade", 0, 0, 1, 2, None, 0),
        ("equity", 1, 4, 0, 0, "2", 0),
    ]
    assert diagnosis.facts["series"][0]["context"] == {"symbol": "BTC", "exchange_name": "x"}
    assert diagnosis.facts["series"][2]["context"]["backtest"] is False
    thorough = diagnose_file(path, thorough=True)
    text = "trade: all blocks and groups of the tail were read: 6"
    assert found(thorough, "series", "trade: all").text == text
    assert get(path) == before


@pytest.mark.usefixtures("series")
async def test_damaged_blocks_and_groups_of_series_are_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = query(path, "SELECT document FROM [trade-blocks] WHERE start=4000")[0]
    damaged = block[:-20] + bytes([block[-20] ^ 1]) + block[-19:]
    change(path, f"UPDATE [trade-blocks] SET document=x'{damaged.hex()}' WHERE start=4000")
    finding = found(diagnose_file(path), "series", "trade: 1 block or group of the tail is damaged")
    start = "1970-01-01 00:00:00.004 to 1970-01-01 00:00:00.007"
    assert f"BTC x: a block of 4 rows from {start}: the checksum of its column" in finding.text
    assert finding.severity == "problem"
    assert "delete this range" in finding.advice
    # A sample may miss it, but not a header.
    monkeypatch.setattr(series_checks, "_BLOCKS", 0)
    diagnosis = diagnose_file(path)
    assert diagnosis.is_sound
    assert not [one for one in diagnosis.findings if "that were read" in one.text]
    change(
        path,
        "UPDATE [trade-items] SET [rows]=7 WHERE symbol='ETH'",
        "UPDATE [trade-blocks] SET [first]='x', document=x'00' WHERE start=8000",
        "UPDATE [equity-blocks] SET [last]=9",
    )
    text = found(diagnose_file(path), "series", "trade: 2 blocks and groups of the tail are damaged").text
    assert "BTC x: a block: its header lacks something" in text
    assert "ETH x: a group of 2 rows from 1970-01-01 00:00:00.001 to 1970-01-01 00:00:00.002: its header has" in text
    diagnosis = diagnose_file(path, thorough=True)
    assert found(diagnosis, "series", "trade: 3 blocks and groups of the tail are damaged").severity == "problem"
    assert found(diagnosis, "series", "equity: 1 block or group of the tail is damaged").severity == "problem"
    assert diagnosis.facts["series"][2]["prunable"] == 0


async def test_series_whose_tail_or_retention_needs_attention_are_named(
    path: Path, series: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    bitcoin, ether, curve = series
    persist.use_sqlite(path)
    await bitcoin._base_store().retain(bitcoin._context, "a week")  # as a later version might
    await ether.retain("1")
    await curve.append(equity(8))  # a write of one row makes no block, and deletes none
    await curve.append(equity(9))
    await backtest_mongo.close()
    monkeypatch.setattr(series_checks, "SEALED_GROUPS", 0.5)
    diagnosis = diagnose_file(path)
    finding = found(diagnosis, "series", "equity: 4 rows that need not be kept: trend x '' BTC live: 4")
    assert (finding.severity, finding.advice) == ("note", "`backtest-mongo prune equity --sqlite FILE` deletes them")
    finding = found(diagnosis, "series", "trade: BTC x: its retention must be days such as 90d")
    assert finding.text.endswith("not 'a week'; so nothing of it is deleted")
    assert finding.severity == "problem"
    assert found(diagnosis, "series", "trade: 2 series").text.endswith("; retention: 1 of 1 series, a week of 1 series")
    finding = found(diagnosis, "series", "sealing does not keep up")
    assert "equity: sealing does not keep up, so reads take longer: trend x '' BTC live: 2 rows in 2 g" in finding.text
    assert finding.severity == "warning"
    assert "`backtest-mongo series seal equity --sqlite FILE`" in finding.advice


@pytest.mark.usefixtures("series")
async def test_tables_that_are_not_those_of_the_series_are_problems(path: Path) -> None:
    change(path, "DROP TABLE [trade-blocks]", "CREATE TABLE [trade-blocks] (x)", "DROP TABLE [equity-blocks]")
    diagnosis = diagnose_file(path)
    assert found(diagnosis, "rows", "trade-blocks: the table has other columns than the slot").severity == "problem"
    assert found(diagnosis, "rows", "equity-blocks: the table").severity == "problem"
    assert [one for one in diagnosis.findings if one.area == "series"] == []


OWN = """
from backtest_mongo import Column, SlotSpec, persist

persist.register(
    SlotSpec(
        name="{name}",
        shape="series",
        context=(),
        key=("timestamp",),
        columns=(Column("value", "float64"),),
    )
)
"""


def test_series_of_a_module_are_examined(path: Path, monkeypatch: pytest.MonkeyPatch, unique: str) -> None:
    name = f"own_{unique[-8:].lower()}"
    path.with_name(f"{name}.py").write_text(OWN.format(name=name))
    path.with_name("rows.csv").write_text(
        "timestamp,value\n" + "".join(f"{at},1.5\n" for at in range(1_700_000_000, 1_700_000_009))
    )
    monkeypatch.chdir(path.parent)
    monkeypatch.setattr(sys, "path", [*sys.path])
    own = ("--sqlite", path.name, "--module", name)
    assert invoke("series", "import", name, "rows.csv", *own).code == 0
    done = invoke("doctor", *own, "--json")
    printed = json.loads(done.out)
    assert any(finding["text"].startswith(f"{name}: 1 series: 9 rows in") for finding in printed["findings"])
    assert printed["facts"]["series"][0]["context"] == {}
    # A process that does not know the slot counts the rows.
    persist._adapters.pop(name)
    printed = json.loads(invoke("doctor", "--sqlite", path.name, "--json").out)
    (note,) = [one for one in printed["findings"] if "9 rows of a slot of your own, not checked" in one["text"]]
    assert "--module names the module" in note["advice"]
    assert invoke("doctor", "--module", "no_such_module").code == 2


OWN_MODEL = """
from pydantic import BaseModel
from backtest_mongo import SlotSpec, persist

class Note(BaseModel):
    price: float

NoteAdapter = persist.register(
    SlotSpec(
        name="{name}",
        shape="bucket",
        context=("symbol",),
        key=("symbol", "noteId"),
        soft_delete=True,
        model=Note,
    )
)
"""


async def test_rows_that_do_not_fit_their_model_are_named(
    path: Path, monkeypatch: pytest.MonkeyPatch, unique: str
) -> None:
    name = f"own_{unique[-8:].lower()}"
    path.with_name(f"{name}.py").write_text(OWN_MODEL.format(name=name))
    monkeypatch.chdir(path.parent)
    monkeypatch.setattr(sys, "path", [*sys.path])
    own = ("--sqlite", path.name, "--module", name, "--json")
    monkeypatch.syspath_prepend(path.parent)
    module: Any = importlib.import_module(name)
    note: Any = getattr(persist, name)("BTC")
    for number in range(3):
        await getattr(note, f"write_{name}_data")(module.Note(price=number), f"n-{number}")
    await getattr(note, f"write_{name}_data")(module.Note(price=0), "gone")
    await getattr(note, f"remove_{name}_data")("gone")
    await backtest_mongo.close()
    table = f"{name.replace('_', '-')}-items"
    printed = json.loads(invoke("doctor", *own).out)
    (finding,) = [one for one in printed["findings"] if one["area"] == "payloads"]
    assert (finding["severity"], finding["text"]) == ("ok", f"{table}: 3 rows, all of which fit Note")
    change(
        path,
        f"UPDATE [{table}] SET payload='{{}}' WHERE noteId='n-1'",
        f"""UPDATE [{table}] SET payload='{{"price": "dear"}}' WHERE noteId='n-2'""",
    )
    done = invoke("doctor", *own)
    printed = json.loads(done.out)
    (finding,) = [one for one in printed["findings"] if one["area"] == "payloads"]
    assert finding["severity"] == "problem"
    assert finding["text"].startswith(
        f"{table}: 2 of 3 rows don't fit Note: BTC, n-1: price: field required; BTC, n-2: price: input should be a"
    )
    assert "upgrade=" in finding["advice"]
    assert done.code == 1
    persist._adapters.pop(name)

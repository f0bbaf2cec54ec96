"""Running the checks of an SQLite file one after the other; a check that fails doesn't stop the others."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Final, TypeAlias

from backtest_mongo.cli.doctor import (
    fork_checks,
    history_checks,
    lease_checks,
    payload_checks,
    series_checks,
    sqlite_checks,
    sqlite_row_checks,
)
from backtest_mongo.cli.doctor.findings import Diagnosis, Finding
from backtest_mongo.cli.doctor.sqlite_checks import DatabaseFile
from backtest_mongo.errors import BacktestMongoError
from backtest_mongo.sqlite.backup import connect_to_existing
from backtest_mongo.sqlite.driver_errors import raise_translated

__all__ = ["diagnose_file"]

Check: TypeAlias = Callable[[DatabaseFile], Iterator[Finding]]

_VERSION = sqlite3.sqlite_version
_CHECKS: Final[tuple[tuple[str, Check], ...]] = (
    ("file", sqlite_checks.check_file),
    ("file", sqlite_checks.check_access),
    ("disk", sqlite_checks.check_file_system),
    ("disk", sqlite_checks.check_space),
    ("log", sqlite_checks.check_log),
    ("integrity", sqlite_checks.check_integrity),
    ("fork", fork_checks.check_fork_of_file),
    ("leases", lease_checks.check_leases_of_file),
    ("rows", sqlite_row_checks.check_rows),
    ("payloads", payload_checks.check_payloads_of_file),
    ("history", history_checks.check_history_of_file),
    ("candles", sqlite_row_checks.check_candles),
    ("series", series_checks.check_series_of_file),
)


def diagnose_file(path: str | os.PathLike[str], *, thorough: bool = False, read_only: bool = False) -> Diagnosis:
    """Examine an SQLite file of this library. A file that is missing, damaged or another program's is a finding.

    It blocks. Other processes may read and write meanwhile.

    Args:
        path: the file.
        thorough: check indexes against their tables, and read all of the series with columns, which takes several
            times as long.
        read_only: leave the write-ahead log as it is. Otherwise what no reader needs of it is moved into the file, as
            every writer does from time to time.
    """
    diagnosis = Diagnosis()
    diagnosis.findings += sqlite_checks.check_versions(_VERSION)
    path = os.path.realpath(path)
    diagnosis.facts |= {"path": path, "versions": sqlite_checks.list_versions()}
    try:
        connection = connect_to_existing(path)
    except BacktestMongoError as error:
        diagnosis.findings.append(_report("file", error))
        return diagnosis
    with closing(connection):
        file = DatabaseFile(path, connection, thorough, read_only, diagnosis)
        for area, check in _CHECKS:
            try:
                diagnosis.findings += check(file)
            except (sqlite3.Error, OSError) as error:
                diagnosis.findings.append(_report(area, error, _name(check), path))
    return diagnosis


def _report(area: str, error: Exception, doing: str = "", path: str = "") -> Finding:
    if isinstance(error, sqlite3.Error):
        try:
            raise_translated(error, f"checking the {doing}", path)
        except BacktestMongoError as translated:
            error = translated
    if isinstance(error, BacktestMongoError):
        return Finding(area, "problem", error.message, error.hint or "")
    return Finding(area, "warning", f"{doing}: could not be checked: {error}")


def _name(check: Check) -> str:
    return check.__name__.partition("_")[2].replace("_", " ")

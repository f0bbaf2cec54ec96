"""Checks of forks: what a database is a fork of, whether it is finished, and where its candles are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict

from backtest_mongo.cli.doctor.findings import Deployment, Diagnosis, Finding
from backtest_mongo.cli.doctor.sqlite_checks import DatabaseFile
from backtest_mongo.cli.formatting import format_iso_time
from backtest_mongo.core.fork_marks import ForkMark
from backtest_mongo.mongo.fork_marker import read_fork
from backtest_mongo.sqlite.fork_marker import read_fork as read_fork_of_file

__all__ = ["check_candle_database", "check_fork", "check_fork_of_file"]


async def check_fork(deployment: Deployment) -> AsyncIterator[Finding]:
    """Report what the database is a fork of, if it is one."""
    for finding in _judge(await read_fork(deployment.hub.database), deployment.diagnosis):
        yield finding


def check_fork_of_file(file: DatabaseFile) -> Iterator[Finding]:
    """Report the same for a file."""
    yield from _judge(read_fork_of_file(file.connection), file.diagnosis)


async def check_candle_database(deployment: Deployment) -> AsyncIterator[Finding]:
    """Report which database holds the candles, if not the one of everything else."""
    hub = deployment.hub
    if hub.candle_database.name == hub.database.name:
        return
    name = hub.candle_database.name
    deployment.facts["candle_database"] = name
    yield Finding("candles", "ok", f"candles are read from and written to the database {name} (CC_CANDLE_DATABASE)")


def _judge(mark: ForkMark | None, diagnosis: Diagnosis) -> Iterator[Finding]:
    if mark is None:
        return
    diagnosis.facts["fork"] = asdict(mark)
    text = f"a fork of {mark.source} as of {format_iso_time(mark.at)}"
    if mark.strategy_name is not None:
        text += f", of the strategy {mark.strategy_name}"
    if mark.as_backtest:
        text += ", as a backtest"
    if mark.finished is None:
        yield Finding(
            "fork",
            "problem",
            f"{text}, begun {format_iso_time(mark.begun)} and not finished",
            "fork again with the same arguments, which starts over, or drop it",
        )
    else:
        candles = f"; it reads the candles of {mark.candles}" if mark.candles else ""
        yield Finding("fork", "ok", f"{text}, made {format_iso_time(mark.finished)}{candles}")

"""Commits on SQLite that are killed or cancelled at each of their steps in turn: whole, or nothing of them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import backtest_mongo
from backtest_mongo import persist
from tests.sqlite.support import ROOT, change, query
from tests.support.bars import own, read_bar, write_bar
from tests.support.deadlines import SECONDS
from tests.support.leases import LONG_AGO
from tests.support.scopes import outside
from tests.support.statements import OUTCOME, steps

#: Of the write-ahead log, and of what stands before each page in it, in bytes.
LOG_HEADER: Final = 32
FRAME_HEADER: Final = 24


# Kills.


class Killer:
    """A process of ``killed_worker.py``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    async def kill(self, path: Path, unique: str, step: int, *, bars: int = 1, is_all: bool = False) -> list[Any]:
        """Kill a process that writes bars at a step; return what it has said until then, and whether it was killed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps([str(path), unique, step, bars, is_all])}\n")
        self._process.stdin.flush()
        line = await asyncio.to_thread(self._process.stdout.readline)
        said, code = json.loads(line)
        assert code in (0, -signal.SIGKILL)
        return [said, code != 0]


@pytest.fixture
def killer() -> Iterator[Killer]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CC_")}
    command = [sys.executable, "-W", "error", "-m", "tests.support.killed_worker"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        yield Killer(process)
        assert process.stdin is not None
        process.stdin.close()


async def go_on(path: Path, unique: str, found: int) -> None:
    """Check the file, and go on as the successor does once the lease of the dead process has run out."""
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    with contextlib.suppress(Exception) if not has_leases(path) else contextlib.nullcontext():
        change(path, f"UPDATE leases SET until={LONG_AGO} WHERE owner IS NOT NULL")
    async with own(unique):
        assert await read_bar(unique) == found
        await write_bar(unique, found + 1)
    assert await read_bar(unique) == found + 1


def has_leases(path: Path) -> bool:
    return bool(query(path, "SELECT 1 FROM sqlite_master WHERE name='leases'"))


@pytest.mark.parametrize("bars", [1, 3])
async def test_commit_that_is_killed_at_any_statement_is_whole_or_nothing(
    path: Path, unique: str, killer: Killer, bars: int
) -> None:
    """Before each statement nothing of it is there, and all of it once the last one has been executed."""
    async with own(unique):
        await write_bar(unique, 1)
    last, killed_at = 1, []
    for step in itertools.count(1):
        said, was_killed = await killer.kill(path, unique, step, bars=bars)
        found = await read_bar(unique)
        if not was_killed:
            assert said == [bars]
            assert found == last + bars
            break
        (at,) = said
        killed_at.append(at)
        assert found == (last + bars if at == OUTCOME else last)
        await go_on(path, unique, found)
        last = found + 1
    assert killed_at[0] == "BEGIN IMMEDIATE"
    assert killed_at[-2:] == ["COMMIT", OUTCOME]
    assert any(statement.startswith("UPDATE leases ") for statement in killed_at)
    assert sum("state-items" in statement for statement in killed_at) >= 4  # two rows are compared, and written


async def test_process_that_is_killed_at_any_statement_of_its_life_leaves_a_whole_bar_or_none(
    tmp_path: Path, unique: str, killer: Killer
) -> None:
    """From the making of the file over the taking of leases and the first commit to the end."""
    found_of_unknown = set()
    for step in itertools.count(1):
        path = tmp_path / f"{step}.db"
        said, was_killed = await killer.kill(path, unique, step, is_all=True)
        persist.use_sqlite(path)
        found = await read_bar(unique)
        if 1 in said:
            assert found == 1
        else:
            assert found in (0, 1)
            found_of_unknown.add(found)
        await go_on(path, unique, found)
        await backtest_mongo.close()
        if not was_killed:
            break
    assert found_of_unknown == {0, 1}

"""Forks that are killed in the middle, and begun again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextvars import Context
from pathlib import Path
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import ConfigError, InputError, StoreUnavailableError, fork, persist
from backtest_mongo.cli.doctor.diagnose import diagnose
from backtest_mongo.mongo.fork_marker import finish_fork
from tests.conftest import SQLiteDeployment
from tests.support.forks import Forks
from tests.support.uniform import WHEN, candles

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]

ROOT = Path(__file__).parent.parent.parent
CODE = """
import asyncio, json, os, signal, sys
import backtest_mongo
from backtest_mongo import fork, persist, setup

path, name, slot, options = sys.argv[1:]

def show(of, count):
    if of == slot:
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    if path:
        persist.use_sqlite(path)
    else:
        await setup()
    await fork(name, progress=show, **json.loads(options))

asyncio.run(main())
"""


async def kill(forks: Forks, name: str, slot: str, **options: Any) -> None:
    """Fork in a process that is killed once rows of a slot are written."""
    path = forks.source if forks.is_file else ""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("CC_")}
    variables |= forks.deployment.environment
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", CODE, path, name, slot, json.dumps({"at": WHEN, **options})],
        env={**variables, "PYTHONPATH": str(ROOT), "CC_HISTORY": "state"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.fixture
async def filled(forks: Forks, unique: str) -> Forks:
    await forks.set(CC_HISTORY="state")
    for number in range(30):
        await persist.state(unique, f"s-{number}").write_state_data({"n": number}, WHEN)
    for number in range(0, 30, 3):
        await persist.state(unique, f"s-{number}").write_state_data({"n": -number}, WHEN + 10)
    await persist.memory(unique, "m").write_memory_data({"n": 1}, "a", WHEN)
    await persist.session(unique, "x", "").write_session_data({"n": 1}, WHEN)
    await persist.candle("BTCUSDT", "1m", unique).write_candles_data(candles(5))
    return forks


async def check(forks: Forks, report: Any, unique: str) -> None:
    assert report.rows == {"memory": 1, "state": 30, "session": 1}
    async with forks.on(report):
        found = await type(persist.state("a", "b")).read_many([(unique, f"s-{number}") for number in range(30)])
        assert found == [{"n": number} for number in range(30)]
        assert await persist.memory(unique, "m").read_memory_data("a") == {"n": 1}


@pytest.mark.mongodb
@pytest.mark.parametrize("slot", ["memory", "state", "candle"])
async def test_fork_that_was_killed_is_refused_until_it_is_made_again(filled: Forks, unique: str, slot: str) -> None:
    name = filled.next_name()
    options: Any = {"copy_candles": slot == "candle"}
    await kill(filled, name, slot, **options)
    database = (await backtest_mongo.get_mongo())[name]
    marker: Any = await database["backtest_mongo"].find_one({"_id": "fork"})
    assert (marker["finished"], marker["source"], marker["at"]) == (None, filled.source, WHEN)
    # Everything that opens it refuses it.
    uri = filled.deployment.config["CC_MONGO_CONNECTION_STRING"].replace(unique, name, 1)
    await backtest_mongo.setup(CC_MONGO_CONNECTION_STRING=uri)
    for call in (
        lambda: persist.memory(unique, "m").read_memory_data("a"),
        lambda: persist.memory(unique, "m").write_memory_data({"n": 2}, "b", WHEN),
        lambda: fork(f"{name}-2", at=WHEN),
    ):
        with pytest.raises(ConfigError, match=f"the database {name} is an unfinished fork .*fork again"):
            await call()
    (finding,) = [one for one in (await diagnose(read_only=True)).findings if one.area == "fork"]
    assert finding.severity == "problem"
    assert "not finished" in finding.text
    await filled.go_back()
    await filled.set(CC_HISTORY="state")
    # So does a fork with other arguments.
    for others in ({"at": WHEN + 1}, {"strategy_name": "s"}, {"as_backtest": True}, {"copy_candles": slot != "candle"}):
        with pytest.raises(InputError, match=r"with other arguments that was not finished: of .* as of"):
            await fork(name, **{"at": WHEN, **options, **others})
    assert (await fork(name, at=WHEN, dry_run=True, **options)).is_dry_run
    await check(filled, await fork(name, at=WHEN, **options), unique)
    with pytest.raises(InputError, match="is a fork already"):
        await fork(name, at=WHEN, **options)


@pytest.mark.mongodb
async def test_what_a_fork_has_not_written_is_not_dropped(filled: Forks) -> None:
    name = filled.next_name()
    await kill(filled, name, "state")
    database = (await backtest_mongo.get_mongo())[name]
    await database["users"].insert_one({"name": "x"})
    with pytest.raises(InputError, match="holds what it has not written: users"):
        await fork(name, at=WHEN)
    assert await database["users"].count_documents({}) == 1
    assert await database["state-items"].count_documents({}) == 30


@pytest.mark.mongodb
async def test_two_that_make_one_fork_don_t_both_finish_it(
    filled: Forks, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = filled.next_name()
    others: list[Any] = []

    async def finish_late(database: Any, mark: Any, owner: Any) -> bool:
        # The second one begins when the first has written all of its rows, and takes the marker from it.
        if not others:
            others.append(asyncio.get_running_loop().create_task(fork(name, at=WHEN), context=Context()))
            await others[0]
        return await finish_fork(database, mark, owner)

    monkeypatch.setattr("backtest_mongo.forks.mongo.finish_fork", finish_late)
    with pytest.raises(StoreUnavailableError, match=r"another process has started the fork .* over"):
        await fork(name, at=WHEN)
    await check(filled, await others[0], unique)


@pytest.mark.mongodb
async def test_fork_that_failed_can_be_made_again(filled: Forks, unique: str) -> None:
    name = filled.next_name()

    def fail(slot: str, count: int) -> None:
        if slot == "state":
            raise RuntimeError("the caller's own")

    with pytest.raises(RuntimeError, match="the caller's own"):
        await fork(name, at=WHEN, progress=fail)
    with pytest.raises(InputError, match="not finished"):
        await fork(name, at=WHEN + 1)
    await check(filled, await fork(name, at=WHEN), unique)


@pytest.mark.parametrize("driver", ["sqlite"], indirect=True)
async def test_file_that_was_not_finished_is_not_there(filled: Forks, unique: str, tmp_path: Path) -> None:
    assert isinstance(filled.deployment, SQLiteDeployment)
    path = tmp_path / "what_if.db"
    await kill(filled, str(path), "state")
    assert not path.exists()
    assert path.with_name("what_if.db.unfinished").exists()
    await check(filled, await fork(path, at=WHEN), unique)
    assert [one for one in os.listdir(tmp_path) if "unfinished" in one] == []


@pytest.mark.parametrize("driver", ["sqlite"], indirect=True)
async def test_file_that_failed_leaves_nothing(filled: Forks, tmp_path: Path) -> None:
    def fail(slot: str, count: int) -> None:
        raise RuntimeError("the caller's own")

    before = sorted(os.listdir(tmp_path))
    with pytest.raises(RuntimeError, match="the caller's own"):
        await fork(tmp_path / "what_if.db", at=WHEN, progress=fail)
    assert sorted(os.listdir(tmp_path)) == before

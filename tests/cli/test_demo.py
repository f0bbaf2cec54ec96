"""The main job: a strategy that is killed and carries on, on real candles."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import backtest_mongo
from backtest_mongo import SLOTS, EquityAdapter, setup
from backtest_mongo.cli.demo.databases import Databases
from backtest_mongo.cli.demo.market import load_candles
from backtest_mongo.cli.demo.results import Comparison, Kill, Result, Tally, compare
from backtest_mongo.cli.demo.strategy import CURVE
from tests.cli.test_cli import run

pytestmark = pytest.mark.one_python


def test_shipped_candles_are_5000_hours_with_42_gaps() -> None:
    candles = load_candles(5000)
    times = [candle["timestamp"] for candle in candles]
    assert len(times) == 5000
    assert sum(after - before != 3_600_000 for before, after in itertools.pairwise(times)) == 42


@pytest.mark.heavy
@pytest.mark.either_driver
@pytest.mark.parametrize("driver", ["motor", "pymongo"])
def test_killed_run_ends_up_equal_to_an_uninterrupted_one(driver: str, tmp_path: Path) -> None:
    done = run(
        *("demo", "--bars", "300", "--kills", "2", "--seed", "7", "--keep", str(tmp_path)),
        CC_MONGO_DRIVER=driver,
        COLUMNS="120",
        FORCE_COLOR="1",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # Colours, as they are forced, and no controls of a bar.
    assert re.search(r"\x1b\[[0-9;?]*[a-ln-zA-Z]", done.stdout + done.stderr) is None
    done.stdout = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    assert re.search(r"kills\W+2\b", done.stdout), done.stdout
    assert re.search(r"end state equal\W+yes", done.stdout), done.stdout
    assert re.search(r"speed\W+[\d,]+ bars a second", done.stdout), done.stdout
    for spec in (*SLOTS, EquityAdapter.spec):
        row = next(line for line in done.stdout.splitlines() if re.search(rf"^\W*{spec.name} +\d", line))
        documents, reads, _cached, writes = row.replace(",", "").split()[1:5]
        assert (int(documents) > 0, int(reads) > 0, int(writes) > 0) == (True, True, True), row
    (picture,) = tmp_path.glob("*.png")
    assert str(picture) in done.stdout.replace("\n", "")
    with Image.open(picture) as image:
        assert image.width >= 600
        assert len(image.convert("RGB").getcolors(1 << 24) or []) > 10


async def test_user_s_own_servers_are_left_unchanged(servers: dict[str, Any], unique: str, tmp_path: Path) -> None:
    async with setup(servers):
        client = await backtest_mongo.get_mongo()
        redis = await backtest_mongo.get_redis()
        await redis.set(unique, "of another program")
        names, keys = await client.list_database_names(), set(await redis.keys("*"))
        environment = {name: str(value) for name, value in servers.items()}
        done = run("demo", "--bars", "60", "--kills", "1", "--seed", "1", **environment, directory=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert set(await client.list_database_names()) == set(names)
        # Where another test has used the demo's keys, its ids were replaced by the demo's, and these are forgotten.
        assert {unique.encode()} <= set(await redis.keys("*")) <= keys


async def test_difference_between_the_end_states_is_found(servers: dict[str, Any]) -> None:
    databases = Databases(servers)
    async with databases.connected(keep=False):
        for role, balance in (("interrupted", 1.0), ("uninterrupted", 2.0)):
            await setup(databases.environment(role))
            await backtest_mongo.StateAdapter("s", "b").write_state_data({"balance": balance}, 1)
            await backtest_mongo.close()
        found = await compare(databases)
    assert any("state" in difference and "balance" in difference for difference in found.differences)


async def test_difference_between_the_curves_is_found(servers: dict[str, Any]) -> None:
    databases = Databases(servers)
    async with databases.connected(keep=False):
        for role, rows in (("interrupted", (1.0, 2.0)), ("uninterrupted", (1.0, 3.0, 4.0))):
            await setup(databases.environment(role))
            curve = [{"timestamp": time, "equity": equity} for time, equity in enumerate(rows, 5)]
            await EquityAdapter(*CURVE).append(curve)
            await backtest_mongo.close()
        found = await compare(databases)
    assert found.equity == {"interrupted": {5: 1.0, 6: 2.0}, "uninterrupted": {5: 1.0, 6: 3.0, 7: 4.0}}
    assert found.documents["equity"] == 2
    last = {"equity": 4.0, "cash": None, "unrealized_pnl": None, "position": None}
    assert [one for one in found.differences if one.startswith("equity")] == [
        "equity.6.equity is 2.0, and 3.0 without interruption",
        f"equity.7 is absent, and {last} without interruption",
    ]


def make_tally(*lines: dict[str, Any]) -> Tally:
    """Return what is known of a run whose processes have reported these lines."""
    tally = Tally()
    for line in lines:
        tally.add({"calls": [], "hits": {}, "torn": [], "seconds": 0.5, **line})
    return tally


@pytest.mark.parametrize(("bar", "dropped"), [(3, ["signal"]), (4, [])])
def test_writes_of_a_killed_bar_were_dropped_unless_it_was_committed(bar: int, dropped: list[str]) -> None:
    tally = make_tally(
        {"what": "resumed", "bar": -1},
        {"what": "bar", "bar": 3},
        {"what": "wrote", "slot": "signal"},
        {"what": "resumed", "bar": bar},
    )
    assert tally.kills == [Kill(bar, dropped)]


def test_lease_that_is_taken_again_is_no_kill() -> None:
    tally = make_tally({"what": "resumed", "bar": -1}, {"what": "bar", "bar": 3}, {"what": "again", "bar": 3})
    assert (tally.kills, tally.processes) == ([], 1)


def test_rows_that_do_not_fit_each_other_are_a_problem() -> None:
    whole = make_tally({"what": "resumed", "bar": -1}, {"what": "done", "bar": 0})
    torn = make_tally({"what": "resumed", "bar": 3, "torn": ["signal"]}, {"what": "done", "bar": 9})
    result = Result(10, 1.0, {"interrupted": torn, "uninterrupted": whole}, Comparison({}, []))
    assert result.problems == ["interrupted: signal did not fit the session of bar 3"]


def test_speed_is_that_of_both_runs_together() -> None:
    fast = make_tally(*({"what": "bar", "bar": bar} for bar in range(4)))
    slow = make_tally({"what": "bar", "bar": 0, "seconds": 2.0})
    assert Result(4, 9.0, {"interrupted": fast, "uninterrupted": slow}, Comparison({}, [])).speed == 5 / 4.0

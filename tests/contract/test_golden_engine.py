"""Files of the real engine (``backtest-kit`` 19.5.0), read in place, imported, and exported again byte for byte."""

from __future__ import annotations

import asyncio
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import (
    SLOTS,
    IntervalAdapter,
    LogAdapter,
    NotificationAdapter,
    RecentAdapter,
    StateAdapter,
    StorageAdapter,
    export_dump,
    import_dump,
    persist,
    setup,
)
from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.files.layout import find_holders, get_engine_fields
from backtest_mongo.files.paths import compile_paths
from tests.conftest import Deployment
from tests.support.dumps import find_slot, read_database

pytestmark = [pytest.mark.either_driver, pytest.mark.one_python]

GOLDEN = Path(__file__).parent.parent / "golden" / "engine-19.5.0"
RUNS = ("activated", "backtest", "live", "rejected")
ROOT = Path(__file__).parent.parent.parent
BY_TOP = {compile_paths(spec).top: spec for spec in SLOTS}
STRATEGY, EXCHANGE, FRAME = "my_strategy", "binance", "jan_2024_frame"


def entities(dump: Path) -> dict[str, Any]:
    """Return the content of each file of a dump that is an entity for the engine, by its path."""
    found = (path for path in dump.rglob("*.json") if not path.name.startswith("."))
    return {str(path.relative_to(dump)): json.loads(path.read_bytes()) for path in found}


def read_bytes(dump: Path) -> dict[str, bytes]:
    return {name: (dump / name).read_bytes() for name in entities(dump)}


def rows(dump: Path) -> Iterator[tuple[Any, tuple[Any, ...], Any]]:
    """Yield the slot, the key and the payload of each file, as the library must read it."""
    for name, payload in entities(dump).items():
        path = tuple(name.removesuffix(".json").split("/"))
        spec = next(spec for first, spec in BY_TOP.items() if path[: len(first)] == first)
        names = {"strategyName": STRATEGY, "exchangeName": EXCHANGE, "riskName": "my_risk"}
        names["frameName"] = "" if path[-1].endswith("_live") or "_live" in name else FRAME
        keys = [
            key
            for key in compile_paths(spec).read(path).all
            if all(names.get(field, value) == value for field, value in zip(spec.key, key, strict=True))
        ]
        assert len(keys) == 1, name
        for place in get_engine_fields(spec).endless:
            for holder, field in find_holders(payload, place):
                holder[field] = math.inf if holder[field] is None else holder[field]
        for place in get_engine_fields(spec).dates:
            for holder, field in find_holders(payload, place):
                holder[field] = datetime.fromisoformat(holder[field])
        yield spec, keys[0], payload


async def check(dump: Path, adapters: Any) -> Counter[str]:
    """Compare what the library reads with the files; return the number of rows of each slot."""
    counted: Counter[str] = Counter()
    for spec, key, payload in rows(dump):
        counted[spec.name] += 1
        fields = dict(zip(spec.key, key, strict=True))
        adapter = adapters(spec)(*(fields[name] for name in spec.context_fields))
        read = getattr(adapter, f"read_{spec.noun}_data")
        match spec.shape:
            case "series":
                assert await read(1, key[-1]) == [payload]
            case "collection":
                assert payload in await read()
            case "document":
                assert await read() == (payload if payload is not None or spec.payload != "list" else [])
            case _ if payload.get("removed") is True:
                assert await read(key[-1]) is None
            case _:
                assert await read(key[-1]) == payload
    return counted


@pytest.mark.parametrize("run", RUNS)
async def test_dump_is_read_in_place(tmp_path: Path, run: str) -> None:
    shutil.copytree(GOLDEN / run, tmp_path / run)
    dump = tmp_path / run / "dump"
    persist.use_files(dump)
    counted = await check(dump, lambda spec: getattr(persist, spec.name))
    assert counted.total() == len(entities(dump))
    assert read_bytes(dump) == read_bytes(GOLDEN / run / "dump")


@pytest.mark.parametrize("run", RUNS)
async def test_dump_is_imported_without_flags_and_exported_byte_for_byte(
    deployment: Deployment, fresh: dict[str, Any], unique: str, tmp_path: Path, run: str
) -> None:
    dump = GOLDEN / run / "dump"
    planned = await import_dump(GOLDEN / run)
    report = await import_dump(GOLDEN / run, apply=True)
    assert [*report.problems, *report.conflicts, *report.others] == []
    assert planned.slots == report.slots
    assert {one.slot: one.files for one in report.slots} == await check(dump, lambda spec: ADAPTERS[spec.name])
    assert sum(one.added for one in report.slots) == len(entities(dump))
    exported = await export_dump(tmp_path)
    assert exported.problems == ()
    assert entities(tmp_path) == entities(dump)
    assert read_bytes(tmp_path) == read_bytes(dump)
    # The export can be read in place too, and its import gives the same database.
    persist.use_files(tmp_path)
    await check(dump, lambda spec: getattr(persist, spec.name))
    before = await read_database(deployment.name)
    async with setup(fresh):
        again = await import_dump(tmp_path, apply=True)
        assert again.problems == ()
        assert await read_database(f"{unique}-other") == before


@pytest.mark.parametrize("run", RUNS)
async def test_rows_that_are_written_back_in_place_leave_the_files_unchanged(tmp_path: Path, run: str) -> None:
    """A strategy that reads rows and writes them back unchanged does not change a byte of the engine's files."""
    shutil.copytree(GOLDEN / run, tmp_path / run)
    dump = tmp_path / run / "dump"
    persist.use_files(dump)
    for spec, key, payload in list(rows(dump)):
        fields = dict(zip(spec.key, key, strict=True))
        adapter = getattr(persist, spec.name)(*(fields[name] for name in spec.context_fields))
        write = getattr(adapter, f"write_{spec.noun}_data")
        if spec.shape == "series":
            assert await write([payload]) == 0
        elif spec.shape == "collection":
            await write([payload])
        else:
            await write(payload, *(key[-1:] if spec.item else ()), *((1_704_153_600_000,) if spec.when else ()))
    assert read_bytes(dump) == read_bytes(GOLDEN / run / "dump")


# Items of the layout, one by one


async def test_armed_order_and_open_position_stay_endless(deployment: Deployment, tmp_path: Path) -> None:
    await import_dump(GOLDEN / "activated", apply=True)
    strategy = await ADAPTERS["strategy"]("ETHUSDT", STRATEGY, EXCHANGE).read_strategy_data()  # type: ignore[attr-defined]
    assert strategy["activatedSignal"]["minuteEstimatedTime"] == math.inf
    await import_dump(GOLDEN / "live", apply=True)
    strategy = await ADAPTERS["strategy"]("SOLUSDT", STRATEGY, EXCHANGE).read_strategy_data()  # type: ignore[attr-defined]
    assert strategy["closedSignal"]["minuteEstimatedTime"] == math.inf
    schedule = await ADAPTERS["schedule"]("ETHUSDT", STRATEGY, EXCHANGE).read_schedule_data()  # type: ignore[attr-defined]
    assert schedule["minuteEstimatedTime"] == math.inf
    await export_dump(tmp_path)
    text = (tmp_path / f"data/strategy/SOLUSDT_{STRATEGY}_{EXCHANGE}/strategy.json").read_text()
    assert '"minuteEstimatedTime":null' in text
    assert "$numberDouble" not in text


async def test_simulation_times_are_those_of_the_rows(deployment: Deployment, tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "live", tmp_path / "live")
    for path in entities(tmp_path):
        os.utime(tmp_path / path, (1_900_000_000, 1_900_000_000))  # as after a copy that does not keep times, or worse
    await import_dump(tmp_path / "live", apply=True)
    persist.use_files(tmp_path / "live/dump")
    for interval, recent in (
        (IntervalAdapter("hourly_job_1h_0"), RecentAdapter("BTCUSDT", STRATEGY, EXCHANGE, "", False)),
        (persist.interval("hourly_job_1h_0"), persist.recent("BTCUSDT", STRATEGY, EXCHANGE, "", False)),
    ):
        when = 1_704_153_780_000
        assert await interval.read_interval_data("ETHUSDT_1704153600000", when) is not None
        assert await interval.read_interval_data("ETHUSDT_1704153600000", when - 1) is None
        assert len([key async for key in interval.list_interval_data(when)]) == 3
        assert [key async for key in interval.list_interval_data(when - 1)] == []
        assert await recent.read_recent_data(when) is not None
        assert await recent.read_recent_data(when - 1) is None
    risk = ADAPTERS["risk"]("my_risk", EXCHANGE)
    assert await risk.read_position_data(1_800_000_000_000) == []  # type: ignore[attr-defined]
    assert len(await risk.read_position_data(1_900_000_000_000)) == 2  # type: ignore[attr-defined]


async def test_newest_rows_are_sorted_by_their_own_times_even_if_files_were_rewritten(
    deployment: Deployment, tmp_path: Path
) -> None:
    shutil.copytree(GOLDEN / "live", tmp_path / "live")
    directory = tmp_path / "live/dump/data/notification/live"
    times = {
        path.stem: json.loads(path.read_bytes())["createdAt"]
        for path in directory.glob("*.json")
        if not path.name.startswith(".")
    }
    for at, name in enumerate(sorted(times, key=times.__getitem__, reverse=True)):
        os.utime(directory / f"{name}.json", (1_700_000_000 + at, 1_700_000_000 + at))
    await import_dump(tmp_path / "live", apply=True)
    persist.use_files(tmp_path / "live/dump")
    for notification in (NotificationAdapter(False), persist.notification(False)):
        found = [row["createdAt"] for row in await notification.read_notification_data(limit=5)]
        assert found == sorted(times.values())[-5:]
        assert [row["createdAt"] for row in await notification.read_notification_data()] == sorted(times.values())
    for log in (LogAdapter(), persist.log()):
        entries = [row["createdAt"] for row in await log.read_log_data()]
        assert entries == sorted(entries)


def import_and_kill(dump: Path, variables: dict[str, Any]) -> None:
    """Import a dump in a process that is killed after the first page of states."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CC_")}
    code = (
        "import asyncio, sys, backtest_mongo\n"
        "asyncio.run(backtest_mongo.import_dump(sys.argv[1], apply=True,"
        " progress=lambda slot, count: print(slot, count, flush=True)))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(dump)],
        env={**environment, **variables, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in iter(process.stdout.readline, ""):
            if line.startswith("state"):
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL


@pytest.mark.heavy
@pytest.mark.timeout(600)
async def test_import_that_is_repeated_after_a_kill_adds_each_row_once(deployment: Deployment, tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    shutil.copytree(GOLDEN / "backtest/dump", dump)
    # Enough pages for a kill after the first to come in the middle.
    text = (GOLDEN / "backtest/dump/state/226b1ed7-df6b-4000-a605-3119a2f98000/trade/trade.json").read_text()
    for number in range(1_200):
        (dump / f"state/signal-{number}/trade").mkdir(parents=True)
        (dump / f"state/signal-{number}/trade/trade.json").write_text(text)
    await asyncio.to_thread(import_and_kill, dump, deployment.environment)
    stored = len(await deployment.rows(StateAdapter.spec))
    assert 0 < stored < 1_206
    report = await import_dump(dump, apply=True)
    assert [*report.problems, *report.conflicts] == []
    assert find_slot(report, "state").same >= stored
    assert find_slot(report, "state").added + find_slot(report, "state").same == 1_206
    assert len(await deployment.rows(StateAdapter.spec)) == 1_206
    await check(GOLDEN / "backtest/dump", lambda spec: ADAPTERS[spec.name])
    await export_dump(tmp_path / "out")
    assert read_bytes(tmp_path / "out") == read_bytes(dump)


async def test_export_during_writes_has_no_torn_row(deployment: Deployment, tmp_path: Path) -> None:
    await import_dump(GOLDEN / "backtest", apply=True)
    going, names = True, ("one", "two", "three")
    written: Counter[str] = Counter()
    begun = {name: asyncio.Event() for name in names}

    async def write(name: str) -> None:
        state, storage = StateAdapter(name, "trade"), StorageAdapter(False)
        while going:
            number = written[name] = written[name] + 1
            await state.write_state_data({"n": number, "again": number}, number)
            await storage.write_storage_data([{"id": f"{name}-{number}", "n": number}])
            begun[name].set()

    writers = [asyncio.create_task(write(name)) for name in names]
    try:
        await asyncio.gather(*(begun[name].wait() for name in names))
        for _ in range(3):
            report = await export_dump(tmp_path)
            assert report.problems == ()
    finally:
        going = False
        await asyncio.gather(*writers)
    found = entities(tmp_path)
    assert {name: found[name] for name in entities(GOLDEN / "backtest/dump")} == entities(GOLDEN / "backtest/dump")
    for name in names:
        row = found[f"state/{name}/trade/trade.json"]
        assert row["n"] == row["again"] > 0
    for path, row in found.items():
        if path.startswith("data/storage/live/"):
            assert path == f"data/storage/live/{row['id']}.json"
    await export_dump(tmp_path)
    persist.use_files(tmp_path)
    for name in names:
        assert await persist.state(name, "trade").read_state_data() == {"n": written[name], "again": written[name]}
    assert backtest_mongo.get_config() is not None

"""Forks of one strategy: what belongs to it, by the rows of the engine (``backtest-kit`` 19.5.0) and by our own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from backtest_mongo import import_dump, persist, transaction
from tests.contract.test_golden_engine import EXCHANGE, GOLDEN, RUNS, STRATEGY, rows
from tests.support.forks import Forks
from tests.support.uniform import WHEN

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]

#: After all that is written here, by any clock.
LATE = 4_000_000_000_000
#: The slots of the engine's dumps that name no strategy.
SHARED = ("measure", "interval", "risk")
NO_STRATEGY = "neither its keys nor its payloads name a strategy"
NO_NAME = "their payloads name no strategy"
NO_SIGNAL = "no row says which strategy their signals belong to"


async def import_run(forks: Forks, run: str) -> Counter[str]:
    """Import a dump of the engine, and return how many rows of each slot are not removed."""
    sqlite = Path(forks.source) if forks.is_file else None
    report = await import_dump(GOLDEN / run, apply=True, sqlite=sqlite)
    assert report.problems == ()
    counted: Counter[str] = Counter()
    for spec, _, payload in rows(GOLDEN / run / "dump"):
        is_removed = spec.soft_delete and payload.get("removed") is True
        counted[spec.name] += spec.shape != "series" and not is_removed
    return +counted


async def write_another(name: str, signal: str) -> None:
    """Write what another strategy has."""
    await persist.signal("BTCUSDT", name, EXCHANGE).write_signal_data({"id": signal, "strategyName": name})
    await persist.strategy("BTCUSDT", name, EXCHANGE).write_strategy_data({"pendingSignalId": signal})
    await persist.partial("BTCUSDT", name, EXCHANGE).write_partial_data({"levels": 1}, signal, WHEN)
    await persist.session(name, EXCHANGE, "", "BTCUSDT", False).write_session_data({"n": 1}, WHEN)
    await persist.storage(False).write_storage_data([{"id": signal, "strategyName": name}])
    await persist.notification(False).write_notification_data([{"id": f"n-{signal}", "strategyName": name}])
    await persist.log().write_log_data([{"id": f"l-{signal}", "methodContext": {"strategyName": name}}])
    await persist.state(signal, "trade").write_state_data({"n": 1}, WHEN)
    await persist.dictionary(signal, "d").write_dictionary_data({"n": 1}, WHEN)
    await persist.memory(signal, "notes").write_memory_data({"n": 1}, "m", WHEN)


@pytest.mark.parametrize("run", RUNS)
async def test_rows_of_the_engine_s_strategy_are_told_from_another_s(forks: Forks, unique: str, run: str) -> None:
    counted = await import_run(forks, run)
    await write_another(unique, f"{unique}-1")
    report = await forks.make(LATE, strategy_name=STRATEGY)
    assert report.unknown == ()
    assert report.rows == {slot: count for slot, count in counted.items() if slot not in SHARED}
    assert {(one.slot, one.rows, one.reason) for one in report.left_out} == {
        (slot, counted[slot], NO_STRATEGY) for slot in SHARED if counted[slot]
    }
    there, whole = await forks.read(report.path or report.name), await forks.read()
    for slot, found in there.items():
        assert all(whole[slot][key] == row for key, row in found.items())
        assert unique not in repr(found)
    other = await forks.make(LATE, strategy_name=unique)
    names = ("signal", "strategy", "partial", "session", "storage", "notification", "log", "state", "dictionary")
    assert other.rows == dict.fromkeys((*names, "memory"), 1)
    assert STRATEGY not in repr(await forks.read(other.path or other.name))


async def test_ids_of_signals_are_those_that_the_strategy_had_at_the_time(forks: Forks, unique: str) -> None:
    await forks.set(CC_HISTORY="signal,schedule,strategy,recent,storage,state")
    mine, other = f"{unique}-mine", f"{unique}-other"
    slots: dict[str, Any] = {
        "signal": lambda name: persist.signal("BTCUSDT", name, "x").write_signal_data({"id": f"{name}-signal"}),
        "schedule": lambda name: persist.schedule("BTCUSDT", name, "x").write_schedule_data({"id": f"{name}-schedule"}),
        "strategy": lambda name: persist.strategy("BTCUSDT", name, "x").write_strategy_data(
            {
                "lastPendingId": f"{name}-last",
                "closedSignal": {"id": f"{name}-closed"},
                "activatedSignal": None,
                "retryOpenCount": 0,
            }
        ),
        "recent": lambda name: persist.recent("BTCUSDT", name, "x", "", False).write_recent_data(
            {"id": f"{name}-recent"}
        ),
        "storage": lambda name: persist.storage(True).write_storage_data(
            [{"id": f"{name}-storage", "strategyName": name}]
        ),
        "partial": lambda name: persist.partial("BTCUSDT", name, "x").write_partial_data({}, f"{name}-partial"),
    }
    async with transaction(when=WHEN):
        for name in (mine, other):
            for write in slots.values():
                await write(name)
            for signal in ("signal", "schedule", "last", "closed", "recent", "storage", "partial", "none"):
                await persist.state(f"{name}-{signal}", "b").write_state_data({"n": 1})
    async with transaction(when=WHEN + 10):
        await persist.signal("BTCUSDT", mine, "x").write_signal_data({"id": f"{mine}-later"})
        await persist.state(f"{mine}-later", "b").write_state_data({"n": 1})
    report = await forks.make(WHEN, strategy_name=mine)
    assert report.rows == {**dict.fromkeys(slots, 1), "state": 7}
    assert report.left_out == (("state", 2, NO_SIGNAL),)
    later = await forks.make(WHEN + 10, strategy_name=mine)
    assert later.rows["state"] == 7
    # Which signal a row was of before is not known any more, so it is not guessed.
    assert later.left_out == (("state", 3, NO_SIGNAL),)


async def test_rows_that_name_no_strategy_are_counted(forks: Forks, unique: str) -> None:
    await persist.storage(True).write_storage_data([{"id": "a"}, {"id": "b", "strategyName": None}])
    await persist.log().write_log_data([{"id": "l", "methodContext": None}])
    await persist.notification(True).write_notification_data([{"id": "n", "strategyName": unique}])
    await persist.measure("m").write_measure_data({"n": 1}, "k")
    await persist.measure("m").write_measure_data({"n": 1}, "gone")
    await persist.measure("m").remove_measure_data("gone")
    report = await forks.make(LATE, strategy_name=unique)
    assert report.rows == {"notification": 1}
    assert sorted(report.left_out) == [
        ("log", 1, NO_NAME), ("measure", 1, NO_STRATEGY), ("storage", 2, NO_NAME),
    ]  # fmt: skip
    nobody = await forks.make(LATE, strategy_name="nobody")
    assert nobody.rows == {}
    assert not nobody.is_whole


async def test_only_the_strategy_s_rows_are_listed_as_unknown(forks: Forks, unique: str) -> None:
    for name in (unique, f"{unique}-other"):
        await persist.signal("BTCUSDT", name, "x").write_signal_data({"id": name})
        await persist.storage(True).write_storage_data([{"id": name, "strategyName": name}])
    report = await forks.make(WHEN, strategy_name=unique)
    assert {one.slot: list(one.key.values()) for one in report.unknown} == {
        "signal": ["BTCUSDT", unique, "x"],
        "storage": [True, unique],
    }

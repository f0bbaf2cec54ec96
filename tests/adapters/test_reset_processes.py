"""``reset()`` in a process that is killed, again and again, until one is left alone."""

from __future__ import annotations

import os
import random
from typing import Any, Final

import pytest

from backtest_mongo import SLOTS, persist, reset, transaction
from tests.adapters.test_resets import TIED
from tests.commit.test_lease_processes import kill, start
from tests.conftest import Deployment
from tests.support.uniform import WHEN

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]

SEED: Final = int(os.environ.get("BACKTEST_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
KILLS: Final = int(os.environ.get("BACKTEST_KILLS", "6"))
SIGNALS: Final = 30


async def test_killed_reset_is_finished_by_the_next_one(
    deployment: Deployment, unique: str, record_property: Any
) -> None:
    record_property("seed", SEED)
    dice = random.Random(SEED)
    names = [f"{unique}-{n:02}" for n in range(SIGNALS)]
    async with transaction(when=WHEN, run=unique):
        await persist.storage(True).write_storage_data([{"id": name} for name in names])
        for name in names:
            await persist.state(name, "named").write_state_data({})
        await persist.log().write_log_data([{"id": name} for name in names])
    async with transaction(when=WHEN):
        for name in names:
            await persist.state(name, "tied").write_state_data({})
            await persist.memory(name, "tied").write_memory_data({}, "k")
            await persist.partial("s", "t", "e").write_partial_data({}, name)
        await persist.state("unrelated", "tied").write_state_data({})
        await persist.log().write_log_data([{"id": "unrelated"}])
    for _ in range(KILLS):
        with start(deployment, "reset", unique, 3) as process:
            lines = kill(process.process, dice.randrange(1, 8), dice.random() / 20)
        assert lines[0] == ["begun"]
        await check_that_the_rest_is_found(deployment, names)
    with start(deployment, "reset", unique, 3) as process:
        while await process.hear() != ["done"]:
            pass
    await deployment.forget()
    left = {spec.name: len(await deployment.rows(spec)) for spec in SLOTS if spec.shape != "series"}
    assert {name: count for name, count in left.items() if count} == {"state": 1, "log": 1}
    assert (await reset(unique)).is_empty


async def check_that_the_rest_is_found(deployment: Deployment, names: list[str]) -> None:
    """Check that each row of a signal is found by the run's name, or by a row of storage that is still there."""
    signals = {row["signalId"] for row in await deployment.rows(persist.storage(True).spec)}
    tied = [row for spec in SLOTS if spec.name in TIED for row in await deployment.rows(spec)]
    assert {row["signalId"] for row in tied} - {"unrelated"} <= signals
    assert signals <= {*names}

"""The model of test_model.py against SQLite: the same histories, without failures of servers."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

import backtest_mongo
from backtest_mongo import persist
from tests.contract.test_model import EXAMPLES, STEPS, Machine, processes
from tests.support.model import OWN, Model, Row
from tests.support.uniform import WHEN

pytestmark = pytest.mark.heavy


class SQLiteMachine(Machine):
    # What only servers can suffer.
    another_program_changes = None  # type: ignore[assignment]
    another_program_drops_a_collection = None  # type: ignore[assignment]
    another_program_writes_a_candle = None  # type: ignore[assignment]
    damage = None  # type: ignore[assignment]
    documents_are_those_of_the_model = None  # type: ignore[assignment]
    poison_redis = None  # type: ignore[assignment]

    def __init__(self) -> None:
        RuleBasedStateMachine.__init__(self)
        self.model = Model()
        self.known: set[Row] = set()
        self.damaged: set[Row] = set()
        self.runners = [asyncio.Runner(), asyncio.Runner()]
        self.root = Path(tempfile.mkdtemp())
        self.use("backtest.db")

    @initialize(name=st.sampled_from(["backtest.db", "backtest.db", "ключ ?#.db"]))
    def set_up(self, name: str) -> None:  # SQLite has no configuration
        self.use(name)

    def use(self, name: str) -> None:
        persist.use_sqlite(self.root / name)

    @rule(process=processes)
    def forget(self, process: int) -> None:
        self.run_in(process, backtest_mongo.close())

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                for when in (None, WHEN):
                    self.look_at_everything(0, when)
                    self.look_at_everything(1, when)
        finally:
            self.run_in(0, backtest_mongo.close())
            for runner in self.runners:
                runner.close()
            shutil.rmtree(self.root)


@pytest.mark.timeout(max(900, 20 * EXAMPLES))
def test_every_slot_does_in_sqlite_what_the_model_does(monkeypatch: pytest.MonkeyPatch) -> None:
    for spec in OWN:
        persist.register(spec)
    checks: Any = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run_state_machine_as_test(
        SQLiteMachine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            print_blob=True,
            suppress_health_check=checks,
        ),
    )

"""The model of test_model.py against the storage in files: the same histories, without failures of servers."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, run_state_machine_as_test

from backtest_mongo import persist
from tests.contract.test_model import EXAMPLES, STEPS, Machine
from tests.support.model import OWN, Model, Row
from tests.support.uniform import WHEN

pytestmark = pytest.mark.heavy


class FileMachine(Machine):
    # What only servers can suffer.
    another_program_changes = None  # type: ignore[assignment]
    another_program_drops_a_collection = None  # type: ignore[assignment]
    another_program_writes_a_candle = None  # type: ignore[assignment]
    damage = None  # type: ignore[assignment]
    documents_are_those_of_the_model = None  # type: ignore[assignment]
    forget = None  # type: ignore[assignment]
    poison_redis = None  # type: ignore[assignment]

    def __init__(self) -> None:
        RuleBasedStateMachine.__init__(self)
        self.model = Model()
        self.known: set[Row] = set()
        self.damaged: set[Row] = set()
        self.runners = [asyncio.Runner(), asyncio.Runner()]
        self.root = Path(tempfile.mkdtemp())
        self.set_up()

    @initialize()
    def set_up(self) -> None:  # files have no configuration
        persist.use_files(self.root)

    @invariant()
    def nothing_is_left_unfinished(self) -> None:
        assert list(self.root.rglob(".tmp-*")) == []

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                for when in (None, WHEN):
                    self.look_at_everything(0, when)
                    self.look_at_everything(1, when)
        finally:
            for runner in self.runners:
                runner.close()
            shutil.rmtree(self.root)


@pytest.mark.timeout(max(900, 20 * EXAMPLES))
def test_every_slot_does_in_files_what_the_model_does(monkeypatch: pytest.MonkeyPatch) -> None:
    for spec in OWN:
        persist.register(spec)
    checks: Any = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run_state_machine_as_test(
        FileMachine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            print_blob=True,
            suppress_health_check=checks,
        ),
    )

"""The model of test_model.py against the storage in files: the same histories, without transactions and leases."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis.stateful import initialize, invariant

from backtest_mongo import persist
from tests.support.model_machine import EXAMPLES, ModelMachine, run_machine

pytestmark = pytest.mark.heavy


class FileMachine(ModelMachine):
    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.set_up()

    @initialize()
    def set_up(self) -> None:  # files have no configuration
        persist.use_files(self.root)

    def end(self) -> None:
        super().end()
        shutil.rmtree(self.root)

    @invariant()
    def nothing_is_left_unfinished(self) -> None:
        assert list(self.root.rglob(".tmp-*")) == []


@pytest.mark.timeout(max(900, 20 * EXAMPLES))
def test_every_slot_does_in_files_what_the_model_does() -> None:
    run_machine(FileMachine)

"""The model of test_model.py against SQLite: the same histories, transactions and leases among them."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

import backtest_mongo
from backtest_mongo import SlotSpec, persist
from backtest_mongo.core.extended_json import from_json
from backtest_mongo.core.specs import Key
from tests.support.model import SPECS, times
from tests.support.model_machine import ALL_HISTORY, EXAMPLES, FORKS, CommittingMachine, processes, run_machine

pytestmark = pytest.mark.heavy


class SQLiteMachine(CommittingMachine):
    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.set_up("backtest.db")

    @initialize(name=st.sampled_from(["backtest.db", "backtest.db", "ключ ?#.db"]), keeps=st.booleans())
    def set_up(self, name: str, keeps: bool = False) -> None:
        backtest_mongo.set_config(CC_HISTORY=ALL_HISTORY if keeps else "")
        self.model.keeps = keeps
        self.path = self.root / name
        persist.use_sqlite(self.path)

    def end(self) -> None:
        super().end()
        shutil.rmtree(self.root)

    @rule(process=processes)
    def forget(self, process: int) -> None:
        self.run_in(process, backtest_mongo.close())

    @rule(when=times)
    def fork(self, when: Any) -> None:
        if not self.path.exists() or self.forks == FORKS:
            return
        self.forks += 1
        path = self.root / f"fork-{self.forks}.db"
        self.run_in(0, backtest_mongo.fork(path, at=when))
        found = {spec.name: self._read_table(spec, path) for spec in self.forked_slots}
        self.check_fork(
            {slot: {key: payload for key, (payload, _, _) in rows.items()} for slot, rows in found.items()}, when
        )

    @invariant()
    def rows_are_those_of_the_model(self) -> None:
        """As another program reads them; candles are in blocks, which the library alone reads."""
        for slot in sorted({row.slot for row in self.known}):
            spec = SPECS[slot]
            if spec.shape != "series":
                rows = self.model.rows.get(slot, {})
                assert self._read_table(spec) == {key: (row.value, row.when, row.removed) for key, row in rows.items()}

    def _read_table(self, spec: SlotSpec, path: Path | None = None) -> dict[Key, tuple[Any, Any, bool]]:
        """Return payload, time and whether it is removed of each row, by natural key."""
        path = path or self.path
        if not path.exists():
            return {}
        with contextlib.closing(sqlite3.connect(path)) as connection:
            tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")]
            if spec.collection not in tables:
                return {}
            found = {}
            for row in connection.execute(f"SELECT * FROM [{spec.collection}]"):
                _, *stored, _, _, _ = row  # its number, when it was created and written, and its run
                key, (payload, *more) = tuple(stored[: len(spec.key)]), stored[len(spec.key) :]
                when, removed = more[0] if spec.when else None, spec.soft_delete and bool(more[-1])
                found[key] = (from_json(payload), when, removed)
            return found


@pytest.mark.timeout(max(900, 20 * EXAMPLES))
def test_every_slot_does_in_sqlite_what_the_model_does() -> None:
    run_machine(SQLiteMachine)

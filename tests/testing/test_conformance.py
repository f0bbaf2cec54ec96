"""The conformance suite as others run it: on this library's storages, on a throw-away store, and on faulty ones."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

import backtest_mongo
from backtest_mongo.testing.conformance import CAPABILITIES
from backtest_mongo.testing.conformance.loading import load_factory
from tests.support.deadlines import PROCESS_SECONDS
from tests.testing.faulty_stores import FAULTS
from tests.testing.pickled_store import Pickled

ROOT: Final = Path(backtest_mongo.__file__).parent.parent
SUITE: Final = "backtest_mongo.testing.conformance"
ARGUMENTS: Final = (
    *("-p", "pytest_backtest_mongo", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:randomly"),
    *("-W", "error", "-o", "asyncio_default_fixture_loop_scope=function", "-q"),
)


@dataclass
class Run:
    """What a run of the suite has come to."""

    status: int
    output: str

    @property
    def table(self) -> dict[str, tuple[str, int, int, int]]:
        """Result, passed, failed and skipped, by capability."""
        rows = re.findall(r"^(\w+) +(passed|FAILED|not declared|not run) +(\d+) +(\d+) +(\d+)$", self.output, re.M)
        return {name: (result, int(passed), int(failed), int(left)) for name, result, passed, failed, left in rows}

    @property
    def results(self) -> dict[str, str]:
        """By capability, without those that this run left out."""
        return {name: row[0] for name, row in self.table.items() if row[0] != "not run"}


def run(store: str, directory: Path, *arguments: str, modules: tuple[str, ...] = (), **environment: Any) -> Run:
    """Run the suite, or modules of it, in a process of its own, whose working directory is empty."""
    base = {name: value for name, value in os.environ.items() if not name.startswith(("CC_", "PYTEST_"))}
    base["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    names = [f"{SUITE}.{module}" for module in modules] or [SUITE]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *ARGUMENTS, "--pyargs", *names, "--store", store, *arguments],
        capture_output=True,
        text=True,
        timeout=3 * PROCESS_SECONDS,
        check=False,
        cwd=directory,
        env={**base, **{name: str(value) for name, value in environment.items() if value != ""}},
    )
    print(done.stdout, done.stderr)
    return Run(done.returncode, done.stdout + done.stderr)


@pytest.mark.one_python
@pytest.mark.parametrize("name", ["SQLite", "Files"])
def test_storages_without_a_server_pass_what_they_declare(name: str, tmp_path: Path) -> None:
    check_passed(f"{SUITE}.stores:{name}", run(f"{SUITE}.stores:{name}", tmp_path))


@pytest.mark.heavy
@pytest.mark.both_drivers
def test_mongodb_passes_what_it_declares(servers: dict[str, Any], driver: str, tmp_path: Path) -> None:
    environment = {**servers, "CC_MONGO_DRIVER": driver}
    check_passed(f"{SUITE}.stores:MongoDB", run(f"{SUITE}.stores:MongoDB", tmp_path, **environment))


@pytest.mark.one_python
def test_sqlite_with_history_passes_it(tmp_path: Path) -> None:
    done = run(f"{SUITE}.stores:SQLiteWithHistory", tmp_path, modules=("test_history", "test_look_ahead"))
    assert (done.status, done.results) == (0, {"history": "passed", "look_ahead": "passed"})


@pytest.mark.either_driver
@pytest.mark.one_python
def test_mongodb_with_history_passes_it(servers: dict[str, Any], driver: str, tmp_path: Path) -> None:
    environment = {**servers, "CC_MONGO_DRIVER": driver}
    store = f"{SUITE}.stores:MongoDBWithHistory"
    done = run(store, tmp_path, modules=("test_history", "test_look_ahead"), **environment)
    assert (done.status, done.results) == (0, {"history": "passed", "look_ahead": "passed"})


def test_throw_away_store_passes_what_it_declares(tmp_path: Path) -> None:
    check_passed("tests.testing.pickled_store:Pickled", run("tests.testing.pickled_store:Pickled", tmp_path))


def check_passed(store: str, done: Run) -> None:
    """Check that all that a store declares has passed, and that nothing of it was left out."""
    assert done.status == 0
    declared = set(load_factory(store).capabilities)
    assert set(done.table) == set(CAPABILITIES)
    for name, (result, passed, failed, _) in done.table.items():
        assert (result, failed) == ("passed" if name in declared else "not declared", 0)
        assert bool(passed) is (name in declared)


def test_every_capability_of_the_throw_away_store_has_a_fault_that_breaks_it() -> None:
    assert {capability for _, capability in FAULTS.values()} == Pickled.capabilities


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_found_in_its_capability(fault: str, tmp_path: Path) -> None:
    capability = FAULTS[fault][1]
    done = run(f"tests.testing.faulty_stores:{fault}", tmp_path, modules=(f"test_{capability}",))
    assert done.status == pytest.ExitCode.TESTS_FAILED
    assert done.results[capability] == "FAILED"

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

pytestmark = pytest.mark.one_python

ROOT: Final = Path(backtest_mongo.__file__).parent.parent
SUITE: Final = "backtest_mongo.testing.conformance"
FAULTY: Final = "tests.testing.faulty_stores"
PAGE: Final = ROOT / "docs" / "conformance.md"
STRICT: Final = ("-o", "asyncio_mode=strict", "-o", "asyncio_default_test_loop_scope=session", "--strict-markers")
ARGUMENTS: Final = (
    *("-p", "pytest_backtest_mongo", "-p", "no:cacheprovider", "-W", "error", "-q"),
    *("-o", "asyncio_default_fixture_loop_scope=function"),
)
#: The capabilities in three runs, of which each takes minutes on a busy machine.
PARTS: Final = tuple(tuple(CAPABILITIES)[start::3] for start in range(3))
HISTORY: Final = ("history", "look_ahead")
ASYNCIO: Final = ("-p", "pytest_asyncio.plugin")


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


def run(
    store: str,
    directory: Path,
    *arguments: str,
    modules: tuple[str, ...] = (),
    plugins: tuple[str, ...] = ASYNCIO,
    **environment: Any,
) -> Run:
    """Run the suite, or modules of it, in a process of its own, with no other plugins than it needs."""
    base = {name: value for name, value in os.environ.items() if not name.startswith(("CC_", "PYTEST_"))}
    base["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    base["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    names = [f"{SUITE}.{module}" for module in modules] or [SUITE]
    done = subprocess.run(
        [
            *(sys.executable, "-P", "-m", "pytest", *ARGUMENTS, *plugins, "--pyargs", *names),
            *(("--store", store) if store else ()),
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=3 * PROCESS_SECONDS,
        check=False,
        cwd=directory,
        env={**base, **{name: str(value) for name, value in environment.items() if value != ""}},
    )
    print(done.stdout, done.stderr)
    return Run(done.returncode, done.stdout + done.stderr)


@pytest.mark.heavy
@pytest.mark.parametrize("part", PARTS, ids=range(len(PARTS)))
@pytest.mark.parametrize("name", ["SQLite", pytest.param("Files", marks=pytest.mark.conformance)])
def test_storages_without_a_server_pass_what_they_declare(name: str, part: tuple[str, ...], tmp_path: Path) -> None:
    check_passed(f"{SUITE}.stores:{name}", part, tmp_path)


@pytest.mark.conformance
@pytest.mark.heavy
@pytest.mark.parametrize("part", PARTS, ids=range(len(PARTS)))
def test_mongodb_passes_what_it_declares(
    servers: dict[str, Any], driver: str, part: tuple[str, ...], tmp_path: Path
) -> None:
    check_passed(f"{SUITE}.stores:MongoDB", part, tmp_path, **servers, CC_MONGO_DRIVER=driver)


@pytest.mark.one_python
def test_sqlite_with_history_passes_it(tmp_path: Path) -> None:
    check_passed(f"{SUITE}.stores:SQLiteWithHistory", HISTORY, tmp_path)


@pytest.mark.either_driver
@pytest.mark.one_python
def test_mongodb_with_history_passes_it(servers: dict[str, Any], driver: str, tmp_path: Path) -> None:
    check_passed(f"{SUITE}.stores:MongoDBWithHistory", HISTORY, tmp_path, **servers, CC_MONGO_DRIVER=driver)


@pytest.mark.heavy
@pytest.mark.parametrize("part", PARTS, ids=range(len(PARTS)))
def test_throw_away_store_passes_what_it_declares(part: tuple[str, ...], tmp_path: Path) -> None:
    check_passed("tests.testing.pickled_store:Pickled", part, tmp_path)


def check_passed(store: str, part: tuple[str, ...], directory: Path, **environment: Any) -> None:
    """Check that all passes that a store declares of some capabilities, and that nothing of it is left out."""
    done = run(store, directory, modules=tuple(f"test_{name}" for name in part), **environment)
    assert done.status == 0
    declared = set(load_factory(store).capabilities)
    assert set(done.table) == set(CAPABILITIES)
    for name in part:
        result, passed, failed, _ = done.table[name]
        assert (result, failed) == ("passed" if name in declared else "not declared", 0)
        assert bool(passed) is (name in declared)


def test_every_capability_of_the_throw_away_store_has_a_fault_that_breaks_it() -> None:
    assert {capability for _, capability in FAULTS.values()} == Pickled.capabilities


@pytest.mark.conformance
@pytest.mark.heavy
@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_found_in_its_capability(fault: str, tmp_path: Path) -> None:
    capability = FAULTS[fault][1]
    done = run(f"{FAULTY}:{fault}", tmp_path, "-x", modules=(f"test_{capability}",))
    assert done.status == pytest.ExitCode.TESTS_FAILED
    assert done.results[capability] == "FAILED"


# The documentation


@pytest.mark.one_python
def test_store_of_the_documentation_passes_what_it_declares(tmp_path: Path) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "my_store.py").write_text(code)
    done = run("my_store:StateFiles", tmp_path)
    assert done.status == 0
    declared = {name for name, result in done.results.items() if result != "not declared"}
    assert declared == {"rows", "values", "keys", "look_ahead", "concurrency", "processes", "durable"}
    assert {done.results[name] for name in declared} == {"passed"}


def test_documentation_has_every_capability() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE)
    assert rows == list(CAPABILITIES)


# What is declared


def test_test_of_what_is_not_declared_is_skipped_and_what_holds_is_said(tmp_path: Path) -> None:
    done = run(f"{FAULTY}:Forgetful", tmp_path, "-rs", modules=("test_rows", "test_soft_delete", "test_ranges"))
    assert done.status == 0
    assert done.results == {"rows": "passed"} | {
        name: "not declared" for name in CAPABILITIES if name not in ("rows", "values")
    }
    _, passed, failed, skipped = done.table["soft_delete"]
    assert (passed, failed) == (0, 0)
    assert skipped > 0
    assert "the store does not declare soft_delete" in done.output
    assert f"soft_delete is not declared, and all of its {skipped} tests pass: declare it" in done.output
    assert "ranges is not declared, and" not in done.output  # it lacks the methods


def test_capability_that_is_declared_and_does_not_hold_fails(tmp_path: Path) -> None:
    done = run(f"{FAULTY}:Overconfident", tmp_path, "-x", modules=("test_ranges",))
    assert done.status == pytest.ExitCode.TESTS_FAILED
    assert done.results["ranges"] == "FAILED"


def test_tests_of_slots_that_a_store_lacks_are_deselected(tmp_path: Path) -> None:
    done = run(f"{FAULTY}:SmallStore", tmp_path, modules=("test_rows", "test_candles", "test_soft_delete"))
    assert done.status == 0
    assert (done.results["rows"], done.results["candles"]) == ("passed", "passed")
    assert done.table["soft_delete"] == ("not run", 0, 0, 0)
    assert " deselected" in done.output


# Usage


@pytest.mark.parametrize(
    ("store", "message"),
    [
        ("", "the conformance suite needs a store: --store my_module:my_factory"),
        ("my_store", "--store must be module:factory, not 'my_store'"),
        ("absent_module:Store", "--store absent_module:Store can't be imported: No module named 'absent_module'"),
        (f"{FAULTY}:Absent", f"--store {FAULTY}:Absent can't be imported: module '{FAULTY}' has no attribute 'Absent'"),
        (f"{FAULTY}:FAULTS", f"--store {FAULTY}:FAULTS must be a class or a callable, not dict"),
        (f"{FAULTY}:Silent", f"--store {FAULTY}:Silent declares no capabilities; there are rows, values, "),
        (f"{FAULTY}:Unknown", f"--store {FAULTY}:Unknown: capabilities 'speed': there are rows, values, "),
        (f"{FAULTY}:OneName", f"--store {FAULTY}:OneName: capabilities must be names, not 'rows'"),
    ],
)
def test_store_that_can_not_be_tested_is_refused_in_one_line(store: str, message: str, tmp_path: Path) -> None:
    done = run(store, tmp_path)
    assert done.status == pytest.ExitCode.USAGE_ERROR
    assert f"ERROR: {message}" in done.output
    assert "Traceback" not in done.output


def test_run_without_pytest_asyncio_is_refused(tmp_path: Path) -> None:
    done = run(f"{FAULTY}:Forgetful", tmp_path, plugins=())
    assert done.status == pytest.ExitCode.USAGE_ERROR
    assert "the conformance suite needs pytest-asyncio: pip install pytest-asyncio" in done.output


@pytest.mark.parametrize(
    "arguments", [("-p", "xdist.plugin", "-n", "2"), ("-o", "asyncio_mode=auto"), STRICT], ids=" ".join
)
def test_table_is_the_same_however_the_suite_is_run(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = run(f"{FAULTY}:Forgetful", tmp_path, *arguments, modules=("test_look_ahead", "test_soft_delete"))
    assert done.status == 0
    for name, count in (("look_ahead", 38), ("soft_delete", 16)):
        assert done.table[name] == ("not declared", 0, 0, count)
        assert f"{name} is not declared, and all of its {count} tests pass" in done.output


def test_other_runs_do_not_know_the_option(tmp_path: Path) -> None:
    (tmp_path / "test_nothing.py").write_text("def test_nothing(): pass")
    (tmp_path / "conftest.py").write_text("def pytest_addoption(parser): parser.addoption('--store')")
    command = [sys.executable, "-P", "-m", "pytest", *ARGUMENTS, *ASYNCIO, "--store", "of my own"]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, cwd=tmp_path, timeout=PROCESS_SECONDS, env=environment)

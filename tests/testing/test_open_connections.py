"""Connections that a test of this suite leaves open: it is reported for them, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.one_python
pytest_plugins = ["pytester"]

PROJECT = Path(__file__).parents[2]
HEAD = """
import asyncio
import pytest
import backtest_mongo
from backtest_mongo.connection.hub_registry import current_hub

@pytest.fixture(autouse=True)
def _nobody():
    backtest_mongo.set_config(CC_MONGO_CONNECTION_STRING="mongodb://127.0.0.1:1/x", CC_REDIS_PORT=1)

async def use():
    return current_hub()
"""
FAILING = """
async def test_fails():
    assert current_hub() is None

{next}

async def test_fails_with_another_configuration():
    current_hub()
    backtest_mongo.set_config(CC_REDIS_PORT=2)
    assert current_hub() is None

{next}

def test_fails_after_a_loop_of_its_own():
    assert asyncio.run(use()) is None

{next}

@pytest.fixture
async def broken():
    current_hub()
    raise RuntimeError("the set-up failed")

async def test_is_not_set_up(broken):
    pass

{next}
"""
LEAVING = """
async def test_passes():
    current_hub()

{next}

async def test_passes_with_another_configuration():
    current_hub()
    backtest_mongo.set_config(CC_REDIS_PORT=2)

{next}

def test_passes_after_a_loop_of_its_own():
    asyncio.run(use())

{next}
"""
NEXT = """
async def test_next_{number}():
    current_hub()
    await backtest_mongo.close()
"""


def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tests: str) -> pytest.RunResult:
    """Run tests with the fixtures of this suite, and after each of them another one that connects."""
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    first, *others = tests.split("{next}")
    nexts = "".join(NEXT.format(number=number) + other for number, other in enumerate(others))
    pytester.makepyfile(HEAD + first + nexts)
    pytester.makeini(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error"
    )
    return pytester.runpytest_subprocess("-p", "tests.conftest", "-p", "no:cacheprovider", "-p", "no:randomly", "-v")


def test_connections_of_a_failed_test_fail_no_other(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run(pytester, monkeypatch, FAILING)
    done.assert_outcomes(failed=3, errors=1, passed=4)
    assert "next" not in str([line for line in done.outlines if line.startswith(("FAILED", "ERROR"))])


def test_passed_test_that_leaves_connections_open_is_reported_itself(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run(pytester, monkeypatch, LEAVING)
    done.assert_outcomes(errors=3, passed=6)
    for name in ("passes", "passes_with_another_configuration", "passes_after_a_loop_of_its_own"):
        done.stdout.fnmatch_lines([f"* ERROR at teardown of test_{name} *", "*; await backtest_mongo.close() *"])

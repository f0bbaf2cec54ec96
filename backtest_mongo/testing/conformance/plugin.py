"""The suite's part of pytest: the option, the fixtures, and the report. `pytest_backtest_mongo` loads it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import Any, Final

import pytest

from backtest_mongo import SLOTS, SlotSpec
from backtest_mongo.testing.conformance.instances import Instances, limit_time
from backtest_mongo.testing.conformance.loading import list_slots, load_factory
from backtest_mongo.testing.conformance.protocols import StoreFactory
from backtest_mongo.testing.conformance.report import CAPABILITY, HOLDS, describe, list_hints
from backtest_mongo.testing.conformance.slots import ROWS

_NEEDS: Final = "the conformance suite needs pytest-asyncio: pip install pytest-asyncio"
try:
    import pytest_asyncio.plugin
except ImportError as _missing:
    raise pytest.UsageError(_NEEDS) from _missing

_HERE: Final = Path(__file__).parent
_FACTORY: Final = pytest.StashKey[StoreFactory]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("backtest-mongo")
    group.addoption("--store", metavar="MODULE:FACTORY", help="store that the conformance suite tests")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "capability(*names): what a store must declare for a test of the suite to count")
    config.addinivalue_line("markers", "conformance_slots(*names): the slots that a test of the suite needs")
    if not config.pluginmanager.is_registered(pytest_asyncio.plugin):
        raise pytest.UsageError(_NEEDS)
    name = config.getoption("--store")
    if not name:
        raise pytest.UsageError("the conformance suite needs a store: --store my_module:my_factory")
    if str(config.invocation_params.dir) not in sys.path:
        sys.path.insert(0, str(config.invocation_params.dir))
    try:
        config.stash[_FACTORY] = load_factory(name)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error


def _find_undeclared(item: pytest.Item) -> list[str]:
    factory = item.config.stash[_FACTORY]
    return [name for name in _get_capabilities(item) if name not in factory.capabilities]


def _get_capabilities(item: pytest.Item) -> list[str]:
    return [name for mark in reversed(list(item.iter_markers("capability"))) for name in mark.args]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests of slots that the store does not have, and note the capability of each test for the report."""
    slots = list_slots(config.stash[_FACTORY])
    left_out = [item for item in items if _is_ours(item) and not _get_slots(item) <= slots]
    if left_out:
        items[:] = [item for item in items if item not in set(left_out)]
        config.hook.pytest_deselected(items=left_out)
    for item in items:
        if _is_ours(item) and isinstance(item, pytest.Function):
            item.obj = limit_time(item.obj)
            item.user_properties.append((CAPABILITY, _get_capabilities(item)[0]))


def _is_ours(item: pytest.Item) -> bool:
    return item.path.is_relative_to(_HERE)


def _get_slots(item: pytest.Item) -> set[str]:
    needed = {name for mark in item.iter_markers("conformance_slots") for name in mark.args}
    spec = item.callspec.params.get("spec") if hasattr(item, "callspec") else None
    return needed | ({spec.name} if spec is not None else set())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Take a test of what the store does not declare for skipped, however it ends, and note whether it holds."""
    report = yield
    undeclared = _find_undeclared(item) if _is_ours(item) else []
    if call.when == "teardown" and undeclared:
        report.outcome = "passed"  # the test has its outcome
    if call.when == "call" and undeclared and not report.skipped:
        item.user_properties.append((HOLDS, report.passed))
        report.user_properties = [*item.user_properties]
        report.outcome = "skipped"
        reason = f"Skipped: the store does not declare {', '.join(undeclared)}"
        report.longrepr = (str(item.path), item.location[1] or 0, reason)
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    factory = config.stash[_FACTORY]
    if config.option.collectonly:
        return
    rows = describe(terminalreporter.stats, factory.capabilities)
    terminalreporter.section(f"conformance of {config.getoption('--store')}")
    for line in (*rows, *list_hints(terminalreporter.stats)):
        terminalreporter.write_line(line)


@pytest_asyncio.fixture(loop_scope="function")
async def instances(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Instances]:
    """Give what opens instances of a fresh store."""
    name = request.config.getoption("--store")
    found = Instances(name, request.config.stash[_FACTORY], tmp_path)
    yield found
    await found.end()


@pytest_asyncio.fixture(loop_scope="function")
async def store(instances: Instances) -> Any:
    """Give an open instance of a fresh store."""
    return await instances.open()


@pytest_asyncio.fixture(loop_scope="function")
async def closed_store(instances: Instances) -> Instances:
    """Give a fresh store that this process has opened, and closed: it may have started servers for it."""
    await instances.open()
    await instances.close()
    return instances


@pytest.fixture
def row_specs(request: pytest.FixtureRequest) -> list[SlotSpec]:
    """Give the slots of the store whose payloads are rows."""
    slots = list_slots(request.config.stash[_FACTORY])
    return [spec for spec in SLOTS if spec.shape in ROWS and spec.name in slots]

"""LangGraph's own suite for savers, whole, on both savers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.capabilities import ALL_CAPABILITIES

from backtest_mongo.integrations.langgraph import AsyncBacktestMongoSaver, BacktestMongoSaver
from tests.engines.langgraph.support import STORAGES, ThreadedSaver

#: Checks of the suite's first version.
CHECKS = 81


async def run_suite(saver: BaseCheckpointSaver[Any]) -> None:
    async def make() -> AsyncIterator[BaseCheckpointSaver[Any]]:
        yield saver

    report = await validate(checkpointer_test(name=type(saver).__name__)(make))
    problems = [failure for result in report.results.values() for failure in result.failures]
    assert problems == []
    assert set(report.results) == {capability.value for capability in ALL_CAPABILITIES}
    assert all(result.detected and result.passed for result in report.results.values())
    assert sum(result.tests_passed for result in report.results.values()) >= CHECKS


@STORAGES
async def test_saver_that_is_awaited_passes_the_conformance_suite(storage: str) -> None:
    await run_suite(AsyncBacktestMongoSaver())


@STORAGES
def test_saver_without_await_passes_the_conformance_suite(sync_storage: str) -> None:
    asyncio.run(run_suite(ThreadedSaver(BacktestMongoSaver())))

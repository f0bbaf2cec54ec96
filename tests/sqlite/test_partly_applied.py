"""Calls of several steps, a later one of which finds the file locked: the error says that a part may be applied."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import StoreUnavailableError, persist
from backtest_mongo.sqlite import columns, contexts
from backtest_mongo.sqlite.columns import SQLiteColumns
from backtest_mongo.sqlite.store import SQLiteStore
from tests.sqlite.support import locked
from tests.support.built_in_series import trades


@pytest.fixture
def locking(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ExitStack]:
    """Let another process lock the file once a step of a deletion is done; closing this lets it go."""
    backtest_mongo.set_config(CC_MONGO_TIMEOUT_MS=100)
    monkeypatch.setattr(contexts, "MAX_STEP_ROWS", 1)
    monkeypatch.setattr(columns, "_DELETED", 1)
    with ExitStack() as stack:
        for store in (SQLiteColumns, SQLiteStore):
            monkeypatch.setattr(store, "delete_some", _lock_after(store.delete_some, path, stack))
        yield stack


def _lock_after(step: Any, path: Path, stack: ExitStack) -> Any:
    async def delete_some(*arguments: Any) -> Any:
        done = await step(*arguments)
        stack.enter_context(locked(path))
        return done

    return delete_some


async def test_deleting_a_context(locking: ExitStack) -> None:
    one = persist.partial("BTCUSDT", "trend", "binance")
    for number in range(3):
        await one.write_partial_data({"n": number}, f"s-{number}", number)
    with pytest.raises(StoreUnavailableError, match="may or may not have been applied") as caught:
        await one.delete()
    assert caught.value.may_be_applied
    locking.close()
    assert [await one.read_partial_data(f"s-{number}") for number in range(3)].count({}) == 1


async def test_deleting_a_series_with_columns(locking: ExitStack) -> None:
    series = persist.trade("BTCUSDT", "binance")
    for number in range(3):
        await series.append(trades(number))
    with pytest.raises(StoreUnavailableError, match="may or may not have been applied") as caught:
        await series.delete()
    assert caught.value.may_be_applied
    locking.close()
    assert (await series.coverage()).rows == 2


async def test_first_step(path: Path, locking: ExitStack) -> None:
    series = persist.trade("BTCUSDT", "binance")
    await series.append(trades(1))
    with locked(path), pytest.raises(StoreUnavailableError, match="nothing was written") as caught:
        await series.delete()
    assert not caught.value.may_be_applied

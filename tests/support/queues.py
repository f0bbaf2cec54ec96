"""Calls that wait in a queue on a slow server, and what becomes of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from backtest_mongo import MemoryAdapter, SignalAdapter, StateAdapter, StorageAdapter, StoreUnavailableError
from tests.support.failing_servers import FailingServer
from tests.support.uniform import WHEN


def make_states(unique: str, count: int) -> list[StateAdapter]:
    return [StateAdapter(unique, f"b{number:05}") for number in range(count)]


def tally(outcomes: list[Any]) -> Counter[str]:
    """Count outcomes by what they are: a value, or the text of an error without what differs between callers."""
    return Counter(f"{type(one).__name__}: {one}" if isinstance(one, BaseException) else "fine" for one in outcomes)


def is_unsent(outcome: Any) -> bool:
    return isinstance(outcome, StoreUnavailableError) and not outcome.may_be_applied and "not sent" in str(outcome)


async def write_one(kind: str, unique: str, number: int) -> Any:
    """Write a number to the rows of a kind: ``single``, ``batch``, ``list``, or ``remove``, which removes for 1."""
    if kind == "list":
        return await StorageAdapter(True).write_storage_data([{"id": unique, "n": number}])
    if kind == "batch":
        return await SignalAdapter.write_many([((unique, name, "binance"), {"n": number}) for name in "ab"])
    memory = MemoryAdapter(unique, "notes")
    if kind == "remove" and number == 1:
        return await memory.remove_memory_data("m")
    return await memory.write_memory_data({"n": number}, "m", WHEN)


async def read_one(kind: str, unique: str) -> Any:
    """Read the number that :func:`write_one` has written last, ``None`` once it is removed."""
    if kind == "list":
        return (await StorageAdapter(True).read_storage_data())[0]["n"]
    if kind == "batch":
        row = await SignalAdapter(unique, "b", "binance").read_signal_data()
    else:
        row = await MemoryAdapter(unique, "notes").read_memory_data("m")
    return row and row["n"]


def read_stored(failing: FailingServer, kind: str, unique: str) -> Any:
    name = {"list": "storage-items", "batch": "signal-items"}.get(kind, "memory-items")
    row = failing.client[unique][name].find_one(sort=[("strategyName", -1)])
    assert row is not None
    return row["payload"]["n"]

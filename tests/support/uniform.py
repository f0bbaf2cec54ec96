"""One way to call every slot, derived from the table: what the contract suite is written in."""

from __future__ import annotations

from typing import Any

from backtest_mongo import SlotSpec
from backtest_mongo.adapters import ADAPTERS as MONGODB
from backtest_mongo.adapters.shapes import Adapter

WHEN = 1_700_000_000_000
ENTRY = "entry-1"
#: The classes that the suite is run on.
ADAPTERS: dict[str, type[Adapter]] = MONGODB


def adapter(spec: SlotSpec, unique: str, **changes: Any) -> Any:
    """Return an adapter of the slot in a context that belongs to one test."""
    return ADAPTERS[spec.name](**{**context(spec, unique), **changes})


def context(spec: SlotSpec, unique: str) -> dict[str, Any]:
    fixed: dict[str, Any] = {"backtest": True, "interval": "1m"}
    return {name: fixed.get(name, f"{name}-{unique}") for name in spec.context}


def entry(spec: SlotSpec, unique: str) -> str:
    """Return an entry's key that no other test uses, since some slots have no context."""
    return f"{ENTRY}-{unique}"


def payload(spec: SlotSpec, number: int = 1) -> Any:
    value = {"number": number, "price": 50_000.5, "note": None, "nested": {"levels": [1, 2.5, "x"], "empty": {}}}
    return [["my_strategy:BTCUSDT", value]] if spec.payload == "list" else value


def nothing(spec: SlotSpec) -> Any:
    """What a read answers when nothing is stored."""
    if spec.shape == "collection" or spec.payload == "list":
        return []
    return {} if spec.shape == "entry" else None


async def write(adapter: Any, value: Any, key: str = ENTRY, when: Any = WHEN, **condition: Any) -> None:
    spec = adapter.spec
    method = getattr(adapter, f"write_{spec.noun}_data")
    if spec.shape == "collection":
        await method([{"id": key, **value}])
    else:
        await method(value, *((key,) if spec.item else ()), *((when,) if spec.when else ()), **condition)


async def read(adapter: Any, key: str = ENTRY, when: Any = None) -> Any:
    spec = adapter.spec
    method = getattr(adapter, f"read_{spec.noun}_data")
    if spec.shape == "collection":
        rows = [row for row in await method() if row["id"] == key]
        return [{name: value for name, value in row.items() if name != "id"} for row in rows]
    return await method(*((key,) if spec.item else ()), **({} if when is None else {"when": when}))


async def read_version(adapter: Any, key: str = ENTRY, **time: Any) -> Any:
    """Read a row with its version."""
    method = getattr(adapter, f"read_{adapter.spec.noun}_data")
    return await method(*((key,) if adapter.spec.item else ()), with_version=True, **time)


def stored(spec: SlotSpec, value: Any) -> Any:
    """What :func:`read` answers after :func:`write` of ``value``."""
    return [value] if spec.shape == "collection" else value


async def listed(adapter: Any, **arguments: Any) -> list[Any]:
    return [row async for row in getattr(adapter, f"list_{adapter.spec.noun}_data")(**arguments)]


def natural_key(adapter: Any, key: str = ENTRY) -> dict[str, Any]:
    spec = adapter.spec
    return dict(zip(spec.key, (*adapter._context, *((key,) if spec.item else ())), strict=True))


def redis_key(adapter: Any, key: str = ENTRY) -> str:
    return str(adapter.spec.redis_key(tuple(natural_key(adapter, key).values())))


def candles(count: int, first: int = 0, step: int = 60_000, price: float = 1.0) -> list[Any]:
    """Return candles; typed as anything, since tests make wrong ones of them."""
    return [
        {
            "timestamp": first + index * step,
            "open": price,
            "high": price + 1,
            "low": price - 1,
            "close": price + 0.5,
            "volume": 10.0,
        }
        for index in range(count)
    ]


def hits(spec: SlotSpec) -> tuple[int, int]:
    """Return how many reads of a slot the id cache knew and did not know, on this event loop."""
    from backtest_mongo.connection.hub_registry import current_hub

    counts = current_hub().counts[spec.name]
    return counts.hits, counts.misses

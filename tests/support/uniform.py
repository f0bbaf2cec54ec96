"""One way to call every slot, derived from the table: what the contract suite is written in.

`backtest_mongo.testing.conformance.slots` does the calling; here are the adapters, and what is this library's own.
"""

from __future__ import annotations

from typing import Any

from backtest_mongo import SlotSpec
from backtest_mongo.adapters import ADAPTERS as MONGODB
from backtest_mongo.adapters.shapes import Adapter
from backtest_mongo.testing.conformance import slots
from backtest_mongo.testing.conformance.slots import Slot

WHEN, ENTRY = slots.WHEN, slots.ENTRY
context, payload, candles = slots.make_context, slots.make_payload, slots.make_candles

#: The classes that the suite is run on.
ADAPTERS: dict[str, type[Adapter]] = MONGODB


def adapter(spec: SlotSpec, unique: str, **changes: Any) -> Any:
    """Return an adapter of the slot in a context that belongs to one test."""
    return ADAPTERS[spec.name](**{**context(spec, unique), **changes})


def entry(spec: SlotSpec, unique: str) -> str:
    """Return an entry's key that no other test uses, since some slots have no context."""
    return f"{ENTRY}-{unique}"


def nothing(spec: SlotSpec) -> Any:
    """What a read answers when nothing is stored."""
    return Slot(spec, None).nothing


async def write(adapter: Any, value: Any, key: str = ENTRY, when: Any = WHEN, **condition: Any) -> None:
    await Slot(adapter.spec, adapter).write(value, key, when, **condition)


async def read(adapter: Any, key: str = ENTRY, when: Any = None) -> Any:
    return await Slot(adapter.spec, adapter).read(key, when)


async def read_version(adapter: Any, key: str = ENTRY, **time: Any) -> Any:
    """Read a row with its version."""
    return await Slot(adapter.spec, adapter).read_version(key, **time)


def stored(spec: SlotSpec, value: Any) -> Any:
    """What :func:`read` answers after :func:`write` of ``value``."""
    return Slot(spec, None).wrap(value)


async def listed(adapter: Any, **arguments: Any) -> list[Any]:
    return [row async for row in getattr(adapter, f"list_{adapter.spec.noun}_data")(**arguments)]


def natural_key(adapter: Any, key: str = ENTRY) -> dict[str, Any]:
    spec = adapter.spec
    return dict(zip(spec.key, (*adapter._context, *((key,) if spec.item else ())), strict=True))


def redis_key(adapter: Any, key: str = ENTRY) -> str:
    return str(adapter.spec.redis_key(tuple(natural_key(adapter, key).values())))


def hits(spec: SlotSpec) -> tuple[int, int]:
    """Return how many reads of a slot the id cache knew and did not know, on this event loop."""
    from backtest_mongo.connection.hub_registry import current_hub

    counts = current_hub().counts[spec.name]
    return counts.hits, counts.misses

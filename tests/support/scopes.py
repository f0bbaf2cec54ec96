"""What the tests of transactions and leases have in common: work outside of the block, and every form of a read."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import Any, TypeVar

from tests.support import uniform
from tests.support.uniform import ENTRY, WHEN

__all__ = ["look", "outside"]

T = TypeVar("T")


async def outside(work: Coroutine[Any, Any, T]) -> T:
    """Carry work out beside the current transactions and leases, as other code of the process does."""
    return await asyncio.get_running_loop().create_task(work, context=Context())


async def look(adapter: Any, *keys: str) -> dict[str, Any]:
    """Return what every form of a read gives, by the form."""
    spec = adapter.spec
    found: dict[str, Any] = {}
    times = (None, WHEN - 1, WHEN, WHEN + 1) if spec.when else (None,)
    if spec.shape == "collection":
        found["list"] = await getattr(adapter, f"read_{spec.noun}_data")()
        if spec.newest is not None:
            for limit in (1, 2, 3):
                found[f"newest {limit}"] = await getattr(adapter, f"read_{spec.noun}_data")(limit)
        return found
    for when in times:
        for key in keys or (ENTRY,):
            found[f"point {key} {when}"] = await uniform.read(adapter, key, when)
        at = {} if when is None else {"when": when}
        if spec.shape == "document":
            other = {**adapter.context, spec.context[0]: "of nothing"}
            contexts = [adapter.context, other, adapter.context]
            found[f"many {when}"] = await type(adapter).read_many(contexts, **at)
        if spec.shape == "bucket":
            found[f"list {when}"] = await uniform.listed(adapter, **at)
    if spec.items:
        for key in keys:
            found[f"has {key}"] = await getattr(adapter, f"has_{spec.noun}_data")(key)
    return found

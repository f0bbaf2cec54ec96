"""A bar of the tests of commits, whose rows show whether it is whole, and a lease of all that it writes."""

from __future__ import annotations

from typing import Any

from backtest_mongo import lease, persist, transaction
from tests.support.uniform import WHEN

__all__ = ["own", "read_bar", "write_bar"]


async def write_bar(unique: str, n: int) -> None:
    """Write a bar: two rows, and one more that only it writes."""
    async with transaction(when=WHEN):
        await persist.state(unique, "one").write_state_data({"n": n})
        await persist.storage(True).write_storage_data([{"id": f"{n:04}", "n": n}])
        await persist.state(unique, "other").write_state_data({"n": n})


async def read_bar(unique: str) -> int:
    """Return the last bar, which is whole: both rows and as many others as there were bars."""
    one, other = await type(persist.state("a", "b")).read_many([(unique, "one"), (unique, "other")])
    assert one == other
    n = 0 if one is None else int(one["n"])
    rows = await persist.storage(True).read_storage_data()
    assert [row["n"] for row in rows] == [*range(1, n + 1)]
    return n


def own(unique: str, **options: Any) -> Any:
    return lease(persist.state(unique, "one"), persist.state(unique, "other"), persist.storage(True), **options)

"""Parts of lists within transactions and leases: what is yet to be written is in them."""

from __future__ import annotations

import pytest

from backtest_mongo import SlotSpec, lease, persist, transaction
from tests.contract.test_list_filters import make_row
from tests.contract.test_list_filters import read as read_rows
from tests.contract.test_list_filters import write as write_rows
from tests.contract.test_ranges import fill, list_keys, newest, pairs, ranged
from tests.support import uniform
from tests.support.uniform import WHEN, payload, write

pytestmark = [pytest.mark.usefixtures("deployment"), pytest.mark.one_python, pytest.mark.either_driver]

BUCKETS = pytest.mark.shapes("bucket")


@BUCKETS
async def test_parts_in_a_transaction_have_what_is_yet_to_be_written(spec: SlotSpec, unique: str) -> None:
    adapter = uniform.adapter(spec, unique)
    await fill(adapter, ["a1", "a3", "a5", "b1"])
    remove = getattr(adapter, f"remove_{spec.noun}_data")
    async with transaction():
        for key in ("a2", "a6", "c1"):
            await write(adapter, {"key": key}, key)
        await write(adapter, {"key": "again"}, "a3")
        await remove("a5")
        await remove("b1")
        expected = [("a1", {"key": "a1"}), ("a2", {"key": "a2"}), ("a3", {"key": "again"}), ("a6", {"key": "a6"})]
        assert await ranged(adapter, "a1", "a6") == expected
        assert await ranged(adapter, "a1", "a6", newest_first=True) == expected[::-1]
        assert await ranged(adapter, "a2", "a5") == expected[1:3]
        assert await list_keys(adapter, prefix="a") == [key for key, _ in expected]
        assert await newest(adapter, 2, prefix="a") == expected[-2:]
        assert await newest(adapter, 3) == [*expected[-2:], ("c1", {"key": "c1"})]
    assert await newest(adapter, 2, prefix="a") == expected[-2:]


@BUCKETS
async def test_parts_under_a_lease_have_what_waits_to_be_committed(spec: SlotSpec, unique: str) -> None:
    adapter = getattr(persist, spec.name)(*uniform.context(spec, unique).values())
    await fill(adapter, ["a1", "a3"])
    async with lease(adapter, commit_every=1_000):
        async with transaction():
            await write(adapter, {"key": "a2"}, "a2")
            await getattr(adapter, f"remove_{spec.noun}_data")("a3")
        assert await ranged(adapter, newest_first=True) == pairs(["a2", "a1"])
        assert await newest(adapter, 1) == pairs(["a2"])
    assert await newest(adapter, 1) == pairs(["a2"])


@BUCKETS
@pytest.mark.slots("when")
async def test_time_of_a_transaction_bounds_parts(spec: SlotSpec, unique: str) -> None:
    adapter = uniform.adapter(spec, unique)
    for number in range(4):
        await write(adapter, payload(spec), f"a{number}", when=WHEN + number % 2)
    async with transaction(when=WHEN):
        assert [key for key, _ in await newest(adapter, 2)] == ["a0", "a2"]
        assert [key for key, _ in await ranged(adapter, "a1")] == ["a2"]


# Filters


COLLECTIONS = pytest.mark.shapes("collection")


@COLLECTIONS
async def test_filtered_list_in_a_transaction_has_what_is_yet_to_be_written(spec: SlotSpec, unique: str) -> None:
    adapter = uniform.adapter(spec, unique)
    rows = [make_row(spec, n, f"s{n % 2}", "m", WHEN + n) for n in range(10)]
    await write_rows(adapter, rows)
    async with transaction():
        fresh = [make_row(spec, 10 + n, "s1", "m", WHEN + 10 + n) for n in range(2)]
        other = make_row(spec, 12, "s0", "m", WHEN + 12)
        await write_rows(adapter, [*fresh, other])
        assert await read_rows(adapter, strategy_name="s1") == [*rows[1::2], *fresh]
        joins = make_row(spec, 4, "s1", "m", WHEN + 4)  # it was the other strategy's
        leaves = make_row(spec, 7, "s0", "m", WHEN + 7)
        await write_rows(adapter, [joins, leaves])
        mine = [rows[1], rows[3], joins, rows[5], rows[9], *fresh]
        assert await read_rows(adapter, strategy_name="s1") == mine
        assert await read_rows(adapter, strategy_name="s1", since=WHEN + 4, until=WHEN + 10) == mine[2:-1]
        if spec.newest:
            assert await read_rows(adapter, limit=3, strategy_name="s1") == mine[-3:]
            assert await read_rows(adapter, limit=1, strategy_name="s1", until=WHEN + 4) == [joins]
    assert await read_rows(adapter, strategy_name="s1") == mine

"""Capability ``ranges``: a part of a bucket's list, by keys, prefix and number."""

from __future__ import annotations

from typing import Any

import pytest

from backtest_mongo import SlotSpec
from backtest_mongo.testing.conformance.slots import WHEN, Slot, each_slot, get_slot, make_payload

pytestmark: list[Any] = [pytest.mark.capability("ranges"), pytest.mark.asyncio(loop_scope="function")]

KEYS = ("a:1", "a:2", "a:3", "ab", "b:1", "b:2", "\u00e9", "\U0001f4c8")


async def fill(store: Any, spec: SlotSpec) -> Slot:
    slot = get_slot(store, spec)
    for key in KEYS[::-1]:
        await slot.write(make_payload(spec, KEYS.index(key)), key)
    return slot


async def read_range(slot: Slot, *ends: str | None, **arguments: Any) -> list[str]:
    rows = [row async for row in getattr(slot.adapter, f"range_{slot.spec.noun}_data")(*ends, **arguments)]
    assert [value for _, value in rows] == [make_payload(slot.spec, KEYS.index(key)) for key, _ in rows]
    return [key for key, _ in rows]


async def read_newest(slot: Slot, limit: int, **arguments: Any) -> list[str]:
    return [key for key, _ in await getattr(slot.adapter, f"newest_{slot.spec.noun}_data")(limit, **arguments)]


@each_slot("bucket")
async def test_range_has_both_ends(store: Any, spec: SlotSpec) -> None:
    slot = await fill(store, spec)
    assert await read_range(slot) == list(KEYS)
    assert await read_range(slot, "a:2", "b:1") == list(KEYS[1:5])
    assert await read_range(slot, "a:2") == list(KEYS[1:])
    assert await read_range(slot, None, "a:2") == list(KEYS[:2])
    assert await read_range(slot, "a:21", "a:29") == []
    assert await read_range(slot, "a:2", "b:1", newest_first=True) == list(KEYS[1:5][::-1])


@each_slot("bucket")
async def test_prefix_selects_the_keys_that_begin_with_it(store: Any, spec: SlotSpec) -> None:
    slot = await fill(store, spec)
    assert await read_range(slot, prefix="a:") == list(KEYS[:3])
    assert await read_range(slot, "a:2", prefix="a:") == list(KEYS[1:3])
    assert await slot.list_keys(prefix="a") == list(KEYS[:4])
    assert await slot.list_keys(prefix="\u00e9") == ["\u00e9"]
    assert await slot.list_keys(prefix="c") == []


@each_slot("bucket")
async def test_newest_are_those_with_the_largest_keys(store: Any, spec: SlotSpec) -> None:
    slot = await fill(store, spec)
    assert await read_newest(slot, 3) == list(KEYS[-3:])
    assert await read_newest(slot, 100) == list(KEYS)
    assert await read_newest(slot, 2, prefix="a:") == ["a:2", "a:3"]


@each_slot("bucket")
async def test_removed_rows_are_left_out(store: Any, spec: SlotSpec) -> None:
    slot = await fill(store, spec)
    await slot.remove("a:2")
    assert await read_range(slot, prefix="a:") == ["a:1", "a:3"]
    assert await read_newest(slot, 2, prefix="a:") == ["a:1", "a:3"]


@each_slot("bucket", when=True)
async def test_later_rows_are_left_out(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    for number, key in enumerate(KEYS[:3]):
        await slot.write(make_payload(spec, number), key, when=WHEN + number)
    assert await read_range(slot, when=WHEN + 1) == ["a:1", "a:2"]
    assert await read_newest(slot, 1, when=WHEN + 1) == ["a:2"]
    assert await slot.list_keys(prefix="a:", when=WHEN) == ["a:1"]

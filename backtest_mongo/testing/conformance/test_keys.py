"""Capability ``keys``: any text is a key, and no two texts are the same key."""

from __future__ import annotations

import itertools
from typing import Any, Final

import pytest

from backtest_mongo import SlotSpec
from backtest_mongo.testing.conformance.instances import Instances
from backtest_mongo.testing.conformance.slots import (
    ALIKE,
    VERSIONED,
    Slot,
    each_slot,
    get_slot,
    make_candles,
    make_payload,
)

pytestmark: list[Any] = [pytest.mark.capability("keys"), pytest.mark.asyncio(loop_scope="function")]

#: Texts that a file system, a query language or a template may take for something else.
HOSTILE: Final = (
    *("/", "\\", "a/b", "a\\b", "..", ".", "../a", "./a", "a/../b", "~", "C:", "CON", "a.json", ".tmp-a", "-a"),
    *("$gt", "$where", "a.b", "a.$", "_id", "__proto__", "null", "None", "true", "nan", "0", "-1"),
    *("*", "?", "[a]", "{}", "{a}", "%s", "%2F", "%", "%00", "a%", "_", "__", "a_b", "#", "&", "=", ";", ",", "|"),
    *("'", '"', "`", "'; DROP TABLE x; --", "\n", "\r\n", "\x01", "\x1f", "\x7f", "\u200b", "\u202e", "\ufeff"),
    *("\u65e5\u672c", "\U0001f4c8", "\ufffd", "\uffff", "a" * 200, "a" * 1_025, "\u00e9" * 300),
)
#: The part of a key that is no argument of the constructor.
ITEM: Final = "the item's own key"
#: What joins two texts in keys, paths and file names.
SEPARATORS: Final = (":", "_", "/", "-", ".", "|", ",", " ", "::", "\x1f")


def at(store: Any, spec: SlotSpec, text: str) -> Slot:
    """Return the slot in a context that is this text throughout."""
    return get_slot(store, spec, **{name: text for name in spec.context if name not in ("backtest", "interval")})


async def write(store: Any, spec: SlotSpec, text: str, number: int) -> None:
    if spec.shape == "series":
        await at(store, spec, text).adapter.write_candles_data(make_candles(1, price=float(number)))
    else:
        await at(store, spec, text).write(make_payload(spec, number), text)


async def read(store: Any, spec: SlotSpec, text: str) -> int | None:
    """Return the number that is stored under a text."""
    if spec.shape == "series":
        window = await at(store, spec, text).adapter.read_candles_data(1, 0)
        return int(window[0]["open"]) if window else None
    found = await at(store, spec, text).read(text)
    if isinstance(found, list):
        found = found[0] if found else None
    if isinstance(found, list):  # of a payload that is a list
        found = found[1]
    return found["number"] if found else None


@pytest.mark.parametrize("texts", [ALIKE, HOSTILE], ids=["alike", "hostile"])
@each_slot()
async def test_each_text_is_a_key_of_its_own(
    store: Any, instances: Instances, spec: SlotSpec, texts: tuple[str, ...]
) -> None:
    for number, text in enumerate(texts, 1):
        assert await read(store, spec, text) is None
        await write(store, spec, text, number)
    expected = list(range(1, len(texts) + 1))
    assert [await read(store, spec, text) for text in texts] == expected
    again = await instances.reopen()
    assert [await read(again, spec, text) for text in texts] == expected


@each_slot("bucket", "collection")
async def test_lists_have_the_keys_as_they_were_written(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    texts = [*ALIKE, *HOSTILE]
    for number, text in enumerate(texts):
        await slot.write(make_payload(spec, number), text)
    assert sorted(await slot.list_keys()) == sorted(texts)


@pytest.mark.parametrize("separator", SEPARATORS)
@each_slot(*VERSIONED)
async def test_parts_of_a_key_are_not_joined(store: Any, spec: SlotSpec, separator: str) -> None:
    parts = [*(name for name in spec.context if name != "backtest"), *([ITEM] if spec.item else [])]
    for first, second in itertools.pairwise(parts):
        left = place(store, spec, {first: f"a{separator}b", second: "c"})
        right = place(store, spec, {first: "a", second: f"b{separator}c"})
        await left[0].write(make_payload(spec, 1), left[1])
        assert await right[0].read(right[1]) == right[0].nothing
        await right[0].write(make_payload(spec, 2), right[1])
        assert await left[0].read(left[1]) == make_payload(spec, 1)
        assert await right[0].read(right[1]) == make_payload(spec, 2)


def place(store: Any, spec: SlotSpec, parts: dict[str, str]) -> tuple[Slot, str]:
    """Return the slot, and the key within it, that these parts of a key make."""
    context = {name: text for name, text in parts.items() if name != ITEM}
    return get_slot(store, spec, "-".join(parts), **context), parts.get(ITEM, "entry")

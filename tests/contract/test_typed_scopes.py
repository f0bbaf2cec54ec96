"""Payloads as objects of a model in transactions, under leases, in watches, in versions and as of a time."""

from __future__ import annotations

from typing import Any

import pytest

from backtest_mongo import (
    ConflictError,
    InputError,
    PayloadError,
    SlotSpec,
    as_of,
    lease,
    persist,
    transaction,
)
from tests.conftest import Deployment
from tests.contract.test_typed_payloads import EACH_KIND, POINTS, ROWS, wrong
from tests.history.conftest import NAMES
from tests.support import uniform
from tests.support.changes import take_change
from tests.support.typed_rows import PydanticRow, StructRow, dump, listed, make, open_plain, open_typed, read, write
from tests.support.uniform import WHEN, entry

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]


@ROWS
@EACH_KIND
async def test_transaction_reads_its_own_objects(
    deployment: Deployment, slot: SlotSpec, unique: str, kind: type[Any]
) -> None:
    adapter, plain, key = open_typed(slot, unique, kind), open_plain(slot, unique), entry(slot, unique)
    async with transaction(when=WHEN):
        await write(adapter, make(kind, key, 1), key)
        assert await read(adapter, key) == make(kind, key, 1)
        assert await read(plain, key) == dump(key, 1)  # one transaction, whichever adapter
        await write(plain, dump(key, 2), key)
        assert await read(adapter, key) == make(kind, key, 2)
        if slot.shape == "bucket":
            assert await listed(adapter) == [(key, make(kind, key, 2))]
    assert await read(adapter, key) == make(kind, key, 2)
    async with transaction(when=WHEN):
        await write(plain, wrong(key), key)
        with pytest.raises(PayloadError, match="priceOpen"):
            await read(adapter, key)
        await write(plain, dump(key, 2), key)
    assert await read(adapter, key) == make(kind, key, 2)


@POINTS
async def test_leased_context_reads_objects_from_memory(deployment: Deployment, slot: SlotSpec, unique: str) -> None:
    adapter, key = open_typed(slot, unique, StructRow), entry(slot, unique)
    await write(adapter, make(StructRow, key, 1), key)
    async with lease(adapter):
        assert await read(adapter, key) == make(StructRow, key, 1)
        for number in range(2, 4):
            await write(adapter, make(StructRow, key, number), key)
            first, second = await read(adapter, key), await read(adapter, key)
            assert first == second == make(StructRow, key, number)
            assert first is not second
            first.tags = frozenset()  # the caller's own
    assert await read(adapter, key) == make(StructRow, key, 3)


@POINTS
async def test_conflict_within_a_transaction_has_the_payload(
    deployment: Deployment, slot: SlotSpec, unique: str
) -> None:
    adapter, key = open_typed(slot, unique, PydanticRow), entry(slot, unique)
    await write(adapter, make(PydanticRow, key), key)
    with pytest.raises(ConflictError):
        async with transaction(when=WHEN):
            await write(adapter, make(PydanticRow, key, 2), key, if_absent=True)
    assert await read(adapter, key) == make(PydanticRow, key)


@ROWS
@EACH_KIND
async def test_watch_yields_objects(deployment: Deployment, slot: SlotSpec, unique: str, kind: type[Any]) -> None:
    adapter, plain, key = open_typed(slot, unique, kind), open_plain(slot, unique), entry(slot, unique)
    objects = [make(kind, key)] if slot.payload == "list" else make(kind, key)
    async with adapter.watch() as changes, type(adapter).watch_all() as every:
        await write(adapter, make(kind, key), key)
        change = await take_change(changes)
        assert change.payload == objects == (await take_change(every)).payload
        assert (change.kind, change.slot, change.context) == ("written", slot.name, adapter.context)
        assert changes.token == change.token
        # A change that doesn't fit is an error, and the one after it is not lost.
        await write(plain, wrong(key), key)
        await write(adapter, make(kind, key), key)
        with pytest.raises(PayloadError, match="priceOpen") as caught:
            await take_change(changes)
        assert caught.value.context == adapter.context
        assert caught.value.key is not None
        assert slot.item is None or caught.value.key[slot.item] == key
        assert (await take_change(changes)).payload == objects
        assert await adapter.delete() == 1
        gone = await take_change(changes)
        assert (gone.kind, gone.payload) == ("deleted", None)


@ROWS
@EACH_KIND
async def test_past_and_versions_have_objects(
    deployment: Deployment, slot: SlotSpec, unique: str, kind: type[Any]
) -> None:
    await deployment.configure(CC_HISTORY=NAMES)
    adapter, plain, key = open_typed(slot, unique, kind), open_plain(slot, unique), entry(slot, unique)
    for number in range(2):
        async with transaction(when=WHEN + number):
            await write(adapter, make(kind, key, number), key, WHEN + number)
    async with as_of(WHEN) as past:
        then = getattr(past, slot.name)(**uniform.context(slot, unique), model=kind)
        assert await read(then, key) == make(kind, key, 0)
        assert await read(getattr(past, slot.name)(**uniform.context(slot, unique)), key) == dump(key, 0)
        with pytest.raises(InputError):
            await write(then, make(kind, key), key)
        if slot.shape == "bucket":
            assert await listed(then) == [(key, make(kind, key, 0))]
    entries = (key,) if slot.item else ()
    wrapped = [[make(kind, key, n)] if slot.payload == "list" else make(kind, key, n) for n in range(2)]
    assert [revision.value async for revision in adapter.history(*entries)] == wrapped
    if slot.when:
        assert await read(adapter, key, when=WHEN) == make(kind, key, 0)
    async with transaction(when=WHEN + 2):
        await write(plain, wrong(key), key, WHEN + 2)
    revisions = adapter.history(*entries, newest_first=True)
    with pytest.raises(PayloadError, match="priceOpen"):
        await anext(revisions)


async def test_slot_of_one_s_own_with_a_model_has_a_past(deployment: Deployment, unique: str) -> None:
    name = f"own_{unique}"
    persist.register(
        SlotSpec(name=name, shape="document", context=("symbol",), key=("symbol",), history=True, model=StructRow)
    )
    own = getattr(persist, name)("BTC")
    for number in range(2):
        async with transaction(when=WHEN + number):
            await write(own, make(StructRow, number=number), "r")
    async with as_of(WHEN) as past:
        assert await read(getattr(past, name)("BTC"), "r") == make(StructRow, number=0)
        other = getattr(past, name)("BTC", model=PydanticRow)
        assert await read(other, "r") == make(PydanticRow, number=0)

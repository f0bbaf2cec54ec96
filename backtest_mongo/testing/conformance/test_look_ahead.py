"""Capability ``look_ahead``: a read with ``when`` never returns what was stored for a later time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from backtest_mongo import SlotSpec
from backtest_mongo.testing.conformance.instances import Instances
from backtest_mongo.testing.conformance.slots import WHEN, each_slot, get_slot, make_payload

pytestmark: list[Any] = [pytest.mark.capability("look_ahead"), pytest.mark.asyncio(loop_scope="function")]


@each_slot(when=True)
async def test_read_before_the_stored_time_finds_nothing(store: Any, instances: Instances, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    await slot.write(make_payload(spec))
    for found in (slot, get_slot(await instances.open(), spec)):
        assert await found.read(when=WHEN - 1) == slot.nothing
        for when in (WHEN, WHEN + 1, None):
            assert await found.read(when=when) == make_payload(spec)


@each_slot(when=True)
async def test_aware_datetime_is_the_same_time_as_its_milliseconds(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    moment = datetime(2024, 5, 6, 7, 8, 9, 123_999, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    millis = int(moment.timestamp()) * 1000 + 123
    await slot.write(make_payload(spec), when=moment)
    assert await slot.read(when=millis) == await slot.read(when=moment.astimezone(UTC)) == make_payload(spec)
    assert await slot.read(when=millis - 1) == slot.nothing
    assert await slot.read(when=moment - timedelta(milliseconds=1)) == slot.nothing


@each_slot(when=True)
async def test_later_write_moves_the_row_s_time(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    await slot.write(make_payload(spec, 1))
    await slot.write(make_payload(spec, 2), when=WHEN + 10)
    # What a store with history finds is the row of that time.
    assert await slot.read(when=WHEN + 9) in (slot.nothing, make_payload(spec, 1))
    assert await slot.read(when=WHEN + 10) == make_payload(spec, 2)
    await slot.write(make_payload(spec, 3), when=WHEN - 10)
    assert await slot.read(when=WHEN - 10) == make_payload(spec, 3)
    assert await slot.read(when=WHEN - 11) == slot.nothing


@each_slot("bucket", when=True)
async def test_list_leaves_out_rows_of_a_later_time(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    await slot.write(make_payload(spec), "early", when=WHEN)
    await slot.write(make_payload(spec), "late", when=WHEN + 1)
    assert await slot.list_keys(when=WHEN - 1) == []
    assert await slot.list_keys(when=WHEN) == ["early"]
    assert await slot.list_keys(when=WHEN + 1) == await slot.list_keys() == ["early", "late"]


@each_slot(when=True)
async def test_times_before_the_epoch_are_times(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    await slot.write(make_payload(spec), when=-1)
    assert await slot.read(when=-2) == slot.nothing
    assert await slot.read(when=-1) == await slot.read(when=0) == make_payload(spec)

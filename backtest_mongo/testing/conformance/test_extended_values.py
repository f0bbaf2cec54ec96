"""Capability ``extended_values``: what JSON lacks comes back unchanged, too."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Final

import pytest

from backtest_mongo import SlotSpec
from backtest_mongo.testing.conformance.slots import ROWS, each_slot, fit_payload, get_slot

pytestmark: list[Any] = [pytest.mark.capability("extended_values"), pytest.mark.asyncio(loop_scope="function")]

MOMENT: Final = datetime(2024, 2, 29, 23, 59, 59, 123_000, tzinfo=UTC)
VALUES: Final[dict[str, Any]] = {
    "infinity": math.inf,
    "minus infinity": -math.inf,
    "datetime": MOMENT,
    "early datetime": datetime(1900, 1, 1, 0, 0, 0, 1_000, tzinfo=UTC),
    "bytes": b"\x00\xff",
    "decimal": Decimal("0.10"),
}


@pytest.mark.parametrize("name", VALUES)
@each_slot(*ROWS)
async def test_value_comes_back_unchanged(store: Any, spec: SlotSpec, name: str) -> None:
    slot = get_slot(store, spec)
    value = fit_payload(spec, {"value": VALUES[name], "list": [VALUES[name]]})
    await slot.write(value)
    found = await slot.read()
    assert found == slot.wrap(value)
    assert repr(found) == repr(slot.wrap(value)) or name.endswith("datetime")


@each_slot("document", payload="object")
async def test_not_a_number_comes_back(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    await slot.write({"value": math.nan})
    assert math.isnan((await slot.read())["value"])


@each_slot("document", payload="object")
async def test_datetime_comes_back_aware_in_utc(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    await slot.write({"value": MOMENT.astimezone(timezone(timedelta(hours=5, minutes=30)))})
    found = (await slot.read())["value"]
    assert (found, found.utcoffset()) == (MOMENT, timedelta(0))

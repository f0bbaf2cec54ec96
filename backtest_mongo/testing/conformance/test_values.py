"""Capability ``values``: JSON values come back unchanged, with their types."""

from __future__ import annotations

from typing import Any, Final

import pytest

from backtest_mongo import SlotSpec
from backtest_mongo.testing.conformance.instances import Instances
from backtest_mongo.testing.conformance.slots import ROWS, each_slot, fit_payload, get_slot

pytestmark: list[Any] = [pytest.mark.capability("values"), pytest.mark.asyncio(loop_scope="function")]


def _nest(depth: int) -> Any:
    value: Any = {"end": [None]}
    for _ in range(depth):
        value = {"in": [value]}
    return value


VALUES: Final[dict[str, Any]] = {
    "text": ["", " ", "caf\u00e9", "cafe\u0301", "\u65e5\u672c", "\U0001f4c8", "a\nb\r\n\tc", "\u2028", '"\\/', "\x7f"],
    "constants": {"none": None, "list": [None, True, False], "true": True, "false": False},
    "integers": [0, 1, -1, 2**31, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 1_700_000_000_000],
    "floats": [0.0, -0.0, 1.0, 0.1, 0.1 + 0.2, 1e308, 5e-324, -1.7976931348623157e308, 1e22, 50_000.5],
    "containers": [[], {}, [[]], [{}], {"a": {}}, [[], [None, []]]],
    "mixed": [1, 1.0, True, "1", None, [1, 1.0, True, "1"]],
    "names": {"a.b": 1, "$gt": 2, "": 3, "\u00e9": 4, "a b": 5, "__proto__": 6, "_id": 7, "$date": "no date", "1": 8},
    "nested": _nest(20),
    "long": ["x" * 1_000_000, list(range(5_000))],
}


def describe(value: Any) -> Any:
    """Return a value so that two of them are equal only if their types are, and their signs of zero."""
    if isinstance(value, dict):
        return {name: describe(item) for name, item in value.items()}
    if isinstance(value, list):
        return [describe(item) for item in value]
    return type(value).__name__, repr(value)


@pytest.mark.parametrize("name", VALUES)
@each_slot(*ROWS)
async def test_value_comes_back_unchanged(store: Any, instances: Instances, spec: SlotSpec, name: str) -> None:
    slot = get_slot(store, spec)
    value = fit_payload(spec, {"value": VALUES[name]})
    await slot.write(value)
    assert describe(await slot.read()) == describe(slot.wrap(value))
    again = get_slot(await instances.open(), spec)
    assert describe(await again.read()) == describe(slot.wrap(value))


@each_slot(*ROWS)
async def test_empty_payload_is_not_nothing(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    value: Any = [] if spec.payload == "list" else {}
    await slot.write(value)
    assert await slot.read() == slot.wrap(value)


@each_slot(*ROWS)
async def test_object_that_is_changed_after_its_write_changes_nothing(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    inner: dict[str, Any] = {"levels": [1]}
    await slot.write(fit_payload(spec, {"inner": inner}))
    inner["levels"].append(2)
    inner["more"] = True
    assert await slot.read() == slot.wrap(fit_payload(spec, {"inner": {"levels": [1]}}))


@each_slot(*ROWS)
async def test_object_that_was_read_and_is_changed_changes_nothing(store: Any, spec: SlotSpec) -> None:
    slot = get_slot(store, spec)
    await slot.write(fit_payload(spec, {"inner": {"levels": [1]}}))
    found: Any = await slot.read()
    while not (isinstance(found, dict) and "inner" in found):
        found = found[-1]  # of a list
    found["inner"]["levels"].append(2)
    assert await slot.read() == slot.wrap(fit_payload(spec, {"inner": {"levels": [1]}}))

"""What is refused before anything is sent: with the slot, the field and the value's type in the message."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from bson.binary import Binary

from backtest_mongo import InputError, InputTypeError, LogAdapter, SlotSpec, StateAdapter, StorageAdapter
from backtest_mongo.adapters import ADAPTERS
from tests.conftest import Deployment
from tests.support import uniform
from tests.support.uniform import WHEN, entry, payload, write

pytestmark = [pytest.mark.either_driver, pytest.mark.two_pythons]

# What MongoDB would take for an operator, a pattern or an array match, and all else that is no text.
NO_KEYS: list[Any] = [
    {"$ne": None},
    {"$gt": ""},
    re.compile("."),
    ["victim", "x"],
    None,
    1,
    1.0,
    True,
    b"victim",
    ("victim",),
    object(),
]


@pytest.mark.parametrize("value", NO_KEYS, ids=lambda value: type(value).__name__)
def test_context_that_is_no_text_is_refused(spec: SlotSpec, value: Any) -> None:
    for name in spec.context:
        if name == "backtest" and isinstance(value, bool):
            continue
        expected = "bool" if name == "backtest" else "str"
        message = rf"^{spec.name}: {name} must be a {expected}, not {type(value).__name__}"
        with pytest.raises(InputTypeError, match=message):
            ADAPTERS[spec.name](**{**uniform.context(spec, "x"), name: value})


def test_empty_name_is_refused_where_the_contract_does_not_allow_it(spec: SlotSpec) -> None:
    for name in spec.context:
        values = {**uniform.context(spec, "x"), name: ""}
        if name in {"recent": ["frame_name"], "session": ["frame_name", "symbol"]}.get(spec.name, []):
            assert ADAPTERS[spec.name](**values).context[name] == ""
        else:
            with pytest.raises(InputError, match=f"^{spec.name}: {name} must "):
                ADAPTERS[spec.name](**values)


@pytest.mark.shapes("entry", "bucket", "collection")
async def test_entry_that_is_no_text_is_refused_and_the_victim_stays(
    deployment: Deployment, unique: str, spec: SlotSpec
) -> None:
    adapter = uniform.adapter(spec, unique)
    await write(adapter, payload(spec), "victim")
    before = await deployment.rows(spec)
    name = rf"{spec.value}\[0\]\.id" if spec.shape == "collection" else spec.argument
    for value in NO_KEYS:
        message = rf"^{spec.name}: {name} must be a str, not {type(value).__name__}"
        with pytest.raises(InputTypeError, match=message):
            await write(adapter, {"stolen": True}, value)
        if spec.shape != "collection":
            with pytest.raises(InputTypeError, match=message):
                await uniform.read(adapter, value)
        if spec.shape == "bucket":
            with pytest.raises(InputTypeError, match=message):
                await getattr(adapter, f"remove_{spec.noun}_data")(value)
    assert await deployment.rows(spec) == before


@pytest.mark.parametrize("value", ["a\0b", "\0", "\ud800"], ids=ascii)
def test_context_with_nul_or_lone_surrogate_is_refused(spec: SlotSpec, value: str) -> None:
    for name in spec.context:
        if name != "backtest":
            with pytest.raises(InputError, match=rf"^{spec.name}: {name} .*(NUL|surrogate).*\(str\)"):
                ADAPTERS[spec.name](**{**uniform.context(spec, "x"), name: value})


@pytest.mark.shapes("entry", "bucket", "collection")
@pytest.mark.parametrize("value", ["a\0b", "\ud800"], ids=ascii)
async def test_entry_with_nul_or_lone_surrogate_is_refused(
    deployment: Deployment, unique: str, spec: SlotSpec, value: str
) -> None:
    with pytest.raises(InputError, match=rf"^{spec.name}: .*(NUL|surrogate).*\(str\)"):
        await write(uniform.adapter(spec, unique), payload(spec), value)
    assert await deployment.rows(spec) == []


NO_TIMES: list[tuple[Any, str]] = [
    (datetime(2024, 1, 1), r"when must not be a naive datetime: give it a timezone"),
    (None, r"when must be milliseconds .* not NoneType"),
    (1.5, r"when must be milliseconds .* not float"),
    ("2024-01-01", r"when must be milliseconds .* not str"),
    (True, r"when must be milliseconds .* not bool"),
    (2**63, r"when must fit in 64 bits"),
    ({"$gt": 0}, r"when must be milliseconds .* not dict"),
]


@pytest.mark.slots("when")
async def test_write_without_a_time_is_refused(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
    adapter = uniform.adapter(spec, unique)
    method = getattr(adapter, f"write_{spec.noun}_data")
    calls = [method(payload(spec), *((entry(spec, unique),) if spec.item else ()))]
    if spec.shape == "document":
        calls.append(type(adapter).write_many([(adapter.context, payload(spec))]))
    for call in calls:
        with pytest.raises(InputTypeError, match=rf"^{spec.name}: when must be .*, not NoneType \(pass when=, or "):
            await call
    assert await deployment.rows(spec) == []


@pytest.mark.slots("when")
async def test_bad_time_is_refused(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    for when, message in NO_TIMES:
        with pytest.raises(InputError, match=f"^{spec.name}: {message}"):
            await write(adapter, payload(spec), key, when)
        if when is not None:
            with pytest.raises(InputError, match=f"^{spec.name}: {message}"):
                await uniform.read(adapter, key, when)
            if spec.shape == "bucket":
                with pytest.raises(InputError, match=f"^{spec.name}: {message}"):
                    getattr(adapter, f"list_{spec.noun}_data")(when=when)
    assert await deployment.rows(spec) == []


@pytest.mark.shapes("document", "entry", "bucket", "collection")
async def test_payload_of_another_kind_is_refused(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
    adapter = uniform.adapter(spec, unique)
    kind = "list" if spec.payload == "list" or spec.shape == "collection" else "dict"
    for value in (42, "text", {1, 2}, b"x", object()):
        message = rf"^{spec.name}: {spec.value} must be a {kind}, not {type(value).__name__}"
        call = partial(getattr(adapter, f"write_{spec.noun}_data"), value)
        with pytest.raises(InputTypeError, match=message):
            await (call() if spec.shape == "collection" else write(adapter, value))
    assert await deployment.rows(spec) == []


@pytest.mark.shapes("collection")
async def test_list_with_one_bad_item_writes_none_of_it(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
    method = getattr(uniform.adapter(spec, unique), f"write_{spec.noun}_data")
    good = {"id": unique}
    for bad, message in (
        ({"name": "no id"}, rf"{spec.value}\[1\] has no id \(dict\)"),
        ({"id": 7}, rf"{spec.value}\[1\]\.id must be a str, not int"),
        ("text", rf"{spec.value}\[1\] must be a dict, not str"),
        ({"id": "x", "a": [{"b": {1}}]}, rf"{spec.value}\[1\]\.a\[0\]\.b can't be stored as BSON \(set\)"),
        ({"id": "x", "big": "x" * (16 << 20)}, "the document would be 16,"),
    ):
        with pytest.raises(InputError, match=f"^{spec.name}: {message}"):
            await method([good, bad])
    assert await deployment.rows(spec) == []


class Colour(enum.Enum):
    RED = 1


def cyclic() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["again"] = value
    return value


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"n": value}
    return value


UNHELD: list[tuple[Any, str]] = [
    ({"a": {"b": [1, {"c": {1, 2}}]}}, r"\.a\.b\[1\]\.c can't be stored as BSON \(set\)"),
    ({"a": 2**63}, r"\.a does not fit in 64 bits \(int\)"),
    ({"a": [0, -(2**63) - 1]}, r"\.a\[1\] does not fit in 64 bits \(int\)"),
    ({"a": object()}, r"\.a can't be stored as BSON \(object\)"),
    ({"a": Decimal("1." + "1" * 40)}, r"\.a does not fit in the 34 digits of a BSON decimal \(Decimal\)"),
    ({"a": date(2024, 1, 1)}, r"\.a can't be stored as BSON \(date\)"),
    ({"a": timedelta(1)}, r"\.a can't be stored as BSON \(timedelta\)"),
    ({"a": Colour.RED}, r"\.a can't be stored as BSON: pass its \.value \(Colour\)"),
    ({"a": complex(1)}, r"\.a can't be stored as BSON \(complex\)"),
    ({"a": {1: 2}}, r"\.a has a key that is not a str \(int\)"),
    ({"a": {None: 2}}, r"\.a has a key that is not a str \(NoneType\)"),
    ({"a": {"x\0y": 2}}, r"\.a has a key with a NUL character \(str\)"),
    ({"a": "\ud800"}, r"\.a holds a lone surrogate.* \(str\)"),
    ({"\ud800": 1}, r" has a key with a lone surrogate.* \(str\)"),
    ({"a": datetime(2024, 1, 1)}, r"\.a is a naive datetime.* \(datetime\)"),
    ({"a": datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))}, r"\.a is outside the years 1 to 9999 in UTC"),
    ({"a": Binary(b"x", 4)}, r"\.a can't be stored as BSON \(Binary\)"),
    ({"a": {"$ref": "x", "$id": 1}}, r"\.a holds both \$ref and \$id"),
    (cyclic(), r"\.again is nested deeper than 100 levels"),
    (nested(101), r"is nested deeper than 100 levels \(dict\)"),
    ({"a": "x" * (16 << 20)}, r"the document would be 16,777,\d+ bytes"),
]


@pytest.mark.shapes("document", "entry", "bucket", "collection")
async def test_what_bson_can_t_hold_is_refused_by_its_path(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
    adapter = uniform.adapter(spec, unique)
    for value, message in UNHELD:
        with pytest.raises(InputError, match=f"^{spec.name}: .*{message}"):
            await write(adapter, [value] if spec.payload == "list" else value)
    assert await deployment.rows(spec) == []


async def test_deepest_nesting_that_is_accepted_is_stored(deployment: Deployment) -> None:
    storage = StorageAdapter(False)
    value = {"id": "deep", "n": nested(99)}
    await storage.write_storage_data([value])
    assert await storage.read_storage_data() == [value]


async def test_list_with_one_item_at_the_very_limit_is_written_whole_or_not_at_all(deployment: Deployment) -> None:
    storage = StorageAdapter(True)
    for spare in range(60, 400, 20):
        rows = [{"id": "a"}, {"id": "big", "text": "x" * ((16 << 20) - spare)}, {"id": "c"}]
        with contextlib.suppress(InputError):
            await storage.write_storage_data(rows)
        assert await storage.read_storage_data() in ([], rows)
        if await storage.read_storage_data():
            return
    pytest.fail("no size was accepted")


async def test_payload_changed_after_the_call_is_stored_as_it_was_given(deployment: Deployment, unique: str) -> None:
    state = StateAdapter(unique, "counter")
    value: dict[str, Any] = {"n": [1]}
    writing = asyncio.ensure_future(state.write_state_data(value, WHEN))
    await asyncio.sleep(0)  # it waits for the indexes now
    value["n"].append({2})
    await writing
    assert await state.read_state_data() == {"n": [1]}


async def test_document_just_under_the_limit_is_stored(deployment: Deployment) -> None:
    log = LogAdapter()
    row = {"id": "big", "text": "x" * ((16 << 20) - 600)}
    await log.write_log_data([row])
    assert await log.read_log_data() == [row]


async def test_tuples_come_back_as_lists_and_text_subclasses_as_text(deployment: Deployment, unique: str) -> None:
    class Name(enum.StrEnum):
        A = "a"

    storage = StorageAdapter(True)
    await storage.write_storage_data([{"id": Name.A, "pair": (1, (2,)), "when": datetime(2024, 1, 1, tzinfo=UTC)}])
    (row,) = await storage.read_storage_data()
    assert row["pair"] == [1, [2]]
    (stored,) = await deployment.rows(storage.spec)
    assert (stored["signalId"], type(stored["signalId"])) == ("a", str)


@pytest.mark.slots("newest")
@pytest.mark.parametrize(
    ("limit", "message"),
    [(0, "1 or more"), (-5, "1 or more"), (10**20, "1 or more, and fit in 31 bits"), ("3", "an int, not str")],
)
async def test_bad_limit_of_a_list_is_refused(spec: SlotSpec, limit: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"^{spec.name}: limit must be {message}"):
        await getattr(uniform.adapter(spec, "x"), f"read_{spec.noun}_data")(limit)


CALLS: list[tuple[Callable[[], Any], str]] = [
    (
        lambda: ADAPTERS["signal"]("a", "b"),
        r"SignalAdapter\(symbol, strategy_name, exchange_name\) lacks exchange_name",
    ),
    (lambda: ADAPTERS["signal"]("a", "b", "c", "d"), r"SignalAdapter\(.*\) takes 3 arguments, not 4"),
    (lambda: ADAPTERS["signal"]("a", "b", symbol="c"), r"SignalAdapter\(.*\) got two values for argument 'symbol'"),
    (lambda: ADAPTERS["signal"]("a", "b", exchange="c"), r"SignalAdapter\(.*\) got an unknown argument 'exchange'"),
    (lambda: ADAPTERS["log"]("a"), r"LogAdapter\(\) takes 0 arguments, not 1"),
]


@pytest.mark.parametrize(("call", "message"), CALLS)
def test_wrong_arguments_of_a_constructor_are_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError, match=f"^{message}"):
        call()


@pytest.mark.slots("when")
async def test_time_of_an_int_subclass_is_taken(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
    class Millis(int):
        pass

    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    await write(adapter, payload(spec), key, Millis(WHEN))
    (row,) = await deployment.rows(spec)
    assert (row["when"], isinstance(row["when"], int)) == (WHEN, True)

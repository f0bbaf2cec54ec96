"""What payloads may hold: what is stored comes back the same, and what can't be stored is refused by its path."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import re
import struct
import types
from collections import OrderedDict, UserList, deque
from copy import copy
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from uuid import UUID

import bson
import numpy as np
import pydantic
import pytest
from bson import DBRef, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.raw_bson import RawBSONDocument
from bson.son import SON
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from backtest_mongo import SLOTS, InputError, MeasureAdapter, MemoryAdapter, RiskAdapter, SlotSpec, StateAdapter
from backtest_mongo.core.payload import CODEC, MAX_DOCUMENT_BYTES, WRITE_CODEC, check_payload, make_plain
from tests.conftest import Deployment
from tests.support import uniform
from tests.support.uniform import WHEN

pytestmark = [pytest.mark.either_driver, pytest.mark.two_pythons]

ON_SERVERS = settings(
    max_examples=60,
    deadline=None,
    print_blob=True,
    # All examples of a test share a database: each replaces what the one before has stored, if anything.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
#: What the store's own fields may take of a document.
RESERVED = 256
ROWS = [spec for spec in SLOTS if spec.shape != "series"]

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.one_of(
    st.sampled_from(["", ".", "a.b", "a.", "$", "$set", "$where", "__proto__", "_id", "ключ", "e\u0301"]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12),
)
zones = st.sampled_from([UTC, timezone(timedelta(hours=-5)), timezone(timedelta(hours=5, minutes=45, microseconds=7))])
plain = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([2**31 - 1, 2**31, -(2**31) - 1, 2**53 + 1, 2**63 - 1, -(2**63)]),
    st.floats(),
    st.sampled_from([float("inf"), float("-inf"), float("nan"), -0.0, 5e-324, 1.7976931348623157e308]),
    texts,
    st.sampled_from(["$bucket", "$$ROOT", "\0", "a\0b", "\U0010ffff", "\ufeff"]),
    st.binary(max_size=20),
    st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=zones),
    st.decimals(-(10**20), 10**20, places=8),
    st.sampled_from([Decimal(text) for text in ("1.10", "-0", "0E+3", "Infinity", "-Infinity", "NaN", "1E-6176")]),
    st.uuids(),
    st.binary(min_size=12, max_size=12).map(ObjectId),
)
values = st.recursive(
    plain, lambda held: st.lists(held, max_size=4) | st.dictionaries(names, held, max_size=4), max_leaves=15
)
payloads = st.dictionaries(names, values, max_size=5)


def same(found: Any, given: Any) -> bool:
    """Tell whether two values are equal in value and type, a float to its last bit, and keys in their order."""
    if type(found) is not type(given):
        return False
    if isinstance(given, dict):
        return list(found) == list(given) and all(same(found[name], value) for name, value in given.items())
    if isinstance(given, list):
        return len(found) == len(given) and all(map(same, found, given))
    if isinstance(given, float):
        return struct.pack("d", found) == struct.pack("d", given)
    if isinstance(given, Decimal):
        return str(found) == str(given)
    if isinstance(given, datetime):
        return bool(found == given and found.utcoffset() == timedelta())
    return bool(found == given)


def stored(value: Any) -> Any:
    """Return what a value comes back as: datetimes in UTC and to the millisecond, all else as it is."""
    if isinstance(value, dict):
        return {name: stored(item) for name, item in value.items()}
    if isinstance(value, list):
        return [stored(item) for item in value]
    if isinstance(value, datetime):
        moment = value.astimezone(UTC)
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    return value


@pytest.mark.files
@ON_SERVERS
@example(slot=MeasureAdapter.spec, value={"removed": None, "n": 1}, is_batched=False)
@example(slot=MeasureAdapter.spec, value={"removed": True, "n": 1}, is_batched=False)
@given(slot=st.sampled_from(ROWS), value=payloads, is_batched=st.booleans())
async def test_what_bson_holds_comes_back_the_same(
    deployment: Deployment, slot: SlotSpec, value: dict[str, Any], is_batched: bool
) -> None:
    adapter, held = uniform.adapter(slot, "x"), [value] if slot.payload == "list" else value
    await asyncio.gather(
        uniform.write(adapter, held, "a"),
        *([uniform.write(uniform.adapter(slot, "y"), held, "b")] if is_batched else []),
    )
    found = await uniform.read(adapter, "a")
    is_removed = slot.soft_delete and value.get("removed") is True  # which is how Node marks a removed row
    assert same(found, None if is_removed else stored(uniform.stored(slot, held)))
    if slot.soft_delete:
        await getattr(adapter, f"remove_{slot.noun}_data")("a")
        (row,) = await deployment.rows(slot, **uniform.natural_key(adapter, "a"))
        assert list(row["payload"]) == list({**value, "removed": True})


@given(value=payloads)
def test_document_of_a_command_is_made_what_a_cursor_gives(value: dict[str, Any]) -> None:
    encoded = bson.encode({"payload": value}, codec_options=CODEC)
    assert same(make_plain(bson.decode(encoded, WRITE_CODEC)), bson.decode(encoded, CODEC))


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 7


class Flags(enum.IntFlag):
    BOTH = 3


class Pair(NamedTuple):
    first: int
    second: str


class Text(str):
    __slots__ = ()


MOMENT = datetime(2024, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
ID = UUID("12345678-1234-5678-1234-567812345678")
OID = ObjectId("65a000000000000000000001")

#: What comes back as something else than it was given as.
CHANGED: list[tuple[Any, Any]] = [
    ((1, (2,)), [1, [2]]),
    (Pair(1, "x"), [1, "x"]),
    (Colour.RED, "red"),
    (Level.HIGH, 7),
    (Flags.BOTH, 3),
    (Text("x"), "x"),
    (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    (types.MappingProxyType({"a": (1,)}), {"a": [1]}),
    (SON([("b", 1), ("a", 2)]), {"b": 1, "a": 2}),
    (RawBSONDocument(bson.encode({"a": 1})), {"a": 1}),
    (Int64(2**40), 2**40),
    (Int64(1), 1),
    (Decimal128("1.10"), Decimal("1.10")),
    (Decimal("9E+6144"), Decimal("9." + "0" * 33 + "E+6144")),
    (DatetimeMS(1_704_164_645_678), MOMENT),
    (Binary(b"x"), b"x"),
    (Binary.from_uuid(ID), ID),
    (re.compile("^a", re.I), Regex("^a", re.I | re.U)),
    # NumPy's scalars come back as Python's.
    (np.float64(1.5), 1.5),
    (np.float32(0.1), 0.10000000149011612),
    (np.float16(0.5), 0.5),
    (np.float64("nan"), float("nan")),
    (np.float32("-inf"), float("-inf")),
    (np.int8(-1), -1),
    (np.int32(2**31 - 1), 2**31 - 1),
    (np.int64(-(2**63)), -(2**63)),
    (np.uint8(255), 255),
    (np.uint64(2**63 - 1), 2**63 - 1),
    (np.bool_(True), True),
    (np.str_("x"), "x"),
    (np.bytes_(b"x"), b"x"),
]
#: What else BSON has a type for, and is given back as it was.
KEPT: list[Any] = [
    *(OID, Timestamp(1, 2), MinKey(), MaxKey(), Regex("^a", "im"), Code("f()"), Code("f()", {"a": 1})),
    *(Binary(b"x", 5), Binary(b"x", 128), Binary(ID.bytes, 3), DBRef("c", OID), DBRef("c", OID, "d", a=1)),
]
#: Beyond the years of a datetime.
FAR_DATES = [DatetimeMS(-(2**63)), DatetimeMS(2**63 - 1)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [*CHANGED, *((value, value) for value in KEPT)],
    ids=lambda value: type(value).__name__,
)
async def test_other_types_come_back_as_documented(deployment: Deployment, value: Any, expected: Any) -> None:
    state, risk = StateAdapter("x", "y"), RiskAdapter("x", "y")
    await state.write_state_data({"a": value, "b": [value, {"c": value}]}, WHEN)
    assert same(await state.read_state_data(), {"a": expected, "b": [expected, {"c": expected}]})
    await risk.write_position_data([value], WHEN)
    assert same(await risk.read_position_data(), [expected])


@pytest.mark.parametrize("value", [DBRef("c", 2**40), DBRef("c", OID, "d", a=2**40), Code("f", {"a": 2**40})])
async def test_lone_read_gives_what_a_batch_does(deployment: Deployment, value: Any) -> None:
    states = [StateAdapter("x", name) for name in "ab"]
    for state in states:
        await state.write_state_data({"a": value, "b": 2**40}, WHEN)
    alone: Any = await states[0].read_state_data()
    assert repr(alone) == repr((await asyncio.gather(*(state.read_state_data() for state in states)))[0])
    assert (alone["a"], type(alone["b"])) == (value, int)


@pytest.mark.parametrize("value", FAR_DATES, ids=["past", "future"])
async def test_date_that_python_can_t_hold_comes_back_as_it_was(deployment: Deployment, value: Any) -> None:
    state = StateAdapter("x", "y")
    await state.write_state_data({"a": value, "b": [value, {"c": value}]}, WHEN)
    assert same(await state.read_state_data(), {"a": value, "b": [value, {"c": value}]})


@pytest.mark.parametrize("value", FAR_DATES, ids=["past", "future"])
async def test_date_that_python_can_t_hold_in_a_list_comes_back_as_it_was(deployment: Deployment, value: Any) -> None:
    risk = RiskAdapter("x", "y")
    await risk.write_position_data([value], WHEN)
    assert same(await risk.read_position_data(), [value])


@dataclasses.dataclass
class Position:
    size: float = 1.0


class Model(pydantic.BaseModel):
    size: float = 1.0


class Side(enum.Enum):
    BUY = "buy"


def too_deep() -> Any:
    value: dict[str, Any] = {}
    for _ in range(120):
        value = {"n": value}
    return value


#: Values, what the message says of them, and their type's name. The path is a matter of where they are planted.
BAD: list[tuple[Any, str, str]] = [
    *((value, "can't be stored as BSON", kind) for value, kind in (
        ({1, 2}, "set"), (frozenset(), "frozenset"), (object(), "object"), (complex(1), "complex"),
        (date(2024, 1, 1), "date"), (time(1), "time"), (timedelta(1), "timedelta"), (range(3), "range"),
        (bytearray(b"x"), "bytearray"), (deque(), "deque"), (UserList(), "UserList"),
        (Fraction(1, 2), "Fraction"), (PurePosixPath("x"), "PurePosixPath"), (Ellipsis, "ellipsis"),
        (len, "builtin_function_or_method"), (int, "type"), (iter([]), "list_iterator"), ({}.keys(), "dict_keys"),
        (Binary(b"x", 4), "Binary"), (Text("\ud800"), "Text"), (re.compile("a\0b"), "Pattern"),
        (np.datetime64(0, "s"), "datetime64"), (np.timedelta64(1, "s"), "timedelta64"),
        (np.complex128(1), "complex128"), (np.uint64(2**63), "uint64"),
    )),
    (Side.BUY, "can't be stored as BSON: pass its .value", "Side"),
    (Position(), "can't be stored as BSON: pass dataclasses.asdict() of it", "Position"),
    (Model(), "can't be stored as BSON: pass its .model_dump()", "Model"),
    (np.array([1.0]), "can't be stored as BSON: pass its .tolist()", "ndarray"),
    (2**63, "does not fit in 64 bits", "int"),
    (-(2**63) - 1, "does not fit in 64 bits", "int"),
    (datetime(2024, 1, 1), "is a naive datetime: give it a timezone", "datetime"),
    (datetime.min.replace(tzinfo=timezone(timedelta(hours=1))), "is outside the years 1 to 9999 in UTC", "datetime"),
    ("a\ud800", "holds a lone surrogate, which is not valid Unicode", "str"),
    (Decimal("1." + "1" * 34), "does not fit in the 34 digits of a BSON decimal", "Decimal"),
    (Decimal("1E+7000"), "does not fit in the 34 digits of a BSON decimal", "Decimal"),
    ({1: 2}, "has a key that is not a str", "int"),
    ({("a",): 2}, "has a key that is not a str", "tuple"),
    ({b"a": 2}, "has a key that is not a str", "bytes"),
    ({Level.HIGH: 2}, "has a key that is not a str", "Level"),
    ({"a\0": 2}, "has a key with a NUL character", "str"),
    ({"\ud800": 2}, "has a key with a lone surrogate, which is not valid Unicode", "str"),
    ({"$ref": "x", "$id": 1}, "holds both $ref and $id, which MongoDB's drivers read back as a DBRef", "dict"),
]  # fmt: skip


#: The problems that are one of the value's type.
OF_TYPE = ("can't be stored as BSON", "has a key that is not a str")


@st.composite
def planted(draw: st.DrawFn, bad: Any) -> tuple[Any, str]:
    """Return a good payload with ``bad`` at some place in it, and the path of that place."""
    payload = copy(draw(payloads))
    held: Any = payload
    path = ""
    while True:
        places = held.items() if isinstance(held, dict) else enumerate(held)
        inner = [(place, value) for place, value in places if isinstance(value, dict | list)]
        if not inner or draw(st.booleans()):
            break
        place, value = draw(st.sampled_from(inner))
        path += f".{place}" if isinstance(held, dict) else f"[{place}]"
        held[place] = held = copy(value)
    if isinstance(held, dict):
        name = draw(names)
        held[name] = bad
        return payload, f"{path}.{name}"
    index = draw(st.integers(0, len(held)))
    held.insert(index, bad)
    return payload, f"{path}[{index}]"


@ON_SERVERS
@given(data=st.data(), slot=st.sampled_from(ROWS), bad=st.sampled_from(BAD))
async def test_bad_value_is_refused_by_its_path_and_type_and_nothing_is_written(
    deployment: Deployment, unique: str, data: st.DataObject, slot: SlotSpec, bad: tuple[Any, str, str]
) -> None:
    value, problem, kind = bad
    payload, path = data.draw(planted(value))
    where = slot.value
    held: Any = payload
    if slot.payload == "list":
        held, where = [0, payload], f"{where}[1]"
    if slot.shape == "collection":
        where += "[0]"
    adapter, key = uniform.adapter(slot, unique), uniform.entry(slot, unique)
    with pytest.raises(InputError) as caught:
        await uniform.write(adapter, held, key)
    assert str(caught.value) == f"{slot.name}: {where}{path} {problem} ({kind})"
    assert (caught.value.slot, isinstance(caught.value, TypeError)) == (slot.name, problem.startswith(OF_TYPE))
    assert await deployment.rows(slot) == []
    assert await deployment.cached(uniform.redis_key(adapter, key)) is None


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad[2])
async def test_each_bad_value_is_refused(deployment: Deployment, bad: tuple[Any, str, str]) -> None:
    value, problem, kind = bad
    with pytest.raises(InputError) as caught:
        await StateAdapter("x", "y").write_state_data({"a.b": [{"": value}]}, WHEN)
    assert str(caught.value) == f"state: data.a.b[0]. {problem} ({kind})"
    assert await deployment.rows(StateAdapter.spec) == []


@ON_SERVERS
@given(levels=st.integers(90, 110), leaf=st.sampled_from(["dict", "list"]), slot=st.sampled_from(ROWS))
async def test_nesting_is_stored_to_a_hundred_levels_and_refused_beyond(
    deployment: Deployment, levels: int, leaf: str, slot: SlotSpec
) -> None:
    value: Any = {} if leaf == "dict" else []
    for _ in range(levels - 2):
        value = {"n": value} if leaf == "dict" else [value]
    value = {"n": value}  # the payload itself is the first level
    if slot.payload == "list":
        value = [value["n"]]
    adapter = uniform.adapter(slot, "x")
    if levels <= 100:
        await uniform.write(adapter, value)
        assert await uniform.read(adapter) == uniform.stored(slot, value)
        if slot.soft_delete:
            await getattr(adapter, f"remove_{slot.noun}_data")(uniform.ENTRY)
            await getattr(adapter, f"remove_{slot.noun}_data")(uniform.ENTRY)
    else:
        with pytest.raises(InputError, match=rf"nested deeper than 100 levels \({leaf}\)$"):
            await uniform.write(adapter, value)


@pytest.mark.shapes("document", "entry", "collection", "bucket")
async def test_largest_document_that_is_accepted_is_stored_and_one_byte_more_is_refused(
    deployment: Deployment, spec: SlotSpec
) -> None:
    adapter = uniform.adapter(spec, "x")

    def payload(spare: int) -> Any:
        text = {"text": "x" * (MAX_DOCUMENT_BYTES - spare)}
        return [text] if spec.payload == "list" else text

    # How much of it is not the text: the error says what the document would take.
    with pytest.raises(InputError) as caught:
        await uniform.write(adapter, payload(0))
    match = re.search(r"the document would be ([\d,]+) bytes; MongoDB's limit is 16,777,216$", str(caught.value))
    assert match is not None
    least = int(match[1].replace(",", "")) - MAX_DOCUMENT_BYTES + RESERVED
    with pytest.raises(InputError, match="the document would be 16,776,961 bytes"):
        await uniform.write(adapter, payload(least - 1))
    assert await deployment.rows(spec) == []
    for _ in range(2):  # one that is fresh, and one that replaces another
        await uniform.write(adapter, payload(least))
        assert await uniform.read(adapter) == uniform.stored(spec, payload(least))
    if spec.soft_delete:
        await getattr(adapter, f"remove_{spec.noun}_data")(uniform.ENTRY)
        assert await uniform.read(adapter) is None


async def test_two_of_the_largest_documents_are_written_at_once(deployment: Deployment) -> None:
    memory = MemoryAdapter("x", "y")
    value = {"text": "x" * (MAX_DOCUMENT_BYTES - 1000)}
    await asyncio.gather(*(memory.write_memory_data(value, name, WHEN) for name in "ab"))
    assert await asyncio.gather(*map(memory.read_memory_data, "ab")) == [value, value]


class _NoPlace(tzinfo):
    """A timezone that raises whatever it is asked."""

    def utcoffset(self, _: datetime | None) -> timedelta:
        raise LookupError("no such place")

    dst = utcoffset

    def tzname(self, _: datetime | None) -> str:
        raise LookupError("no such place")


def test_invalid_time_is_refused_by_its_path() -> None:
    import pandas as pd

    for value in (
        pd.NaT,
        pd.NA,
        np.datetime64("NaT", "ms"),
        np.datetime64("2024-01-01"),
        np.timedelta64(1, "s"),
        pd.Timedelta(1),
        pd.Timestamp("2024-01-01"),
        datetime(2024, 1, 1, tzinfo=_NoPlace()),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-14))),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
    ):
        for payload, path in (({"at": value}, ".at"), ({"orders": [{"at": value}]}, ".orders[0].at")):
            with pytest.raises(InputError, match=rf"^signal: row{re.escape(path)} ") as caught:
                check_payload(payload, "row", "signal")
            assert type(value).__name__ in str(caught.value)
    check_payload({"at": pd.Timestamp("2024-01-01", tz="UTC")}, "row", "signal")

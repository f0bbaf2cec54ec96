"""Rows as stored documents: they are what was stored, or damage is found."""

from __future__ import annotations

import math
from typing import Any

import bson
import numpy as np
import pytest
from bson import Binary
from hypothesis import assume, given
from hypothesis import strategies as st

from backtest_mongo.columns.arrays import ColumnArrays, Values, join_columns
from backtest_mongo.columns.codec import DamagedRowsError, decode, encode, pack_column, parse_header, seal_header
from backtest_mongo.columns.row_input import read_rows
from backtest_mongo.core.columns import COLUMN_TYPES, Column
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.types import Document
from tests.support.columns import UNHURRIED, check_arrays, make_spec, rows_of, samples, to_bits

KEY: Document = {"exchangeName": "binance", "symbol": "BTCUSDT"}
Sample = tuple[SlotSpec, list[dict[str, Any]]]


def store(spec: SlotSpec, rows: ColumnArrays, *, is_compressed: bool) -> Document:
    """Return a document as the database returns it."""
    stored: Document = bson.decode(bson.encode(encode(spec, KEY, rows, is_compressed=is_compressed)))
    return stored


@UNHURRIED
@given(samples(min_size=1), st.booleans())
def test_rows_are_read_as_they_were_stored(sample: Sample, is_compressed: bool) -> None:
    spec, rows = sample
    given_ = read_rows(spec, rows)
    document = store(spec, given_, is_compressed=is_compressed)
    found = decode(spec, KEY, document)
    check_arrays(spec, found)
    assert to_bits(found.rows(spec)) == to_bits(given_.rows(spec))
    assert parse_header(document, KEY) == (len(given_), int(given_.time[0]), int(given_.time[-1]))


@UNHURRIED
@given(samples(min_size=1), st.booleans(), st.data())
def test_some_columns_are_read_alone(sample: Sample, is_compressed: bool, data: st.DataObject) -> None:
    spec, rows = sample
    given_ = read_rows(spec, rows)
    names = data.draw(st.sets(st.sampled_from([column.name for column in spec.columns])))
    document = store(spec, given_, is_compressed=is_compressed)
    keys = {"timestamp", *([spec.key[-1]] if spec.sequence else [])}
    document["columns"] = {name: stored for name, stored in document["columns"].items() if name in names | keys}
    found = decode(spec, KEY, document, names)
    assert to_bits(found.rows(spec)) == to_bits(given_.select(names).rows(spec))


@pytest.mark.parametrize("is_compressed", [False, True])
def test_many_rows_of_every_type_are_read_as_they_were_stored(is_compressed: bool) -> None:
    spec, rows = sample_of_every_type(2_000)
    found = decode(spec, KEY, store(spec, rows, is_compressed=is_compressed))
    check_arrays(spec, found)
    assert to_bits(found.rows(spec)) == to_bits(rows.rows(spec))


def sample_of_every_type(count: int) -> tuple[SlotSpec, ColumnArrays]:
    generator = np.random.default_rng(5)
    columns = [
        Column(f"{kind}{'_or_null' * nullable}", kind, nullable) for kind in COLUMN_TYPES for nullable in (False, True)
    ]
    spec = make_spec(*columns, unit="ns")
    floats = generator.integers(-(2**63), 2**63, count).view(np.float64)  # any bits, NaN among them
    drawn: dict[str, list[Any]] = {
        "float64": floats.tolist(),
        "int64": generator.integers(-(2**63), 2**63, count).tolist(),
        "int8": generator.integers(-128, 128, count).tolist(),
        "bool": generator.integers(0, 2, count).astype(bool).tolist(),
        "category": generator.choice(["buy", "sell", "unknown", "ё"], count).tolist(),
        "str": [f"order {number} \0ё" for number in generator.integers(0, 10**9, count).tolist()],
    }
    nulls = generator.integers(0, 2, (count, 6)).astype(bool).tolist()
    rows = [
        {"timestamp": 1_700_000_000_000_000_000 + at // 2 * 1_000, "number": at}
        | {
            column.name: None if column.nullable and nulls[at][place // 2] else drawn[column.type][at]
            for place, column in enumerate(columns)
        }
        for at in range(count)
    ]
    found = read_rows(spec, rows)
    found.values["float64"].data[:] = floats  # lists of Python may lose bits of NaN
    return spec, found


def test_bits_of_floats_are_kept() -> None:
    spec = make_spec(Column("value", "float64"), sequence="")
    bits = np.array([0x7FF8_0000_0000_0001, -(2**63), 0x7FF0_0000_0000_0000, 1] * 50, np.int64)
    rows = ColumnArrays(np.arange(200), None, {"value": Values(bits.view(np.float64))})
    for is_compressed in (False, True):
        found = decode(spec, KEY, store(spec, rows, is_compressed=is_compressed))
        assert found.values["value"].data.view(np.int64).tolist() == bits.tolist()


@UNHURRIED
@given(st.data())
def test_groups_are_joined_in_their_order(data: st.DataObject) -> None:
    spec = make_spec(Column("side", "category", nullable=True), Column("note", "str", nullable=True))
    parts = [read_rows(spec, data.draw(rows_of(spec))) for _ in range(3)]
    joined = join_columns(parts)
    assert joined.rows(spec) == [row for part in parts for row in part.rows(spec)]


# Columns that are added to a slot, or that change


def test_column_that_was_added_later_is_null() -> None:
    old = make_spec(Column("price", "float64"))
    rows = read_rows(old, [{"timestamp": 1, "number": 1, "price": 1.5}])
    for kind in COLUMN_TYPES:
        spec = make_spec(Column("price", "float64"), Column("more", kind, nullable=True))
        found = decode(spec, KEY, store(old, rows, is_compressed=False))
        check_arrays(spec, found)
        assert found.rows(spec) == [{"timestamp": 1, "number": 1, "price": 1.5, "more": None}]


def test_column_that_was_removed_is_ignored() -> None:
    old = make_spec(Column("price", "float64"), Column("side", "category"))
    spec = make_spec(Column("price", "float64"))
    rows = read_rows(old, [{"timestamp": 1, "number": 1, "price": 1.5, "side": "buy"}])
    assert decode(spec, KEY, store(old, rows, is_compressed=True)).rows(spec) == [
        {"timestamp": 1, "number": 1, "price": 1.5}
    ]


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (Column("price", "int64"), "its column price is float64, and that of the slot int64"),
        (Column("more", "int64"), "its column more is missing"),
    ],
)
def test_column_of_another_slot_is_damage(column: Column, words: str) -> None:
    old = make_spec(Column("price", "float64"))
    rows = read_rows(old, [{"timestamp": 1, "number": 1, "price": 1.5}])
    spec = make_spec(column)
    with pytest.raises(DamagedRowsError, match=words):
        decode(spec, KEY, store(old, rows, is_compressed=False))


# Damage


def check_damaged(spec: SlotSpec, document: Document, expected: list[dict[str, Any]]) -> None:
    """Check that damage is found, or harmless."""
    try:
        found = decode(spec, KEY, document)
        header = parse_header(document, KEY)
    except DamagedRowsError:
        return
    assert to_bits(found.rows(spec)) == expected
    assert header == (len(expected), expected[0]["timestamp"], expected[-1]["timestamp"])


@pytest.mark.parametrize("is_compressed", [False, True])
@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_every_flipped_byte_of_a_document_is_found_or_harmless(is_compressed: bool, mask: int) -> None:
    spec, rows = sample_of_every_type(70)
    expected = to_bits(rows.rows(spec))
    stored = bson.encode(encode(spec, KEY, rows, is_compressed=is_compressed))
    check_damaged(spec, bson.decode(stored), expected)
    for at in range(len(stored)):
        flipped = bytearray(stored)
        flipped[at] ^= mask
        try:
            document = bson.decode(flipped)
        except Exception:  # it is no BSON any more, which the driver says
            continue
        check_damaged(spec, document, expected)


@UNHURRIED
@given(samples(min_size=1), st.booleans(), st.data())
def test_changed_columns_are_found(sample: Sample, is_compressed: bool, data: st.DataObject) -> None:
    spec, rows = sample
    given_ = read_rows(spec, rows)
    document = store(spec, given_, is_compressed=is_compressed)
    name = data.draw(st.sampled_from(sorted(document["columns"])))
    content = bytes(document["columns"][name])
    at = data.draw(st.integers(0, len(content) - 1))
    changed: Any = data.draw(
        st.sampled_from(
            [
                content[:at] + bytes([content[at] ^ data.draw(st.integers(1, 255))]) + content[at + 1 :],
                content[:at],
                content + b"\0",
                None,
                "text",
                {},
            ]
        )
    )
    document["columns"][name] = Binary(changed) if isinstance(changed, bytes) else changed
    with pytest.raises(DamagedRowsError):
        decode(spec, KEY, document)


@UNHURRIED
@given(samples(min_size=1), st.data())
def test_columns_that_are_gone_or_renamed_are_found(sample: Sample, data: st.DataObject) -> None:
    spec, rows = sample
    document = store(spec, read_rows(spec, rows), is_compressed=False)
    name = data.draw(st.sampled_from(sorted(document["columns"])))
    content = document["columns"].pop(name)
    if data.draw(st.booleans()):
        document["columns"]["another"] = content
    with pytest.raises(DamagedRowsError):
        decode(spec, KEY, document)


@UNHURRIED
@given(samples(min_size=1), samples(min_size=1), st.data())
def test_columns_of_another_document_are_found(sample: Sample, other: Sample, data: st.DataObject) -> None:
    spec, rows = sample
    first = store(spec, read_rows(spec, rows), is_compressed=False)
    second = store(other[0], read_rows(*other), is_compressed=False)
    names = sorted({*first["columns"]} & {*second["columns"]})
    name = data.draw(st.sampled_from(names))
    assume(first["head"] != second["head"])
    first["columns"][name] = second["columns"][name]
    with pytest.raises(DamagedRowsError):
        decode(spec, KEY, first)


@UNHURRIED
@given(samples(min_size=1), st.data())
def test_changed_header_is_found(sample: Sample, data: st.DataObject) -> None:
    spec, rows = sample
    document = store(spec, read_rows(spec, rows), is_compressed=False)
    name = data.draw(st.sampled_from([*KEY, *seal_header(KEY, 1, 1, 1), "columns"]))
    changed: Any = data.draw(st.none() | st.integers(-(2**31), 2**31) | st.text() | st.floats() | st.just({}))
    assume(changed != document[name] and not (name == "columns" and changed == {} == document[name]))
    document[name] = changed
    with pytest.raises(DamagedRowsError):
        decode(spec, KEY, document)
    del document[name]
    with pytest.raises(DamagedRowsError):
        decode(spec, KEY, document)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x09\0" + b"\0" * 8, "its column price is of an unknown type, and that of the slot float64"),
        (b"\0\0" + b"\0" * 16, "its column price has another number of rows"),
        (b"\0\0" + b"\0" * 3, r"its column price can't be decoded \(ValueError\)"),
        (b"\0\x01" + b"\0" * 8, r"its column price can't be decoded \(.*\)"),
    ],
)
def test_content_that_its_checksum_fits_is_checked_as_well(content: bytes, words: str) -> None:
    spec = make_spec(Column("price", "float64"))
    document = store(spec, read_rows(spec, [{"timestamp": 1, "number": 1, "price": 1.5}]), is_compressed=False)
    document["columns"]["price"] = pack_column(document["head"], "price", content)
    with pytest.raises(DamagedRowsError, match=words):
        decode(spec, KEY, document)


@pytest.mark.parametrize(
    "content", [b"", b"\x01", b"\xff\0number price", b"\x05\0\xff\xfe\xfd\xfc\xfb\0\0", b"\x05\0price"]
)
def test_names_that_can_t_be_read_are_damage(content: bytes) -> None:
    spec = make_spec(Column("price", "float64"))
    document = store(spec, read_rows(spec, [{"timestamp": 1, "number": 1, "price": 1.5}]), is_compressed=False)
    document["columns"]["timestamp"] = pack_column(document["head"], "timestamp", content)
    with pytest.raises(DamagedRowsError):
        decode(spec, KEY, document)


def test_document_of_another_series_is_found() -> None:
    spec = make_spec(Column("price", "float64"))
    document = store(spec, read_rows(spec, [{"timestamp": 1, "number": 1, "price": math.nan}]), is_compressed=False)
    with pytest.raises(DamagedRowsError, match="its field symbol has changed"):
        decode(spec, {**KEY, "symbol": "ETHUSDT"}, document)

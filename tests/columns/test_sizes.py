"""The bytes by which rows are cut are no fewer than those that are stored, and the parts are all of the rows."""

from __future__ import annotations

from typing import Any

import bson
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest_mongo import SlotSpec
from backtest_mongo.columns import merging, sizes
from backtest_mongo.columns.arrays import ColumnArrays, join_columns
from backtest_mongo.columns.codec import encode
from backtest_mongo.columns.merging import split_rows
from backtest_mongo.columns.row_input import read_rows
from backtest_mongo.columns.sizes import find_oversized, measure_rows, split_groups
from backtest_mongo.core.columns import Column
from backtest_mongo.series.columns.tail import make_keys
from tests.support.column_rows import list_rows, make_arrays, make_spec, values

SPEC = make_spec("str", immutable=True)
TEXT = SlotSpec(
    name="own_text",
    shape="series",
    context=("symbol",),
    key=("symbol", "timestamp", "place"),
    unit="us",
    sequence="int64",
    columns=(Column("note", "str"), Column("kind", "category", nullable=True)),
)
#: What a document takes besides its rows, however few they are.
OVERHEAD = 4_000

keys = st.tuples(st.integers(-5, 5), st.text(st.characters(exclude_categories=["Cs"]), max_size=40))


@given(st.dictionaries(keys, values, min_size=1, max_size=100))
def test_no_document_takes_more_bytes_than_its_rows_have(rows: dict[Any, Any]) -> None:
    arrays = make_arrays(SPEC, rows)
    for is_compressed in (False, True):
        document = encode(SPEC, {}, arrays, is_compressed=is_compressed)
        assert len(bson.encode(document)) <= measure_rows(arrays).count() + OVERHEAD
    listed = {"keys": make_keys(arrays), **encode(SPEC, {}, arrays, is_compressed=False)}
    assert len(bson.encode(listed)) <= measure_rows(arrays, has_keys=True).count() + OVERHEAD


@pytest.mark.parametrize("is_compressed", [False, True])
def test_what_can_t_be_compressed_takes_hardly_more(is_compressed: bool) -> None:
    random, count = np.random.default_rng(1), 20_000
    spec = SlotSpec(
        name="own_noise",
        shape="series",
        context=("symbol",),
        key=("symbol", "timestamp"),
        columns=(Column("a", "float64"), Column("b", "int64"), Column("c", "int8"), Column("d", "category")),
    )
    from backtest_mongo.columns.arrays import Values

    numbers = random.integers(-(2**63), 2**63 - 1, (3, count))
    names = tuple(random.bytes(20).hex() for _ in range(count))
    columns = {
        "a": Values(numbers[0].view(np.float64)),
        "b": Values(numbers[1]),
        "c": Values(random.integers(-128, 127, count).astype(np.int8)),
        "d": Values(random.permutation(count).astype(np.int32), None, names),
    }
    rows = ColumnArrays(np.sort(numbers[2]), None, columns)
    size = measure_rows(rows).count()
    assert len(bson.encode(encode(spec, {}, rows, is_compressed=is_compressed))) <= 1.01 * size + OVERHEAD


def make_text(*texts: tuple[int, int, str]) -> ColumnArrays:
    return read_rows(TEXT, [{"timestamp": time, "place": place, "note": text} for time, place, text in texts])


texts = st.dictionaries(st.tuples(st.integers(0, 8), st.integers(0, 6)), st.integers(0, 120), min_size=1, max_size=40)


@given(texts, st.booleans(), st.booleans(), st.integers(1, 12))
def test_parts_are_all_rows_and_have_the_bytes_of_a_block_at_most(
    lengths: dict[tuple[int, int], int], is_even: bool, cuts_times: bool, most: int
) -> None:
    rows = make_text(*((*key, "x" * length) for key, length in lengths.items()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "BLOCK_BYTES", 200)
        parts = [*split_rows(rows, most, is_even=is_even, cuts_times=cuts_times)]
    assert list_rows(TEXT, join_columns(parts)) == list_rows(TEXT, rows)
    for part, following in zip(parts, [*parts[1:], None], strict=True):
        size, is_one_time = measure_rows(part).count(), part.time[0] == part.time[-1]
        assert len(part) == 1 or size <= 200 or (not cuts_times and is_one_time)
        assert len(part) <= most or is_one_time
        if following is not None and part.time[-1] == following.time[0]:
            assert cuts_times
            together = rows.take(rows.time == following.time[0])
            assert measure_rows(together).count() > 200


def test_even_parts_leave_no_remnant() -> None:
    """A row that comes late into a full block must not leave a block of one row each time."""
    rows = make_text(*((time, 0, "x" * 100) for time in range(101)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "BLOCK_BYTES", measure_rows(rows.take(slice(0, 100))).count())
        assert [*map(len, split_rows(rows, is_even=True))] == [51, 50]
        assert [*map(len, split_rows(rows))] == [100, 1]


def test_groups_have_so_many_rows_and_bytes_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = make_text(*((5, place, "x" * (400 if place == 3 else 10)) for place in range(8)))
    monkeypatch.setattr(sizes, "GROUP_BYTES", 200)
    parts = [*split_groups(rows, 3, has_keys=True)]
    assert [*map(len, parts)] == [3, 1, 3, 1]
    assert list_rows(TEXT, join_columns(parts)) == list_rows(TEXT, rows)


def test_names_of_categories_count_once_unless_they_are_many() -> None:
    rows = [{"timestamp": at, "place": 0, "note": "", "kind": "k" * 1_000 + str(at % 10)} for at in range(1_000)]
    few = read_rows(TEXT, rows)
    assert measure_rows(few).count() < 60_000
    many = read_rows(TEXT, [{**row, "kind": "k" * 1_000 + str(at)} for at, row in enumerate(rows)])
    assert measure_rows(many).count() > 1_000_000
    assert measure_rows(many.take(slice(0, 10))).count() < 20_000


def test_rows_of_too_many_bytes_are_found_by_their_places() -> None:
    rows = make_text((1, 0, "x" * 100), (2, 0, "é" * 600), (3, 0, "x" * 900), (4, 0, "x" * 1_100))
    assert [*find_oversized(rows, 1_000)] == [1, 3]
    assert [*find_oversized(rows, 1_190)] == [1]
    assert find_oversized(rows, 10_000) == {}
    named = read_rows(TEXT, [{"timestamp": at, "place": 0, "note": "", "kind": "k" * 500 * at} for at in range(4)])
    assert [*find_oversized(named, 1_200)] == [3]

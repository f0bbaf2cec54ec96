"""Candles as arrays, and as the documents that hold them, without a server."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import bson
import numpy as np
import pytest
from bson import Int64, ObjectId

from backtest_mongo.core.arrays import CandleArrays, decode_rows, encode_rows, join_arrays
from backtest_mongo.core.payload import CODEC
from backtest_mongo.types import PRICES

NAMES = ("timestamp", *PRICES)
KEY = {"exchangeName": "binance", "symbol": "BTCUSDT", "interval": "1m"}


def candle(time: int, **changes: Any) -> dict[str, Any]:
    return {"timestamp": time, **{name: time + number / 8 for number, name in enumerate(PRICES)}, **changes}


def arrays(*times: int) -> CandleArrays:
    rows = [candle(time) for time in times]
    columns = [np.array([row[name] for row in rows], np.float64) for name in PRICES]
    return CandleArrays(np.array(times, np.int64), *columns)


def times_of(candles: CandleArrays) -> list[int]:
    """Return the times of candles, once each of them is found to be whole."""
    times: list[int] = candles.timestamp.tolist()
    assert candles.candles() == [candle(time) for time in times]
    assert candles.timestamp.dtype == np.int64
    assert {column.dtype for column in candles.prices} == {np.dtype(np.float64)}
    return times


def test_candles_are_built_in_the_order_of_time() -> None:
    for times in ((1, 2, 5), (5, 1, 2), (), (3,), (2, 1)):
        assert times_of(CandleArrays.of({time: candle(time) for time in times})) == sorted(times)


def test_columns_have_their_names_and_candles_their_types() -> None:
    candles = arrays(1, 2)
    assert [column.tolist() for column in candles.prices] == [getattr(candles, name).tolist() for name in PRICES]
    (row, _) = candles.candles()
    assert [type(row[name]) for name in NAMES] == [int] + [float] * 5  # type: ignore[literal-required]  # its names
    assert len(candles) == 2
    assert len(CandleArrays.empty(7)) == 7
    assert {len(column) for column in CandleArrays.empty(7).prices} == {7}


def test_rows_are_taken_copied_and_put() -> None:
    candles = arrays(1, 2, 3, 4)
    assert times_of(candles.take(slice(1, 3))) == [2, 3]
    assert times_of(candles.take(np.array([True, False, False, True]))) == [1, 4]
    assert times_of(candles.take(np.array([3, 0]))) == [4, 1]
    copy = candles.copy()
    for column in (copy.timestamp, *copy.prices):
        column[:] = 0
    assert times_of(candles) == [1, 2, 3, 4]
    candles.put(1, arrays(7, 8))
    assert times_of(candles) == [1, 7, 8, 4]


def test_rows_of_a_range_are_those_from_its_beginning_to_before_its_end() -> None:
    candles = arrays(1, 3, 5)
    for first, end, times in ((1, 5, [1, 3]), (2, 6, [3, 5]), (3, 3, []), (3, 4, [3]), (6, 9, []), (-5, 1, [])):
        assert times_of(candles.between(first, end)) == times
    assert candles.between(1, 6) is candles
    assert candles.between(0, 99) is candles


def test_parts_are_joined_in_their_order() -> None:
    one = arrays(1, 2)
    assert join_arrays([one]) is one
    assert times_of(join_arrays([one, arrays(), arrays(3), arrays(5, 6)])) == [1, 2, 3, 5, 6]
    assert times_of(join_arrays([])) == []


# Documents


def test_documents_are_those_that_a_loop_would_make() -> None:
    before = datetime.now(UTC)
    candles = arrays(1_700_000_000_000, -5, 0)
    documents, ids = encode_rows(KEY, candles)
    after = datetime.now(UTC)
    assert len(documents) == len(ids) == 3
    for document, oid, row in zip(documents, ids, candles.candles(), strict=True):
        found = bson.decode(document.raw, CODEC)
        assert list(found) == ["_id", *KEY, *NAMES, "createDate", "updatedDate", "__v"]
        assert found["_id"] == ObjectId(oid)
        assert {name: found[name] for name in NAMES} == row
        assert {name: found[name] for name in KEY} == KEY
        assert found["__v"] == 0
        assert found["createDate"] == found["updatedDate"]
        assert before.replace(microsecond=before.microsecond // 1000 * 1000) <= found["createDate"] <= after
        assert isinstance(bson.decode(document.raw)["timestamp"], Int64)
        assert before.timestamp() - 1 < ObjectId(oid).generation_time.timestamp() <= after.timestamp()
    assert encode_rows(KEY, arrays()) == ([], [])


def test_ids_ascend_within_a_batch_and_differ_between_batches() -> None:
    count = 70_000  # more than two bytes count
    _, ids = encode_rows({}, arrays(*range(count)))
    assert len(set(ids)) == count
    assert ids == sorted(ids)
    assert [int.from_bytes(oid[9:], "big") for oid in ids] == list(range(count))
    assert len({oid[:9] for oid in ids}) == 1
    _, others = encode_rows({}, arrays(1))
    assert others[0][4:9] != ids[0][4:9]


def test_columns_need_not_be_contiguous() -> None:
    documents, _ = encode_rows(KEY, arrays(*range(10)).take(slice(None, None, 3)))
    assert times_of(decode_rows(b"".join(document.raw for document in documents))) == [0, 3, 6, 9]


def reply(*rows: dict[str, Any]) -> bytes:
    return b"".join(map(bson.encode, rows))


def in_order(*names: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda row: {name: row[name] for name in names}


def typed(row: dict[str, Any], **kinds: Any) -> dict[str, Any]:
    return {name: kinds.get(name, float)(value) for name, value in row.items()}


#: How a program may have written the documents of a candle.
LAYOUTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "ours": lambda row: typed(row, timestamp=Int64),
    "times as floats": typed,
    "short times": lambda row: typed(row, timestamp=int),
    "other order": lambda row: in_order(*reversed(NAMES))(typed(row, timestamp=Int64)),
    "more fields": lambda row: {**typed(row, timestamp=Int64), "trades": 5.0},
    "a text": lambda row: {"_id": "x", **typed(row, timestamp=Int64)},
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_documents_of_one_layout_are_decoded(layout: Callable[[Any], dict[str, Any]], count: int) -> None:
    assert times_of(decode_rows(reply(*(layout(candle(time)) for time in range(count))))) == list(range(count))


@pytest.mark.parametrize("first", LAYOUTS)
@pytest.mark.parametrize("second", LAYOUTS)
def test_documents_of_different_layouts_are_decoded(first: str, second: str) -> None:
    rows = [LAYOUTS[name](candle(time)) for time, name in enumerate((first, first, second, first, second))]
    assert times_of(decode_rows(reply(*rows))) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("kind", [Int64, int])
def test_whole_prices_may_be_integers(kind: type[int]) -> None:
    whole = [{name: (Int64 if name == "timestamp" else kind)(time * 10) for name in NAMES} for time in range(4)]
    fractions = [typed(candle(time), timestamp=Int64) for time in (1, 2)]
    for rows in (whole, [*fractions, *whole], [*whole, *fractions]):
        found = decode_rows(reply(*rows))
        assert found.candles() == [{name: row[name] for name in NAMES} for row in rows]
        assert {column.dtype for column in found.prices} == {np.dtype(np.float64)}


def test_fields_of_one_length_under_other_names_are_not_taken_for_each_other() -> None:
    ours = typed(candle(1), timestamp=Int64)
    swapped = {name: candle(2)[name] for name in ("timestamp", "open", "low", "high", "close", "volume")}
    # "low" and "high" differ in length, and "open" and "high" don't.
    crossed = in_order("timestamp", "high", "open", "low", "close", "volume")(typed(candle(3), timestamp=Int64))
    found = decode_rows(reply(ours, typed(swapped, timestamp=Int64), crossed))
    assert times_of(found) == [1, 2, 3]
    assert times_of(decode_rows(reply(ours, crossed))) == [1, 3]


def test_empty_reply_has_no_candles() -> None:
    assert len(decode_rows(b"")) == 0

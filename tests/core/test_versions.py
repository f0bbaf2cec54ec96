"""Versions: which states of a row have the same one."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
import pytest
from bson import Int64
from bson.raw_bson import RawBSONDocument

from backtest_mongo import ConflictError, InputError, InputTypeError, MemoryAdapter
from backtest_mongo.core.payload import RAW_CODEC
from backtest_mongo.core.versions import ABSENT, check_version, is_absent, is_expected, make_conflict, make_version
from backtest_mongo.types import Versioned

SPEC = MemoryAdapter.spec
AT = datetime(2024, 1, 2, tzinfo=UTC)
ROW: dict[str, Any] = {"payload": {"a": 1, "b": [1, 2]}, "when": 5, "removed": False, "updatedDate": AT}

#: Rows of which no two are the same state.
STATES: list[dict[str, Any] | None] = [
    None,
    {},
    ROW,
    {**ROW, "updatedDate": AT + timedelta(milliseconds=1)},
    {**ROW, "updatedDate": None},
    {**ROW, "when": 6},
    {**ROW, "when": 5.0},
    {**ROW, "when": None},
    {**ROW, "removed": True},
    {**ROW, "payload": None},
    {**ROW, "payload": {}},
    {**ROW, "payload": []},
    {**ROW, "payload": {"b": [1, 2], "a": 1}},
    {**ROW, "payload": {"a": 1, "b": [2, 1]}},
    {**ROW, "payload": {"a": 1.0, "b": [1, 2]}},
    {**ROW, "payload": {"a": Int64(1), "b": [1, 2]}},
    {**ROW, "payload": {"a": True, "b": [1, 2]}},
    {**ROW, "payload": {"a": "1", "b": [1, 2]}},
    {**ROW, "payload": {"a": 1, "b": {"0": 1, "1": 2}}},
    {**ROW, "payload": [{"a": 1, "b": [1, 2]}]},
    {**ROW, "payload": '{"a":1,"b":[1,2]}'},
    {**ROW, "payload": b'{"a":1,"b":[1,2]}'},
]


def test_no_two_states_have_the_same_version() -> None:
    versions = [make_version(SPEC, row) for row in STATES]
    assert len(set(versions)) == len(STATES)
    assert versions[0] == ABSENT
    for version in versions:
        assert check_version(version, "memory") == version


def test_same_state_has_the_same_version_however_it_was_read() -> None:
    for row in STATES:
        raw = None if row is None else RawBSONDocument(bson.encode(row), RAW_CODEC)
        assert make_version(SPEC, raw) == make_version(SPEC, row)


def test_version_does_not_depend_on_the_process() -> None:
    assert make_version(SPEC, ROW) == "v1-7713bb433d5b89dcaa270cbd6fe7e987"


def test_missing_field_is_like_null_and_a_missing_mark_like_a_row_that_is_not_removed() -> None:
    assert make_version(SPEC, {}) == make_version(SPEC, {"payload": None, "when": None, "removed": False})


@pytest.mark.parametrize("row", [None, {}, {"payload": None}, {**ROW, "removed": True}, {**ROW, "payload": None}])
def test_row_is_absent_where_a_read_finds_nothing(row: Any) -> None:
    assert is_absent(SPEC, row)
    assert is_expected(SPEC, row, make_version(SPEC, row), None)


@pytest.mark.parametrize("payload", [{}, [], 0, False, ""])
def test_row_is_not_absent_where_a_read_finds_something(payload: Any) -> None:
    assert not is_absent(SPEC, {**ROW, "payload": payload})


def test_expected_version_is_compared_whatever_the_row_holds() -> None:
    for one, other in itertools.product(STATES, repeat=2):
        assert is_expected(SPEC, one, make_version(SPEC, one), make_version(SPEC, other)) is (one is other)


@pytest.mark.parametrize(
    ("row", "expected", "problem"),
    [
        (ROW, None, "a row is stored already"),
        (ROW, ABSENT, "a row has been stored since its version was read"),
        (None, "v1-" + "0" * 32, "the row that it expects is no longer stored"),
        (ROW, "v1-" + "0" * 32, "the row has changed since its version was read"),
    ],
)
def test_conflict_says_what_is_there(row: Any, expected: str | None, problem: str) -> None:
    version = make_version(SPEC, row)
    error = make_conflict(SPEC, ("s", "b", "m"), row, version, expected)
    assert isinstance(error, ConflictError)
    assert str(error).startswith(f"memory: writing failed: {problem} (nothing was written")
    assert (error.found, error.version) == (row and row["payload"], version)
    assert error.key == {"signalId": "s", "bucketName": "b", "memoryId": "m"}
    assert error.collection == "memory-items"


def test_conflict_with_a_removed_row_finds_nothing() -> None:
    row = {**ROW, "removed": True}
    assert make_conflict(SPEC, ("s", "b", "m"), row, make_version(SPEC, row), ABSENT).found is None


def test_what_is_not_a_version_is_refused() -> None:
    with pytest.raises(InputTypeError, match=r"^memory: expect must be a version \(str\), not int"):
        check_version(1, "memory")
    with pytest.raises(InputTypeError, match=r"not Versioned \(pass its \.version\)"):
        check_version(Versioned(None, ABSENT), "memory")
    with pytest.raises(InputError, match=r"expect must be a version, not 'v2-absent' \(str\)"):
        check_version("v2-absent", "memory")

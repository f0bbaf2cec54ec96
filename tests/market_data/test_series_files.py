"""Importing series with columns from files, and exporting them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backtest_mongo import (
    Column,
    SlotSpec,
    persist,
)
from backtest_mongo.market_data import export_series, import_series
from tests.conftest import Deployment
from tests.market_data.test_import_export import Progress

pytestmark = pytest.mark.either_driver

#: 2024-01-01 00:00 UTC.
START = 1_704_067_200_000_000
EVERYTHING: dict[str, Any] = {
    "shape": "series",
    "context": ("symbol",),
    "columns": (
        Column("number", "float64"),
        Column("maybe", "float64", nullable=True),
        Column("large", "int64"),
        Column("some", "int64", nullable=True),
        Column("small", "int8"),
        Column("flag", "bool"),
        Column("vague", "bool", nullable=True),
        Column("kind", "category", nullable=True),
        Column("text", "str"),
        Column("note", "str", nullable=True),
    ),
}
NULLABLE = {"maybe", "some", "vague", "kind", "note"}
#: A row for each corner of the types.
ROWS: list[dict[str, Any]] = [
    {"number": 0.1, "maybe": None, "large": 2**63 - 1, "some": None, "small": 127, "flag": True, "vague": None}
    | {"kind": None, "text": "", "note": None},
    {"number": -0.0, "maybe": float("nan"), "large": -(2**63), "some": 0, "small": -128, "flag": False, "vague": False}
    | {"kind": "", "text": ' a, "b" ', "note": ""},
    {"number": float("inf"), "maybe": 5e-324, "large": 0, "some": -1, "small": 0, "flag": True, "vague": True}
    | {"kind": "a;b|c\td", "text": "ü" * 100, "note": " "},
    {"number": 1.7976931348623157e308, "maybe": float("-inf"), "large": 1, "some": 2**53 + 1, "small": 1}
    | {"flag": False, "vague": None, "kind": "nan", "text": "null", "note": "1,000"},
    {"number": 1e22 / 3, "maybe": 123456789.123456789, "large": 7, "some": 7, "small": 7}
    | {"flag": True, "vague": True, "kind": "ü", "text": "'", "note": '"'},
]


def register(name: str, unit: str, sequence: str) -> Any:
    """Register a slot that has a column of each type."""
    key = ("symbol", "timestamp", *(("number_of_row",) if sequence else ()))
    return persist.register(SlotSpec(name=name, key=key, unit=unit, sequence=sequence, **EVERYTHING))  # type: ignore[arg-type]  # a test's parameters


def make_rows(unit: str, sequence: str) -> list[dict[str, Any]]:
    step = {"ms": 1, "us": 1_000, "ns": 1_000_000}[unit]
    rows = []
    for place, row in enumerate(ROWS):
        own: dict[str, Any] = {"timestamp": START // 1_000 * step + place // 2 * (1 + step)}
        if sequence:
            own["number_of_row"] = place - 2 if sequence == "int64" else f"id {place},"
        else:
            own["timestamp"] += place
        rows.append({**own, **row})
    return rows


def read_bits(frame: dict[str, Any]) -> dict[str, list[Any]]:
    """Return the values of a frame, of floats the bits."""
    found = {}
    for name, values in frame.items():
        nulls = np.ma.getmaskarray(values)
        plain = np.ma.getdata(values)
        plain = plain.view(np.int64) if plain.dtype.kind in "fM" else plain
        found[name] = [None if null else value for value, null in zip(plain.tolist(), nulls.tolist(), strict=True)]
    return found


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
@pytest.mark.parametrize(("unit", "sequence"), [("ms", ""), ("us", "int64"), ("ns", "str")])
async def test_export_is_imported_again_bit_for_bit(
    deployment: Deployment, unique: str, tmp_path: Path, ending: str, unit: str, sequence: str
) -> None:
    everything = register(f"all_{unit}", unit, sequence)
    series = everything(unique)
    await series.append(make_rows(unit, sequence))
    # A NaN that no arithmetic makes.
    strange = {
        **make_rows(unit, sequence)[0],
        "timestamp": 5,
        "number": np.uint64(0xFFF4_0000_0000_1234).view(np.float64),
    }
    await series.append([strange])
    progress = Progress()
    path = tmp_path / f"all{ending}"
    assert await export_series(series, path, progress=progress) == len(ROWS) + 1
    assert (progress.total, progress.done[-1], progress.rows) == (len(ROWS) + 1,) * 3
    assert os.listdir(tmp_path) == [path.name]
    copy = everything(f"{unique} copy")
    progress = Progress()
    report = await import_series(everything, {"symbol": f"{unique} copy"}, [path], progress=progress)
    assert (report.is_complete, report.rows, report.new, report.bad) == (True, len(ROWS) + 1, len(ROWS) + 1, [])
    assert report.series == [{"symbol": f"{unique} copy"}]
    stored, copied = [read_bits(await one.read_frame(as_="numpy")) for one in (series, copy)]
    assert copied == stored
    assert stored["number"][0] == np.uint64(0xFFF4_0000_0000_1234).view(np.int64)
    report = await import_series(everything, {"symbol": f"{unique} copy"}, [path])
    assert read_bits(await copy.read_frame(as_="numpy")) == stored
    assert report.rows == len(ROWS) + 1

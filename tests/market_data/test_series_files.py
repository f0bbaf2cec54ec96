"""Importing series with columns from files, and exporting them."""

from __future__ import annotations

import gzip
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backtest_mongo import (
    Column,
    FundingAdapter,
    InputError,
    InputTypeError,
    QuoteAdapter,
    SignalAdapter,
    SlotSpec,
    TradeAdapter,
    persist,
)
from backtest_mongo.core.columns import UNITS, Unit
from backtest_mongo.core.unit_times import find_time_range
from backtest_mongo.market_data import SeriesOptions, export_series, import_series
from backtest_mongo.types import Coverage
from tests.conftest import DRIVERS, SQLITE, Deployment
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


def write_trades(path: Path, count: int, first: int = 0) -> Path:
    rows = [f"{START + at},{at},{100 + at},0.5,buy\n" for at in range(first, first + count)]
    path.write_text("timestamp,trade_id,price,amount,side\n" + "".join(rows))
    return path


async def test_files_are_imported_once_and_bad_lines_are_reported_by_their_place(
    deployment: Deployment, unique: str, tmp_path: Path
) -> None:
    context = {"symbol": "BTCUSDT", "exchange_name": unique}
    first, second = write_trades(tmp_path / "a.csv", 1_000), write_trades(tmp_path / "b.csv", 1_000, 500)
    with second.open("a") as file:
        file.write(f"{START},x,1,1,buy\n{START},1\n")
    report = await import_series(TradeAdapter, context, [tmp_path])
    assert (report.files, report.rows, report.new, report.present) == (2, 2_000, 1_500, 500)
    assert (report.is_complete, report.bad_lines, report.series) == (False, 2, [context])
    assert report.bad == [
        f"{second}:1002  trade_id is not an integer from -9223372036854775808 to 9223372036854775807: 'x'",
        f"{second}:1003  2 fields instead of 5",
    ]
    report = await import_series(TradeAdapter, context, [first])
    assert (report.is_complete, report.new, report.present) == (True, 0, 1_000)
    frame = await TradeAdapter(**context).read_frame()
    assert frame["price"].to_list() == [100.0 + at for at in range(1_500)]
    size = await TradeAdapter(**context).size()
    assert (size.block_rows, size.tail_rows) == (1_500, 0)


async def test_many_rows_are_written_in_parts_in_the_order_of_the_file(
    deployment: Deployment, unique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backtest_mongo.market_data.series_importer._BYTES", 1 << 20)
    monkeypatch.setattr("backtest_mongo.market_data.series_parts.ROWS", 10_000)
    rows = [f"{START // 1_000 + at % 60_000},{at}\n" for at in range(70_000)]
    (tmp_path / "a.csv").write_text("timestamp_ms,rate\n" + "".join(rows))
    context = {"symbol": "BTCUSDT", "exchange_name": unique}
    report = await import_series(FundingAdapter, context, [tmp_path / "a.csv"])
    assert (report.rows, report.is_complete) == (70_000, True)
    series = FundingAdapter(**context)
    # The last row of a key wins.
    expected = [float(at + 60_000 if at < 10_000 else at) for at in range(60_000)]
    assert (await series.read_frame())["rate"].to_list() == expected
    progress = Progress()
    assert await export_series(series, tmp_path / "b.parquet", progress=progress) == 60_000
    assert len(progress.done) > 3  # in parts
    assert pl.read_parquet(tmp_path / "b.parquet")["rate"].to_list() == expected


async def test_file_that_can_t_be_read_is_reported_and_the_others_are_imported(
    deployment: Deployment, unique: str, tmp_path: Path
) -> None:
    write_trades(tmp_path / "b.csv", 10)
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(b"x" * 1_000)[:-9])
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        archive.write(write_trades(tmp_path / "e.txt", 10, 5), "trades.csv")
    report = await import_series(TradeAdapter, {"symbol": "BTCUSDT", "exchange_name": unique}, [tmp_path])
    assert (report.files, report.new, report.present, len(report.unreadable)) == (3, 15, 15, 2)
    assert "no column for timestamp, trade_id, price, amount" in report.unreadable[0]
    assert "c.csv.gz: can't be read" in report.unreadable[1]


async def test_argument_of_the_context_comes_from_the_file_or_is_missing(
    deployment: Deployment, unique: str, tmp_path: Path
) -> None:
    table = pa.table({"timestamp": [START], "symbol": ["ETH"], "trade_id": [1], "price": [1.0], "amount": [1.0]})
    pq.write_table(table, tmp_path / "a.parquet")
    report = await import_series(TradeAdapter, {}, [tmp_path])
    problem = "names no exchange_name (--context exchange_name=VALUE names it)"
    assert report.unreadable == [f"{tmp_path}/a.parquet: {problem}"]
    report = await import_series(TradeAdapter, {"exchange_name": unique}, [tmp_path])
    assert report.series == [{"symbol": "ETH", "exchange_name": unique}]
    with pytest.raises(InputError, match="trade has no 'exchange'"):
        await import_series(TradeAdapter, {"exchange": unique}, [tmp_path])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no data files"):
        await import_series(TradeAdapter, {}, [tmp_path / "empty"])


async def test_rows_of_a_grid_that_are_still_open_are_counted(
    deployment: Deployment, unique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = persist.register(
        SlotSpec(
            name="hourly",
            shape="series",
            context=("symbol",),
            key=("symbol", "timestamp"),
            grid="1h",
            columns=(Column("value", "float64"),),
        )
    )
    monkeypatch.setattr("backtest_mongo.types.now_ms", lambda: START // 1_000 + 3 * 3_600_000)
    rows = [f"{START // 1_000 + at * 3_600_000},{at}\n" for at in range(4)]
    (tmp_path / "a.csv").write_text("timestamp,value\n" + "".join(rows))
    report = await import_series(adapter, {"symbol": unique}, [tmp_path / "a.csv"])
    assert (report.rows, report.new, report.open, report.is_complete) == (4, 3, 1, True)
    (tmp_path / "b.csv").write_text("timestamp,value\n" + "".join(f"{START // 1_000 + at},{at}\n" for at in range(4)))
    report = await import_series(adapter, {"symbol": unique}, [tmp_path / "b.csv"])
    assert len(report.unreadable) == 1


@pytest.mark.parametrize("driver", [*DRIVERS, SQLITE], indirect=True)
@pytest.mark.parametrize("unit", UNITS)
async def test_first_and_last_time_of_a_unit_are_stored_and_found(
    deployment: Deployment, unique: str, tmp_path: Path, unit: Unit
) -> None:
    persist.register(
        SlotSpec(
            name="ends",
            shape="series",
            context=("symbol",),
            key=("symbol", "timestamp"),
            unit=unit,
            immutable=True,
            columns=(Column("value", "float64"),),
        )
    )
    first, last = find_time_range(unit)
    beyond = min(last + 1, 2**63 - 1)
    (tmp_path / "a.csv").write_text("timestamp,value\n" + "".join(f"{time},1\n" for time in (first, last, beyond)))
    table = pa.table({"timestamp": [first, last, beyond], "value": [1.0, 1.0, 1.0]})
    pq.write_table(table, tmp_path / "a.parquet")
    rows = [{"timestamp": time, "value": 1.0} for time in (first, last)]
    bad = [{"timestamp": time, "value": 1.0} for time in (first - 1, beyond)]
    options = SeriesOptions(unit=unit)
    ends: Any = persist.ends  # type: ignore[attr-defined]  # registered above
    appended, framed, text, typed = (ends(f"{unique}-{name}") for name in ("append", "frame", "csv", "parquet"))
    assert await appended.append(rows) == 2
    for row in bad:
        with pytest.raises(InputError, match=r"rows\[0\].timestamp must be "):
            await appended.append([row])
    report = await framed.write_frame([*rows, *bad])
    assert (report.new, [*report.refused.values()]) == (2, [[2, 3]])
    for series, name in ((text, "a.csv"), (typed, "a.parquet")):
        done = await import_series(type(series), dict(series.context), [tmp_path / name], options=options)
        assert (done.new, done.is_complete) == (2, False)
    for series in (appended, framed, text, typed):
        for _ in range(2):  # in the tail, and in blocks
            assert await series.coverage() == Coverage(first, last, 2)
            assert await series.read_last(3) == rows
            assert [await series.read_asof(time) for time in (first, last)] == rows
            assert (await series.read_frame(as_="numpy"))["timestamp"].astype("int64").tolist() == [first, last]
            assert (await series.read_frame(first, last, as_="numpy"))["timestamp"].astype("int64").tolist() == [first]
            await series.seal()
        assert await export_series(series, tmp_path / "all.csv") == 2
        assert await series.delete(first) == 2


async def test_range_is_exported(deployment: Deployment, unique: str, tmp_path: Path) -> None:
    series = QuoteAdapter("BTCUSDT", unique)
    row = {"bid_price": 1.0, "bid_amount": 2.0, "ask_price": 3.0, "ask_amount": 4.0}
    await series.append([{"timestamp": START + at, "update_id": at, **row} for at in range(10)])
    path = tmp_path / "a.csv"
    assert await export_series(series, path, start=START + 2, end="2024-01-01T00:00:00.000005") == 3
    assert path.read_text().splitlines()[:2] == [
        "timestamp_us,update_id,bid_price,bid_amount,ask_price,ask_amount",
        f"{START + 2},2,1.0,2.0,3.0,4.0",
    ]
    with pytest.raises(InputError, match="no row of this series is stored in that range"):
        await export_series(series, path, start=START + 10)
    with pytest.raises(InputError, match="no row of this series is stored"):
        await export_series(QuoteAdapter("ETHUSDT", unique), path)
    with pytest.raises(InputError, match=r"must end with .parquet, .csv, .csv.gz"):
        await export_series(series, tmp_path / "a.txt")
    assert len(path.read_text().splitlines()) == 4  # as it was


async def test_text_that_csv_can_t_hold_is_refused(deployment: Deployment, unique: str, tmp_path: Path) -> None:
    everything = register("all_lines", "ms", "")
    await everything(unique).append([{**make_rows("ms", "")[0], "text": "a\nb"}])
    with pytest.raises(InputError, match=r"text has text with a line break.*write a .parquet instead"):
        await export_series(everything(unique), tmp_path / "a.csv")
    assert os.listdir(tmp_path) == []
    await export_series(everything(unique), tmp_path / "a.parquet")
    report = await import_series(everything, {"symbol": f"{unique} copy"}, [tmp_path / "a.parquet"])
    assert report.new == 1
    assert (await everything(f"{unique} copy").read_last(1))[0]["text"] == "a\nb"


async def test_slot_without_columns_and_unknown_unit_are_refused(deployment: Deployment, tmp_path: Path) -> None:
    with pytest.raises(InputTypeError, match="import_series takes the adapter of a series with columns"):
        await import_series(SignalAdapter, {}, [tmp_path])  # type: ignore[arg-type]
    with pytest.raises(InputTypeError, match="export_series takes"):
        await export_series(SignalAdapter("a", "b", "c"), tmp_path / "a.csv")  # type: ignore[arg-type]
    context = {"symbol": "a", "exchange_name": "b"}
    files = [write_trades(tmp_path / "a.csv", 1)]
    report = await import_series(TradeAdapter, context, files, options=SeriesOptions(unit="h"))
    assert "unit 'h' is unknown" in report.unreadable[0]

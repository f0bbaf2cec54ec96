"""Which columns of a file are read as which of a slot: the slot's own names, and those of vendors."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backtest_mongo import Column, InputError, SlotSpec
from backtest_mongo.core.slots import SERIES
from backtest_mongo.market_data import SeriesOptions
from backtest_mongo.market_data.data_files import find_sources
from backtest_mongo.market_data.series_chunks import SeriesChunk
from backtest_mongo.market_data.series_files import read_series

pytestmark = [pytest.mark.either_driver, pytest.mark.one_python]

SPECS = {spec.name: spec for spec in SERIES}
#: 2024-12-31 23:59:59.999 and 2025-01-01 00:00 UTC.
BEFORE, AFTER = 1_735_689_599_999, 1_735_689_600_000_001
TARDIS = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount\n"
QUOTES = "exchange,symbol,timestamp,local_timestamp,ask_amount,ask_price,bid_price,bid_amount\n"


def read(path: Path, spec: SlotSpec, interval: str | None = None, **options: Any) -> list[SeriesChunk]:
    (source,) = find_sources([path], "row").sources
    return list(read_series(spec, source, SeriesOptions(**options), interval))


def read_rows(path: Path, spec: SlotSpec, **options: Any) -> list[dict[str, Any]]:
    chunks = read(path, spec, **options)
    assert [line for chunk in chunks for line in chunk.bad] == []
    return [row for chunk in chunks for row in chunk.rows.rows(spec)]


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def make_trade(timestamp: int, trade_id: int, price: float, amount: float, side: str | None) -> dict[str, Any]:
    return {"timestamp": timestamp, "trade_id": trade_id, "price": price, "amount": amount, "side": side}


# Vendors


def test_trades_of_tardis_are_read_with_the_context_of_the_file(tmp_path: Path) -> None:
    rows = [
        f"binance,BTCUSDT,{AFTER},{AFTER + 9},7,buy,42000.5,0.1\n",
        f"binance,ETHUSDT,{AFTER + 1},{AFTER + 9},8,sell,2300.25,0.2\n",
        f"binance,BTCUSDT,{AFTER + 2},{AFTER + 9},9,unknown,42000.75,0.3\n",
    ]
    chunks = read(write(tmp_path / "a.csv", TARDIS + "".join(rows)), SPECS["trade"])
    assert [chunk.context for chunk in chunks] == [
        {"symbol": "BTCUSDT", "exchange_name": "binance"},
        {"symbol": "ETHUSDT", "exchange_name": "binance"},
    ]
    assert chunks[0].rows.rows(SPECS["trade"]) == [
        make_trade(AFTER, 7, 42000.5, 0.1, "buy"),
        make_trade(AFTER + 2, 9, 42000.75, 0.3, None),
    ]
    assert chunks[0].note == ("commas, header, as tardis trades; trade_id from 'id', time from 'timestamp' in us")
    assert [chunk.lines.tolist() for chunk in chunks] == [[2, 4], [3]]
    (only,) = read(tmp_path / "a.csv", SPECS["trade"], symbol="eth/usdt")
    assert (only.rows.rows(SPECS["trade"]), only.others) == ([make_trade(AFTER + 1, 8, 2300.25, 0.2, "sell")], 2)
    with pytest.raises(InputError, match=r"is of BTCUSDT, ETHUSDT, not of XRP \(--context symbol=NAME takes one"):
        read(tmp_path / "a.csv", SPECS["trade"], symbol="XRP")


def test_trades_whose_ids_are_text_are_refused_and_a_slot_that_holds_them_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", f"{TARDIS}bitmex,XBTUSD,{AFTER},{AFTER + 9},f8-1,buy,42000.5,0.1\n")
    with pytest.raises(InputError, match=r"line 2 is not a row of trade.*trade_id is not an integer.*sequence=\"str\""):
        read(path, SPECS["trade"])
    spec = SlotSpec(
        name="text_trade",
        shape="series",
        context=("symbol",),
        key=("symbol", "timestamp", "id"),
        sequence="str",
        unit="us",
        columns=(Column("price", "float64"), Column("amount", "float64"), Column("side", "category")),
    )
    assert read_rows(path, spec) == [{"timestamp": AFTER, "id": "f8-1", "price": 42000.5, "amount": 0.1, "side": "buy"}]


def test_quotes_of_tardis_are_numbered_by_their_arrival(tmp_path: Path) -> None:
    arrivals = [9, 9, 9, 10, 12, 12]
    rows = [f"x,BTCUSDT,{AFTER},{AFTER + one},1.5,101,{at},2.5\n" for at, one in enumerate(arrivals)]
    found = read_rows(write(tmp_path / "a.csv", QUOTES + "".join(rows)), SPECS["quote"])
    places = [0, 1, 2, 0, 0, 1]
    assert [row["update_id"] for row in found] == [
        (AFTER + one) * 1_000 + place for one, place in zip(arrivals, places, strict=True)
    ]
    assert found[3] == {
        "timestamp": AFTER,
        "update_id": (AFTER + 10) * 1_000,
        "bid_price": 3.0,
        "bid_amount": 2.5,
        "ask_price": 101.0,
        "ask_amount": 1.5,
    }


def test_quotes_are_numbered_on_from_one_chunk_to_the_next(tmp_path: Path) -> None:
    rows = [f"x,B,{AFTER},{AFTER + at // 3},1,2,3,4\n" for at in range(50_500)]
    found = read_rows(write(tmp_path / "a.csv", QUOTES + "".join(rows)), SPECS["quote"])
    assert [row["update_id"] for row in found] == [(AFTER + at // 3) * 1_000 + at % 3 for at in range(50_500)]


@pytest.mark.parametrize(
    ("arrivals", "problem"),
    [([9, 8], "not in the order of local_timestamp"), ([9] * 1_001, "1,000 rows or more arrived at one time")],
)
def test_quotes_that_can_t_be_numbered_are_refused(tmp_path: Path, arrivals: list[int], problem: str) -> None:
    rows = [f"x,BTCUSDT,{AFTER},{AFTER + one},1.5,101,100,2.5\n" for one in arrivals]
    with pytest.raises(InputError, match=problem):
        read(write(tmp_path / "a.csv", QUOTES + "".join(rows)), SPECS["quote"])


AGGREGATED = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n"
SINGLE = "id,price,qty,quote_qty,time,is_buyer_maker\n"


@pytest.mark.parametrize(
    "text",
    [
        f"{AGGREGATED}5,42000.5,0.1,11,12,{{}},true\n6,42001.5,0.2,13,13,{{}},false\n",
        "5,42000.5,0.1,11,12,{},true\n6,42001.5,0.2,13,13,{},false\n",
        "5,42000.50000000,0.10000000,11,12,{},True,True\n6,42001.5,0.2,13,13,{},False,True\n",
        f"{SINGLE}5,42000.5,0.1,4200.05,{{}},true\n6,42001.5,0.2,8400.3,{{}},false\n",
        "5,42000.5,0.1,4200.05,{},true\n6,42001.5,0.2,8400.3,{},false\n",
        "5,42000.5,0.1,4200.05,{},True,True\n6,42001.5,0.2,8400.3,{},False,True\n",
    ],
    ids=["futures", "futures, no header", "spot", "trades", "trades, no header", "spot trades"],
)
@pytest.mark.parametrize(
    ("times", "stored"),
    [((BEFORE - 1, BEFORE), ((BEFORE - 1) * 1_000, BEFORE * 1_000)), ((AFTER, AFTER + 1), (AFTER, AFTER + 1))],
    ids=["ms", "us"],
)
def test_trades_of_binance_are_read_with_and_without_a_header(
    tmp_path: Path, text: str, times: Sequence[int], stored: Sequence[int]
) -> None:
    path = write(tmp_path / "a.csv", text.format(*times))
    assert read_rows(path, SPECS["trade"]) == [
        make_trade(stored[0], 5, 42000.5, 0.1, "sell"),
        make_trade(stored[1], 6, 42001.5, 0.2, "buy"),
    ]


@pytest.mark.parametrize("header", ["calc_time,funding_interval_hours,last_funding_rate\n", ""])
def test_funding_rates_of_binance_are_read(tmp_path: Path, header: str) -> None:
    path = write(tmp_path / "a.csv", f"{header}1704067200000,8,0.00037409\n1704096000011,8,-0.0001\n")
    assert read_rows(path, SPECS["funding"]) == [
        {"timestamp": 1704067200000, "rate": 0.00037409, "mark_price": None, "interval_hours": 8},
        {"timestamp": 1704096000011, "rate": -0.0001, "mark_price": None, "interval_hours": 8},
    ]


BOOK = "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time\n"


@pytest.mark.parametrize("header", [BOOK, ""])
def test_book_tickers_of_binance_are_read(tmp_path: Path, header: str) -> None:
    path = write(tmp_path / "a.csv", f"{header}3711,42000.1,1.5,42000.2,2.5,{BEFORE},{BEFORE + 4}\n" * 1)
    assert read_rows(path, SPECS["quote"]) == [
        {
            "timestamp": BEFORE * 1_000,
            "update_id": 3711,
            "bid_price": 42000.1,
            "bid_amount": 1.5,
            "ask_price": 42000.2,
            "ask_amount": 2.5,
        }
    ]


# Other names


def test_columns_are_named_by_their_headers(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", f"when,px,qty,n\n{AFTER},1.5,2.5,3\n")
    columns = {"timestamp": "when", "price": "PX", "amount": "qty", "trade_id": "n"}
    assert read_rows(path, SPECS["trade"], columns=columns) == [make_trade(AFTER, 3, 1.5, 2.5, None)]
    with pytest.raises(InputError, match=r"no column for trade_id, price, amount .*--columns trade_id=NAME"):
        read(path, SPECS["trade"], columns={"timestamp": "when"})
    with pytest.raises(InputError, match="there is no column 'quantity'"):
        read(path, SPECS["trade"], columns={**columns, "amount": "quantity"})


@pytest.mark.parametrize("header", ["when,px,qty,n\n", ""])
def test_columns_are_named_in_their_order(tmp_path: Path, header: str) -> None:
    path = write(tmp_path / "a.csv", f"{header}{AFTER},1.5,2.5,3\n")
    names = ["timestamp", "price", "-", "trade_id"]
    with pytest.raises(InputError, match="no column for amount"):
        read(path, SPECS["trade"], columns=names)
    names[2] = "amount"
    assert read_rows(path, SPECS["trade"], columns=names) == [make_trade(AFTER, 3, 1.5, 2.5, None)]
    with pytest.raises(InputError, match="--columns has 5 names, but lines have 4 fields"):
        read(path, SPECS["trade"], columns=[*names, "side"])


def test_column_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", f"timestamp,price,price,amount,trade_id\n{AFTER},1.5,1.5,2.5,3\n")
    with pytest.raises(InputError, match="price occurs twice in timestamp, price, price, amount, trade_id"):
        read(path, SPECS["trade"])


def test_file_without_a_known_header_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", f"{AFTER},1.5,2.5,3\n")
    with pytest.raises(InputError, match=r"has no header .*expected: timestamp, trade_id, price, amount, side"):
        read(path, SPECS["trade"])


# Times


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("1735689600.000001", AFTER),
        ("1735689600000.001", AFTER),
        ("1735689600000001", AFTER),
        ("1735689600000001000", AFTER),
        ("2025-01-01T00:00:00.000001Z", AFTER),
        ("2025-01-01 01:00:00.000001+01:00", AFTER),
        ("2025/01/01 00:00:00.000001", AFTER),
        ("20250101 00:00:00.000001", AFTER),
        ("01 Jan 2025 00:00:00.000001", AFTER),
        ("2025-01-01T00:00:00.000001000Z", AFTER),
        ("1.735689600000001e15", AFTER),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_times_of_every_form_are_read_to_the_last_digit(tmp_path: Path, text: str, stored: int, ending: str) -> None:
    columns: dict[str, Any] = {"timestamp": [text], "trade_id": [3], "price": [1.5], "amount": [2.5]}
    path = tmp_path / f"a.{ending}"
    if ending == "csv":
        write(path, "timestamp,trade_id,price,amount\n" + f"{text},3,1.5,2.5\n")
    else:
        pq.write_table(pa.table(columns), path)
    assert read_rows(path, SPECS["trade"]) == [make_trade(stored, 3, 1.5, 2.5, None)]


@pytest.mark.parametrize(
    "text", ["1735689600000000001", "2025-01-01T00:00:00.0000001Z", "1735689600.0000001", "1735689600000.00001"]
)
def test_time_that_is_finer_than_the_unit_makes_a_bad_line(tmp_path: Path, text: str) -> None:
    good = "1735689600000000000" if text.isdigit() else text.replace("0001", "0000")
    path = write(tmp_path / "a.csv", "timestamp,trade_id,price,amount\n" + f"{good},3,1.5,2.5\n{text},4,1.5,2.5\n")
    (chunk,) = read(path, SPECS["trade"])
    assert [row["trade_id"] for row in chunk.rows.rows(SPECS["trade"])] == [3]
    assert chunk.bad == [(3, f"{text!r} has digits that are lost in microseconds")]


def test_date_and_time_of_day_in_two_columns_are_joined(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "date,time,trade_id,price,amount\n2025-01-01,00:00:00.000001,3,1.5,2.5\n")
    assert read_rows(path, SPECS["trade"])[0]["timestamp"] == AFTER


def test_times_of_a_zone_are_converted(tmp_path: Path) -> None:
    from zoneinfo import ZoneInfo

    path = write(tmp_path / "a.csv", "timestamp,trade_id,price,amount\n2025-01-01T01:00:00.000001,3,1.5,2.5\n")
    assert read_rows(path, SPECS["trade"], zone=ZoneInfo("Europe/Berlin"))[0]["timestamp"] == AFTER
    assert read_rows(path, SPECS["trade"], time_format="%Y-%m-%dT%H:%M:%S.%f")[0]["timestamp"] == AFTER + 3_600_000_000


def test_irregular_times_are_not_taken_for_another_unit(tmp_path: Path) -> None:
    # Most are 1,000 microseconds apart, which would be a candle of a second in milliseconds.
    rows = [f"{AFTER + 1_000 * at},{at},1.5,2.5\n" for at in range(100)]
    path = write(tmp_path / "a.csv", "timestamp,trade_id,price,amount\n" + "".join(rows))
    assert [row["timestamp"] for row in read_rows(path, SPECS["trade"])] == [AFTER + 1_000 * at for at in range(100)]


def test_times_near_the_epoch_need_their_unit(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "timestamp,trade_id,price,amount\n5,3,1.5,2.5\n1735689600000000,4,1.5,2.5\n")
    with pytest.raises(InputError, match="can't determine the unit of its times"):
        read(path, SPECS["trade"])
    assert [row["timestamp"] for row in read_rows(path, SPECS["trade"], unit="us")] == [5, 1735689600000000]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_typed_times_of_a_table_are_converted(tmp_path: Path, unit: str) -> None:
    time = pl.Series([AFTER - 1]).cast(pl.Datetime("us")).to_arrow().cast(pa.timestamp(unit, "UTC"))
    pq.write_table(pa.table({"timestamp": time, "trade_id": [3], "price": [1.5], "amount": [2.5]}), tmp_path / "a.pq")
    assert read_rows(tmp_path / "a.pq", SPECS["trade"])[0]["timestamp"] == AFTER - 1


def test_typed_time_that_is_finer_than_the_unit_is_a_bad_row(tmp_path: Path) -> None:
    time = pa.array([AFTER * 1_000, AFTER * 1_000 + 1], pa.timestamp("ns"))
    table = pa.table({"timestamp": time, "trade_id": [3, 4], "price": [1.5, 1.5], "amount": [2.5, 2.5]})
    pq.write_table(table, tmp_path / "a.parquet")
    (chunk,) = read(tmp_path / "a.parquet", SPECS["trade"])
    assert len(chunk.rows) == 1
    assert chunk.bad == [(2, "'2025-01-01 00:00:00.000001001' has digits that are lost in microseconds")]


# Values

VALUES = SlotSpec(
    name="values",
    shape="series",
    context=("symbol",),
    key=("symbol", "timestamp"),
    columns=(
        Column("number", "float64"),
        Column("whole", "int64", nullable=True),
        Column("small", "int8", nullable=True),
        Column("flag", "bool", nullable=True),
        Column("text", "str", nullable=True),
    ),
)
HEADER = "timestamp,number,whole,small,flag,text\n"
GOOD = "1735689600000,1.5,1,1,true,a\n"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1735689600001,,1,1,true,a", "number is empty"),
        ("1735689600001,x,1,1,true,a", "number is not a number: 'x'"),
        (
            "1735689600001,1,1.5,1,true,a",
            "whole is not an integer from -9223372036854775808 to 9223372036854775807: '1.5'",
        ),
        ("1735689600001,1,9223372036854775808,1,true,a", "whole is not an integer from -9223372036854775808 to 92233"),
        ("1735689600001,1,1,128,true,a", "small is not an integer from -128 to 127: '128'"),
        ("1735689600001,1,1,1,maybe,a", "flag is neither true nor false: 'maybe'"),
        ("1735689600001,1,1,1,true,\udcff", "text is not UTF-8"),
        ("1735689600001,1,1,1,true", "5 fields instead of 6"),
        (",1,1,1,true,a", "the time is empty"),
        ("x,1,1,1,true,a", "'x' is not a time in ms"),
        ("99999999999999999,1,1,1,true,a", "'99999999999999999' is not a time in ms"),
    ],
)
def test_value_that_a_column_can_t_have_makes_a_bad_line(tmp_path: Path, line: str, reason: str) -> None:
    (tmp_path / "a.csv").write_bytes((HEADER + GOOD + line + "\n" + 50 * GOOD).encode("utf-8", "surrogateescape"))
    (chunk,) = read(tmp_path / "a.csv", VALUES)
    assert chunk.lines.tolist() == [2, *range(4, 54)]
    ((number, found),) = chunk.bad
    assert (number, found[: len(reason)]) == (3, reason)


def test_values_are_read_as_they_are_written(tmp_path: Path) -> None:
    lines = [
        '1735689600000,1e-7,1e5,-128,T,"a, ""b"" "',
        "1735689600001,nan,5.0,,0,",
        '1735689600002,-inf,,1,,""',
        "1735689600003,0.1,-9223372036854775808,1,FALSE,  c  ",
        f"1735689600004,123456789012345678901234567890,9223372036854775807,1,1,{'d' * 200}",
    ]
    found = read_rows(write(tmp_path / "a.csv", HEADER + "\n".join(lines) + "\n"), VALUES)
    assert [row["text"] for row in found] == ['a, "b" ', None, "", "c", "d" * 200]
    assert [row["whole"] for row in found] == [100_000, 5, None, -(2**63), 2**63 - 1]
    assert [row["small"] for row in found] == [-128, None, 1, 1, 1]
    assert [row["flag"] for row in found] == [True, False, None, False, True]
    assert [repr(row["number"]) for row in found] == ["1e-07", "nan", "-inf", "0.1", "1.2345678901234568e+29"]


def test_decimal_commas_and_semicolons_are_understood(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "timestamp;number;whole\n1735689600000;1,5;1\n1735689600001;1.234,25;2\n")
    assert [row["number"] for row in read_rows(path, VALUES)] == [1.5, 1234.25]


def test_table_with_a_value_that_would_change_has_a_bad_row(tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "timestamp": pa.array([BEFORE, BEFORE + 1, BEFORE + 2, BEFORE + 3], pa.int64()),
        "number": pa.array([2**53, 2**53 + 1, None, 3], pa.int64()),
        "whole": pa.array([1.0, 1.0, 1.0, 1.5]),
        "small": pa.array([1, 1, 1, 1], pa.int64()),
        "text": pa.array(["a", "b", "c", None]).dictionary_encode(),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    (chunk,) = read(tmp_path / "a.parquet", VALUES)
    assert [row["number"] for row in chunk.rows.rows(VALUES)] == [2.0**53]
    assert chunk.bad == [
        (2, "number is not a number: '9007199254740993'"),
        (3, "number is empty"),
        (4, "whole is not an integer from -9223372036854775808 to 9223372036854775807: '1.5'"),
    ]


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.zip", "a.feather"])
def test_packed_files_and_feather_are_read(tmp_path: Path, name: str) -> None:
    text, path = f"timestamp,trade_id,price,amount\n{AFTER},3,1.5,2.5\n", tmp_path / name
    match path.suffix:
        case ".gz":
            path.write_bytes(gzip.compress(text.encode()))
        case ".zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("trades.csv", text)
        case ".feather":
            pl.DataFrame({"timestamp": [AFTER], "trade_id": [3], "price": [1.5], "amount": [2.5]}).write_ipc(path)
        case _:
            path.write_text(text)
    assert read_rows(path, SPECS["trade"]) == [make_trade(AFTER, 3, 1.5, 2.5, None)]


@pytest.mark.parametrize("text", ["", "\n\n", "no table here\n", "a,b\nc,d\n"])
def test_file_without_rows_is_refused_or_empty(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "a.csv", text)
    if not text.strip():
        assert read(path, SPECS["trade"]) == []
        return
    with pytest.raises(InputError, match=r"several fields|no column for"):
        read(path, SPECS["trade"])

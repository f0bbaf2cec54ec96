"""CSV files of every kind: what is read, which lines are not candles, and which files are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backtest_mongo.errors import InputError
from backtest_mongo.market_data.candle_chunks import BadLine
from backtest_mongo.types import PRICES
from tests.support.candle_files import (
    BARS,
    MINUTE,
    START,
    SYMBOLS,
    format_by,
    format_iso,
    format_lines,
    list_bad_lines,
    list_bars,
    read_chunks,
    write_text,
)

pytestmark = pytest.mark.either_driver


# Kinds


KINDS: dict[str, str] = {
    "ccxt": format_lines(BARS),
    "semicolons": format_lines(BARS, ";"),
    "tabs": format_lines(BARS, "\t"),
    "binance": "".join(
        f"{line},{row[0] + MINUTE - 1},1.5,42,0.5,0.25,0\n"
        for line, row in zip(format_lines(BARS).splitlines(), BARS, strict=True)
    ),
    "binance since 2025": "".join(
        f"{line},{(row[0] + MINUTE) * 1000 - 1},1.5,42,0.5,0.25,0\n"
        for line, row in zip(format_lines(BARS, time=lambda t: t * 1000).splitlines(), BARS, strict=True)
    ),
    "binance with its header": "open_time,open,high,low,close,volume,close_time,quote_volume,count\n"
    + "".join(f"{line},1,2,3\n" for line in format_lines(BARS).splitlines()),
    "seconds": format_lines(BARS, time=lambda t: t // 1000),
    "seconds as floats": format_lines(BARS, time=lambda t: t / 1000),
    "nanoseconds": format_lines(BARS, time=lambda t: t * 1_000_000),
    "iso with a zone": "Date,Open,High,Low,Close,Volume\n" + format_lines(BARS, time=format_iso),
    "iso in another zone": "Date,Open,High,Low,Close,Volume\n"
    + format_lines(BARS, time=lambda t: format_iso(t + 3_600_000).replace("+00:00", "+01:00")),
    "iso without a zone": "time,open,high,low,close,volume\n" + format_lines(BARS, time=format_by("%Y-%m-%d %H:%M:%S")),
    "iso that ends in Z": "time,open,high,low,close,volume\n"
    + format_lines(BARS, time=format_by("%Y-%m-%dT%H:%M:%S.000Z")),
    "iso that ends in UTC": "time,open,high,low,close,volume\n"
    + format_lines(BARS, time=format_by("%Y-%m-%d %H:%M:%S UTC")),
    "dates with slashes": "time,open,high,low,close,volume\n" + format_lines(BARS, time=format_by("%Y/%m/%d %H:%M")),
    "dukascopy": "Gmt time,Open,High,Low,Close,Volume\n" + format_lines(BARS, time=format_by("%d.%m.%Y %H:%M:%S.000")),
    "histdata": format_lines(BARS, ";", time=format_by("%Y%m%d %H%M%S")),
    "metatrader 5": "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n"
    + "".join(f"{line}\t0\t3\n" for line in format_lines(BARS, "\t", format_by("%Y.%m.%d\t%H:%M:%S")).splitlines()),
    "metatrader 4, without a header": format_lines(BARS, time=format_by("%Y.%m.%d,%H:%M")),
    "stooq": "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\n"
    + "".join(f"BTC.V,1,{line},0\n" for line in format_lines(BARS, time=format_by("%Y%m%d,%H%M%S")).splitlines()),
    "a number and a date": "unix,date,symbol,open,high,low,close,Volume BTC,Volume USDT\n"
    + "".join(f"{row[0]},2024-01-01,BTC/USDT,{','.join(map(repr, row[1:]))},9.5\n" for row in BARS),
    "a vendor's line first": "https://www.example.com\ndate,Unix,open,high,low,close,Volume USDT,Volume BTC\n"
    + "".join(f"x,{row[0]},{','.join(map(repr, row[1:5]))},9.5,{row[5]!r}\n" for row in BARS),
    "whole times in two columns": "Date,Time,open,high,low,close,volume\n"
    + "".join(f"yesterday,{line}\n" for line in format_lines(BARS).splitlines()),
    "any order and case": "CLOSE,Vol,low,High,OPEN,Timestamp (UTC)\n"
    + "".join(f"{c!r},{v!r},{lo!r},{h!r},{o!r},{t}\n" for t, o, h, lo, c, v in BARS),
    "an index of pandas": ",timestamp,open,high,low,close,volume\n"
    + "".join(f"{index},{line}\n" for index, line in enumerate(format_lines(BARS).splitlines())),
    "quotes": "".join(f'"{line.replace(",", chr(34) + "," + chr(34))}"\n' for line in format_lines(BARS).splitlines()),
    "a symbol in quotes with a comma": "symbol,t,o,h,l,c,v\n"
    + "".join(f'"BTC,USDT",{line}\n' for line in format_lines(BARS).splitlines()),
    "blank lines": "\n" + format_lines(BARS[:2]) + "\n   \n" + format_lines(BARS[2:]) + "\n\n",
    "spaces": "time , open , high , low , close , volume\n" + format_lines(BARS).replace(",", " , "),
    "no newline at the end": format_lines(BARS).rstrip(),
    "lines of windows": format_lines(BARS).replace("\n", "\r\n"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_csv_of_each_kind_reads_the_same(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "candles.csv"
    path.write_bytes(KINDS[kind].encode())
    found = read_chunks(path)
    assert list_bars(found) == BARS
    assert list_bad_lines(found) == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_mark_is_no_part_of_the_header(encoding: str, tmp_path: Path) -> None:
    text = "timestamp,open,high,low,close,volume\n" + format_lines(BARS)
    assert list_bars(read_chunks(write_text(tmp_path / "candles.csv", text, encoding))) == BARS


def test_columns_have_their_types_and_lines_their_numbers(tmp_path: Path) -> None:
    text = "timestamp,open,high,low,close,volume\n\n" + format_lines(BARS)
    (chunk,) = read_chunks(write_text(tmp_path / "candles.csv", text))
    assert list(chunk.columns) == ["timestamp", *PRICES]
    assert chunk.columns["timestamp"].dtype == np.int64
    assert {chunk.columns[name].dtype for name in PRICES} == {np.dtype(np.float64)}
    assert chunk.lines.tolist() == [3, 4, 5, 6, 7]
    assert chunk.position == len(text)


def test_times_without_a_zone_are_said_to_be_utc(tmp_path: Path) -> None:
    header = "time,open,high,low,close,volume\n"
    (naive,) = read_chunks(
        write_text(tmp_path / "a.csv", header + format_lines(BARS, time=format_by("%Y-%m-%d %H:%M")))
    )
    assert naive.note.endswith("time from 'time', which names no zone: taken as UTC")
    for name, time in (("b", format_iso), ("c", str), ("d", format_by("%Y-%m-%dT%H:%MZ"))):
        (chunk,) = read_chunks(write_text(tmp_path / f"{name}.csv", header + format_lines(BARS, time=time)))
        assert "zone" not in chunk.note


def test_columns_can_be_named_by_the_caller(tmp_path: Path) -> None:
    rows = "".join(f"x,{t},{c!r},{o!r},{lo!r},{h!r},{v!r},7\n" for t, o, h, lo, c, v in BARS)
    names = ["-", "time", "close", "open", "low", "high", "volume"]
    assert list_bars(read_chunks(write_text(tmp_path / "a.csv", rows), columns=names)) == BARS
    # A header that is there all the same is no row.
    assert list_bars(read_chunks(write_text(tmp_path / "b.csv", "a,b,c,d,e,f,g,h\n" + rows), columns=names)) == BARS


def test_unit_of_times_can_be_named_by_the_caller(tmp_path: Path) -> None:
    early = [(index * MINUTE, *row[1:]) for index, row in enumerate(BARS)]
    path = write_text(tmp_path / "candles.csv", format_lines(early))
    assert list_bars(read_chunks(path, unit="ms")) == early
    assert list_bars(read_chunks(path, unit="s")) == [(row[0] * 1000, *row[1:]) for row in early]
    with pytest.raises(InputError, match="unit 'hours' is unknown"):
        read_chunks(path, unit="hours")


# Bad lines


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f"{START},1,2,0.5", "4 fields instead of 6"),
        (f"{START},1,2,0.5,1,5,6", "7 fields instead of 6"),
        (f"{START},1,2,0.5,1,1,234,567", "8 fields instead of 6"),
        ("1,2,3,4,5,6", "'1' is not a time in ms"),
        (f"{START // 1000},1,2,0.5,1,5", f"'{START // 1000}' is not a time in ms"),
        (f"{START * 1000},1,2,0.5,1,5", f"'{START * 1000}' is not a time in ms"),
        ("2024-01-01 00:00,1,2,0.5,1,5", "'2024-01-01 00:00' is not a time in ms"),
        ("soon,1,2,0.5,1,5", "'soon' is not a time in ms"),
        (",1,2,0.5,1,5", "the time is empty"),
        ("nan,1,2,0.5,1,5", "'nan' is not a time in ms"),
        ("99999999999999999999999,1,2,0.5,1,5", "'99999999999999999999999' is not a time in ms"),
        ("20241301,1,2,0.5,1,5", "'20241301' is not a time in ms"),
        (f"{START},x,2,0.5,1,5", "open is not a number: 'x'"),
        (f"{START},1,,0.5,1,5", "high is empty"),
        (f"{START},1,2,nan,1,5", "low is not finite: 'nan'"),
        (f"{START},1,2,0.5,-inf,5", "close is not finite: '-inf'"),
        (f"{START},1,2,0.5,1,1_000", "volume is not a number: '1_000'"),
        (f'{START},1,2,0.5,1,"5', "1 field instead of 6"),
        ("<html>", "1 field instead of 6"),
        ("timestamp,open,high,low,close,volume", "'timestamp' is not a time in ms"),
        (f"{START},1,2,0.5,1,\x005", "1 field instead of 6"),
    ],
)
@pytest.mark.parametrize("place", [1, 400, 999])
def test_bad_line_is_reported_and_the_rest_is_read(line: str, reason: str, place: int, tmp_path: Path) -> None:
    rows = [(START + index * MINUTE, 1.0, 2.0, 0.5, 1.5, float(index)) for index in range(1000)]
    text = format_lines(rows).splitlines()
    text.insert(place, line)
    found = read_chunks(write_text(tmp_path / "candles.csv", "\n".join(text)))
    assert list_bars(found) == rows
    assert list_bad_lines(found) == [BadLine(place + 1, reason)]
    assert found[0].lines.tolist() == [number for number in range(1, 1002) if number != place + 1]


def test_truncated_first_line_is_reported(tmp_path: Path) -> None:
    found = read_chunks(write_text(tmp_path / "candles.csv", f"{START},1,2\n" + format_lines(BARS)))
    assert list_bars(found) == BARS
    assert list_bad_lines(found) == [BadLine(1, "3 fields instead of 6")]


def symbols(columns: str = "time,open,high,low,close,volume,symbol") -> str:
    rows = zip(format_lines(BARS).splitlines(), SYMBOLS, strict=True)
    return "\n".join([columns, *(f"{line},{symbol}" for line, symbol in rows)])


def test_rows_of_a_symbol_are_selected_whatever_its_case_and_punctuation(tmp_path: Path) -> None:
    path = write_text(tmp_path / "candles.csv", symbols())
    (found,) = read_chunks(path, symbol="BTCUSDT")
    assert list_bars([found]) == [BARS[0], BARS[2], BARS[3]]
    assert (list_bad_lines([found]), found.others) == ([], 2)
    assert found.lines.tolist() == [2, 4, 5]


def test_rows_are_split_by_symbol_where_none_is_named(tmp_path: Path) -> None:
    first, second = read_chunks(write_text(tmp_path / "candles.csv", symbols()))
    assert (first.symbol, second.symbol) == ("BTC/USDT", "eth-usdt")
    assert list_bars([first]) == [BARS[0], BARS[2], BARS[3]]
    assert list_bars([second]) == [BARS[1], BARS[4]]


def test_file_of_other_symbols_is_refused_unless_forced(tmp_path: Path) -> None:
    path = write_text(tmp_path / "candles.csv", symbols())
    with pytest.raises(InputError, match=r"is of BTC/USDT, eth-usdt, not of SOL \(--symbol takes one of them"):
        read_chunks(path, symbol="SOL", force=True)
    one = write_text(
        tmp_path / "one.csv", "symbol,t,o,h,l,c,v\n" + "".join(f"FB,{row}\n" for row in format_lines(BARS).split())
    )
    with pytest.raises(InputError, match=r"is of FB, not of META \(--force stores it"):
        read_chunks(one, symbol="META")
    assert list_bars(read_chunks(one, symbol="META", force=True)) == BARS


def test_file_of_several_chunks_keeps_its_line_numbers(tmp_path: Path) -> None:
    text = format_lines([(START + index * MINUTE, *BARS[0][1:]) for index in range(120_000)]).splitlines()
    text[70_000] = "broken"
    found = read_chunks(write_text(tmp_path / "candles.csv", "\n".join(text)))
    assert len(found) > 2
    assert [line.line for line in list_bad_lines(found)] == [70_001]
    numbers = np.concatenate([chunk.lines for chunk in found])
    assert numbers.tolist() == [*range(1, 70_001), *range(70_002, 120_001)]
    times = np.concatenate([chunk.columns["timestamp"] for chunk in found])
    assert (times == START + (numbers - 1) * MINUTE).all()
    positions = [chunk.position for chunk in found]
    assert positions == sorted(positions)


# Files that can't be understood


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "timestamp,first,high,low,last,volume\n" + format_lines(BARS),
            "no column for open, close among timestamp, first, ",
        ),
        (
            "when,open,high,low,close,volume\n" + format_lines(BARS),
            "no column for a time among when, open, high, low, close",
        ),
        ("time,open,high,low,close,close\n" + format_lines(BARS), "close occurs twice in time, open"),
        ("time,open,high,low,close,amount\n" + format_lines(BARS), "no column for volume among time, open"),
        ("a,b\n1,2\n", "none of the first 2 lines has 6 fields"),
        ("MZ\x90\x00\x03\x00" * 100, "none of the first 1 lines has 6 fields"),
        ("x" * 2_000_001, "line 1 has more than 1,048,576 characters"),
        ("a,b,c,d,e,1\n", "'a' is not a time (--time-format"),
        ("0,1,2,0.5,1,1\n", "can't determine the unit of its times; the first is '0' (--time-unit sets it"),
        ("5,1,2,0.5,1,1\n7,1,2,0.5,1,1\n", "can't determine the unit of its times; the first is '5'"),
        ("1e9,x,2,0.5,1,1\n", "line 1 is not a candle, nor is any of the next: open is not a number: 'x'"),
        (
            "".join(f"{t},{o},{c},{h},{lo},{v}\n" for t, o, h, lo, c, v in BARS),
            "in 5 of the first 5 rows high is not the highest or low not the lowest",
        ),
        (
            "time,open,high,low,close,volume\n" + format_lines(BARS).replace(".", ","),
            "no line has 6 fields like its header: line 2 has 11 (perhaps numbers hold the delimiter",
        ),
        (
            "time,open,high,low,close,volume\n" + "".join(f"{line},7\n" for line in format_lines(BARS).split()),
            "no line has 6 fields like its header: line 2 has 7",
        ),
        ("open,high,low,close,volume\n" + format_lines(BARS), "no column for a time among open, high"),
        (format_lines(BARS).replace(".", ","), "lines have 11 fields, and nothing names more than 6"),
        (
            "".join(f"{line.replace('.0', '.5')},234\n" for line in format_lines(BARS[1:2]).split()).replace(
                "10.5", "10"
            ),
            "lines have 7 fields",
        ),
        (
            "time,open,high,low,close\n" + format_lines(BARS),
            "no column for volume among time, open, high, low, close (--no-volume",
        ),
        ("".join(f"{line.rpartition(',')[0]}\n" for line in format_lines(BARS).split()), "5 fields a line, too few"),
        ("time,open,low,high,close,volume\n" + format_lines(BARS), "in 5 of the first 5 rows high is not the highest"),
        ("t;o;h;l;c;v\n1e9;1;1;1;1;1,234\n", "'1,234' can have thousands or a fraction (--decimal point or"),
        ("t;o;h;l;c;v\n1e9;1,5;1.5;1.5;1,5;1\n", "has decimal points and decimal commas (--decimal point or"),
        ("date,o,h,l,c,v\n1/2/2024,1,2,1,2,3\n", "'1/2/2024' can be read with the day first or the month first"),
        ("date,o,h,l,c,v\n1/20/2024,1,2,1,2,3\n20/1/2024,1,2,1,2,3\n", "has days before months and months before days"),
        ("date,o,h,l,c,v\n1/2/24,1,2,1,2,3\n", "'1/2/24' is not a time (--time-format gives their format"),
        ("Time (EET),o,h,l,c,v\n2024-01-02,1,2,1,2,3\n", "the times of 'Time (EET)' are not in UTC (--time-zone"),
        ("date,o,h,l,c,v\n2024-01-02,1,2,1,2,3\n2024-01-03Z,1,2,1,2,3\n", "its times are in several formats"),
        (
            "".join(f"{t},1.5,2.5,0.5,1.5,{v},9.5,7\n" for t, v in ((10**9, 1.4), (10**9 + 60, 1.6))),
            "column 6 is the volume",
        ),
    ],
)
def test_error_of_an_ambiguous_or_invalid_file_says_why(text: str, words: str, tmp_path: Path) -> None:
    path = write_text(tmp_path / "candles.csv", text)
    with pytest.raises(InputError) as caught:
        read_chunks(path)
    assert str(caught.value).startswith(str(path))
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["", "\n \n", "time,open,high,low,close,volume\n"])
def test_file_without_rows_gives_none(text: str, tmp_path: Path) -> None:
    assert list_bars(read_chunks(write_text(tmp_path / "candles.csv", text))) == []

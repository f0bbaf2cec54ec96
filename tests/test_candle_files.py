"""Candle files of every kind: what is read of them, what is no candle, and what can't be understood."""

from __future__ import annotations

import gzip
import io
import math
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest_mongo.candles.chunk import BadLine, Chunk
from backtest_mongo.candles.files import read_candles
from backtest_mongo.candles.sources import Source, find_sources
from backtest_mongo.candles.times import NO_TIME, numbers_to_millis, text_to_millis, utc
from backtest_mongo.errors import InputError
from backtest_mongo.types import PRICES

pytestmark = pytest.mark.either_driver

Bar: TypeAlias = tuple[int, float, float, float, float, float]

MINUTE = 60_000
START = 1_704_067_200_000  # 2024-01-01 00:00 UTC
BARS: list[Bar] = [
    (START + index * MINUTE, 100.5 + index, 102.25 + index, 99.75 + index, 101.0 + index, 10.0 * index)
    for index in range(5)
]


def chunks(path: Path, **options: Any) -> list[Chunk]:
    return [chunk for source in find_sources([path]).sources for chunk in read_candles(source, **options)]


def bars(found: Sequence[Chunk]) -> list[Bar]:
    return [
        row
        for chunk in found
        for row in zip(*(chunk.columns[name].tolist() for name in ("timestamp", *PRICES)), strict=True)
    ]


def bad(found: Sequence[Chunk]) -> list[BadLine]:
    return [line for chunk in found for line in chunk.bad]


def written(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_text(text, encoding=encoding)
    return path


def lines(rows: Sequence[Bar], delimiter: str = ",", time: Callable[[int], object] = str) -> str:
    return "".join(f"{delimiter.join([str(time(row[0])), *map(repr, row[1:])])}\n" for row in rows)


def iso(millis: int) -> str:
    return datetime.fromtimestamp(millis / 1000, UTC).isoformat()


def clock(pattern: str) -> Callable[[int], str]:
    return lambda millis: datetime.fromtimestamp(millis / 1000, UTC).strftime(pattern)


# Kinds of CSV


KINDS: dict[str, str] = {
    "ccxt": lines(BARS),
    "semicolons": lines(BARS, ";"),
    "tabs": lines(BARS, "\t"),
    "binance": "".join(
        f"{line},{row[0] + MINUTE - 1},1.5,42,0.5,0.25,0\n"
        for line, row in zip(lines(BARS).splitlines(), BARS, strict=True)
    ),
    "binance since 2025": "".join(
        f"{line},{(row[0] + MINUTE) * 1000 - 1},1.5,42,0.5,0.25,0\n"
        for line, row in zip(lines(BARS, time=lambda t: t * 1000).splitlines(), BARS, strict=True)
    ),
    "binance with its header": "open_time,open,high,low,close,volume,close_time,quote_volume,count\n"
    + "".join(f"{line},1,2,3\n" for line in lines(BARS).splitlines()),
    "seconds": lines(BARS, time=lambda t: t // 1000),
    "seconds as floats": lines(BARS, time=lambda t: t / 1000),
    "nanoseconds": lines(BARS, time=lambda t: t * 1_000_000),
    "seconds and milliseconds in one file": lines(BARS[:2], time=lambda t: t // 1000) + lines(BARS[2:]),
    "iso with a zone": "Date,Open,High,Low,Close,Volume\n" + lines(BARS, time=iso),
    "iso in another zone": "Date,Open,High,Low,Close,Volume\n"
    + lines(BARS, time=lambda t: iso(t + 3_600_000).replace("+00:00", "+01:00")),
    "iso without a zone": "time,open,high,low,close,volume\n" + lines(BARS, time=clock("%Y-%m-%d %H:%M:%S")),
    "iso that ends in Z": "time,open,high,low,close,volume\n" + lines(BARS, time=clock("%Y-%m-%dT%H:%M:%S.000Z")),
    "iso that ends in UTC": "time,open,high,low,close,volume\n" + lines(BARS, time=clock("%Y-%m-%d %H:%M:%S UTC")),
    "dates with slashes": "time,open,high,low,close,volume\n" + lines(BARS, time=clock("%Y/%m/%d %H:%M")),
    "dukascopy": "Gmt time,Open,High,Low,Close,Volume\n" + lines(BARS, time=clock("%d.%m.%Y %H:%M:%S.000")),
    "histdata": lines(BARS, ";", time=clock("%Y%m%d %H%M%S")),
    "metatrader 5": "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n"
    + "".join(f"{line}\t0\t3\n" for line in lines(BARS, "\t", clock("%Y.%m.%d\t%H:%M:%S")).splitlines()),
    "metatrader 4, without a header": lines(BARS, time=clock("%Y.%m.%d,%H:%M")),
    "stooq": "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\n"
    + "".join(f"BTC.V,1,{line},0\n" for line in lines(BARS, time=clock("%Y%m%d,%H%M%S")).splitlines()),
    "a number and a date": "unix,date,symbol,open,high,low,close,Volume BTC,Volume USDT\n"
    + "".join(f"{row[0]},2024-01-01,BTC/USDT,{','.join(map(repr, row[1:]))},9.5\n" for row in BARS),
    "a vendor's line first": "https://www.example.com\ndate,Unix,open,high,low,close,Volume USDT,Volume BTC\n"
    + "".join(f"x,{row[0]},{','.join(map(repr, row[1:5]))},9.5,{row[5]!r}\n" for row in BARS),
    "whole times in two columns": "Date,Time,open,high,low,close,volume\n"
    + "".join(f"yesterday,{line}\n" for line in lines(BARS).splitlines()),
    "any order and case": "CLOSE,Vol,low,High,OPEN,Timestamp (UTC)\n"
    + "".join(f"{c!r},{v!r},{lo!r},{h!r},{o!r},{t}\n" for t, o, h, lo, c, v in BARS),
    "an index of pandas": ",timestamp,open,high,low,close,volume\n"
    + "".join(f"{index},{line}\n" for index, line in enumerate(lines(BARS).splitlines())),
    "quotes": "".join(f'"{line.replace(",", chr(34) + "," + chr(34))}"\n' for line in lines(BARS).splitlines()),
    "a symbol in quotes with a comma": "symbol,t,o,h,l,c,v\n"
    + "".join(f'"BTC,USDT",{line}\n' for line in lines(BARS).splitlines()),
    "blank lines": "\n" + lines(BARS[:2]) + "\n   \n" + lines(BARS[2:]) + "\n\n",
    "spaces": "time , open , high , low , close , volume\n" + lines(BARS).replace(",", " , "),
    "no newline at the end": lines(BARS).rstrip(),
    "lines of windows": lines(BARS).replace("\n", "\r\n"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_csv_of_each_kind_reads_the_same(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "candles.csv"
    path.write_bytes(KINDS[kind].encode())
    found = chunks(path)
    assert bars(found) == BARS
    assert bad(found) == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_mark_is_no_part_of_the_header(encoding: str, tmp_path: Path) -> None:
    text = "timestamp,open,high,low,close,volume\n" + lines(BARS)
    assert bars(chunks(written(tmp_path / "candles.csv", text, encoding))) == BARS


def test_columns_have_their_types_and_lines_their_numbers(tmp_path: Path) -> None:
    text = "timestamp,open,high,low,close,volume\n\n" + lines(BARS)
    (chunk,) = chunks(written(tmp_path / "candles.csv", text))
    assert list(chunk.columns) == ["timestamp", *PRICES]
    assert chunk.columns["timestamp"].dtype == np.int64
    assert {chunk.columns[name].dtype for name in PRICES} == {np.dtype(np.float64)}
    assert chunk.lines.tolist() == [3, 4, 5, 6, 7]
    assert chunk.position == len(text)


def test_times_without_a_zone_are_said_to_be_utc(tmp_path: Path) -> None:
    header = "time,open,high,low,close,volume\n"
    (naive,) = chunks(written(tmp_path / "a.csv", header + lines(BARS, time=clock("%Y-%m-%d %H:%M"))))
    assert naive.note.endswith("time from 'time', which names no zone: taken as UTC")
    for name, time in (("b", iso), ("c", str), ("d", clock("%Y-%m-%dT%H:%MZ"))):
        (chunk,) = chunks(written(tmp_path / f"{name}.csv", header + lines(BARS, time=time)))
        assert "zone" not in chunk.note


def test_columns_can_be_named_by_the_caller(tmp_path: Path) -> None:
    rows = "".join(f"x,{t},{c!r},{o!r},{lo!r},{h!r},{v!r},7\n" for t, o, h, lo, c, v in BARS)
    names = ["-", "time", "close", "open", "low", "high", "volume"]
    assert bars(chunks(written(tmp_path / "a.csv", rows), columns=names)) == BARS
    # A header that is there all the same is no row.
    assert bars(chunks(written(tmp_path / "b.csv", "a,b,c,d,e,f,g,h\n" + rows), columns=names)) == BARS


def test_unit_of_times_can_be_named_by_the_caller(tmp_path: Path) -> None:
    early = [(index * MINUTE, *row[1:]) for index, row in enumerate(BARS)]
    path = written(tmp_path / "candles.csv", lines(early))
    with pytest.raises(InputError, match="line 1 is no candle, nor is any of the next: '0' is no time in s, ms"):
        chunks(path)
    assert bars(chunks(path, unit="ms")) == early
    with pytest.raises(InputError, match="unit 'hours' is unknown"):
        chunks(path, unit="hours")


# Bad lines


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f"{START},1,2,0.5", "4 fields instead of 6"),
        ("1,2,3,4,5,6", "'1' is no time in s, ms, us or ns"),
        ("soon,1,2,0.5,1,5", "'soon' is no time"),
        (",1,2,0.5,1,5", "there is no time"),
        ("nan,1,2,0.5,1,5", "'nan' is no time"),
        ("99999999999999999999999,1,2,0.5,1,5", "'99999999999999999999999' is no time in s, ms, us or ns"),
        ("20241301,1,2,0.5,1,5", "'20241301' is no time in s, ms, us or ns"),
        (f"{START},x,2,0.5,1,5", "open is no number: 'x'"),
        (f"{START},1,,0.5,1,5", "high is empty"),
        (f"{START},1,2,nan,1,5", "low is not finite: 'nan'"),
        (f"{START},1,2,0.5,-inf,5", "close is not finite: '-inf'"),
        (f"{START},1,2,0.5,1,1_000", "volume is not finite: '1_000'"),
        (f'{START},1,2,0.5,1,"5', "1 field instead of 6"),
        ("<html>", "1 field instead of 6"),
        ("timestamp,open,high,low,close,volume", "'timestamp' is no time"),
    ],
)
@pytest.mark.parametrize("place", [1, 400, 999])
def test_bad_line_is_reported_and_the_rest_goes_in(line: str, reason: str, place: int, tmp_path: Path) -> None:
    rows = [(START + index * MINUTE, 1.0, 2.0, 0.5, 1.5, float(index)) for index in range(1000)]
    text = lines(rows).splitlines()
    text.insert(place, line)
    found = chunks(written(tmp_path / "candles.csv", "\n".join(text)))
    assert bars(found) == rows
    assert bad(found) == [BadLine(place + 1, reason)]
    assert found[0].lines.tolist() == [number for number in range(1, 1002) if number != place + 1]


def test_cut_off_line_before_all_others_is_reported(tmp_path: Path) -> None:
    found = chunks(written(tmp_path / "candles.csv", f"{START},1,2\n" + lines(BARS)))
    assert bars(found) == BARS
    assert bad(found) == [BadLine(1, "3 fields instead of 6")]


def test_row_of_another_symbol_is_reported(tmp_path: Path) -> None:
    text = lines(BARS).splitlines()
    text = [f"{line},{'ETH' if index == 2 else 'BTC'}" for index, line in enumerate(text)]
    found = chunks(written(tmp_path / "candles.csv", "\n".join(["time,open,high,low,close,volume,symbol", *text])))
    assert bars(found) == BARS[:2] + BARS[3:]
    assert bad(found) == [BadLine(4, "symbol 'ETH' instead of 'BTC' of the first row")]


def test_file_of_several_chunks_keeps_its_line_numbers(tmp_path: Path) -> None:
    text = lines([(START + index * MINUTE, *BARS[0][1:]) for index in range(120_000)]).splitlines()
    text[70_000] = "broken"
    found = chunks(written(tmp_path / "candles.csv", "\n".join(text)))
    assert len(found) > 2
    assert [line.line for line in bad(found)] == [70_001]
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
        ("timestamp,first,high,low,last,volume\n" + lines(BARS), "no column for open, close among timestamp, first, "),
        ("when,open,high,low,close,volume\n" + lines(BARS), "no column for a time among when, open, high, low, close"),
        ("time,open,high,low,close,close\n" + lines(BARS), "close stands there twice in time, open"),
        ("time,open,high,low,close,amount\n" + lines(BARS), "no column for volume among time, open"),
        ("a,b\n1,2\n", "none of the first 2 lines has 6 fields"),
        ("MZ\x90\x00\x03\x00" * 100, "none of the first 1 lines has 6 fields"),
        ("x" * 2_000_001, "line 1 has more than 1,048,576 characters"),
        ("a,b,c,d,e,1\n", "line 1 is no candle, nor is any of the next: 'a' is no time"),
        (
            "".join(f"{t},{o},{c},{h},{lo},{v}\n" for t, o, h, lo, c, v in BARS),
            "in 5 of the first 5 rows high is not the highest or low not the lowest",
        ),
        ("time;open;high;low;close;volume\n" + lines(BARS, ";").replace(".", ","), "open is no number: '100,5'"),
    ],
)
def test_file_that_can_not_be_understood_says_why(text: str, words: str, tmp_path: Path) -> None:
    path = written(tmp_path / "candles.csv", text)
    with pytest.raises(InputError) as caught:
        chunks(path)
    assert str(caught.value).startswith(str(path))
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["", "\n \n", "time,open,high,low,close,volume\n"])
def test_file_without_rows_gives_none(text: str, tmp_path: Path) -> None:
    assert bars(chunks(written(tmp_path / "candles.csv", text))) == []


# Packed files and directories


def test_gzip_and_zip_are_unpacked(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.csv.gz", "wt") as packed:
        packed.write(lines(BARS[:2]))
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("sub/2.csv", lines(BARS[3:]))
        archive.writestr("sub/1.csv", lines(BARS[2:3]))
        archive.writestr("sub/1.csv.CHECKSUM", "c0ffee")
        archive.writestr("__MACOSX/sub/1.csv", "x")
        archive.mkdir("empty")
    found = find_sources([tmp_path / "a.csv.gz", tmp_path / "b.zip"])
    archive_name = f"{tmp_path}/b.zip"
    assert [source.name for source in found.sources] == [
        f"{tmp_path}/a.csv.gz",
        f"{archive_name}/sub/1.csv",
        f"{archive_name}/sub/2.csv",
    ]
    assert found.ignored == [f"{archive_name}/__MACOSX/sub/1.csv", f"{archive_name}/sub/1.csv.CHECKSUM"]
    assert bars([chunk for source in found.sources for chunk in read_candles(source)]) == BARS


def test_position_of_what_is_packed_is_that_on_the_disk(tmp_path: Path) -> None:
    text = lines([(START + index * MINUTE, *BARS[0][1:]) for index in range(120_000)])
    with gzip.open(tmp_path / "a.csv.gz", "wt") as packed:
        packed.write(text)
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", text)
        archive.writestr("b.csv", text)
    for source in find_sources(sorted(tmp_path.iterdir())).sources:
        assert source.size < len(text) / 2
        positions = [chunk.position for chunk in read_candles(source)]
        assert positions == sorted(positions)
        assert 0 < positions[0] <= positions[-1] <= source.size
        assert positions[-1] > source.size * 0.9


def test_directory_is_read_by_name_and_lists_what_it_passes_over(tmp_path: Path) -> None:
    for month in (2, 1):
        written(tmp_path / f"BTCUSDT-1m-2024-0{month}.csv", lines(BARS[:2] if month == 1 else BARS[2:]))
    written(tmp_path / "README.md", "x")
    (tmp_path / "old").mkdir()
    found = find_sources([tmp_path])
    assert [source.path.name for source in found.sources] == ["BTCUSDT-1m-2024-01.csv", "BTCUSDT-1m-2024-02.csv"]
    assert found.ignored == [str(tmp_path / "README.md"), str(tmp_path / "old")]
    assert found.size == sum(source.path.stat().st_size for source in found.sources)
    assert bars(chunks(tmp_path)) == BARS


def test_directory_of_several_series_is_refused(tmp_path: Path) -> None:
    for name in ("BTCUSDT-1m-2024-01.csv", "BTCUSDT-1h-2024-01.zip", "ETHUSDT-1m-2024-01-31.csv.gz"):
        written(tmp_path / name, "")
    with pytest.raises(InputError, match="has files of 3 series: BTCUSDT 1h, BTCUSDT 1m, ETHUSDT 1m"):
        find_sources([tmp_path])


def test_directory_without_candle_files_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "README.md", "")
    with pytest.raises(InputError, match="has no candle files"):
        find_sources([tmp_path])


def test_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.csv: is not there"):
        find_sources([tmp_path / "absent.csv"])


@pytest.mark.parametrize("kept", [30, 0.5])
@pytest.mark.parametrize("name", ["candles.csv.gz", "candles.zip", "candles.parquet"])
def test_file_that_is_cut_off_is_told(name: str, kept: float, tmp_path: Path) -> None:
    rows = [(START + index * MINUTE, *np.random.default_rng(index).random(5)) for index in range(1000)]
    text = lines([(time, o, 2.0, 0.0, c, v) for time, o, _, _, c, v in rows])
    path = tmp_path / name
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    elif name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.csv", text)
    else:
        frame(BARS).write_parquet(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept if kept > 1 else kept * len(content))])
    with pytest.raises(InputError, match=f"{name}: can't be read"):
        chunks(path)


def test_member_whose_bytes_have_changed_is_told(tmp_path: Path) -> None:
    path = tmp_path / "candles.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", lines(BARS))
    path.write_bytes(path.read_bytes().replace(b"100.5", b"900.5"))
    with pytest.raises(InputError, match=r"candles\.zip/a\.csv: can't be read: Bad CRC-32"):
        chunks(path)


def test_member_that_is_encrypted_is_told(tmp_path: Path) -> None:
    path = tmp_path / "candles.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", lines(BARS))
    content = path.read_bytes()
    directory = content.index(b"PK\x01\x02")
    path.write_bytes(content[: directory + 8] + b"\x01" + content[directory + 9 :])
    with pytest.raises(InputError, match=r"candles\.zip/a\.csv: is encrypted"):
        chunks(path)


# Parquet


def frame(rows: Sequence[Bar]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["timestamp", *PRICES], orient="row")


@pytest.mark.parametrize(
    "time",
    [
        pl.col("timestamp"),
        pl.col("timestamp") // 1000,
        pl.col("timestamp") * 1000,
        pl.col("timestamp") * 1_000_000,
        (pl.col("timestamp") // 1000).cast(pl.Int32),
        (pl.col("timestamp") // 1000).cast(pl.UInt64),
        (pl.col("timestamp") / 1000).cast(pl.Float64),
        pl.from_epoch("timestamp", "ms"),
        pl.from_epoch("timestamp", "ms").dt.cast_time_unit("us"),
        pl.from_epoch("timestamp", "ms").dt.cast_time_unit("ns"),
        pl.from_epoch("timestamp", "ms").dt.replace_time_zone("UTC"),
        pl.from_epoch("timestamp", "ms").dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo"),
        pl.from_epoch("timestamp", "ms").dt.strftime("%Y-%m-%d %H:%M:%S"),
    ],
    ids=str,
)
def test_parquet_times_of_each_type_read_the_same(time: pl.Expr, tmp_path: Path) -> None:
    path = tmp_path / "candles.parquet"
    frame(BARS).with_columns(time.alias("timestamp")).write_parquet(path)
    found = chunks(path)
    assert bars(found) == BARS
    assert found[0].lines.tolist() == [1, 2, 3, 4, 5]


def test_parquet_days_are_midnight_utc(tmp_path: Path) -> None:
    rows = [(START + index * 86_400_000, *row[1:]) for index, row in enumerate(BARS)]
    table = frame(rows).with_columns(pl.from_epoch("timestamp", "ms").cast(pl.Date).alias("date")).drop("timestamp")
    table.write_parquet(tmp_path / "candles.parquet")
    assert bars(chunks(tmp_path / "candles.parquet")) == rows


def test_parquet_says_that_a_time_without_a_zone_is_utc(tmp_path: Path) -> None:
    path = tmp_path / "candles.parquet"
    naive = frame(BARS).with_columns(pl.from_epoch("timestamp", "ms").alias("timestamp"))
    naive.write_parquet(path)
    assert "names no zone: taken as UTC" in chunks(path)[0].note
    naive.with_columns(pl.col("timestamp").dt.replace_time_zone("UTC")).write_parquet(path)
    assert "zone" not in chunks(path)[0].note


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (pl.lit(None, pl.Float64).alias("open"), "open is empty"),
        (pl.lit(math.nan).alias("high"), "high is not finite: 'nan'"),
        (pl.lit(None, pl.Int64).alias("timestamp"), "there is no time"),
        (pl.lit(1).alias("timestamp"), "'1' is no time"),
    ],
)
def test_bad_row_of_parquet_is_reported_and_the_rest_goes_in(column: pl.Expr, reason: str, tmp_path: Path) -> None:
    table = frame(BARS)
    table = pl.concat([table[:2], table[2:3].with_columns(column), table[3:]], how="vertical_relaxed")
    table.write_parquet(tmp_path / "candles.parquet")
    found = chunks(tmp_path / "candles.parquet")
    assert bars(found) == BARS[:2] + BARS[3:]
    assert bad(found) == [BadLine(3, reason)]


def test_parquet_prices_of_other_types_are_numbers(tmp_path: Path) -> None:
    table = frame(BARS).with_columns(
        pl.col("open").cast(pl.Float32),
        pl.col("high").cast(pl.Decimal(18, 4)),
        pl.col("low").cast(pl.String),
        pl.col("volume").cast(pl.Int32),
    )
    table[3, "low"] = "much"
    table.write_parquet(tmp_path / "candles.parquet")
    found = chunks(tmp_path / "candles.parquet")
    assert bars(found) == BARS[:3] + BARS[4:]
    assert bad(found) == [BadLine(4, "low is no number: 'much'")]


def test_parquet_of_pandas_has_its_time_in_the_index(tmp_path: Path) -> None:
    table = frame(BARS).to_pandas()
    table.index = table.pop("timestamp").astype("datetime64[ms]").dt.tz_localize("UTC")
    table.index.name = None
    table.to_parquet(tmp_path / "candles.parquet")
    assert bars(chunks(tmp_path / "candles.parquet")) == BARS


def test_parquet_rows_of_another_symbol_are_reported(tmp_path: Path) -> None:
    table = frame(BARS).with_columns(pl.Series("ticker", ["BTC", "BTC", "ETH", "BTC", None]))
    table.write_parquet(tmp_path / "candles.parquet")
    found = chunks(tmp_path / "candles.parquet")
    assert bars(found) == BARS[:2] + BARS[3:4]
    assert [line.line for line in bad(found)] == [3, 5]


def test_parquet_of_several_row_groups_is_read_in_chunks(tmp_path: Path) -> None:
    rows = [(START + index * MINUTE, *BARS[0][1:]) for index in range(120_000)]
    frame(rows).write_parquet(tmp_path / "candles.parquet", row_group_size=70_000)
    found = chunks(tmp_path / "candles.parquet")
    assert len(found) > 2
    assert max(len(chunk.lines) for chunk in found) <= 50_000
    assert bars(found) == rows
    assert np.concatenate([chunk.lines for chunk in found]).tolist() == list(range(1, 120_001))
    assert found[-1].position == (tmp_path / "candles.parquet").stat().st_size


def test_parquet_in_a_zip_archive_is_read(tmp_path: Path) -> None:
    content = io.BytesIO()
    frame(BARS).write_parquet(content)
    with zipfile.ZipFile(tmp_path / "candles.zip", "w") as archive:
        archive.writestr("candles.parquet", content.getvalue())
    assert bars(chunks(tmp_path / "candles.zip")) == BARS


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (frame(BARS).rename({"open": "begin"}), "no column for open among timestamp, begin, high"),
        (frame(BARS).with_columns(pl.col("timestamp") - START), "row 1 is no candle, nor is any of the next: '0' is"),
        (frame(BARS).with_columns(pl.lit("x").alias("date")).rename({"timestamp": "time"}), "in two columns"),
    ],
)
def test_parquet_that_can_not_be_understood_says_why(table: pl.DataFrame, words: str, tmp_path: Path) -> None:
    table.write_parquet(tmp_path / "candles.parquet")
    with pytest.raises(InputError) as caught:
        chunks(tmp_path / "candles.parquet")
    assert words in str(caught.value)


def test_parquet_without_rows_gives_none(tmp_path: Path) -> None:
    frame(BARS)[:0].write_parquet(tmp_path / "candles.parquet")
    assert bars(chunks(tmp_path / "candles.parquet")) == []


def test_parquet_names_the_extra_that_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame(BARS).write_parquet(tmp_path / "candles.parquet")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'Parquet needs pyarrow \(pip install "backtest-mongo\[frames\]"'):
        chunks(tmp_path / "candles.parquet")


# Whatever is written


@st.composite
def tables(draw: st.DrawFn) -> list[Bar]:
    """Candles of any size, some of them on the same minute, in any order."""
    number = st.floats(-1e300, 1e300)
    minutes = st.integers(2_000_000, 100_000_000)  # 1973 to 2160
    rows = draw(st.lists(st.tuples(minutes, st.lists(number, min_size=5, max_size=5)), min_size=1, max_size=30))
    return [
        (minute * MINUTE, open_, max(prices), min(prices), close, volume)
        for minute, prices in rows
        for open_, _, _, close, volume in [prices]
    ]


TIMES: dict[str, Callable[[int], object]] = {
    "s": lambda millis: millis // 1000,
    "ms": lambda millis: millis,
    "us": lambda millis: millis * 1000,
    "ns": lambda millis: millis * 1_000_000,
    "float": lambda millis: millis / 1000,
    "iso": iso,
    "space": clock("%Y-%m-%d %H:%M"),
    "dots": clock("%Y.%m.%d %H:%M:%S"),
    "day first": clock("%d.%m.%Y %H:%M:%S.000"),
}
HEADS = {
    "timestamp": ("timestamp", "TIMESTAMP", "Open time", "open_time", "Date", "unix", "<TIME>", "datetime"),
    "open": ("open", "Open", "<OPEN>", "o"),
    "high": ("high", "HIGH", "h"),
    "low": ("low", " Low ", "l"),
    "close": ("close", "Close Price", "c"),
    "volume": ("volume", "Vol", "Volume BTC", "<TICKVOL>"),
}


@settings(max_examples=200, deadline=None)
@given(
    rows=tables(),
    unit=st.sampled_from(list(TIMES)),
    delimiter=st.sampled_from([",", ";", "\t"]),
    newline=st.sampled_from(["\n", "\r\n"]),
    packed=st.booleans(),
    extra=st.integers(0, 3),
    data=st.data(),
)
def test_csv_of_any_shape_reads_back_equal(
    rows: list[Bar], unit: str, delimiter: str, newline: str, packed: bool, extra: int, data: st.DataObject
) -> None:
    fields = [[str(TIMES[unit](row[0])), *map(repr, row[1:])] for row in rows]
    order = list(range(6))
    header: list[list[str]] = []
    if data.draw(st.booleans(), label="header"):
        order = data.draw(st.permutations(order))
        names = list(HEADS)
        header = [[data.draw(st.sampled_from(HEADS[names[place]])) for place in order] + ["extra"] * extra]
    table = header + [[row[place] for place in order] + ["7"] * extra for row in fields]
    text = newline.join(delimiter.join(row) for row in table) + newline
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "candles.csv"
        path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
        found = list(read_candles(Source(path, path.stat().st_size)))
    assert bars(found) == rows
    assert bad(found) == []


# Times


@given(st.integers(10**11, 253_402_300_799_999 // 1000 * 10))
def test_each_unit_is_told_by_its_size(millis: int) -> None:
    millis = millis % (4 * 10**12) + 10**11
    numbers = np.array([millis, millis * 1000, millis * 1_000_000], np.int64)
    assert numbers_to_millis(numbers).tolist() == [millis] * 3
    assert numbers_to_millis(np.array([millis // 1000])).tolist() == [millis // 1000 * 1000]


@pytest.mark.parametrize("unit", ["auto", "s", "ms", "us", "ns"])
def test_numbers_that_are_no_times_are_marked(unit: str) -> None:
    extremes = np.array([2**63 - 1, -(2**63)], np.int64)
    assert unit in ("us", "ns", "auto") or (numbers_to_millis(extremes, unit) == NO_TIME).all()
    assert numbers_to_millis(extremes, unit)[1] == NO_TIME or unit in ("us", "ns")
    floats = np.array([math.nan, math.inf, -math.inf])
    assert (numbers_to_millis(floats, unit) == NO_TIME).all()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-31", "2024-01-31 00:00"),
        ("20240131", "2024-01-31 00:00"),
        ("2024.01.31 12:30", "2024-01-31 12:30"),
        ("2024/01/31 12:30:15", "2024-01-31 12:30:15"),
        ("31.01.2024", "2024-01-31 00:00"),
        ("2024-01-31T12:30:00+02:00", "2024-01-31 10:30"),
        ("2024-01-31 12:30:00 UTC", "2024-01-31 12:30"),
        ("1706702400", "2024-01-31 12:00"),
        ("1706702400.0", "2024-01-31 12:00"),
        ("1706702400000", "2024-01-31 12:00"),
        ("1.7067024e12", "2024-01-31 12:00"),
        ("-631152000", "1950-01-01 00:00"),
    ],
)
def test_time_in_text_is_understood(text: str, expected: str) -> None:
    assert utc(text_to_millis(text)) == expected


@pytest.mark.parametrize("text", ["", "now", "12:30", "01/31/2024", "2024-02-30", "2024", "1e400", "١٢٣٤٥٦٧٨٩٠"])
def test_text_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no time"):
        text_to_millis(text)

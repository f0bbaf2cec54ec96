"""Candles written in any dialect, whole and damaged: every number comes in, or is reported."""

from __future__ import annotations

import gzip
import io
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from backtest_mongo.errors import InputError
from backtest_mongo.market_data.candle_files import read_candles
from backtest_mongo.market_data.data_files import find_sources
from backtest_mongo.types import INTERVAL_MS, PRICES
from tests.support.candle_files import Bar, read_bars, to_datetime

pytestmark = [pytest.mark.either_driver, pytest.mark.one_python]


# Series and dialects


@st.composite
def series(draw: st.DrawFn) -> tuple[str, list[Bar]]:
    """Candles on the grid of an interval, with gaps, from any year between 1901 and 2100."""
    interval = draw(st.sampled_from(["1m", "5m", "1h", "4h", "1d"]))
    step = INTERVAL_MS[interval]
    first = draw(st.integers(-2_170_000_000_000 // step, 4_000_000_000_000 // step))
    places = [first]
    for gap in draw(st.lists(st.sampled_from([1] * 12 + [2, 3]), min_size=14, max_size=40)):
        places.append(places[-1] + gap)
    price = st.integers(100, 9_999_999)
    rows: list[Bar] = []
    for place in places:
        low, high = sorted((draw(price), draw(price)))
        # Never flat, so that candles whose prices are mixed up are none.
        high += 2 + low // 1000
        open_, close = (draw(st.integers(low + 1, high - 1)) for _ in range(2))
        volume = draw(st.integers(0, 9_999_999))
        rows.append((place * step, open_ / 100, high / 100, low / 100, close / 100, volume / 100))
    return interval, rows


def pattern(text: str) -> Callable[[int], str]:
    # %Y has no leading zeros everywhere, which no year here needs.
    return lambda millis: to_datetime(millis).strftime(text)


def unpadded(millis: int) -> str:
    time = to_datetime(millis)
    return f"{time.month}/{time.day}/{time.year} {time.hour}:{time.minute:02}"


#: How times are written, by what can be left away of them.
TIMES: Final[dict[str, Callable[[int], str]]] = {
    "s": lambda millis: str(millis // 1000),
    "s with a fraction": lambda millis: f"{millis / 1000:.1f}",
    "ms": str,
    "us": lambda millis: str(millis * 1000),
    "ns": lambda millis: str(millis * 1_000_000),
    "iso": lambda millis: to_datetime(millis).isoformat(),
    "iso, Z": pattern("%Y-%m-%dT%H:%M:%S.000Z"),
    "iso, UTC": pattern("%Y-%m-%d %H:%M:%S UTC"),
    "iso, another zone": lambda millis: f"{to_datetime(millis + 19_800_000):%Y-%m-%d %H:%M:%S}+05:30",
    "iso without a zone": pattern("%Y-%m-%d %H:%M"),
    "slashes": pattern("%Y/%m/%d %H:%M:%S"),
    "points": pattern("%Y.%m.%d %H:%M"),
    "compact": pattern("%Y%m%d %H%M%S"),
    "compact, T": pattern("%Y%m%dT%H%M%SZ"),
    "fourteen digits": pattern("%Y%m%d%H%M%S"),
    "day first, points": pattern("%d.%m.%Y %H:%M:%S.000"),
    "named": pattern("%d %b %Y %H:%M"),
    "named first": pattern("%b %d %Y %I:%M %p"),
    "month first": unpadded,
    "month first, half days": pattern("%m/%d/%Y %I:%M:%S %p"),
    "day first, slashes": pattern("%d/%m/%Y %H:%M"),
}
#: The order of day and month shows in the days alone.
ORDERS: Final = {"month first", "month first, half days", "day first, slashes"}
NUMBERS: Final[dict[str, Callable[[float], str]]] = {
    "point": repr,
    "two decimals": "{:.2f}".format,
    "exponents": "{:.9e}".format,
    "thousands": "{:,.2f}".format,
    "decimal comma": lambda value: f"{value:.2f}".replace(".", ","),
    "decimal comma, thousands": lambda value: f"{value:,.2f}".translate(str.maketrans(",.", ".,")),
    "decimal comma, blanks": lambda value: f"{value:,.2f}".translate(str.maketrans(",.", " ,")),
    "currency": "${:.2f}".format,
}
HEADS: Final = {
    "timestamp": ("timestamp", "Date", "open_time", "Datetime", "<TIME>", "Gmt time", "Unnamed: 0", ""),
    "open": ("open", "Open", "<OPEN>", "o"),
    "high": ("high", "HIGH", "h"),
    "low": ("low", " Low ", "l"),
    "close": ("close", "Close/Last", "Price", "c"),
    "volume": ("volume", "Vol.", "Volume BTC", "<TICKVOL>"),
}
PACKINGS: Final = ("plain", "gz", "zip", "gz in zip", "zip in zip")


@dataclass(frozen=True)
class Dialect:
    time: str
    number: str
    delimiter: str
    newline: str
    header: list[str] | None
    order: list[int]
    quoted: bool
    extra: int
    packing: str
    encoding: str

    def lines(self, rows: Sequence[Bar]) -> list[list[str]]:
        table = []
        for row in rows:
            fields = [TIMES[self.time](row[0]), *(NUMBERS[self.number](value) for value in row[1:])]
            table.append([fields[place] for place in self.order] + ["7.5"] * self.extra)
        return table

    def text(self, table: list[list[str]]) -> bytes:
        quote = '"{}"'.format if self.quoted else str
        lines = [self.header, *table] if self.header else table
        text = "".join(self.delimiter.join(map(quote, line)) + self.newline for line in lines)
        return text.encode(self.encoding)


@st.composite
def dialects(draw: st.DrawFn) -> Dialect:
    time = draw(st.sampled_from(list(TIMES)))
    number = draw(st.sampled_from(list(NUMBERS)))
    delimiter = draw(st.sampled_from([",", ";", "\t", "|"]))
    quoted = draw(st.booleans()) or (delimiter == "," and number not in ("point", "two decimals", "exponents"))
    quoted = quoted or (delimiter == "," and "," in TIMES[time](0))
    header = order = None
    extra = 0
    if draw(st.booleans()):
        order = draw(st.permutations(range(6)))
        extra = draw(st.integers(0, 2))
        names = [draw(st.sampled_from(HEADS[("timestamp", *PRICES)[place]])) for place in order]
        if (names[0] != "" and "" in names) or (names[0] != "Unnamed: 0" and "Unnamed: 0" in names):
            names = ["time" if name in ("", "Unnamed: 0") else name for name in names]
        header = names + [f"extra{place}" for place in range(extra)]
    return Dialect(
        time,
        number,
        delimiter,
        draw(st.sampled_from(["\n", "\r\n", "\r"])),
        header,
        list(order or range(6)),
        quoted,
        extra,
        draw(st.sampled_from(PACKINGS)),
        draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])),
    )


def pack(directory: Path, packing: str, content: bytes, name: str = "candles.csv") -> Path:
    """Write a file in one of the ways to pack it."""
    path = directory / {"plain": name, "gz": f"{name}.gz"}.get(packing, "candles.zip")
    if packing == "plain":
        path.write_bytes(content)
        return path
    if packing == "gz":
        path.write_bytes(gzip.compress(content))
        return path
    inner, inner_name = content, name
    if packing == "gz in zip":
        inner, inner_name = gzip.compress(content), f"{name}.gz"
    elif packing == "zip in zip":
        held = io.BytesIO()
        with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, content)
        inner, inner_name = held.getvalue(), "inner.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(inner_name, inner)
    return path


def shows_order(rows: Sequence[Bar]) -> bool:
    return any(to_datetime(row[0]).day > 12 for row in rows)


COMMON = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


@settings(COMMON, max_examples=150)
@given(given_=series(), dialect=dialects())
def test_good_series_in_any_dialect_is_imported_with_every_number(
    given_: tuple[str, list[Bar]], dialect: Dialect
) -> None:
    interval, rows = given_
    with tempfile.TemporaryDirectory() as directory:
        path = pack(Path(directory), dialect.packing, dialect.text(dialect.lines(rows)))
        try:
            found, bad = read_bars(path, interval)
        except InputError as error:
            # A file of a few days in the first half of a month can be read both ways, and only then.
            doubtful = dialect.time in ORDERS and not shows_order(rows)
            if not doubtful or "can be read with the day first or the month first" not in str(error):
                raise
            event("refused for its order of day and month")
            return
    assert found == rows
    assert bad == []


@settings(COMMON, max_examples=40)
@given(given_=series(), kind=st.sampled_from(["parquet", "feather"]), unit=st.sampled_from(["s", "ms", "us", "ns", ""]))
def test_good_series_in_a_table_is_imported_with_every_number(
    given_: tuple[str, list[Bar]], kind: str, unit: str
) -> None:
    interval, rows = given_
    table = pl.DataFrame(rows, schema=["timestamp", *PRICES], orient="row")
    factor = {"s": 0.001, "ms": 1, "us": 1000, "ns": 1_000_000}
    if unit:
        counted = [int(row[0] * factor[unit]) if unit != "s" else row[0] // 1000 for row in rows]
        table = table.with_columns(timestamp=pl.Series(counted))
    else:
        table = table.with_columns(pl.from_epoch("timestamp", "ms").dt.replace_time_zone("UTC"))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"candles.{kind}"
        (table.write_parquet if kind == "parquet" else table.write_ipc)(path)
        assert read_bars(path, interval) == (rows, [])


# Damage


def wider(lines: list[list[str]], at: int, dialect: Dialect) -> None:
    lines[at].insert(len(lines[at]) // 2, "234")


def shorter(lines: list[list[str]], at: int, dialect: Dialect) -> None:
    del lines[at][-1]


def redelimited(lines: list[list[str]], at: int, dialect: Dialect) -> None:
    other = "|" if dialect.delimiter != "|" else ";"
    lines[at] = [other.join(lines[at])]


def other_unit(lines: list[list[str]], at: int, dialect: Dialect) -> None:
    place = dialect.order.index(0)
    for line in lines[at:]:
        line[place] = f"{line[place]}000"


def swapped(lines: list[list[str]], at: int, dialect: Dialect) -> None:
    high, low = dialect.order.index(2), dialect.order.index(3)
    for line in lines:
        line[high], line[low] = line[low], line[high]


def split_thousands(lines: list[list[str]], at: int, dialect: Dialect) -> None:
    place = dialect.order.index(5)
    lines[at][place] = f"1{dialect.delimiter}234{dialect.delimiter}567"


def split_decimals(lines: list[list[str]], at: int, dialect: Dialect) -> None:
    for line in lines:
        for place, what in enumerate(dialect.order):
            if what:
                line[place] = line[place].replace(".", dialect.delimiter)


def can_be(damage: Callable[..., None], dialect: Dialect, interval: str, rows: Sequence[Bar]) -> bool:
    """Return whether a file in this dialect can have this damage, so that it shows."""
    if damage is other_unit:
        # Right at the epoch a thousandth of a time is as good a time.
        return dialect.time in ("s", "ms", "us") and min(abs(row[0]) for row in rows) > 1000 * INTERVAL_MS[interval]
    if damage in (redelimited, split_thousands, split_decimals) and dialect.quoted:
        return False
    return damage is not split_decimals or dialect.number in ("point", "two decimals")


DAMAGES: Final = (wider, shorter, redelimited, other_unit, swapped, split_thousands, split_decimals)


@settings(COMMON, max_examples=250)
@given(given_=series(), dialect=dialects(), data=st.data())
def test_damage_that_can_be_detected_stores_no_number_that_the_good_file_did_not_hold(
    given_: tuple[str, list[Bar]], dialect: Dialect, data: st.DataObject
) -> None:
    interval, rows = given_
    damage = data.draw(
        st.sampled_from([one for one in DAMAGES if can_be(one, dialect, interval, rows)]), label="damage"
    )
    lines = dialect.lines(rows)
    damage(lines, data.draw(st.integers(0, len(lines) - 1), label="line"), dialect)
    with tempfile.TemporaryDirectory() as directory:
        try:
            found, bad = read_bars(pack(Path(directory), dialect.packing, dialect.text(lines)), interval)
        except InputError:
            event(f"{damage.__name__}: file refused")
            return
    event(f"{damage.__name__}: {'bad lines' if bad else 'read as it was'}")
    assert set(found) <= set(rows)
    assert len(found) + len(bad) == len(rows)
    assert bad or found == rows


@settings(COMMON, max_examples=60)
@given(given_=series(), packing=st.sampled_from(PACKINGS[1:]), share=st.floats(0.05, 0.99))
def test_truncated_archive_stores_nothing(given_: tuple[str, list[Bar]], packing: str, share: float) -> None:
    interval, rows = given_
    content = "".join(",".join(map(repr, row)) + "\n" for row in rows).encode()
    with tempfile.TemporaryDirectory() as directory:
        path = pack(Path(directory), packing, content)
        whole = path.read_bytes()
        path.write_bytes(whole[: max(1, int(share * len(whole)))])
        with pytest.raises(InputError):
            read_bars(path, interval)


@pytest.mark.parametrize("packing", PACKINGS[1:])
def test_corrupted_archive_stores_nothing_of_many_chunks(packing: str, tmp_path: Path) -> None:
    rows = "".join(f"{1_600_000_000_000 + at * 60_000},1.5,2.5,0.5,1.5,{at}\n" for at in range(120_000))
    path = pack(tmp_path, packing, rows.encode())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"can't be read"):
        next(iter(read_candles(find_sources([path]).sources[0])))

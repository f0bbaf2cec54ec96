"""Files as vendors and libraries write them, and the options that settle what a file leaves open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import pytest

from backtest_mongo.errors import InputError
from backtest_mongo.market_data.candle_chunks import BadLine
from backtest_mongo.market_data.candle_files import read_candles
from backtest_mongo.market_data.data_files import find_sources
from tests.support.candle_files import DAY, Bar, read_bars, to_datetime, write_text

pytestmark = pytest.mark.either_driver


def bars(count: int, step: int = DAY) -> list[Bar]:
    return [
        (1_704_153_600_000 + at * step, 10.5 + at, 12.25 + at, 9.75 + at, 11.0 + at, 100.0 * at) for at in range(count)
    ]


def table(header: str, rows: Sequence[Bar], row: Callable[[Bar], str]) -> str:
    return "\n".join([*header.splitlines(), *map(row, rows)]) + "\n"


def iso(bar: Bar) -> str:
    return to_datetime(bar[0]).strftime("%Y-%m-%d")


VENDORS: Final[dict[str, Callable[[list[Bar]], str]]] = {
    "pandas with an unnamed index": lambda rows: table(
        ",Open,High,Low,Close,Volume", rows, lambda bar: ",".join([iso(bar), *map(repr, bar[1:])])
    ),
    "yfinance": lambda rows: table(
        "Price,Close,High,Low,Open,Volume\nTicker,AAPL,AAPL,AAPL,AAPL,AAPL\nDate,,,,,",
        rows,
        lambda b: f"{iso(b)},{b[4]},{b[2]},{b[3]},{b[1]},{b[5]}",
    ),
    "yfinance by ticker": lambda rows: table(
        "Ticker,AAPL,AAPL,AAPL,AAPL,AAPL\nPrice,Open,High,Low,Close,Volume\nDate,,,,,",
        rows,
        lambda bar: ",".join([iso(bar), *map(repr, bar[1:])]),
    ),
    "investing.com": lambda rows: (
        "\ufeff"
        + table(
            '"Date","Price","Open","High","Low","Vol.","Change %"',
            rows,
            lambda b: f'"{to_datetime(b[0]):%m/%d/%Y}","{b[4]}","{b[1]}","{b[2]}","{b[3]}","{b[5] / 1000}K","-1.94%"',
        )
    ),
    "nasdaq": lambda rows: table(
        "Date,Close/Last,Volume,Open,High,Low",
        rows,
        lambda b: f"{to_datetime(b[0]):%m/%d/%Y},${b[4]},{b[5]:.0f},${b[1]},${b[2]},${b[3]}",
    ),
    "dukascopy": lambda rows: table(
        "Gmt time,Open,High,Low,Close,Volume",
        rows,
        lambda bar: ",".join([f"{to_datetime(bar[0]):%d.%m.%Y %H:%M:%S.000}", *map(repr, bar[1:])]),
    ),
    "dukascopy, local time": lambda rows: table(
        "Local time,Open,High,Low,Close,Volume",
        rows,
        lambda bar: ",".join(
            [f"{to_datetime(bar[0] + 3_600_000):%d.%m.%Y %H:%M:%S.000} GMT+0100", *map(repr, bar[1:])]
        ),
    ),
    "nautilus": lambda rows: table(
        "ts_event,ts_init,open,high,low,close,volume",
        rows,
        lambda bar: ",".join([f"{bar[0]}000000,{bar[0]}000000", *map(repr, bar[1:])]),
    ),
    "a spreadsheet of the south": lambda rows: table(
        "Date;Open;High;Low;Close;Volume",
        rows,
        lambda bar: ";".join([f"{to_datetime(bar[0]):%d.%m.%Y}", *map(german, bar[1:])]),
    ),
}


def german(value: float) -> str:
    return f"{value:,.2f}".translate(str.maketrans(",.", ".,"))


@pytest.mark.parametrize("vendor", VENDORS)
def test_file_of_a_vendor_is_imported_without_options(vendor: str, tmp_path: Path) -> None:
    rows = bars(30)
    path = write_text(tmp_path / "candles.csv", VENDORS[vendor](rows))
    assert read_bars(path, "1d") == (rows, [])


def test_yfinance_of_several_tickers_is_read_for_each(tmp_path: Path) -> None:
    rows = bars(5)
    text = table(
        "Price,Close,Close,High,High,Low,Low,Open,Open,Volume,Volume\n"
        "Ticker,AAPL,BRK-B,AAPL,BRK-B,AAPL,BRK-B,AAPL,BRK-B,AAPL,BRK-B\nDate" + "," * 10,
        rows,
        lambda b: iso(b) + "".join(f",{b[at]},{b[at] + 100 if b[5] != 200 else ''}" for at in (4, 2, 3, 1, 5)),
    )
    path = write_text(tmp_path / "candles.csv", text)
    (source,) = find_sources([path]).sources
    assert [chunk.symbol for chunk in read_candles(source, interval="1d")] == ["AAPL", "BRK-B"]
    assert read_bars(path, "1d", symbol="aapl") == (rows, [])
    other = [(bar[0], *(value + 100 for value in bar[1:])) for bar in rows if bar[5] != 200]
    assert read_bars(path, "1d", symbol="BRK.B") == (other, [])
    with pytest.raises(InputError, match="is of AAPL, BRK-B, not of MSFT"):
        read_bars(path, "1d", symbol="MSFT")


def test_order_of_day_and_month_is_decided_by_the_whole_file_or_an_option(tmp_path: Path) -> None:
    rows = bars(20)
    head = "Date,Open,High,Low,Close,Volume"
    for form in ("%m/%d/%Y", "%d/%m/%Y", "%m-%d-%Y"):
        late = table(head, rows, lambda b, f=form: ",".join([to_datetime(b[0]).strftime(f), *map(repr, b[1:])]))  # type: ignore[misc]
        assert read_bars(write_text(tmp_path / "a.csv", late), "1d") == (rows, [])
        # Up to the 12th the distance of days shows it, which only one day has not.
        early = table(head, rows[:8], lambda b, f=form: ",".join([to_datetime(b[0]).strftime(f), *map(repr, b[1:])]))  # type: ignore[misc]
        assert read_bars(write_text(tmp_path / "a.csv", early), "1d") == (rows[:8], [])
        one = table(head, rows[:1], lambda b, f=form: ",".join([to_datetime(b[0]).strftime(f), *map(repr, b[1:])]))  # type: ignore[misc]
        with pytest.raises(InputError, match="can be read with the day first or the month first"):
            read_bars(write_text(tmp_path / "a.csv", one), "1d")
        assert read_bars(write_text(tmp_path / "a.csv", one), "1d", time_format=form) == (rows[:1], [])


def test_day_beyond_the_order_of_its_file_is_a_bad_line(tmp_path: Path) -> None:
    rows = bars(60)
    text = table("Date,o,h,l,c,v", rows, lambda b: ",".join([f"{to_datetime(b[0]):%m/%d/%Y}", *map(repr, b[1:])]))
    text = text.replace("01/05/2024", "25/01/2024")
    found, bad = read_bars(write_text(tmp_path / "a.csv", text), "1d")
    assert found == rows[:3] + rows[4:]
    assert bad == [BadLine(5, "'25/01/2024' is not written like the other times")]


def test_volume_can_be_left_out(tmp_path: Path) -> None:
    rows = bars(5)
    for head in ("Date,Open,High,Low,Close\n", ""):
        path = write_text(tmp_path / "a.csv", head + "".join(f"{iso(b)},{b[1]},{b[2]},{b[3]},{b[4]}\n" for b in rows))
        with pytest.raises(InputError, match="--no-volume stores 0"):
            read_bars(path, "1d")
        assert read_bars(path, "1d", volume=False) == ([(*bar[:5], 0.0) for bar in rows], [])


def test_times_of_another_zone_are_read_where_it_is_named(tmp_path: Path) -> None:
    from zoneinfo import ZoneInfo

    hours = [(1_729_983_600_000 + at * 3_600_000, 1.5, 2.5, 0.5, 1.5, float(at)) for at in range(6)]
    zone = ZoneInfo("Europe/Berlin")  # where clocks are set back in this night
    text = table(
        "Time (CET),o,h,l,c,v",
        hours,
        lambda b: ",".join([f"{to_datetime(b[0]).astimezone(zone):%Y-%m-%d %H:%M}", *map(repr, b[1:])]),
    )
    path = write_text(tmp_path / "a.csv", text)
    with pytest.raises(InputError, match=r"times of 'Time \(CET\)' are not in UTC \(--time-zone names their zone"):
        read_bars(path, "1h")
    found, bad = read_bars(path, "1h", zone=zone)
    assert found == [hours[0], *hours[3:]]
    assert [line.line for line in bad] == [3, 4]  # two o'clock, twice


def test_decimal_mark_can_be_set(tmp_path: Path) -> None:
    text = "t;o;h;l;c;v\n2024-01-02;1,234;1,500;1,100;1,300;1\n"
    path = write_text(tmp_path / "a.csv", text)
    with pytest.raises(InputError, match="can have thousands or a fraction"):
        read_bars(path, "1d")
    assert read_bars(path, "1d", decimal=",")[0] == [(1_704_153_600_000, 1.234, 1.5, 1.1, 1.3, 1.0)]
    assert read_bars(path, "1d", decimal=".")[0] == [(1_704_153_600_000, 1234.0, 1500.0, 1100.0, 1300.0, 1.0)]


@pytest.mark.parametrize("unit", [1, 1000])
def test_series_that_goes_through_the_epoch_keeps_all_its_rows(unit: int, tmp_path: Path) -> None:
    rows = [(-157_766_400_000 + at * DAY, 1.5, 2.5, 0.5, 1.5, float(at)) for at in range(9_500)]
    text = table("timestamp,o,h,l,c,v", rows, lambda bar: ",".join([str(bar[0] // unit), *map(repr, bar[1:])]))
    assert read_bars(write_text(tmp_path / "a.csv", text), "1d") == (rows, [])

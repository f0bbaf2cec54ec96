"""Which column of a table of candles is which, by names as exchanges, vendors and libraries write them."""

from __future__ import annotations

import re

import pytest

from backtest_mongo import InputError
from backtest_mongo.core.candle_headers import (
    EXPECTED,
    ColumnIndexes,
    WideTable,
    find_columns,
    find_wide,
    named_unit,
    named_zone,
    plain_symbol,
    read_wide,
)


@pytest.mark.parametrize(
    ("names", "indexes"),
    [
        ("timestamp open high low close volume", ColumnIndexes(0, (1, 2, 3, 4, 5))),
        ("volume close low high open timestamp", ColumnIndexes(5, (4, 3, 2, 1, 0))),
        ("t o h l c v", ColumnIndexes(0, (1, 2, 3, 4, 5))),
        ("T O H L C V", ColumnIndexes(0, (1, 2, 3, 4, 5))),
        ("Open_Time|Open|High|Low|Close|Volume|Close time", ColumnIndexes(0, (1, 2, 3, 4, 5))),
        ("Date|Open Price|High Price|Low Price|Close Price|Volume", ColumnIndexes(0, (1, 2, 3, 4, 5))),
        ("Date|Price Open|Price High|Price Low|Price Close|Vol.", ColumnIndexes(0, (1, 2, 3, 4, 5))),
        # A number goes before a readable date.
        ("date unix open high low close volume", ColumnIndexes(1, (2, 3, 4, 5, 6))),
        ("datetime timestamp open high low close volume", ColumnIndexes(1, (2, 3, 4, 5, 6))),
        # The date and the time of day.
        ("date time open high low close volume", ColumnIndexes(0, (2, 3, 4, 5, 6), clock=1)),
        ("<TIME>|<DATE>|<OPEN>|<HIGH>|<LOW>|<CLOSE>|<VOL>", ColumnIndexes(1, (2, 3, 4, 5, 6), clock=0)),
        ("date datetime open high low close volume", ColumnIndexes(1, (2, 3, 4, 5, 6))),
        # Zones and units.
        ("Date (UTC)|open|high|low|close|volume", ColumnIndexes(0, (1, 2, 3, 4, 5))),
        ("Date (Europe/Paris)|open|high|low|close|volume", ColumnIndexes(0, (1, 2, 3, 4, 5))),
        ("UTC time|open|high|low|close|volume", ColumnIndexes(0, (1, 2, 3, 4, 5))),
        ("Local time|open|high|low|close|volume", ColumnIndexes(0, (1, 2, 3, 4, 5))),
        *((f"time_{unit}|open|high|low|close|volume", ColumnIndexes(0, (1, 2, 3, 4, 5)))
          for unit in ("ms", "us", "ns", "s", "sec", "seconds", "millis", "gmt", "local", "utc")),
        ("ts_event|open|high|low|close|volume", ColumnIndexes(0, (1, 2, 3, 4, 5))),
        # Nasdaq and investing.com.
        ("Date|Close/Last|Volume|Open|High|Low", ColumnIndexes(0, (3, 4, 5, 1, 2))),
        ("Date|Price|Open|High|Low|Vol.", ColumnIndexes(0, (2, 3, 4, 1, 5))),
        ("date close price open high low volume", ColumnIndexes(0, (3, 4, 5, 1, 6))),
        # Volumes, the best of several.
        ("time open high low close vol tickvol", ColumnIndexes(0, (1, 2, 3, 4, 6))),
        ("time open high low close volumeto volumefrom", ColumnIndexes(0, (1, 2, 3, 4, 6))),
        ("time|open|high|low|close|Volume USDT|Volume BTC", ColumnIndexes(0, (1, 2, 3, 4, 6))),
        ("time|open|high|low|close|Volume BTC|Volume USDT", ColumnIndexes(0, (1, 2, 3, 4, 5))),
        ("time|open|high|low|close|Volume 24h USDT|Volume 24h BTC", ColumnIndexes(0, (1, 2, 3, 4, 6))),
        ("time|open|high|low|close|Vol BTC", ColumnIndexes(0, (1, 2, 3, 4, 5))),
        ("time|open|high|low|close|Quote Volume|Base Volume", ColumnIndexes(0, (1, 2, 3, 4, 6))),
        *((f"time|open|high|low|close|Volume {quote}|Volume XBT", ColumnIndexes(0, (1, 2, 3, 4, 6)))
          for quote in ("quote", "currency", "USD", "USDT", "USDC", "BUSD", "EUR", "GBP", "JPY")),
        # Indexes of pandas, where there is no other time.
        ("|open|high|low|close|volume", ColumnIndexes(0, (1, 2, 3, 4, 5))),
        ("Unnamed: 0|open|high|low|close|volume", ColumnIndexes(0, (1, 2, 3, 4, 5))),
        ("__index_level_0__|open|high|low|close|volume", ColumnIndexes(0, (1, 2, 3, 4, 5))),
        ("|time|open|high|low|close|volume", ColumnIndexes(1, (2, 3, 4, 5, 6))),
        # What says of which symbol a row is.
        ("symbol time open high low close volume", ColumnIndexes(1, (2, 3, 4, 5, 6), symbol=0)),
        ("time open high low close volume ticker", ColumnIndexes(0, (1, 2, 3, 4, 5), symbol=6)),
        ("name time tic open high low close volume", ColumnIndexes(1, (3, 4, 5, 6, 7), symbol=2)),
    ],
)  # fmt: skip
def test_columns_are_found_by_their_names(names: str, indexes: ColumnIndexes) -> None:
    columns = names.split("|") if "|" in names else names.split()
    assert find_columns(columns, "here") == indexes


def test_places_are_listed_in_the_order_of_a_row() -> None:
    assert ColumnIndexes(0, (1, 2, 3, 4, 5)).all == (0, 1, 2, 3, 4, 5)
    assert ColumnIndexes(1, (2, 3, 4, 5, 6), clock=0, symbol=7).all == (1, 0, 2, 3, 4, 5, 6, 7)


def test_volume_is_not_looked_for_where_none_is_read() -> None:
    columns = ["time", "open", "high", "low", "close"]
    assert find_columns(columns, "here", volume=False) == ColumnIndexes(0, (1, 2, 3, 4))
    assert find_columns([*columns, "volume"], "here", volume=False) == ColumnIndexes(0, (1, 2, 3, 4))


@pytest.mark.parametrize(
    ("names", "problem", "advice"),
    [
        (
            ["time", "open", "high", "low", "close"],
            "here: no column for volume among time, open, high, low, close",
            "--no-volume stores 0 for it",
        ),
        (
            ["open", "high", "low", "volume"],
            "here: no column for a time, close among open, high, low, volume",
            "--columns names the columns in their order",
        ),
        (
            ["open", "", "high", "low", "close", "volume"],
            "here: no column for a time among open, (no name), high, low, close, volume",
            "--columns names the columns in their order",
        ),
        (
            [" a" * 20, *(f"n{number}" for number in range(20))],
            "here: no column for a time, open, high, low, close, volume among "
            + ", ".join(["a a a a a a a a a a a a a a a ", *(f"n{number}" for number in range(19))])
            + " and 1 more",
            "--columns names the columns in their order",
        ),
        (
            [f"n{number}" for number in range(20)],
            "here: no column for a time, open, high, low, close, volume among "
            + ", ".join(f"n{number}" for number in range(20)),
            "--columns names the columns in their order",
        ),
        (
            [],
            "here: no column for a time, open, high, low, close, volume among ",
            "--columns names the columns in their order",
        ),
    ],
)
def test_missing_column_is_named_with_those_that_are_there(names: list[str], problem: str, advice: str) -> None:
    with pytest.raises(InputError) as caught:
        find_columns(names, "here")
    assert caught.value.message == problem
    assert caught.value.hint == f"{advice}; expected: {EXPECTED}"


@pytest.mark.parametrize(
    ("names", "twice"),
    [
        (["time", "open", "high", "low", "close", "close", "volume"], "close"),
        (["time", "time", "open", "high", "low", "close", "volume"], "time"),
        (["time", "open", "Open", "high", "low", "close", "volume", "Volume"], "open and volume"),
        # Also where another name goes before it, and beside a missing one.
        (["time", "open", "high", "low", "o", "o", "close", "volume", "volume"], "volume"),
        (["low", "low"], "low"),
    ],
)
def test_column_that_is_there_twice_is_named(names: list[str], twice: str) -> None:
    with pytest.raises(InputError, match=rf"^here: {twice} occurs twice in {re.escape(', '.join(names))}$"):
        find_columns(names, "here")


YAHOO = ["Close", "High", "Low", "Open", "Volume"]
AAPL_AND_TSLA = {"AAPL": ColumnIndexes(0, (7, 3, 5, 1, 9)), "TSLA": ColumnIndexes(0, (8, 4, 6, 2, 10))}


def wide(first: str, second: str, *, tickers_first: bool = False) -> list[list[str]]:
    """Return the two lines of names that yfinance writes for two symbols."""
    kinds = [first, *(kind for kind in YAHOO for _ in range(2))]
    tickers = [second, *["AAPL", "TSLA"] * 5]
    return [tickers, kinds] if tickers_first else [kinds, tickers]


DATE = ["Date", *[""] * 10]


@pytest.mark.parametrize(
    ("rows", "lines"),
    [
        (wide("Price", "Ticker"), 2),
        (wide("Attributes", "Symbols"), 2),
        (wide(" price ", "tickers"), 2),
        (wide("Price", "Symbol", tickers_first=True), 2),
        ([*wide("Price", "Ticker"), DATE], 3),
        ([*wide("Price", "Ticker"), ["Datetime (UTC)", *[" "] * 10]], 3),
        # The third line holds values.
        ([*wide("Price", "Ticker"), ["2024-01-01", *["1"] * 10]], 2),
        ([*wide("Price", "Ticker"), ["Date", *["1"] * 10]], 2),
        ([*wide("Price", "Ticker"), ["Date", "1", *[""] * 9]], 2),
        ([*wide("Price", "Ticker"), ["x", *[""] * 10]], 2),
    ],
)
def test_columns_of_several_symbols_are_found(rows: list[list[str]], lines: int) -> None:
    found = read_wide(rows, "here")
    assert found is not None
    assert found == (WideTable(AAPL_AND_TSLA), lines)
    assert [*found[0].symbols] == ["AAPL", "TSLA"]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        wide("Price", "Ticker")[:1],
        [[], []],
        [["Price", "Open"], []],
        [[], ["Ticker", "AAPL"]],
        [["Price", "Open"], ["Ticker", "AAPL", "AAPL"]],
        wide("Price", "x"),
        wide("x", "Ticker"),
        wide("Price", "Price"),
        wide("Ticker", "Ticker"),
        [["timestamp", "open"], ["1", "2"]],
    ],
)
def test_other_headers_are_of_one_symbol(rows: list[list[str]]) -> None:
    assert read_wide(rows, "here") is None


def test_missing_column_of_a_symbol_is_named_with_the_symbol() -> None:
    kinds, tickers = wide("Price", "Ticker")
    kinds[10] = "x"
    with pytest.raises(InputError, match=r"^here: TSLA: no column for volume among time, -, Close, -, High"):
        read_wide([kinds, tickers], "here")
    without = {name: ColumnIndexes(0, indexes.prices[:4]) for name, indexes in AAPL_AND_TSLA.items()}
    assert read_wide([kinds, tickers], "here", volume=False) == (WideTable(without), 2)
    assert find_wide(kinds, tickers, "here", volume=False) == WideTable(without)


def test_symbols_of_a_table_have_no_blanks_around_them() -> None:
    kinds, tickers = wide("Price", "Ticker")
    found = find_wide(kinds, [f" {name} " for name in tickers], "here")
    assert found == WideTable(AAPL_AND_TSLA)


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("timestamp_ms", "ms"),
        ("Time (s)", "s"),
        ("time sec", "s"),
        ("time.seconds", "s"),
        ("open time millis", "ms"),
        ("time_us", "us"),
        ("Time_NS", "ns"),
        ("ts_event", "ns"),
        ("ts_init", "ns"),
        ("ts_event_s", "ns"),
        ("event_ts", None),
        ("ms", None),
        ("", None),
        ("timestamp", None),
        ("ms timestamp", None),
    ],
)
def test_unit_is_the_last_word_of_a_name(name: str, unit: str | None) -> None:
    assert named_unit(name) == unit


@pytest.mark.parametrize(
    ("name", "zone"),
    [
        ("Date (UTC)", "UTC"),
        ("Date (z)", "UTC"),
        ("time gmt", "UTC"),
        ("UTC time", "UTC"),
        ("Local time", "Local"),
        ("Date (Europe/Paris)", "Europe/Paris"),
        ("Date (Etc/GMT+5)", "Etc/GMT+5"),
        ("Date (America/Port-au-Prince)", "America/Port-au-Prince"),
        ("Time (ms)", None),
        ("Time (S)", None),
        ("Time (1)", None),
        ("time", None),
        ("utctime", None),
        ("", None),
    ],
)
def test_zone_is_part_of_a_name(name: str, zone: str | None) -> None:
    assert named_zone(name) == zone


@pytest.mark.parametrize(
    ("symbol", "plain"),
    [("BTC/USDT", "btcusdt"), (" btc-usdt ", "btcusdt"), ("EURUSD=X", "eurusd"), ("ES=f", "es"), ("A=XY", "axy")],
)
def test_symbols_are_compared_without_case_and_punctuation(symbol: str, plain: str) -> None:
    assert plain_symbol(symbol) == plain

"""The commands of ``backtest-mongo series``: what they store, print, refuse, and exit with."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image

from backtest_mongo import EquityAdapter, TradeAdapter, setup
from tests.support.candle_commands import Database
from tests.support.commands import Done, invoke

pytestmark = [pytest.mark.either_driver, pytest.mark.two_pythons]

#: 2024-01-01 00:00 UTC.
START = 1_704_067_200_000_000
READING = ("coverage", "seal", "verify")
BINANCE = ("--context", "symbol=BTCUSDT", "--context", "exchange_name=binance")


def run_series(*arguments: object) -> Done:
    return invoke("series", *arguments)


def write_trades(path: Path, count: int, first: int = 0) -> Path:
    rows = [
        f"{START + 1_000_000 * at},{at},{100 + at % 7},0.5,{'buy' if at % 2 else 'sell'}\n"
        for at in range(first, first + count)
    ]
    path.write_text("timestamp,trade_id,price,amount,side\n" + "".join(rows))
    return path


def store(adapter: Any, rows: list[dict[str, Any]]) -> None:
    async def write() -> None:
        async with setup():
            await adapter.append(rows)

    asyncio.run(write())


def test_rows_are_imported_and_the_report_says_what_is_new(database: Database, tmp_path: Path) -> None:
    path = write_trades(tmp_path / "a.csv", 1_000)
    done = run_series("import", "trade", path, *BINANCE)
    assert done.code == 0
    assert done.out.startswith("trade BTCUSDT binance: 1,000 rows in 1 file\n")
    assert (done.line("new"), done.line("already there"), done.line("bad lines")) == (
        "new 1,000",
        "already there 0",
        "bad lines 0",
    )
    assert done.err == f"{path}: commas, header; time from 'timestamp' in us\n"
    with path.open("a") as file:
        file.write("x,1,1,1,buy\n")
    done = run_series("import", "trade", path, *BINANCE)
    assert (done.code, done.line("new"), done.line("already there")) == (1, "new 0", "already there 1,000")
    assert f"{path}:1002  'x' is not a time in us" in done.out


def test_import_creates_the_file_of_a_database_and_no_other_command_does(tmp_path: Path) -> None:
    path, file = write_trades(tmp_path / "a.csv", 10), tmp_path / "new.db"
    for command in (("export", "trade", *BINANCE, "-o", tmp_path / "b.csv"), *((name, "trade") for name in READING)):
        done = run_series(*command, "--sqlite", file)
        assert (done.code, "there is no file" in done.error, file.exists()) == (1, True, False), command
    done = run_series("import", "trade", path, *BINANCE, "--sqlite", file)
    assert (done.code, done.line("new"), file.exists()) == (0, "new 10", True)
    done = run_series("import", "trade", path, *BINANCE, "--sqlite", file)
    assert (done.code, done.line("already there")) == (0, "already there 10")
    done = run_series("coverage", "trade", "--json", "--sqlite", file)
    assert [one["rows"] for one in json.loads(done.out)["series"]] == [10]


def test_files_that_name_the_context_need_no_option(database: Database, tmp_path: Path) -> None:
    header = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount\n"
    rows = [f"binance,{symbol},{START + at},{START},{at},buy,1,1\n" for at, symbol in enumerate(("BTC", "ETH", "BTC"))]
    (tmp_path / "a.csv").write_text(header + "".join(rows))
    done = run_series("import", "trade", tmp_path / "a.csv")
    assert done.out.startswith("trade 2 series: 3 rows in 1 file\n")
    done = run_series("import", "trade", tmp_path / "a.csv", "-c", "symbol=ETH")
    assert done.out.startswith("trade ETH binance: 1 row in 1 file\n")
    assert done.line("other symbols") == "other symbols 2 skipped"


def test_columns_are_named_by_option(database: Database, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"ts,px,n,qty\n{START},1.5,3,2\n")
    done = run_series("import", "trade", tmp_path / "a.csv", *BINANCE, "--columns", "price=px,trade_id=n,amount=qty")
    assert (done.code, done.line("new")) == (0, "new 1")
    (tmp_path / "b.csv").write_text(f"{START};1,5;4;2\n")
    names = ("--columns", "timestamp,price,trade_id,amount")
    assert run_series("import", "trade", tmp_path / "b.csv", *BINANCE, *names).line("new") == "new 1"
    done = run_series("export", "trade", *BINANCE, "-o", tmp_path / "c.csv")
    assert (tmp_path / "c.csv").read_text() == (
        f"timestamp_us,trade_id,price,amount,side\n{START},3,1.5,2.0,\n{START},4,1.5,2.0,\n"
    )


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("import", "trades", "FILE"), "'trades' is not a slot: did you mean trade?"),
        (("import", "candle", "FILE"), "candle is not a series with columns: the commands of `candles` work with them"),
        (("import", "signal", "FILE"), "signal is not a series with columns: known are trade, quote, tick, funding,"),
        (("import", "trade", "FILE", "-c", "symbol"), "symbol has no value (give symbol=VALUE"),
        (("import", "trade", "FILE", "-c", "exchange=x"), "trade has no 'exchange': did you mean exchange_name?"),
        (("import", "trade", "FILE", "-c", "symbol=a", "-c", "symbol=b"), "symbol is given twice"),
        (("import", "trade", "FILE", "--columns", "price=a,b"), "'b' is not of the form NAME=HEADER"),
        (("import", "trade", "FILE", "--columns", "prize=a"), "trade has no column 'prize': did you mean price?"),
        (("import", "trade", "FILE", "--columns", "price=a,price=b"), "price is given twice"),
        (("import", "trade", "FILE", "--time-unit", "h"), "'h' is not one of auto, s, ms, us, ns"),
        (("import", "trade", "FILE", "--module", "no_such_module"), "No module named 'no_such_module'"),
        (("export", "trade", "-c", "symbol=a", "-o", "a.csv"), "exchange_name is missing: give exchange_name=VALUE"),
        (("export", "trade", *BINANCE, "-o", "a.txt"), "must end in .parquet, .csv, .csv.gz"),
        (("export", "trade", *BINANCE, "-o", "FILE"), "exists; --force replaces it"),
        (("export", "trade", *BINANCE, "-o", "a.csv", "--start", "x"), "'x' is not a time"),
        (
            ("export", "trade", *BINANCE, "-o", "a.csv", "--start", "2024-01-01T00:00:00.0000001"),
            "has digits that are lost in microseconds",
        ),
        (("export", "trade", *BINANCE, "-o", "a.csv", "--start", "2024", "--end", "2023-01-01"), "is not a time in s"),
        (
            ("export", "trade", *BINANCE, "-o", "a.csv", "--start", "20240102", "--end", "2024-01-01"),
            "must come after --start",
        ),
        (("plot", "trade", *BINANCE, "-o", "a.gif"), "must end in .png or .html"),
    ],
)
def test_mistake_in_the_arguments_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    path = write_trades(tmp_path / "a file.csv", 1)
    done = run_series(*(path if word == "FILE" else word for word in arguments))
    assert (done.code, problem in done.error) == (2, True), done.error


def test_range_is_exported_to_the_last_digit(database: Database, tmp_path: Path) -> None:
    run_series("import", "trade", write_trades(tmp_path / "a.csv", 10), *BINANCE)
    start = ("--start", "2024-01-01T00:00:02.000001", "--end", str(START + 5_000_000))
    done = run_series("export", "trade", *BINANCE, "-o", tmp_path / "b.parquet", *start)
    assert done.out == f"trade BTCUSDT binance: 2 rows in {tmp_path}/b.parquet\n"
    assert pl.read_parquet(tmp_path / "b.parquet")["trade_id"].to_list() == [3, 4]
    done = run_series("export", "trade", *BINANCE, "-o", tmp_path / "c.csv", "--start", "2025-01-01")
    assert (done.code, done.err) == (1, "backtest-mongo: trade: no row of this series is stored in that range\n")


def test_coverage_shows_what_is_stored_and_how(database: Database, tmp_path: Path) -> None:
    run_series("import", "trade", write_trades(tmp_path / "a.csv", 1_000), *BINANCE)
    store(TradeAdapter("ETH USDT", "binance"), [{"timestamp": START + 1, "trade_id": 1, "price": 1.0, "amount": 1.0}])
    done = run_series("coverage", "trade")
    assert done.code == 0
    assert done.line(" BTCUSDT binance").split()[2:6] == ["2024-01-01", "00:00", "1,000", "100"]
    assert done.line(" 'ETH USDT' binance").split()[3:6] == ["2024-01-01", "00:00:00.000001", "1"]
    shown = json.loads(run_series("coverage", "trade", "-c", "symbol=BTCUSDT", "--json").out)
    (series,) = shown["series"]
    assert (shown["slot"], shown["unit"]) == ("trade", "us")
    assert series["context"] == {"symbol": "BTCUSDT", "exchange_name": "binance"}
    assert (series["first"], series["last"], series["rows"]) == (START, START + 999_000_000, 1_000)
    assert (series["blocks"], series["block_rows"], series["tail_rows"]) == (1, 1_000, 0)
    assert "gaps" not in series
    done = run_series("coverage", "trade", "-c", "symbol=XRP")
    assert (done.code, done.err) == (1, "backtest-mongo: trade: no series with symbol=XRP is stored\n")


def test_coverage_shows_what_is_kept_where_a_series_has_a_limit(database: Database) -> None:
    row = {"timestamp": START, "trade_id": 1, "price": 1.0, "amount": 1.0}
    for symbol in ("BTCUSDT", "ETHUSDT"):
        store(TradeAdapter(symbol, "binance"), [row])
    assert "kept" not in run_series("coverage", "trade").out

    async def limit() -> None:
        async with setup():
            await TradeAdapter("ETHUSDT", "binance").retain("5GB")

    asyncio.run(limit())
    done = run_series("coverage", "trade")
    assert [done.line(f" {symbol}").split()[-1] for symbol in ("BTCUSDT", "ETHUSDT")] == ["all", "5GB"]
    shown = json.loads(run_series("coverage", "trade", "--json").out)
    assert [one["keep"] for one in shown["series"]] == [None, "5GB"]


def test_rows_are_sealed_and_verified(database: Database, tmp_path: Path) -> None:
    row = {"trade_id": 1, "price": 1.0, "amount": 1.0}
    store(TradeAdapter("BTCUSDT", "binance"), [{"timestamp": START + at, **row} for at in range(5)])
    assert run_series("coverage", "trade").line(" BTCUSDT").split()[5] == "0"
    done = run_series("seal", "trade")
    assert (done.code, done.line(" BTCUSDT")) == (0, "BTCUSDT binance 1 5 100 %")
    assert run_series("seal", "trade", *BINANCE).line(" BTCUSDT") == "BTCUSDT binance 0 0 100 %"
    done = run_series("verify", "trade")
    assert (done.code, done.line(" BTCUSDT")) == (0, "BTCUSDT binance 1 5 0")
    blocks = database.client[database.name]["trade-blocks"]
    (block,) = blocks.find()
    column = bytearray(block["columns"]["price"])
    column[-1] ^= 1
    blocks.update_one({"_id": block["_id"]}, {"$set": {"columns.price": bytes(column)}})
    done = run_series("verify", "trade")
    assert (done.code, done.line(" BTCUSDT")) == (1, "BTCUSDT binance 1 5 1")
    assert "BTCUSDT binance 2024-01-01 00:00  " in done.out
    assert "checksum" in done.out


MODULE = """
from backtest_mongo import Column, SlotSpec, persist

persist.register(
    SlotSpec(
        name="interest",
        shape="series",
        context=("symbol",),
        key=("symbol", "timestamp"),
        grid="1h",
        columns=(Column("contracts", "float64"),),
    )
)
"""


def test_slot_that_a_module_registers_is_known(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_slots.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "my_slots", raising=False)
    hours = [0, 1, 2, 5, 6]
    rows = [f"{START // 1_000 + hour * 3_600_000},{hour}\n" for hour in hours]
    (tmp_path / "a.csv").write_text("timestamp,contracts\n" + "".join(rows))
    own = ("--module", "my_slots")
    assert "'interest' is not a slot" in run_series("coverage", "interest").error
    done = run_series("import", "interest", "a.csv", "-c", "symbol=BTC", *own)
    assert (done.code, done.line("written")) == (0, "written 5")
    done = run_series("coverage", "interest", *own)
    table, gaps = done.out.split("Gaps")
    assert [line.split() for line in table.splitlines() if line.startswith(" BTC ")] == [
        ["BTC", "2024-01-01", "00:00", "5", "1", "2", "100", "%", "0", "B", *table.split()[-5:-2]]
    ]
    assert " ".join(gaps.split()).endswith("BTC 2024-01-01 03:00 2024-01-01 05:00 2 h 2")
    shown = json.loads(run_series("coverage", "interest", *own, "--json").out)["series"][0]
    assert (shown["missing"], len(shown["gaps"])) == (2, 1)
    monkeypatch.delitem(sys.modules, "my_slots", raising=False)


def test_tables_fit_a_narrow_terminal(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_series("import", "trade", write_trades(tmp_path / "a.csv", 100), *BINANCE)
    monkeypatch.setenv("COLUMNS", "40")
    for command in ("coverage", "seal", "verify"):
        done = run_series(command, "trade")
        assert max(map(len, done.out.splitlines())) <= 40
        assert "BTCUSDT binance" in done.out


def test_trades_and_equity_are_drawn(database: Database, tmp_path: Path) -> None:
    run_series("import", "trade", write_trades(tmp_path / "a.csv", 500), *BINANCE)
    done = run_series("plot", "trade", *BINANCE, "-o", tmp_path / "a.png", "--width", "400", "--height", "200")
    assert (done.code, done.out) == (0, f"trade BTCUSDT binance: 500 rows in {tmp_path}/a.png\n")
    with Image.open(tmp_path / "a.png") as image:
        assert len(image.convert("RGB").getcolors(1 << 24) or []) > 10
    done = run_series("plot", "trade", *BINANCE, "-o", tmp_path / "a.html", "--max-points", "50")
    assert done.out == f"trade BTCUSDT binance: 500 rows in 34 steps of 15 s in {tmp_path}/a.html\n"
    curve = [{"timestamp": at, "equity": 100.0 + at % 3} for at in range(20)] + [
        {"timestamp": 20, "equity": float("nan")}
    ]
    store(EquityAdapter("trend", "binance", "2024", "BTCUSDT", True), curve)
    context = ["-cstrategy_name=trend", "-cexchange_name=binance", "-cframe_name=2024", "-csymbol=BTCUSDT"]
    done = run_series("plot", "equity", *context, "-cbacktest=backtest", "-o", tmp_path / "b.png")
    assert (done.code, done.out) == (
        0,
        f"equity trend binance 2024 BTCUSDT backtest: 20 rows in {tmp_path}/b.png\n",
    )
    assert done.err == "left out: 1 row without a number\n"
    done = run_series("plot", "funding", "-csymbol=a", "-cexchange_name=b", "-o", tmp_path / "c.png")
    assert (done.code, "neither a price nor an equity" in done.err) == (1, True)

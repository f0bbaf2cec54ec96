"""Every table that a command prints, on terminals of several widths."""

from __future__ import annotations

import ast
import io
import re
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from rich.cells import cell_len

import backtest_mongo
from backtest_mongo import CandleAdapter, TradeAdapter
from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.cli.candles.coverage import SeriesCoverage, print_coverage
from backtest_mongo.cli.candles.import_report import print_candle_import
from backtest_mongo.cli.candles.maintenance import SealedSeries, VerifiedSeries, print_sealed, print_verified
from backtest_mongo.cli.demo.report import print_result
from backtest_mongo.cli.demo.results import Comparison, Result, Tally
from backtest_mongo.cli.doctor.findings import Diagnosis, Finding, Size, Step
from backtest_mongo.cli.doctor.output import print_diagnosis
from backtest_mongo.cli.dump_output import print_export, print_import
from backtest_mongo.cli.maintenance_tables import VerifiedRows, print_verified_rows
from backtest_mongo.cli.row_printer import RowPrinter
from backtest_mongo.cli.series import coverage as series_coverage
from backtest_mongo.cli.status.output import print_overview
from backtest_mongo.cli.stored_rows import FoundRows
from backtest_mongo.cli.terminal import Terminal
from backtest_mongo.dumps.reports import ExportReport, ImportReport, SlotExport, SlotImport
from backtest_mongo.market_data import CandleImportReport
from backtest_mongo.market_data.exact_times import format_exact_time
from backtest_mongo.overview.model import OpenSignal, Overview, Price, Profit, RunKey, RunStatus, Seen, Unrealised
from backtest_mongo.types import Coverage, Gap, Sealed, SealReport, SeriesSize, VerifyReport

WIDTHS = (40, 80, 120)
SHORT = "BTCUSDT"
LONG = "A-SYMBOL-WITH-A-NAME-THAT-IS-LONGER-THAN-MOST-LINES-OF-A-TERMINAL-ARE-WIDE-AND-HAS-NO-SPACE"
BIG = 123_456_789_012
BIG_TEXT = "123,456,789,012"
DAY = 86_400_000
START = 1_704_067_200_000
#: As long as a number is that is stored, in 18 digits.
PRICES = {
    "open": 12345678.1234567,
    "high": 0.123456789012345678,
    "low": 1e-300 / 3,
    "close": -2 / 3,
    "volume": 1e17 + 32,
}


def covered(console: Terminal, symbol: str) -> list[str]:
    adapter = CandleAdapter(symbol, "1m", "binance")
    gaps = [Gap(START + DAY, START + 401 * DAY, BIG), Gap(START + 500 * DAY, START + 501 * DAY, 1440)]
    one = SeriesCoverage(adapter, Coverage(START, START + 700 * DAY, BIG), gaps, Sealed(3, BIG // 2, 10**12), 10**15)
    print_coverage(console, [one], 10)
    return [
        *("2024-01-01 00:00", "2025-12-01 00:00", "2024-01-02 00:00", "2025-02-05 00:00", "2025-05-15 00:00"),
        *(BIG_TEXT, "1,440", "50 %", "400 d", "1 d"),
    ]


def sealed(console: Terminal, symbol: str) -> list[str]:
    adapter = CandleAdapter(symbol, "1m", "binance")
    print_sealed(console, [SealedSeries(adapter, SealReport(BIG, BIG + 1), 1, 2)])
    return [BIG_TEXT, "123,456,789,013", "50 %"]


def verified(console: Terminal, symbol: str) -> list[str]:
    adapter = CandleAdapter(symbol, "1m", "binance")
    print_verified(console, [VerifiedSeries(adapter, VerifyReport(BIG, BIG + 1, {START: "its rows differ"}, 1))])
    return [BIG_TEXT, "123,456,789,013", "2024-01-01 00:00"]


def imported(console: Terminal, symbol: str) -> list[str]:
    done = CandleImportReport(
        files=2,
        rows=BIG,
        new=BIG + 1,
        present=BIG + 2,
        off_grid=BIG + 3,
        open=BIG + 4,
        others=BIG + 5,
        refused=Counter({"a row before it has the same time": BIG + 6}),
        places={"a row before it has the same time": ["a.csv:12345678", "a.csv:12345679"]},
        bad_lines=BIG + 7,
        bad=[f"{symbol}.csv:1234567  high is below low"],
        unreadable=[f"{symbol}.csv: does not exist"],
    )
    print_candle_import(console, done, symbol, "1m", "binance")
    return [*(f"{BIG + more:,}" for more in range(8)), "a.csv:12345678", f"{symbol}.csv:1234567"]


def diagnosed(console: Terminal, symbol: str) -> list[str]:
    findings = [
        Finding("configuration", "warning", f"the index of {symbol} has 12345678 rows", "do something about 87654321"),
        Finding("indexes", "problem", f"{symbol}: at 2024-01-01T00:00:00Z"),
    ]
    sizes = [Size(f"{symbol}-items", BIG, 999_900_000, 888_800_000, None), Size("state-items", 1)]
    print_diagnosis(console, Diagnosis(findings, [Step(f"read {symbol}", 123456.78, 234567.89, 9)], sizes))
    return [
        BIG_TEXT,
        "999.9 MB",
        "888.8 MB",
        "123456.78 ms",
        "234567.89 ms",
        "12345678",
        "87654321",
        "2024-01-01T00:00:00Z",
    ]


def inspected(console: Terminal, symbol: str) -> list[str]:
    names = ("symbol", "interval", "exchangeName")
    times = [START, START + 60_001]
    rows = [
        {**dict(zip(names, (one, "1m", "binance"), strict=True)), "timestamp": time, **PRICES}
        for one in (symbol, "B")
        for time in times
    ]
    RowPrinter(console, ADAPTERS["candle"].spec, False).print_rows(FoundRows(rows, len(rows)))
    return ["2024-01-01T00:00:00Z", "2024-01-01T00:01:00.001Z", *map(str, PRICES.values())]


def dump_imported(console: Terminal, symbol: str) -> list[str]:
    slots = tuple(SlotImport(name, BIG, BIG + 1, BIG, BIG, BIG + 2, BIG, BIG + 3) for name in (symbol, "state"))
    print_import(console, ImportReport("d", True, slots, (), (), ()))
    return [BIG_TEXT, *(f"{BIG + more:,}" for more in range(4)), f"{2 * BIG:,}"]


def dump_exported(console: Terminal, symbol: str) -> list[str]:
    print_export(console, ExportReport("d", (SlotExport(symbol, BIG, BIG + 1),), ()))
    return [BIG_TEXT, f"{BIG + 1:,}"]


def series_covered(console: Terminal, symbol: str) -> list[str]:
    adapter = TradeAdapter(symbol, "binance")
    size = SeriesSize(3, BIG, 98_700_000, 7, BIG + 1, 76_500_000, START)
    time = 1_000 * START + 7
    found = [series_coverage.SeriesCoverage(adapter, Coverage(time, time + 1, BIG + 2), None, size)]
    series_coverage.print_coverage(console, adapter.spec, found, 10)
    return ["2024-01-01 00:00:00.000007", f"{BIG + 2:,}", "98.7 MB", "76.5 MB"]


def series_verified(console: Terminal, symbol: str) -> list[str]:
    report = VerifyReport(BIG, BIG + 1, {7: "its rows differ", None: "its rows differ"}, 0)
    show = partial(format_exact_time, unit="us")
    print_verified_rows(console, [VerifiedRows(symbol, report)], "rows", can_repair=False, format_time=show)
    return [f"{BIG:,}", f"{BIG + 1:,}", "1970-01-01 00:00:00.000007", "without a start"]


def demonstrated(console: Terminal, symbol: str) -> list[str]:
    tally = Tally(end={"trades": 3, "balance": 1.0, "logged": symbol, "notified": symbol, "adds_up": True})
    tally.calls["state", "read"] = [BIG] * 3
    tally.traded.add(0)
    documents = dict.fromkeys(ADAPTERS, BIG + 1)
    runs = {"interrupted": tally, "uninterrupted": tally}
    print_result(console, Result(1, 1.0, runs, Comparison(documents, [], {"uninterrupted": {0: 1.0}})))
    return [f"{BIG + 1:,}", "123456789"]


def overviewed(console: Terminal, symbol: str) -> list[str]:
    key = RunKey(strategy_name="s", exchange_name="x", symbol=symbol, frame_name="", backtest=False)
    signal = OpenSignal(
        slot="signal", id=None, side="short", entry=12345678.25, stop=None, target=None, size=None, since=START
    )
    run = RunStatus(
        key=key,
        signal=signal,
        waiting=signal,
        realised=Profit(amount=float(BIG), trades=BIG + 1, unknown=7, is_cut=False),
        price=Price(interval="1m", time=START + DAY, close=87654321.5),
        unrealised=Unrealised(percent=-12345.67, amount=-BIG),
        last_bar=Seen(time=START + 2 * DAY, slot="session"),
        leases=(),
        notice=None,
    )
    print_overview(console, Overview(runs=(run, run), more=0, live=None, backtest=None, problems=()), redraws=False)
    return [
        *(f"{BIG_TEXT}.00", "123,456,789,013", "12345678.25", "87654321.5", "12,345.67"),
        *("2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z", "2024-01-03T00:00:00Z"),
    ]


TABLES: list[Callable[[Terminal, str], list[str]]] = [
    *(series_covered, series_verified, overviewed),
    *(covered, sealed, verified, imported, diagnosed, inspected, dump_imported, dump_exported, demonstrated),
]


@pytest.mark.parametrize("symbol", [SHORT, LONG], ids=["short", "long"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("table", TABLES)
def test_table_fits_the_terminal_and_keeps_every_number_and_time_whole(
    table: Callable[[Terminal, str], list[str]], width: int, symbol: str
) -> None:
    output = io.StringIO()
    expected = table(Terminal(file=output, width=width), symbol)
    lines = output.getvalue().splitlines()
    for text in expected:
        assert any(re.search(rf"(?<![\w.,]){re.escape(text)}(?!\w|[.,]\d)", line) for line in lines), (text, lines)
    # Lines of prose and of paths are the terminal's to wrap, so that they can be copied.
    prose = re.compile(r"\.csv|end state|its rows differ|The dump is in|logged last|notified last|bars:|trades:|kills:")
    assert [line for line in lines if cell_len(line.rstrip()) > width and not prose.search(line)] == []
    assert not any("…" in line for line in lines)
    # A name that is broken over lines one letter each shows as lines with one letter.
    assert sum(len(line.strip()) == 1 and line.strip().isalnum() for line in lines) <= 1, lines


def test_names_are_shown_to_the_last_letter() -> None:
    for table in TABLES:
        for width in WIDTHS:
            output = io.StringIO()
            table(Terminal(file=output, width=width), LONG)
            # A name is folded beside the other cells of its row, or over whole lines.
            names = "".join(line.split()[0] for line in output.getvalue().splitlines() if line.strip())
            letters = [re.sub(r"[^A-Z-]", "", text) for text in (output.getvalue(), names)]
            assert any(LONG in one for one in letters) or table is demonstrated, (table, width)


def test_tables_are_drawn_where_their_width_is_looked_at() -> None:
    package = Path(backtest_mongo.__file__).parent
    found = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "rich.table":
                found.add(path.relative_to(package).as_posix())
    # Those other than terminal.py have a column of prose, and look at the width themselves.
    assert found == {"cli/terminal.py", "cli/doctor/output.py", "cli/import_report.py"}

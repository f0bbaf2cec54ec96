"""What strangers have stored reaches a terminal as visible text, and nothing in it is obeyed."""

from __future__ import annotations

import ast
import asyncio
import io
import json
import logging
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import structlog
from pymongo import MongoClient
from rich.console import Console

import backtest_mongo
from backtest_mongo import (
    SLOTS,
    CandleAdapter,
    InputError,
    SessionAdapter,
    SignalAdapter,
    close,
    export_dump,
    persist,
    set_logger,
    setup,
)
from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.cli import progress_bar
from backtest_mongo.cli.command_runner import exit_cleanly
from backtest_mongo.cli.progress_bar import ProgressBar
from backtest_mongo.cli.row_printer import RowPrinter
from backtest_mongo.cli.terminal import Terminal
from backtest_mongo.core.changes import Change
from backtest_mongo.core.config import MaskedDict
from backtest_mongo.core.control_characters import escape_controls
from backtest_mongo.core.log import log
from tests.conftest import on_database, tiny_blocks
from tests.sqlite.support import change
from tests.support import uniform
from tests.support.commands import Done, commands, invoke
from tests.support.leases import take_leases
from tests.support.short_deadlines import LONG_MS
from tests.support.uniform import WHEN, candles

pytestmark = [pytest.mark.either_driver, pytest.mark.one_python]

PACKAGE: Final = Path(backtest_mongo.__file__).parent
#: Each does something to a terminal, or to what a reader sees: the window's title, a cleared screen, hidden text, the
#: same by C1, a bell, a cursor back to the start, text turned around, marks without a width, other lines, and Rich's
#: markup.
HOSTILE: Final = (
    "\x1b]0;owned\x07\x1b[2J\x1b[8m\x9b2J\x90\x85\x7f\x08\r\n\t\u202e\u2066\u061c\u200f\u200b\ufeff\u00ad\u2028\u2029"
    "\U000e0041[red]x[/red][link=http://evil.example]y[/link]:warning:%s{0}</script>"
)
#: As its beginning is to be shown, and its markup.
SHOWN: Final = "\\u001b]0;owned\\u0007"
MARKUP: Final = "[red]x[/red][link=http://evil.example]"
#: What Rich itself sends to a terminal: colours, and the cursor over a progress bar.
RICH: Final = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[hl]|\x1b\[2K|\x1b\[1?A|\r")


def assert_harmless(*texts: str, is_terminal: bool = False) -> None:
    for text in texts:
        for part in ("\x1b[8m", "\x1b[2J", "\x1b]", "\x9b"):
            assert part not in text
        rest = RICH.sub("", text) if is_terminal else text
        left = {char for char in rest if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
        assert left <= {"\n"}, ascii(left)


def test_no_character_that_controls_anything_is_left_and_json_means_the_same() -> None:
    for code in range(sys.maxunicode + 1):
        char = chr(code)
        shown = escape_controls(char)
        hidden = unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        assert (shown != char) == hidden
        if hidden:
            assert shown.isascii()
            assert shown.isprintable()
            assert json.loads(f'"{shown}"') == char
    assert escape_controls("a\nb\r", keep_lines=True) == "a\nb\\r"
    assert escape_controls("BTCUSDT ₿ 比特币 ünï 👍 e\u0301") == "BTCUSDT ₿ 比特币 ünï 👍 e\u0301"
    text = json.dumps({HOSTILE: [HOSTILE, {"\ud800": HOSTILE}]}, indent=2, ensure_ascii=False)
    assert json.loads(escape_controls(text, keep_lines=True)) == json.loads(text)


@pytest.fixture(params=["piped", "terminal"])
def is_terminal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if request.param == "terminal":
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.setenv("FORCE_COLOR", "1")
    else:
        monkeypatch.delenv("FORCE_COLOR", raising=False)
    return str(request.param) == "terminal"


@pytest.fixture
def hostile(
    servers: dict[str, Any], unique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MongoClient[dict[str, Any]]]:
    """A database that the environment names, all of whose names and payloads are hostile, and a dump of it."""
    uri = on_database(servers["CC_MONGO_CONNECTION_STRING"], unique)
    given = MaskedDict({**servers, "CC_MONGO_CONNECTION_STRING": uri})
    for name, value in given.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("CC_MONGO_TIMEOUT_MS", str(LONG_MS))
    tiny_blocks(monkeypatch)
    with MongoClient[dict[str, Any]](given["CC_MONGO_CONNECTION_STRING"]) as client:
        asyncio.run(_store(tmp_path / "dump"))
        _spoil(client[unique])
        yield client
        client.drop_database(unique)


async def _store(dump: Path) -> None:
    async with setup(CC_HISTORY="memory,state"):
        for spec in SLOTS:
            names = {part: f"{part}-{HOSTILE}" for part in spec.context if part not in ("backtest", "interval")}
            adapter = uniform.adapter(spec, "", **names)
            if spec.shape == "series":
                await adapter.write_candles_data(candles(4) + candles(12, first=20 * 60_000))
                continue
            value = {**TRADE, HOSTILE: HOSTILE, "nested": [{HOSTILE: HOSTILE}]}
            payload = [[HOSTILE, value]] if spec.payload == "list" else value
            await uniform.write(adapter, payload, HOSTILE)
        await take_leases(SignalAdapter(HOSTILE, HOSTILE, HOSTILE))
        await export_dump(dump, slots=["signal", "memory"])
    (dump / "data" / "signal" / f"broken{HOSTILE.replace('/', '')}.json").write_text(HOSTILE)
    (dump / "data" / f"other{HOSTILE.replace('/', '')}").mkdir()


#: What a plot reads of a signal.
TRADE: Final = {
    "symbol": f"symbol-{HOSTILE}",
    "strategyName": f"strategy_name-{HOSTILE}",
    "exchangeName": f"exchange_name-{HOSTILE}",
    "status": "closed",
    "position": "long",
    "priceOpen": 1.0,
    "pendingAt": 0,
    "closedAt": 120_000,
    "closeReason": HOSTILE,
}


def _spoil(database: Any) -> None:
    """Leave what an older version has left, and what is damaged, or of others."""
    sessions = database[SessionAdapter.spec.collection]
    key = {"strategyName": f"strategy_name-{HOSTILE}", "exchangeName": "e", "frameName": HOSTILE}
    former = {**key, "payload": {HOSTILE: HOSTILE}}
    sessions.insert_many([former, {**former, "symbol": "", "backtest": False}])
    # Of a part of the rows, as those two share a key of three fields.
    part = {"partialFilterExpression": {"frameName": "other"}}
    sessions.create_index([(name, 1) for name in SessionAdapter.spec.former], name=f"i{HOSTILE}", unique=True, **part)
    database["state-items"].create_index("payload", name=f"i{HOSTILE}")
    database["state-items"].create_index("when", name=f"u{HOSTILE}", unique=True)
    database[f"c{HOSTILE.replace('$', '')}"].insert_one({})
    leases = database["leases"]
    assert leases.update_one({}, {"$set": {"host": HOSTILE}}).matched_count == 1
    blocks = database["candle-blocks"]
    assert blocks.update_one({"start": 0}, {"$set": {"checksum": 1}}).matched_count == 1


SERIES: Final = (
    *("--symbol", f"symbol-{HOSTILE}", "--interval", "1m"),
    *("--exchange", f"exchange_name-{HOSTILE}"),
)
#: A context that is leased in either database.
LEASE: Final = ("signal", HOSTILE, HOSTILE, HOSTILE)
#: A name of a file can hold all but this.
NAME: Final = HOSTILE.replace("/", "")
TRADES: Final = ("-c", f"symbol=symbol-{HOSTILE}", "-c", f"exchange_name=exchange_name-{HOSTILE}")


def _files(directory: Path) -> list[Path]:
    table = directory / f"{NAME}.csv"
    header = f"timestamp,open,high,low,close,volume {HOSTILE!r},symbol\n"
    row = "{},1,2,0.5,1.5,10,{}\n"
    hostile = HOSTILE.replace("\n", "").replace("\r", "")
    bad = f"{hostile},1,2,0.5,1.5,10,x\n" + f"60000,1,2,{hostile},1.5,10,x\n" + row.format(120_000, hostile)
    table.write_text(header + row.format(0, "x") + bad, encoding="utf-8")
    unreadable = directory / f"unknown{NAME}.csv"
    unreadable.write_text(f"{hostile},b,c,d,e,f\n1,2,3,4,5,6\n", encoding="utf-8")
    ignored = directory / f"{NAME}.other"
    ignored.write_text("")
    return [directory]


def _database(directory: Path) -> Path:
    """Make an SQLite file whose name, rows and tables are hostile, some of them damaged."""
    path = directory / f"database{NAME}.db"
    if not path.exists():
        asyncio.run(_store_in_sqlite(path))
        change(
            path,
            "UPDATE [memory-items] SET payload='{'",
            "UPDATE [candle-items] SET candles=x'00'",
            "UPDATE leases SET host='{}'".format(HOSTILE.replace("'", "''")),
            'CREATE TABLE "other{}-items" (x)'.format(HOSTILE.replace('"', '""')),
        )
    return path


async def _store_in_sqlite(path: Path) -> None:
    persist.use_sqlite(path)
    memory = persist.memory(HOSTILE, HOSTILE)
    await memory.write_memory_data({HOSTILE: HOSTILE}, HOSTILE, WHEN)
    await persist.storage(True).write_storage_data([{"id": f"more-{HOSTILE}"}])
    await persist.candle(HOSTILE, "1m", HOSTILE).write_candles_data(candles(4))
    await take_leases(persist.signal(HOSTILE, HOSTILE, HOSTILE))
    await close()


#: Arguments of each command, by the words that name it, and whether it shows a hostile name. ``None`` stands for one
#: whose output is read elsewhere.
CASES: Final[dict[str, Callable[[Path], list[tuple[bool, list[Any]]]] | None]] = {
    "serve": lambda path: [(True, ["--dir", _blocked(path)])],
    "demo": lambda path: [(True, ["--bars", 50, "--kills", 0, "--keep", path / NAME])],
    "doctor": lambda path: [
        (True, []),
        (True, ["--json"]),
        (True, ["--sqlite", _database(path)]),
        (True, ["--sqlite", _database(path), "--json"]),
        (True, ["--sqlite", path / NAME]),
    ],
    "status": lambda path: [
        (True, []),
        (True, ["--json"]),
        (True, ["--sqlite", _database(path)]),
        (True, ["--sqlite", _database(path), "--json"]),
        (True, ["--files", path / NAME]),
    ],
    "backup": lambda path: [
        (True, ["--sqlite", _database(path), path / f"copy{NAME}.db"]),
        (True, ["--sqlite", _database(path), path / f"copy{NAME}.db"]),
        (True, ["--sqlite", path / NAME, path / "x.db"]),
        (True, ["--sqlite", _database(path), _blocked(path)]),
    ],
    "inspect": lambda path: (
        [(True, [spec.name, *more]) for spec in SLOTS for more in ([], ["--json"])]
        + [(True, [HOSTILE]), (False, ["state", "--", f"-{HOSTILE}"]), (True, ["candle", "-", "-", "-", HOSTILE])]
        + [(True, [slot, "--at", "2040-01-01"]) for slot in ("memory", "signal", "candle")]
        + [(False, ["signal", "--at", "2000-01-01"]), (True, ["state", "--at", HOSTILE])]
        + [(True, ["memory", "--sqlite", _database(path)]), (True, ["storage", "--sqlite", _database(path)])]
    ),
    "history": lambda path: [
        *((True, [slot, *more]) for slot in ("memory", "state") for more in ([], ["--json"], ["--newest-first"])),
        (True, ["memory", f"signal_id=signal_id-{HOSTILE}", HOSTILE]),
        (False, ["state", "--sqlite", _database(path)]),
        (True, ["memory", HOSTILE, "--sqlite", path / NAME]),
        (True, [HOSTILE]),
        (False, ["state", f"{HOSTILE}=x"]),
        (True, ["state", "--since", HOSTILE]),
    ],
    "explain": lambda path: [
        (True, [HOSTILE]),
        (True, [HOSTILE, "--json"]),
        (True, [f"no {HOSTILE}"]),
        (True, [f"more-{HOSTILE}", "--sqlite", _database(path)]),
        (True, [HOSTILE, "--sqlite", path / NAME]),
    ],
    "ls": lambda path: [
        (False, []),
        (True, ["memory"]),
        (True, ["memory", "--json"]),
        (True, ["memory", "--sqlite", _database(path)]),
        (False, ["memory", "--context", f"{HOSTILE}=x"]),
        (True, [HOSTILE]),
        (True, ["--sqlite", path / NAME]),
    ],
    "delete": lambda path: [
        (True, ["memory", f"signal_id=signal_id-{HOSTILE}", "--json"]),
        (True, ["memory", f"signal_id=signal_id-{HOSTILE}", "--yes"]),
        (False, ["memory", f"signal_id=signal_id-{HOSTILE}", "--yes"]),
        (True, ["memory", "--all", "--sqlite", _database(path)]),
        (False, ["memory", f"{HOSTILE}=x"]),
        (True, [HOSTILE]),
        (True, ["memory", "--all", "--sqlite", path / NAME]),
    ],
    "rename": lambda path: [
        (True, [f"strategy_name-{HOSTILE}", "b", "--json"]),
        (True, [f"strategy_name-{HOSTILE}", f"b-{HOSTILE}", "--yes"]),
        (True, [f"no {HOSTILE}", "b", "--yes"]),
        (True, ["a", HOSTILE, "--sqlite", path / NAME]),
    ],
    "reset": lambda path: [
        (True, [HOSTILE]),
        (True, [HOSTILE, "--json"]),
        (True, [HOSTILE, "--yes"]),
        (True, [HOSTILE, "--sqlite", _database(path), "--yes"]),
        (True, ["a", "--sqlite", path / NAME]),
    ],
    "prune": lambda path: [
        (True, ["log", "--keep", HOSTILE]),
        (True, [HOSTILE]),
        (False, ["log", "--keep", "1", "--yes"]),
        (True, ["log", "--keep", "1", "--sqlite", path / NAME]),
    ],
    "fork": lambda path: [
        (False, [HOSTILE, "--at", "2040-01-01"]),
        (True, ["x", "--at", HOSTILE]),
        (True, ["x", "--at", "2040-01-01", "--strategy", HOSTILE, "--json"]),
        (True, [path / f"fork{NAME}.db", "--at", "2040-01-01", "--sqlite", _database(path), "--yes"]),
        (True, ["x", "--at", "2040-01-01", "--sqlite", path / NAME]),
    ],
    "leases": lambda path: [
        (True, []),
        (True, ["--json"]),
        (True, ["--sqlite", _database(path)]),
        (True, ["--sqlite", _database(path), "--json"]),
        (True, ["--sqlite", path / NAME]),
    ],
    "leases release": lambda path: [
        (True, [*LEASE, "--sqlite", _database(path)]),
        (True, [*LEASE, "--sqlite", _database(path), "--force"]),
        (True, [*LEASE, "--sqlite", _database(path), "--force"]),
        (True, [*LEASE]),
        (True, [*LEASE, "--force"]),
        (True, [*LEASE, "--force"]),
        (True, [HOSTILE]),
        (True, [f"signal{HOSTILE}[]"]),
        (True, [*LEASE, "--sqlite", path / NAME]),
    ],
    "migrate": lambda path: [(True, ["--json"]), (True, []), (True, ["--apply"])],
    "import-dump": lambda path: [
        (True, [path / "dump"]),
        (True, [path / "dump", "--json"]),
        (True, [path / "dump", "--conflicts", "file", "--apply"]),
        (True, [path / NAME]),
        (True, [path / "dump", "--slot", HOSTILE]),
        (True, [path / "dump", "--conflicts", HOSTILE]),
        (True, [_database(path)]),
        (True, [_database(path), "--json"]),
        (True, [_database(path), "--conflicts", "file", "--apply"]),
        (True, [path / "dump", "--sqlite", path / f"made{NAME}.db", "--apply"]),
        (True, [path / "dump", "--sqlite", _blocked(path), "--apply"]),
    ],
    "export-dump": lambda path: [
        (True, [path / NAME]),
        (True, [path / NAME, "--json"]),
        (True, [_blocked(path)]),
        (True, ["--sqlite", path / f"{NAME}.db"]),
        (True, ["--sqlite", path / f"{NAME}.db"]),
        (True, ["--sqlite", _blocked(path)]),
    ],
    "candles import": lambda path: [
        (True, [*_files(path), *SERIES]),
        (True, [*_files(path), *SERIES, "--columns", HOSTILE]),
        (True, [*_files(path), *SERIES, "--time-unit", HOSTILE]),
        (True, [path / f"missing{NAME}", *SERIES]),
    ],
    "candles export": lambda path: [
        (True, [*SERIES, "--output", path / f"{NAME}.csv"]),
        (True, [*SERIES, "--output", path / f"{NAME}.csv"]),
        (True, [*SERIES, "--output", path / f"{NAME}.parquet"]),
        (True, [*SERIES, "--output", path / "x.csv", "--start", "2020-01-01"]),
        (True, [*SERIES, "--output", path / "x.csv", "--start", HOSTILE]),
        (True, [*SERIES, "--output", path / NAME / "x.csv"]),
    ],
    "candles coverage": lambda path: [(True, []), (True, ["--json"]), (True, ["--symbol", HOSTILE])],
    "candles seal": lambda path: [(True, []), (True, ["--exchange", HOSTILE]), (True, ["--interval", HOSTILE])],
    "candles verify": lambda path: [(True, []), (True, ["--repair"])],
    "candles delete": lambda path: [
        (True, [SERIES[1], "1m", SERIES[5], "--start", HOSTILE]),
        (True, [SERIES[1], HOSTILE, SERIES[5]]),
        (True, [SERIES[1], "1m", SERIES[5]]),
        (True, [SERIES[1], "1m", SERIES[5], "--yes"]),
        (True, [SERIES[1], "1m", SERIES[5], "--yes"]),
    ],
    "candles plot": lambda path: [
        (True, [*SERIES, "--strategy", f"strategy_name-{HOSTILE}", "--output", path / f"{NAME}.html"]),
        (True, [*SERIES, "--output", path / f"{NAME}.png"]),
        (True, [*SERIES, "--output", path / "x.png", "--start", "2020-01-01"]),
        (False, [*SERIES, "--output", path / HOSTILE]),
    ],
    "candles rows": lambda path: [
        (True, []),
        (True, ["--symbol", HOSTILE]),
        (True, ["--interval", HOSTILE]),
        (True, ["--symbol", SERIES[1], "--seal", "--yes"]),
        (True, ["--symbol", SERIES[1], "--restore", "--yes"]),
    ],
    "series import": lambda path: [
        (True, ["trade", _trades(path), *TRADES]),
        (True, ["trade", _trades(path), *TRADES, "--columns", f"price={HOSTILE}"]),
        (True, ["trade", path / f"missing{NAME}", *TRADES]),
        (True, [HOSTILE, _trades(path)]),
        (True, ["trade", _trades(path), "-c", f"{HOSTILE}=x"]),
        (True, ["trade", _trades(path), *TRADES, "--sqlite", path / f"made{NAME}.db"]),
    ],
    "series export": lambda path: [
        (False, ["trade", *TRADES, "--output", path / f"{NAME}.csv"]),
        (True, ["trade", *TRADES, "--output", path / "x.csv", "--start", HOSTILE]),
        (True, [HOSTILE, "--output", path / "x.csv"]),
    ],
    "series coverage": lambda path: [(False, ["trade", *TRADES]), (True, ["trade", "-c", f"{HOSTILE}=x"])],
    "series seal": lambda path: [(False, ["trade", *TRADES]), (True, [HOSTILE])],
    "series verify": lambda path: [(False, ["trade", *TRADES]), (True, [HOSTILE])],
    "series plot": lambda path: [
        (False, ["trade", *TRADES, "--output", path / f"{NAME}.png"]),
        (True, [HOSTILE, "--output", path / "x.png"]),
    ],
}


def _trades(path: Path) -> Path:
    file = path / f"trades{NAME}.csv"
    file.write_text("timestamp,trade_id,price,amount,side\n1704067200000000,1,1.5,2,buy\n1704067200000001,2,x,2,buy\n")
    return file


def _blocked(path: Path) -> Path:
    """A directory that can't be made: what is to hold it is a file."""
    file = path / f"file{NAME}"
    file.write_text("")
    return file / "below"


def test_every_command_has_a_case() -> None:
    # The one that needs an exchange prints the names that it is given, by the same means as `candles coverage`.
    assert commands() - {"candles fetch"} == {*CASES}


@pytest.mark.parametrize("command", CASES)
def test_hostile_names_are_shown_and_not_obeyed(
    command: str, hostile: MongoClient[dict[str, Any]], is_terminal: bool, tmp_path: Path
) -> None:
    make = CASES[command]
    assert make is not None
    for is_named, arguments in make(tmp_path):
        done = invoke(*command.split(), *arguments)
        output = done.out + done.err
        assert_harmless(done.out, done.err, is_terminal=is_terminal)
        if "--json" in arguments:
            assert HOSTILE.partition("/")[0] in "".join(_texts(done.out))
        elif is_named:
            _assert_named(done, is_terminal, arguments)
        assert "Traceback" not in output


def _texts(lines: str) -> Iterator[str]:
    """Yield all text of a JSON document, or of one a line."""
    try:
        pending = [json.loads(lines)]
    except ValueError:
        pending = [json.loads(line) for line in lines.splitlines()]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            pending += value
        elif isinstance(value, str):
            yield value


def _assert_named(done: Done, is_terminal: bool, arguments: list[Any]) -> None:
    # Frames and the ends of lines may part a name.
    plain = "".join(RICH.sub("", done.out + done.err).replace("│", "").split())
    assert "owned" in plain, arguments
    assert "\\u001b]0;owned\\u0007" in plain or "\\x1b]0;owned\\x07" in plain, (arguments, plain)


def test_page_of_a_plot_shows_names_as_text(hostile: MongoClient[dict[str, Any]], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    strategy = ("--strategy", f"strategy_name-{HOSTILE}")
    done = invoke("candles", "plot", *SERIES, *strategy, "--title", f"t{HOSTILE}", "--output", page)
    assert "2 trades of" in done.out
    text = page.read_text(encoding="utf-8")
    chart = re.search(r"const spec = (\{.*?\});\n", text, re.DOTALL)
    assert chart is not None
    assert "</script>" not in chart[1]
    output = "".join(_texts(chart[1]))
    assert_harmless(output)
    # The title, the name of the strategy, and of its trade the id and the reason of the exit.
    assert f"t{SHOWN}" in output
    assert f"strategy_name-{SHOWN}" in output
    assert output.count(SHOWN) >= 4


@pytest.mark.parametrize("as_json", [True, False])
def test_change_that_is_watched_is_harmless(
    as_json: bool, is_terminal: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = ADAPTERS["state"].spec
    change = Change(
        kind="written",
        slot="state",
        context={"signal_id": HOSTILE, "bucket_name": HOSTILE},
        key=HOSTILE,
        payload={HOSTILE: HOSTILE},
        when=WHEN,
        time=WHEN,
        token=HOSTILE,
    )
    for console in (Terminal(), Console()):
        RowPrinter(console, spec, as_json).print_change(change)
        out, err = capsys.readouterr()
        assert_harmless(out, err, is_terminal=is_terminal)
        assert SHOWN in RICH.sub("", out)
        assert not as_json or HOSTILE in _texts(out)


def test_progress_and_errors_are_harmless(
    is_terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_bar, "can_redraw", lambda console: is_terminal)  # what is captured is no terminal
    with ProgressBar("candles") as bar:
        bar.start(2)
        bar.update(HOSTILE, 1, 1)
        bar.note(HOSTILE)
    with pytest.raises(SystemExit), exit_cleanly():
        raise InputError(HOSTILE, slot="state", key={"name": HOSTILE}, hint=HOSTILE)
    with pytest.raises(SystemExit), exit_cleanly():
        raise FileNotFoundError(2, "No such file", HOSTILE)
    out, err = capsys.readouterr()
    assert out == ""
    assert_harmless(err, is_terminal=is_terminal)
    shown = RICH.sub("", err)
    assert shown.count(SHOWN) >= 3 + is_terminal
    assert MARKUP in shown


@pytest.mark.parametrize("options", [{}, {"force_terminal": True, "color_system": "truecolor"}])
def test_terminal_obeys_nothing_in_any_renderable(options: dict[str, Any]) -> None:
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    table = Table(title=HOSTILE, caption=HOSTILE)
    table.add_column(HOSTILE)
    table.add_row(HOSTILE)
    table.add_row(Text(HOSTILE))
    output = io.StringIO()
    console = Terminal(file=output, width=400, **options)
    for renderable in (HOSTILE, Text(HOSTILE), table, Panel(HOSTILE)):
        console.print(renderable)
    console.rule(HOSTILE)
    text = output.getvalue()
    assert_harmless(text, is_terminal=bool(options))
    assert RICH.sub("", text).count("\\u001b]0;owned") >= 7
    assert "]8;" not in text
    assert "[red]x[/red]" in RICH.sub("", text)


def test_names_in_log_lines_are_harmless(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    structlog.reset_defaults()  # as capturing log lines leaves it configured
    log().warning(f"event {HOSTILE}", series=HOSTILE, error=HOSTILE, rows=3)
    out, err = capsys.readouterr()
    assert out == ""
    assert_harmless(err)
    assert err.count("owned") == 3
    set_logger(logging.getLogger("trading"))
    log().warning(f"event {HOSTILE}", series=HOSTILE, error=HOSTILE, rows=3)
    assert_harmless(caplog.text.rstrip("\n"))
    assert caplog.text.count(SHOWN) == 3


#: Modules that may print by themselves, and the calls that do. The two that speak to a parent process print JSON.
PRINTING: Final = {
    *("cli/command_runner.py", "cli/terminal.py", "embedded/shared.py", "cli/demo/worker.py"),
    "testing/conformance/worker.py",
}
CALLS: Final = {
    "print",
    "Console",
    "typer.echo",
    "typer.secho",
    "typer.style",
    "click.echo",
    "sys.stdout",
    "sys.stderr",
}


def test_nothing_is_printed_past_the_one_function() -> None:
    found = []
    for path in PACKAGE.rglob("*.py"):
        if str(path.relative_to(PACKAGE)) in PRINTING:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if name in CALLS or name.endswith((".write_text_to", "stdout.write", "stderr.write", "Text.from_markup")):
                found.append(f"{path.name}:{node.lineno}: {name}")  # type: ignore[attr-defined]  # a call has one
    assert found == []


async def test_series_with_hostile_names_is_listed_as_it_is_stored(hostile: MongoClient[dict[str, Any]]) -> None:
    async with setup():
        series = [adapter.context async for adapter in CandleAdapter.list_series()]
    assert series == [{"symbol": f"symbol-{HOSTILE}", "interval": "1m", "exchange_name": f"exchange_name-{HOSTILE}"}]

"""``backtest-mongo status``: what it says of every strategy, on MongoDB, SQLite and files."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from backtest_mongo import persist
from backtest_mongo.types import INTERVAL_MS, Candle
from tests.cli.test_cli import COMMAND, PROJECT
from tests.support.commands import invoke, split_storage
from tests.support.deadlines import SECONDS
from tests.support.leases import take_leases
from tests.support.stored import Stored

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]

GOLDEN = Path(__file__).parents[1] / "golden" / "engine-19.5.0"
HOUR = INTERVAL_MS["1h"]
#: 2024-01-01 00:00 UTC
START = 1_704_067_200_000
LONG = {"id": "s-1", "position": "long", "priceOpen": 100.0, "size": 2, "pendingAt": START, "priceStopLoss": 90}


def candle(time: int, close: float) -> Candle:
    return {"timestamp": time, "open": close, "high": close, "low": close, "close": close, "volume": 1.0}


async def write_live() -> None:
    """What a strategy stores that trades two symbols live."""
    await persist.signal("BTC", "trend", "binance").write_signal_data({**LONG, "frameName": ""})
    await persist.session("trend", "binance", "", "BTC").write_session_data({"n": 1}, START + 2 * HOUR)
    await persist.signal("ETH", "trend", "binance").write_signal_data(None)
    await persist.session("trend", "binance", "", "ETH").write_session_data({"n": 1}, START + HOUR)
    closed = [
        {"id": f"c-{n}", "symbol": "BTC", "strategyName": "trend", "status": "closed", "profit": n} for n in (10, -4)
    ]
    await persist.storage(False).write_storage_data(closed)
    await persist.candle("BTC", "1h", "binance").write_candles_data([candle(START, 105.0)])
    await persist.candle("BTC", "1d", "binance").write_candles_data([candle(START, 999.0)])
    note = {"id": "n-1", "type": "opened", "symbol": "BTC", "strategyName": "trend", "exchangeName": "binance"}
    await persist.notification(False).write_notification_data([{**note, "timestamp": START, "message": "in at 100"}])


def show(stored: Stored, *options: object) -> Any:
    done = invoke("status", *options, *stored.options, "--json")
    assert (done.code, done.err) == (0, "")
    return json.loads(done.out)


def find(found: Any, symbol: str, **wanted: Any) -> dict[str, Any]:
    """Return the one run of a symbol."""
    runs = [run for run in found["runs"] if run["symbol"] == symbol]
    (run,) = (run for run in runs if all(run[name] == value for name, value in wanted.items()))
    return dict(run)


def test_json_has_all_of_a_run(stored: Stored) -> None:
    stored.run(write_live)
    found = show(stored)
    assert [run["symbol"] for run in found["runs"]] == ["BTC", "ETH"]
    assert find(found, "BTC") == {
        "strategy_name": "trend",
        "exchange_name": "binance",
        "symbol": "BTC",
        "frame_name": "",
        "backtest": False,
        "signal": {
            "slot": "signal",
            "id": "s-1",
            "side": "long",
            "entry": 100.0,
            "stop": 90.0,
            "target": None,
            "size": 2.0,
            "since": START,
        },
        "waiting": None,
        "realised": {"amount": 6.0, "trades": 2, "unknown": 0, "is_cut": False},
        "price": {"interval": "1h", "time": START, "close": 105.0},
        "unrealised": {"percent": 5.0, "amount": 10.0},
        "last_bar": {"time": START + 2 * HOUR, "slot": "session"},
        "leases": None if stored.kind == "files" else [],
        "notice": {"id": "n-1", "type": "opened", "time": START, "text": "in at 100"},
    }
    eth = find(found, "ETH")
    assert (eth["signal"], eth["price"], eth["unrealised"]) == (None, None, None)
    assert eth["realised"] == {"amount": 0.0, "trades": 0, "unknown": 0, "is_cut": False}
    assert found["notifications"] == {"live": find(found, "BTC")["notice"], "backtest": None}
    assert (found["more"], found["problems"]) == (0, [])


@pytest.mark.parametrize("width", [40, 80, 200])
def test_text_says_the_same_at_every_width(stored: Stored, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stored.run(write_live)
    monkeypatch.setenv("COLUMNS", str(width))
    done = invoke("status", *stored.options)
    assert (done.code, done.err) == (0, "")
    text = " ".join(done.out.split())
    assert text.startswith("trend binance live ")
    for part in (
        "long at 100",
        "since 2024-01-01T00:00:00Z",
        "realised +6.00",
        "in 2 trades",
        "unrealised +5.00 %",
        "unrealised +10.00",
        "1h 2024-01-01T00:00:00Z",
        "2024-01-01T02:00:00Z",
        "none open",
        "no candles",
        "no leases here" if stored.kind == "files" else "nobody",
        "last notification, BTC 2024-01-01T00:00:00Z opened in at 100",
    ):
        assert part in text, part
    assert "\x1b" not in done.out
    # All but the notification, which is one line whatever its length.
    lines = [line for line in done.out.splitlines() if not line.startswith("last notification")]
    assert max(map(cell_len, lines)) <= width


def test_nothing_stored_is_said(stored: Stored) -> None:
    async def write() -> None:
        await persist.log().write_log_data([{"id": "l-1"}])

    stored.run(write)
    assert show(stored) == {"runs": [], "more": 0, "notifications": {"live": None, "backtest": None}, "problems": []}
    assert invoke("status", *stored.options).out == "No strategy has stored anything.\n"


def test_missing_file_and_directory_are_one_line(tmp_path: Path) -> None:
    for option in ("--sqlite", "--files"):
        done = invoke("status", option, tmp_path / "missing")
        assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
        assert not (tmp_path / "missing").exists()


def test_runs_beyond_the_limit_are_counted(stored: Stored) -> None:
    stored.run(write_live)
    found = show(stored, "--limit", 1)
    assert ([run["symbol"] for run in found["runs"]], found["more"]) == (["BTC"], 1)
    assert "and 1 run more; --limit shows more" in invoke("status", "--limit", 1, *stored.options).out


def test_holder_of_the_lease_is_shown(kept: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    async def take() -> None:
        await write_live()
        await take_leases(persist.signal("BTC", "trend", "binance"), persist.session("trend", "binance", "", "BTC"))
        await take_leases(persist.session("other", "binance", "jan", "BTC", backtest=True), ttl=0.001)

    kept.run(take)
    found = show(kept)
    btc = find(found, "BTC", strategy_name="trend")
    assert [one["slot"] for one in btc["leases"]] == ["session", "signal"]
    assert {(one["host"], one["process"], one["expired"]) for one in btc["leases"]} == {
        (socket.gethostname(), os.getpid(), False)
    }
    # A strategy that has stored nothing yet is known by its lease.
    (lease,) = find(found, "BTC", strategy_name="other", backtest=True, frame_name="jan")["leases"]
    assert lease["expired"] is True
    assert find(found, "ETH")["leases"] == []
    monkeypatch.setenv("COLUMNS", "60")
    text = " ".join(invoke("status", *kept.options).out.split())
    assert f"{socket.gethostname()} {os.getpid()} until 20" in text
    assert "expired 20" in text


# What the Node engine has written


@pytest.mark.parametrize("target", ["files", "sqlite"])
def test_engine_s_live_run_is_read(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(GOLDEN / "live" / "dump", tmp_path / "dump")
    monkeypatch.chdir(tmp_path)
    if target == "sqlite":
        assert invoke("import-dump", "dump", "--sqlite", "backtest.db", "--apply").code == 0
    done = invoke("status", "--json")
    assert done.storage == (
        "storage: ./backtest.db (SQLite)\n" if target == "sqlite" else "storage: ./dump (JSON files)\n"
    )
    found = json.loads(done.out)
    assert [(run["symbol"], run["backtest"], run["frame_name"]) for run in found["runs"]] == [
        ("BTCUSDT", False, ""),
        ("ETHUSDT", False, ""),
        ("SOLUSDT", False, ""),
    ]
    btc, eth, sol = found["runs"]
    assert (btc["signal"]["slot"], btc["signal"]["side"]) == ("signal", "long")
    assert (btc["signal"]["entry"], btc["signal"]["since"]) == (50035.15574509732, 1_704_153_780_000)
    assert btc["unrealised"]["percent"] == pytest.approx(100 * (btc["price"]["close"] / 50035.15574509732 - 1))
    assert btc["price"]["interval"] == "1m"
    assert btc["last_bar"] == {"time": 1_704_155_820_000, "slot": "session"}
    assert btc["notice"]["type"] == "partial_profit.available"
    # It waits for its price, and was never a position.
    assert (eth["signal"], eth["waiting"]["slot"], eth["waiting"]["entry"]) == (None, "schedule", 2912.0460643646634)
    # The signal slot is empty: the position is being closed, whatever the storage slot says.
    assert sol["signal"] is None
    assert found["problems"] == []


def test_engine_s_backtest_is_read(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "backtest" / "dump", tmp_path / "dump")
    found = json.loads(invoke("status", "--json", "--files", tmp_path / "dump").out)
    assert {(run["backtest"], run["frame_name"]) for run in found["runs"]} == {(True, "jan_2024_frame")}
    rows = [json.loads(file.read_text()) for file in (GOLDEN / "backtest/dump/data/storage/backtest").iterdir()]
    for run in found["runs"]:
        closed = [row for row in rows if row["symbol"] == run["symbol"] and row["status"] == "closed"]
        assert run["realised"]["trades"] == len(closed) > 0
        assert run["realised"]["amount"] == pytest.approx(sum(row["pnl"]["pnlCost"] for row in closed))
        assert run["realised"]["unknown"] == 0
        assert run["signal"] is None


# --watch


def test_change_is_shown_as_it_happens(stored: Stored) -> None:
    stored.run(write_live)
    command = [*COMMAND, "status", "--watch", "--json", *stored.options]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=PROJECT
    ) as process:
        try:
            assert process.stdout is not None
            first = json.loads(process.stdout.readline())
            assert find(first, "BTC")["signal"]["id"] == "s-1"
            # Nothing was written between the two: the first is what is shown until something is.
            stored.run(_close_signal)
            while find(last := json.loads(process.stdout.readline()), "BTC")["signal"] is not None:
                pass
            assert find(last, "BTC")["unrealised"] is None
        finally:
            process.terminate()
            out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 128 + 15
    assert split_storage(err)[0] == "", err
    assert out.count("\n") <= 1


async def _close_signal() -> None:
    await persist.signal("BTC", "trend", "binance").write_signal_data(None)


def test_watch_separates_what_a_file_gets(stored: Stored) -> None:
    """A file can't be drawn again, so each overview follows the one before."""
    stored.run(write_live)
    command = [*COMMAND, "status", "--watch", *stored.options]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "COLUMNS": "100"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment, stderr=subprocess.DEVNULL
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "---\n"
            assert re.sub(" +", " ", process.stdout.readline()) == "trend binance live\n"
        finally:
            process.terminate()
            process.communicate(timeout=SECONDS)

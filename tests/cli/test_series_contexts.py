"""`ls`, `delete`, `inspect`, `rename` and `prune` of series with columns, on MongoDB and SQLite."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

import pytest

from backtest_mongo import persist
from tests.support.built_in_series import equity, trades
from tests.support.candle_commands import Database
from tests.support.commands import Done, invoke
from tests.support.stored import Stored

pytestmark = pytest.mark.one_python


@pytest.fixture(params=["mongodb", "sqlite"])
def stored(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stored:
    monkeypatch.setenv("COLUMNS", "200")
    if request.param == "mongodb":
        database: Database = request.getfixturevalue("database")
        assert database.name
        made = Stored("mongodb", [], tmp_path)
    else:
        made = Stored("sqlite", ["--sqlite", str(tmp_path / "back test.db")], tmp_path / "back test.db")
    made.run(write_some)
    return made


async def write_some() -> None:
    for strategy in ("trend", "drift"):
        await persist.equity(strategy, "binance", "", "BTC", True).append(equity(1, 2, 3))
    await persist.trade("BTC", "binance").append(trades(1, 2))


def find_line(done: Done, start: str) -> str:
    """Return the one line, or row of a table, that begins with a text, with single spaces."""
    (line,) = [line for line in done.out.splitlines() if line.lstrip().startswith(start)]
    return " ".join(line.split())


def count_rows(stored: Stored) -> dict[str, int]:
    done = invoke("ls", *stored.options, "--json")
    assert (done.code, done.err) == (0, "")
    return {one["slot"]: one["rows"] for one in json.loads(done.out)["slots"]}


def test_series_are_listed(stored: Stored) -> None:
    assert count_rows(stored) == {"trade": 2, "equity": 6}
    done = invoke("ls", "equity", *stored.options)
    assert (done.code, done.err) == (0, "")
    assert find_line(done, "trend").startswith("trend binance '' BTC backtest 3 ")


def test_series_of_a_strategy_are_deleted(stored: Stored) -> None:
    done = invoke("delete", "equity", "strategy_name=trend", "--yes", *stored.options)
    assert (done.code, done.err) == (0, "")
    assert "equity: deleted 3 rows of 1 context" in done.out
    assert count_rows(stored) == {"trade": 2, "equity": 3}


def test_strategy_is_renamed(stored: Stored) -> None:
    done = invoke("rename", "trend", "swing", "--yes", *stored.options)
    assert (done.code, done.err) == (0, "")
    done = invoke("ls", "equity", "--context", "strategy_name=swing", "--json", *stored.options)
    assert [one["rows"] for one in json.loads(done.out)["contexts"]] == [3]


def test_rows_are_shown_newest_first(stored: Stored) -> None:
    done = invoke("inspect", "equity", "trend", "--limit", "2", *stored.options)
    assert (done.code, done.err) == (0, "")
    assert "equity trend binance" in done.out
    lines = [line.split() for line in done.out.splitlines() if line.strip().startswith("1970")]
    assert [line[1] for line in lines] == ["00:00:00.003", "00:00:00.002"]
    done = invoke("inspect", "trade", "--json", *stored.options)
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [(row["symbol"], row["price"]) for row in rows] == [("BTC", 2.5), ("BTC", 1.5)]
    done = invoke("inspect", "equity", "trend", "--at", "2", "--json", *stored.options)
    assert len(done.out.splitlines()) == 2
    for at, count in (("1970-01-01T00:00:00.001999Z", 1), ("1970-01-01T00:00:00.002", 2), ("2", 2), ("1", 1)):
        done = invoke("inspect", "trade", "--at", at, "--json", *stored.options)
        assert len(done.out.splitlines()) == count, at
    done = invoke("inspect", "trade", "--at", "1970-01-01T00:00:00.000999Z", *stored.options)
    assert done.out.strip() == "Nothing was stored at 1970-01-01 00:00:00.000999."
    done = invoke("inspect", "equity", "--at", "1970-01-01T00:00:00.002001", *stored.options)
    assert done.code == 2
    assert "has digits that are lost in milliseconds" in done.error
    done = invoke("inspect", "trade", "BTC", "binance", "2000", "--json", *stored.options)
    assert len(done.out.splitlines()) == 1
    done = invoke("inspect", "trade", "BTC", "binance", "x", *stored.options)
    assert done.code == 2
    assert "timestamp must be microseconds" in done.error


def test_what_need_not_be_kept_is_pruned(stored: Stored) -> None:
    async def limit() -> None:
        series = persist.equity("trend", "binance", "", "BTC", True)
        await series.retain("1d")
        await series.append(equity(3 * 86_400_000))  # a write of one row makes no block, and deletes none

    stored.run(limit)
    done = invoke("prune", "--json", *stored.options)
    expected = {
        "slot": "equity",
        "context": {
            "strategy_name": "trend",
            "exchange_name": "binance",
            "frame_name": "",
            "symbol": "BTC",
            "backtest": True,
        },
        "keep": "1d",
        "stored": 4,
        "prunable": 3,
        "deleted": 0,
    }
    assert (done.code, json.loads(done.out)["series"]) == (1, [expected])
    done = invoke("prune", "equity", *stored.options)
    assert done.code == 2
    assert find_line(done, "equity trend") == "equity trend binance '' BTC backtest 1d 4 3"
    done = invoke("prune", "equity", "--yes", *stored.options)
    assert (done.code, done.err) == (0, "")
    assert "equity trend binance '' BTC backtest: 3 rows deleted" in done.out
    assert count_rows(stored) == {"trade": 2, "equity": 4}
    assert invoke("prune", "equity", *stored.options).code == 0
    done = invoke("prune", "equity", "--keep", "5", *stored.options)
    assert done.code == 2
    assert "retain() sets it" in " ".join(done.error.split())


def test_series_of_ones_own_are_pruned(stored: Stored, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "my_own_slots.py").write_text(
        "from backtest_mongo import Column, SlotSpec, persist\n"
        "spec = SlotSpec(name='spread', shape='series', context=('symbol',), key=('symbol', 'timestamp'),\n"
        "    unit='ms', columns=(Column('value', 'float64'),))\n"
        "persist.register(spec)\n",
        "utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_own_slots", raising=False)

    async def write() -> None:
        import_module("my_own_slots")
        series = getattr(persist, "spread")("BTC")  # noqa: B009  # the registry's types know the package's slots alone
        await series.retain("1")
        await series.append([{"timestamp": time, "value": 1.5} for time in range(3)])
        await series.seal()
        await series.append([{"timestamp": 9, "value": 1.5}])

    stored.run(write)
    done = invoke("prune", "spread", "--yes", "--module", "my_own_slots", *stored.options)
    assert (done.code, done.err) == (0, "")
    assert "spread BTC: 3 rows deleted" in done.out
    assert invoke("prune", "spread", "--module", "no_such_module", *stored.options).code == 2

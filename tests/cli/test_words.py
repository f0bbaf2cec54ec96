"""Naming contexts and rows on a command line: values in order, or by name, in every command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backtest_mongo import InputError, SlotSpec, persist
from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.cli.lease_text import parse_lease
from backtest_mongo.cli.stored_rows import RowFilter, list_key_names, parse_words
from tests.support.commands import invoke
from tests.support.stored import Stored
from tests.support.uniform import WHEN, candles

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]

CANDLE = ADAPTERS["candle"].spec
MEMORY = ADAPTERS["memory"].spec
RECENT = ADAPTERS["recent"].spec
SIGNAL = ADAPTERS["signal"].spec


def parse(spec: SlotSpec, *words: str) -> dict[str, Any]:
    return parse_words(spec, words, list_key_names(spec))


@pytest.mark.parametrize(
    ("slot", "words", "given"),
    [
        (SIGNAL, [], {}),
        (SIGNAL, ["BTC"], {"symbol": "BTC"}),
        (SIGNAL, ["BTC", "trend", "binance"], {"symbol": "BTC", "strategy_name": "trend", "exchange_name": "binance"}),
        (SIGNAL, ["-", "trend"], {"strategy_name": "trend"}),
        (SIGNAL, ["strategy_name=trend"], {"strategy_name": "trend"}),
        (SIGNAL, ["exchange_name=x", "symbol=BTC"], {"symbol": "BTC", "exchange_name": "x"}),
        (SIGNAL, ["BTC", "exchange_name=x"], {"symbol": "BTC", "exchange_name": "x"}),
        (SIGNAL, ["-", "symbol=BTC"], {"symbol": "BTC"}),
        (SIGNAL, ["symbol=-"], {"symbol": "-"}),
        (SIGNAL, ["symbol=a=b"], {"symbol": "a=b"}),
        (SIGNAL, ["BTC/USD=X"], {"symbol": "BTC/USD=X"}),
        (RECENT, ["backtest=live"], {"backtest": False}),
        (RECENT, ["-", "-", "-", "", "backtest"], {"frame_name": "", "backtest": True}),
        (RECENT, ["frame_name="], {"frame_name": ""}),
        (MEMORY, ["s-1", "notes", "m-1"], {"signal_id": "s-1", "bucket_name": "notes", "memory_id": "m-1"}),
        (MEMORY, ["signal_id=s-1", "m-1"], {"signal_id": "s-1", "memory_id": "m-1"}),
        (MEMORY, ["memory_id=a=b"], {"memory_id": "a=b"}),
        (ADAPTERS["trade"].spec, ["symbol=B"], {"symbol": "B"}),
        (CANDLE, ["BTC", "timestamp=60000"], {"symbol": "BTC", "timestamp": 60_000}),
    ],
)
def test_words_are_values_in_order_or_by_name(slot: SlotSpec, words: list[str], given: dict[str, Any]) -> None:
    assert parse(slot, *words) == given
    fields = RowFilter.parse(slot, words).parts
    assert [*fields.values()] == [*given.values()]


@pytest.mark.parametrize(
    ("slot", "words", "message"),
    [
        (SIGNAL, ["symbl=BTC"], "signal has no 'symbl': did you mean symbol? (if 'symbl=BTC' is a value, give it"),
        (SIGNAL, ["BTC", "strategy_name"], "strategy_name has no value (give strategy_name=VALUE; if it is a value, "),
        (SIGNAL, ["strategy-name=x"], "signal has no 'strategy-name': did you mean strategy_name?"),
        (SIGNAL, ["symbol=a", "symbol=b"], "symbol is given twice"),
        (SIGNAL, ["BTC", "symbol=b"], "symbol is given twice"),
        (SIGNAL, ["symbol=BTC", "trend"], "'trend' comes after a word with a name (give values first, or all by name"),
        (SIGNAL, ["a", "b", "c", "d"], "4 parts of a key were given (it has symbol, strategy_name, exchange_name)"),
        (MEMORY, ["signal_id=s", "m", "n"], "memory_id is given twice"),
        (RECENT, ["backtest=maybe"], "backtest must be backtest or live, not 'maybe'"),
        (CANDLE, ["timestamp=noon"], "timestamp must be milliseconds"),
        (ADAPTERS["log"].spec, ["name=x"], "log has no 'name': known are entry_id"),
        (SIGNAL, ["a\0b"], "NUL"),
    ],
)
def test_mistakes_are_named(slot: SlotSpec, words: list[str], message: str) -> None:
    with pytest.raises(InputError) as raised:
        parse(slot, *words)
    assert message in str(raised.value)


def test_whole_context_of_a_lease_has_no_open_values() -> None:
    lease = 'signal["BTC", "trend", "binance"]'
    assert parse_lease("signal", ["BTC", "trend", "binance"]) == lease
    assert parse_lease("signal", ["exchange_name=binance", "symbol=BTC", "strategy_name=trend"]) == lease
    assert parse_lease("signal", ["-", "trend", "binance"]) == lease.replace("BTC", "-")
    with pytest.raises(InputError, match="lacks strategy_name"):
        parse_lease("signal", ["BTC", "exchange_name=binance"])


async def write() -> None:
    for symbol in ("BTC", "ETH"):
        await persist.signal(symbol, "trend", "binance").write_signal_data({"id": symbol})
        await persist.state(symbol, "plan").write_state_data({"id": symbol}, WHEN)
        await persist.candle(symbol, "1m", "binance").write_candles_data(candles(2))
        await persist.trade(symbol, "binance").append(
            [{"timestamp": 1, "trade_id": 1, "price": 1.0, "amount": 1.0, "side": None}]
        )


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stored:
    monkeypatch.setenv("COLUMNS", "200")
    stored = Stored("sqlite", ["--sqlite", str(tmp_path / "a.db")], tmp_path / "a.db")
    stored.run(write, CC_HISTORY="state")
    return stored


@pytest.mark.parametrize(
    ("command", "more"),
    [
        (["inspect", "signal"], []),
        (["inspect", "trade"], []),
        (["inspect", "candle"], []),
        (["ls", "signal"], []),
        (["ls", "candle"], []),
        (["history", "state"], []),
        (["series", "coverage", "trade"], []),
        (["series", "verify", "trade"], []),
        (["candles", "rows"], []),
    ],
)
def test_commands_take_both(kept: Stored, command: list[str], more: list[str]) -> None:
    name = "signal_id" if "history" in command else "symbol"
    in_order = invoke(*command, "BTC", *more, *kept.options)
    by_name = invoke(*command, f"{name}=BTC", *more, *kept.options)
    assert (in_order.code, in_order.err) == (by_name.code, by_name.err) == (0, "")
    assert in_order.out == by_name.out
    if command != ["candles", "rows"]:  # which has nothing to do on SQLite
        assert "BTC" in in_order.out
    assert "ETH" not in in_order.out
    done = invoke(*command, "symbl=BTC", *kept.options)
    assert done.code == 2
    assert f"has no 'symbl': {'known are' if name == 'signal_id' else 'did you mean symbol?'}" in done.error


def test_series_is_exported_by_either(kept: Stored, tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.csv" for name in "abc"]
    ways = (["BTC", "binance"], ["exchange_name=binance", "symbol=BTC"], ["-c", "BTC", "-c", "binance"])
    for words, file in zip(ways, files, strict=True):
        done = invoke("series", "export", "trade", *words, "-o", file, *kept.options)
        assert (done.code, done.err) == (0, ""), done
    assert len({file.read_text() for file in files}) == 1
    done = invoke("series", "export", "trade", "BTC", "-o", tmp_path / "d.csv", *kept.options)
    assert done.code == 2
    assert "exchange_name is missing: give exchange_name=VALUE" in done.error


def test_contexts_are_deleted_by_either(kept: Stored) -> None:
    done = invoke("delete", "signal", "-", "trend", *kept.options, "--json")
    assert len(json.loads(done.out)["contexts"]) == 2
    assert invoke("delete", "signal", "BTC", *kept.options, "--yes").code == 0
    assert invoke("delete", "candle", "symbol=BTC", *kept.options, "--yes").code == 0
    for slot in ("signal", "candle"):
        (left,) = json.loads(invoke("ls", slot, *kept.options, "--json").out)["contexts"]
        assert left["context"]["symbol"] == "ETH"
    done = invoke("delete", "signal", "-", *kept.options, "--yes")
    assert done.code == 2
    assert "give a value or NAME=VALUE, or pass --all" in done.error


def test_inspect_without_a_slot_lists_the_slots(kept: Stored) -> None:
    assert invoke("inspect", *kept.options).out == invoke("ls", *kept.options).out
    assert invoke("inspect", "--json", *kept.options).out == invoke("ls", "--json", *kept.options).out
    for options in (["--watch"], ["--at", "2024-01-01"]):
        done = invoke("inspect", *options, *kept.options)
        assert done.code == 2
        assert "it needs a slot" in done.error

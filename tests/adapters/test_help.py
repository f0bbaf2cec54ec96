"""What ``help()`` and tab completion show: all that is for users, and nothing else."""

from __future__ import annotations

import inspect
import pydoc
import re
import rlcompleter
from typing import Any

import pytest

import backtest_mongo
import backtest_mongo.contracts
from backtest_mongo import SERIES, SLOTS, SlotSpec, persist
from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.adapters.registry import Registry

PRICE_DEPTH = SlotSpec(
    name="price_depth",
    about="the bids and asks of a symbol",
    shape="entry",
    context=("symbol", "exchange_name"),
    key=("exchangeName", "symbol", "side"),
    redis=("exchangeName", "symbol", "side"),
    when=True,
)
#: What every adapter has.
COMMON = {"context", "delete", "history", "list_contexts", "spec", "wait_for_init", "watch", "watch_all"}


def helped(value: object) -> str:
    """Return the text of ``help(value)``."""
    return pydoc.plain(pydoc.render_doc(value))


def completed(text: str, **names: Any) -> set[str]:
    """Return what an interactive session offers after ``text``."""
    completer = rlcompleter.Completer(names)
    found: list[str] = []
    while (match := completer.complete(text, len(found))) is not None:
        found.append(match.removeprefix(text).rstrip("()"))
    assert len(found) == len(set(found))
    return set(found)


def test_help_on_an_adapter_says_what_it_is_for_and_how_it_is_used() -> None:
    text = helped(backtest_mongo.SignalAdapter)
    for line in (
        "The ``signal`` slot: the signal that a strategy has open on a symbol.",
        "    signal = SignalAdapter(symbol, strategy_name, exchange_name)",
        "    await signal.write_signal_data(row)",
        "    row = await signal.read_signal_data()",
        "__init__(self, symbol: 'str', strategy_name: 'str', exchange_name: 'str') -> None",
    ):
        assert line in text


def test_help_shows_nothing_private_and_no_line_that_wraps(spec: SlotSpec) -> None:
    text = helped(ADAPTERS[spec.name])
    assert re.findall(r"^ \|  (?:async )?(_(?!_)\w+)", text, re.MULTILINE) == []
    assert "args" not in text.replace("**kwargs", "")
    assert spec.about
    assert all(len(line) <= 120 for line in (inspect.getdoc(ADAPTERS[spec.name]) or "").splitlines())


@pytest.mark.parametrize("value", [persist, SlotSpec, backtest_mongo.setup], ids=["persist", "SlotSpec", "setup"])
def test_help_has_an_example(value: object) -> None:
    assert re.search(r"::\n \| *\n \|      |::\n *\n        ", helped(value))


def test_help_on_the_package_names_where_to_begin() -> None:
    text = helped(backtest_mongo)
    assert "await setup()" in text
    assert "``persist``" in text


def test_help_on_the_registry_says_what_each_slot_is_for() -> None:
    text = helped(persist)
    for spec in SLOTS:
        assert f"``{spec.name}`` slot, {spec.about}" in text


def test_completion_of_the_package_offers_its_public_names_alone() -> None:
    modules = {"contracts", "embedded", "errors", "market_data", "models", "testing", "typed", "types"}
    found = completed("backtest_mongo.", backtest_mongo=backtest_mongo)
    assert found - modules == set(backtest_mongo.__all__)
    assert {"contracts", "errors", "types"} <= found
    assert "__version__" in dir(backtest_mongo)


def test_completion_of_the_registry_offers_slots_and_registered_ones() -> None:
    registry = Registry()
    own = {"register", "use", "use_dummy", "use_files", "use_mongo", "use_sqlite"}
    assert completed("persist.", persist=registry) == {spec.name for spec in (*SLOTS, *SERIES)} | own
    registry.register(PRICE_DEPTH)
    assert completed("persist.", persist=registry) == {spec.name for spec in (*SLOTS, *SERIES)} | own | {"price_depth"}


def test_completion_of_an_adapter_offers_its_methods_alone(spec: SlotSpec) -> None:
    adapter: Any = ADAPTERS[spec.name](**{name: name == "backtest" or "1h" for name in spec.context})
    methods = {name for name, _ in inspect.getmembers(type(adapter), callable) if name[0] != "_"}
    assert completed("adapter.", adapter=adapter) == methods | COMMON - {"history"}  # which candles don't have
    assert {f"read_{spec.noun}_data", f"write_{spec.noun}_data"} <= methods


def test_completion_of_a_registered_slot_s_adapter_offers_its_methods() -> None:
    adapter = Registry().register(PRICE_DEPTH)("BTCUSDT", "binance")
    found = completed("adapter.", adapter=adapter)
    assert found == COMMON | {"read_price_depth_data", "write_price_depth_data"}
    assert "The ``price_depth`` slot: the bids and asks of a symbol." in helped(type(adapter))

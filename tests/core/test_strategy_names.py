"""The name of a strategy in keys and payloads: what renames it changes that, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from backtest_mongo import SLOTS
from backtest_mongo.core.strategy_names import MENTIONS, NewName, has_strategy

SPECS = {spec.name: spec for spec in SLOTS}
NAME = NewName("trend", "drift")
SESSION = ("trend", "binance", "jan", "BTCUSDT", True)


def test_slots_that_have_a_strategy_or_name_one() -> None:
    assert {spec.name for spec in SLOTS if has_strategy(spec)} == {
        *("signal", "schedule", "strategy", "partial", "breakeven", "recent", "session")
    }
    assert not {name for name in MENTIONS if has_strategy(SPECS[name])}


def test_keys_change_in_the_field_of_the_strategy_alone() -> None:
    key = ("trend", "trend", "trend")
    assert NAME.change_key(SPECS["signal"], key) == ("trend", "drift", "trend")
    assert NAME.change_key(SPECS["session"], SESSION) == ("drift", *SESSION[1:])
    assert NAME.change_key(SPECS["session"], SESSION[:2]) == ("drift", "binance")
    assert NAME.change_key(SPECS["memory"], key) == key


@pytest.mark.parametrize(
    ("payload", "changed"),
    [
        ({"strategyName": "trend"}, {"strategyName": "drift"}),
        ({"a": [{"b": {"strategyName": "trend", "c": 1.0}}]}, {"a": [{"b": {"strategyName": "drift", "c": 1.0}}]}),
        ({"strategyName": {"strategyName": "trend"}}, {"strategyName": {"strategyName": "drift"}}),
    ],
)
def test_fields_of_the_name_are_changed_at_any_depth(payload: Any, changed: Any) -> None:
    assert NAME.change_payload(SPECS["signal"], ("BTCUSDT", "trend", "binance"), payload) == changed


@pytest.mark.parametrize(
    "payload",
    [
        None,
        {},
        {"strategyName": "trend_2"},
        {"strategyName": "Trend"},
        {"strategyName": ["trend"]},
        {"note": "trend", "trend": "trend", "strategy": "trend"},
        {"id": "BTCUSDT:trend:binance:jan:backtest"},
        [["trend_binance_BTCUSDT", {"strategyName": "other"}]],
    ],
)
def test_what_does_not_name_it_is_the_payload_itself(payload: Any) -> None:
    assert NAME.change_payload(SPECS["signal"], ("BTCUSDT", "trend", "binance"), payload) is payload


@pytest.mark.parametrize(
    ("key", "old", "new"),
    [
        (SESSION, "BTCUSDT:trend:binance:jan:backtest", "BTCUSDT:drift:binance:jan:backtest"),
        (("trend", "binance", "", "BTCUSDT", False), "BTCUSDT:trend:binance:live", "BTCUSDT:drift:binance:live"),
        (SESSION, "BTCUSDT:trend:binance:feb:backtest", "BTCUSDT:trend:binance:feb:backtest"),
        (SESSION, "trend", "trend"),
    ],
)
def test_id_of_a_session_is_changed_if_it_is_that_of_its_key(key: Any, old: str, new: str) -> None:
    changed = NAME.change_payload(SPECS["session"], key, {"id": old, "data": {"id": old}})
    assert changed == {"id": new, "data": {"id": old}}


def test_position_is_named_by_its_strategy() -> None:
    positions = [
        ["trend_binance_BTCUSDT", {"strategyName": "trend", "symbol": "BTCUSDT"}],
        ["trend_2_binance_BTCUSDT", {"strategyName": "trend_2"}],
        ["trend_binance_BTCUSDT", {"strategyName": "other"}],
        ["named otherwise", {"strategyName": "trend"}],
        ["trend_", "trend"],
        "trend_",
        ["trend_"],
    ]
    changed = NAME.change_payload(SPECS["risk"], ("r", "binance"), positions)
    assert changed == [
        ["drift_binance_BTCUSDT", {"strategyName": "drift", "symbol": "BTCUSDT"}],
        *positions[1:3],
        ["named otherwise", {"strategyName": "drift"}],
        *positions[4:],
    ]
    others = positions[1:3]
    assert NAME.change_payload(SPECS["risk"], ("r", "binance"), others) is others

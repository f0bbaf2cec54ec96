"""How the table and the settings say what is kept of lists, and by what they are filtered."""

from __future__ import annotations

from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import SLOTS, ConfigError, SlotError, SlotSpec
from backtest_mongo.core.pruning import NoPruner
from backtest_mongo.core.retention import Retention

SPECS = {spec.name: spec for spec in SLOTS}
AUDIT: dict[str, Any] = {
    "name": "audit",
    "shape": "collection",
    "context": (),
    "key": ("entryId",),
    "redis": ("entryId",),
}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("log=0", "would keep nothing"),
        ("log=0d", "would keep nothing"),
        ("log", "must say how much of log to keep, such as log=30d"),
        ("log=", "must be days such as 30d|must be days such as 90d"),
        ("log=30d,log=5", "names 'log' twice"),
        ("lgo=30d", "did you mean log"),
        ("signal=30d", "must name slots that hold lists, unlike 'signal'"),
        ("candle=30d", "must name slots that hold lists, unlike 'candle'"),
    ],
)
def test_setting_that_can_t_be_meant_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        backtest_mongo.set_config(CC_KEEP=text)


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"keep": "0"}, "has a keep that must keep something"),
        ({"keep": "soon"}, "has a keep that must be days"),
        ({"keep": True}, "must give keep as a string"),
        ({"ended": ("status",)}, "must name a path and at least one string in ended"),
        ({"ended": ("status", 1)}, "must name a path and at least one string in ended"),
        ({"ended": ("a..b", "x")}, "needs paths of names in its payload"),
        ({"ended": "status"}, "ended must be a tuple"),
        ({"filters": (("symbol",),)}, "filters must hold pairs"),
        ({"filters": (("symbol", 1),)}, "filters must hold pairs"),
        ({"filters": (("Symbol", "symbol"),)}, "needs filters with names in snake case"),
        ({"filters": (("since", "symbol"),)}, "gives one parameter of its list two meanings"),
        ({"filters": (("a", "a"), ("a", "b"))}, "gives one parameter of its list two meanings"),
        ({"filters": (("a", "$a"),)}, "needs paths of names in its payload"),
        ({"filters": (("a", "a."),)}, "needs paths of names in its payload"),
        ({"filters": (("a", 'a"'),)}, "needs paths of names in its payload"),
        ({"filter_time": "a b"}, "needs paths of names in its payload"),
    ],
)
def test_row_of_the_table_that_contradicts_itself_is_refused(columns: dict[str, Any], problem: str) -> None:
    with pytest.raises(SlotError, match=problem):
        SlotSpec(**{**AUDIT, **columns})


@pytest.mark.parametrize("columns", [{"keep": "30d"}, {"ended": ("a", "b")}, {"filters": (("a", "a"),)}])
def test_only_lists_are_filtered_or_kept_in_part(columns: dict[str, Any]) -> None:
    with pytest.raises(SlotError, match="unless it is a collection"):
        SlotSpec(**{**AUDIT, "shape": "entry", **columns})


def test_slot_without_filters_has_no_such_arguments() -> None:
    adapter: Any = backtest_mongo.persist.register(SlotSpec(**{**AUDIT, "name": "audit_plain"}))
    with pytest.raises(TypeError, match="symbol"):
        adapter().read_audit_plain_data(symbol="BTCUSDT")
    with pytest.raises(TypeError, match="since"):
        adapter().read_audit_plain_data(since=0)


def test_context_is_due_at_first_and_after_every_hundred_rows() -> None:
    pruner = NoPruner(SPECS["log"])
    pruner.is_automatic = True
    kept = Retention(rows=5)
    assert pruner.begin((), 1, kept)
    assert not pruner.begin((), 500, kept)  # while it is at work
    pruner.end(())
    assert pruner.begin((), 1, kept)
    pruner.end(())
    assert [pruner.begin((), 1, kept) for _ in range(100)] == [False] * 99 + [True]
    pruner.end(())
    assert not pruner.begin((), 150, Retention(rows=20_000))  # a hundredth of what is kept
    assert pruner.begin((), 50, Retention(rows=20_000))

"""What the settings of slots and the table say of versions and lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import SLOTS, ConfigError, SlotSpec
from backtest_mongo.core.history import find_history
from backtest_mongo.core.pruning import find_retention
from backtest_mongo.core.retention import FOREVER, Retention

SPECS = {spec.name: spec for spec in SLOTS}
AUDIT: dict[str, Any] = {
    "name": "audit",
    "shape": "collection",
    "context": (),
    "key": ("entryId",),
    "redis": ("entryId",),
}
BOTH = pytest.mark.parametrize(
    ("name", "column", "find"), [("CC_HISTORY", "history", find_history), ("CC_KEEP", "keep", find_retention)]
)
Find = Callable[[SlotSpec], Retention | None]


@BOTH
def test_setting_counts_from_the_next_call_on(name: Any, column: str, find: Find) -> None:
    assert [find(spec) for spec in SLOTS] == [None] * len(SLOTS)
    for text, retention in (("log=30d", Retention(days=30)), ("log=5", Retention(rows=5)), (None, None)):
        backtest_mongo.set_config({name: text})
        assert find(SPECS["log"]) == retention
        assert find(SPECS["storage"]) is None


@BOTH
def test_slot_of_one_s_own_says_itself_what_is_kept(name: Any, column: str, find: Find) -> None:
    other = {"history": "keep", "keep": "history"}[column]
    for text, retention in (("90d", Retention(days=90)), ("7", Retention(rows=7))):
        assert find(SlotSpec(**{**AUDIT, column: text})) == retention
        assert find(SlotSpec(**{**AUDIT, other: text})) is None


def test_versions_may_be_kept_forever() -> None:
    assert find_history(SlotSpec(**AUDIT, history=True)) == FOREVER
    backtest_mongo.set_config(CC_HISTORY="signal")
    assert find_history(SPECS["signal"]) == FOREVER


@BOTH
def test_bad_value_in_the_environment_is_an_error_until_it_is_mended(
    name: str, column: str, find: Find, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "log=0d")
    with pytest.raises(ConfigError, match="would keep nothing"):
        find(SPECS["log"])
    monkeypatch.setenv(name, "log=1d")
    assert find(SPECS["log"]) == Retention(days=1)

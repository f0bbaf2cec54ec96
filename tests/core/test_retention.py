"""How settings say what is kept."""

from __future__ import annotations

import pytest

import backtest_mongo
from backtest_mongo import ConfigError, SlotError, SlotSpec
from backtest_mongo.core.retention import FOREVER, Retention, parse_retention, parse_retentions


def test_days_and_numbers_are_told_apart() -> None:
    assert parse_retention("90d") == Retention(days=90)
    assert parse_retention("1000") == Retention(rows=1000)
    assert [str(some) for some in (Retention(days=90), Retention(rows=1000), FOREVER)] == ["90d", "1000", ""]


@pytest.mark.parametrize("text", ["", "0", "0d", "-1", "1.5d", "90 d", "d", "90h", "9" * 20, "40000d", "٣d"])
def test_what_keeps_nothing_or_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        parse_retention(text)


def test_slots_are_named_with_what_is_kept_of_them() -> None:
    found = parse_retentions(" state, session = 90d,signal=1000, ")
    assert found == {"state": FOREVER, "session": Retention(days=90), "signal": Retention(rows=1000)}
    assert parse_retentions("") == {}


@pytest.mark.parametrize("text", ["state,state", "state=", "state=0", "session=x"])
def test_bad_settings_of_slots_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"state|session"):
        parse_retentions(text)


def test_cut_is_in_milliseconds() -> None:
    assert Retention(days=2).find_cut(10**12) == 10**12 - 2 * 86_400_000
    assert Retention(rows=2).find_cut(10**12) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [("stat", "did you mean"), ("candle", "change"), ("state=0d", "keep nothing"), ("state,state", "twice")],
)
def test_configuration_refuses_bad_history(value: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        backtest_mongo.set_config(CC_HISTORY=value)


@pytest.mark.parametrize("value", ["0", "x", 3])
def test_slot_refuses_bad_history(value: object) -> None:
    with pytest.raises(SlotError, match="history"):
        SlotSpec(
            name="note", shape="document", context=("symbol",), key=("symbol",), redis=("symbol",), history=value,  # type: ignore[arg-type]
        )  # fmt: skip

"""Phrases that messages share."""

from __future__ import annotations

import pytest

from backtest_mongo.core.wording import format_count, suggest_extra

pytestmark = pytest.mark.either_driver


@pytest.mark.parametrize(
    ("count", "noun", "plural", "text"),
    [
        (0, "candle", None, "0 candles"),
        (1, "candle", None, "1 candle"),
        (2_000, "candle", None, "2,000 candles"),
        (1, "index", "indexes", "1 index"),
        (2, "index", "indexes", "2 indexes"),
    ],
)
def test_noun_agrees_with_its_number(count: int, noun: str, plural: str | None, text: str) -> None:
    assert format_count(count, noun, plural) == text


def test_hint_names_the_extra_for_an_index_and_for_a_checkout() -> None:
    assert suggest_extra("plot") == 'pip install "backtest-mongo[plot]", or ".[plot]" in a checkout'

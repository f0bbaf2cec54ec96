"""Numbers as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.either_driver


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30))
def test_every_float_is_read_to_the_last_digit(values: list[float]) -> None:
    from backtest_mongo.market_data.csv_fields import make_column
    from backtest_mongo.market_data.number_formats import NumberFormat, read_numbers

    for write in (repr, "{:.17g}".format, "{:.3f}".format):
        texts = [write(value) for value in values]
        assert read_numbers(make_column(texts), NumberFormat()).tolist() == [
            float(text) if len(text) <= 64 else pytest.approx(float("nan"), nan_ok=True) for text in texts
        ]

"""Whose file it is: every path of ours says its key, and Node's says each key that it may stand for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest_mongo import SLOTS, SlotSpec
from backtest_mongo.files.names import is_node_s, spelled
from backtest_mongo.files.readings import depths, is_plain, readings, top

BY_NAME = {spec.name: spec for spec in SLOTS}
PARTS = st.text(st.sampled_from("aB_%/.2F:ü"), max_size=6) | st.sampled_from(["con", "my_strategy", "BTC/USDT", "%_"])


@st.composite
def rows(draw: st.DrawFn) -> tuple[SlotSpec, tuple[Any, ...]]:
    spec = draw(st.sampled_from(SLOTS))
    values = {"backtest": st.booleans(), "timestamp": st.integers(-(10**15), 10**15)}
    return spec, tuple(draw(values.get(name, PARTS)) for name in spec.key)


@given(rows())
def test_path_of_ours_says_its_key(row: tuple[SlotSpec, tuple[Any, ...]]) -> None:
    spec, key = row
    for spelling in ("exact", "folded"):
        path = spelled(spec, key, spelling)
        assert readings(spec, path).ours == (key,)
        assert len(path) in depths(spec)
        assert path[: len(top(spec))] == top(spec)


@given(rows())
def test_path_of_node_may_be_its_key_s(row: tuple[SlotSpec, tuple[Any, ...]]) -> None:
    spec, key = row
    path = spelled(spec, key, "raw")
    if all(map(is_node_s, path)):
        assert key in readings(spec, path).node


@pytest.mark.parametrize(
    ("slot", "path", "plain"),
    [
        ("signal", ("data", "signal", "BTC_s_e", "BTC"), True),
        ("signal", ("data", "signal", "BTC_my_s_e", "BTC"), False),
        ("recent", ("data", "recent", "BTC_s_e_backtest", "BTC"), True),
        ("recent", ("data", "recent", "BTC_s_e_f_backtest", "BTC"), False),
        ("state", ("state", "a_b", "c_d", "c_d"), True),
        ("state", ("state", "a%2Fb", "c", "c"), False),
        ("session", ("session", "s", "e", "f", "BTC_live"), True),
    ],
)
def test_plain_path_says_by_itself_whose_it_is(slot: str, path: tuple[str, ...], plain: bool) -> None:
    assert is_plain(BY_NAME[slot], path) is plain


@pytest.mark.parametrize(
    ("slot", "path"),
    [
        ("state", ("state", "a", "b", "c")),
        ("signal", ("data", "signal", "BTC_s_e", "ETH")),
        ("storage", ("data", "storage", "other", "x")),
        ("candle", ("data", "candle", "e", "BTC", "1m", "noon")),
        ("session", ("session", "s", "e", "BTC_never")),
    ],
)
def test_path_of_no_row_is_nobody_s(slot: str, path: tuple[str, ...]) -> None:
    assert readings(BY_NAME[slot], path).all == ()

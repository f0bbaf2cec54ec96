"""The keys of a path: a path of this library has one key, and a path of Node's each key that it may be of."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest_mongo import SLOTS, SlotSpec
from backtest_mongo.files.names import OWN_SPELLINGS, may_be_node_name
from backtest_mongo.files.paths import compile_paths

BY_NAME = {spec.name: spec for spec in SLOTS}
PARTS = st.text(st.sampled_from("aB_%/.2F:ü"), max_size=6) | st.sampled_from(["con", "my_strategy", "BTC/USDT", "%_"])


@st.composite
def rows(draw: st.DrawFn) -> tuple[SlotSpec, tuple[Any, ...]]:
    spec = draw(st.sampled_from(SLOTS))
    values = {"backtest": st.booleans(), "timestamp": st.integers(-(10**15), 10**15)}
    return spec, tuple(draw(values.get(name, PARTS)) for name in spec.key)


@settings(deadline=None)  # a machine may be busy
@given(rows())
def test_path_of_this_library_gives_its_key(row: tuple[SlotSpec, tuple[Any, ...]]) -> None:
    spec, key = row
    paths = compile_paths(spec)
    for spelling in OWN_SPELLINGS:
        path = paths.write(key, spelling)
        assert paths.is_path_of(key, path)
        assert key in paths.read(path).own
        assert len(paths.read(path).own) == 1 or spec.name == "recent"
        assert len(path) in paths.depths
        assert path[: len(paths.top)] == paths.top


@settings(deadline=None)  # a machine may be busy
@given(rows())
def test_path_of_node_may_be_that_of_its_key(row: tuple[SlotSpec, tuple[Any, ...]]) -> None:
    spec, key = row
    paths = compile_paths(spec)
    path = paths.write(key, "raw")
    if all(map(may_be_node_name, path)) and not any("/" in str(value) for value in key):
        assert key in paths.read(path).node


@pytest.mark.parametrize(
    ("slot", "path", "is_unambiguous"),
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
def test_unambiguous_path_has_one_key(slot: str, path: tuple[str, ...], is_unambiguous: bool) -> None:
    assert compile_paths(BY_NAME[slot]).is_unambiguous(path) is is_unambiguous


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
def test_path_of_no_row_has_no_key(slot: str, path: tuple[str, ...]) -> None:
    assert compile_paths(BY_NAME[slot]).read(path).all == ()

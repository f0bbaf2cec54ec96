"""Names and content of files: ordinary keys and payloads are written as Node writes them, and all others come back."""

from __future__ import annotations

import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import bson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest_mongo import SLOTS, SlotSpec, persist
from backtest_mongo.core.payload import CODEC
from backtest_mongo.files.layout import EngineFields, get_engine_fields
from backtest_mongo.files.names import decode_name
from backtest_mongo.files.paths import compile_paths
from backtest_mongo.files.text import from_text, to_text
from tests.core.test_payloads import payloads, same, stored
from tests.support.uniform import candles

#: Each slot's key, in the order of its index, and the file that the Node package has for it.
NODE_S: list[tuple[str, tuple[Any, ...], str]] = [
    ("candle", ("binance", "BTCUSDT", "1m", 1700000000000), "data/candle/binance/BTCUSDT/1m/1700000000000"),
    ("signal", ("BTCUSDT", "my_strategy", "binance"), "data/signal/BTCUSDT_my_strategy_binance/BTCUSDT"),
    ("schedule", ("BTCUSDT", "MyStrategy", "binance"), "data/schedule/BTCUSDT_MyStrategy_binance/BTCUSDT"),
    ("strategy", ("BTCUSDT", "s-1.2", "binance"), "data/strategy/BTCUSDT_s-1.2_binance/strategy"),
    ("risk", ("my_risk", "binance"), "data/risk/my_risk_binance/positions"),
    ("partial", ("BTCUSDT", "sma", "binance", "s_1"), "data/partial/BTCUSDT_sma_binance/s_1"),
    ("breakeven", ("BTCUSDT", "sma", "binance", "s-1"), "data/breakeven/BTCUSDT_sma_binance/s-1"),
    ("storage", (True, "s-1"), "data/storage/backtest/s-1"),
    ("notification", (False, "n-1"), "data/notification/live/n-1"),
    ("log", ("l-1",), "data/log/log/l-1"),
    ("measure", ("my_bucket", "key 1"), "data/measure/my_bucket/key 1"),
    ("interval", ("bucket", "BTCUSDT_1h"), "data/interval/bucket/BTCUSDT_1h"),
    ("memory", ("s-1", "notes", "ключ"), "memory/s-1/notes/ключ"),
    ("recent", ("BTC", "my_s", "okx", "year", True), "data/recent/BTC_my_s_okx_year_backtest/BTC"),
    ("recent", ("BTC", "my_s", "okx", "", False), "data/recent/BTC_my_s_okx_live/BTC"),
    ("state", ("s-1", "counter"), "state/s-1/counter/counter"),
    ("dictionary", ("s-1", "words"), "dictionary/s-1/words/words"),
    ("session", ("sma", "binance", "my_frame", "BTC_USDT", True), "session/sma/binance/my_frame/BTC_USDT_backtest"),
    ("session", ("sma", "binance", "", "BTCUSDT", False), "session/sma/binance/BTCUSDT_live"),
]
BY_NAME = {spec.name: spec for spec in SLOTS}
TRICKY = (
    *("", " ", ".", "..", "...", "a", "A", "b", "_", "a_b", "b_", "_live", "live", "%", "%5F", "%_", "%~", "a%2Fb"),
    *("a/b", "/", "\\", "../a", "a.json", "a.JSON", ".tmp-a", ".a.facts", "con", "CON.x", "Lpt1", "nul ", "a:b"),
    *("a ", "a.", "é", "e\u0301", "É", "ß", "SS", "\u017f", "x" * 500, "x" * 499, "\U0001f4c8" * 90, "\n", "*?"),
)
texts = st.one_of(
    st.sampled_from(TRICKY),
    st.text("aAbB_%./ \\:~5F", max_size=6),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12),
)


def keys(spec: SlotSpec) -> st.SearchStrategy[tuple[Any, ...]]:
    kinds: dict[str, st.SearchStrategy[Any]] = {"backtest": st.booleans(), "timestamp": st.integers(-9, 9)}
    return st.tuples(*(kinds.get(name, texts) for name in spec.key))


@pytest.mark.parametrize(("slot", "key", "path"), NODE_S)
def test_ordinary_key_has_node_s_path(slot: str, key: tuple[Any, ...], path: str) -> None:
    assert "/".join(compile_paths(BY_NAME[slot]).find_places(key, False)[0].path) == path
    assert {slot for slot, _, _ in NODE_S} == set(BY_NAME)


@pytest.mark.parametrize("folding", [False, True])
@settings(deadline=None)  # a machine may be busy
@given(data=st.data())
def test_different_keys_have_different_paths(folding: bool, data: st.DataObject) -> None:
    spec = data.draw(st.sampled_from(SLOTS))
    one, other = data.draw(keys(spec)), data.draw(keys(spec))
    # Keys that are as close as they can be: the same text divided elsewhere, or one part that differs.
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(one) - 1))
        other = (*one[:at], other[at], *one[at + 1 :])
    # A key that may share its path with others also has an exclusive one.
    mine, others = (
        next(place.path for place in compile_paths(spec).find_places(key, folding) if not place.is_shared)
        for key in (one, other)
    )
    if folding:
        mine, others = tuple(map(str.casefold, mine)), tuple(map(str.casefold, others))
    assert (mine == others) == (one == other)
    for part in mine:
        assert 0 < len(part.encode()) <= 240
        assert part[0] != "."
        assert part[-1] not in ". "
        assert not set(part) & {*'/\\:*?"<>|', *map(chr, range(32))}
        assert part.partition(".")[0].strip().lower() not in ("con", "aux", "prn", "nul", "lpt1")
    assert not any(part.lower().endswith(".json") for part in mine[:-1])


@settings(deadline=None)  # a machine may be busy
@given(words=st.lists(st.sampled_from(["a", "", "b", "live", "%", "%5F"]), max_size=7), backtest=st.booleans())
def test_each_division_of_a_joined_name_has_an_exclusive_path(words: list[str], backtest: bool) -> None:
    """However a text is divided into the fields of a joined name, no two divisions have the same exclusive path."""
    paths = compile_paths(BY_NAME["recent"])
    text = ["BTCUSDT", "my", "strategy", *words]
    found: dict[tuple[str, ...], tuple[Any, ...]] = {}
    for first in range(1, min(len(text), 4)):
        for second in range(first + 1, min(len(text), first + 4)):
            for third in range(second, min(len(text), second + 4) + 1):
                parts = (text[:first], text[first:second], text[second:third], text[third:])
                key = (*("_".join(part) for part in parts), backtest)
                plain, apart, *_ = paths.find_places(key, False)
                assert found.setdefault(apart.path, key) == key
                assert key in paths.read(plain.path).own


@settings(deadline=None)  # a machine may be busy
@given(item=texts)
def test_name_decodes_to_its_field_unless_it_was_cut(item: str) -> None:
    for folding in (False, True):
        name = compile_paths(BY_NAME["log"]).find_places((item,), folding)[0].path[-1]
        assert decode_name(name) == (None if len(name.encode()) > 200 and "%~" in name else item)


async def test_tricky_keys_are_stored_listed_and_removed(tmp_path: Path) -> None:
    persist.use_files(tmp_path)
    for bucket in filter(None, TRICKY):
        memory = persist.memory(bucket, bucket)
        assert await memory.read_memory_data("a") is None
        await memory.write_memory_data({"bucket": bucket}, bucket, 1)
    buckets = persist.measure("b")
    for key in TRICKY:
        await buckets.write_measure_data({"key": key}, key)
    assert [key async for key in buckets.list_measure_data()] == sorted(TRICKY)
    for key in TRICKY:
        assert await buckets.read_measure_data(key) == {"key": key}
        await buckets.remove_measure_data(key)
        assert await buckets.read_measure_data(key) is None
    for bucket in filter(None, TRICKY):
        memory = persist.memory(bucket, bucket)
        assert [row async for row in memory.list_memory_data()] == [(bucket, {"bucket": bucket})]
    assert [key async for key in buckets.list_measure_data()] == []


async def test_file_system_that_ignores_case_is_detected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backtest_mongo.files.disk.folds_case", lambda root, directory: True)
    persist.use_files(tmp_path)
    for key in ("key", "Key", "KEY"):
        await persist.measure("b").write_measure_data({"key": key}, key)
    names = {name.casefold() for name in os.listdir(tmp_path / "data" / "measure" / "b") if name.endswith(".json")}
    assert names == {"key.json", "%4bey.json", "%4b%45%59.json"}
    assert [key async for key in persist.measure("b").list_measure_data()] == ["KEY", "Key", "key"]
    # A file from a file system where case counts is found by its exact name only.
    (tmp_path / "data" / "measure" / "b" / "Node.json").write_text('{"n": 1}')
    assert await persist.measure("b").read_measure_data("Node") == {"n": 1}
    assert await persist.measure("b").read_measure_data("NODE") is None


async def test_minutes_are_not_read_as_months_on_a_file_system_that_ignores_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backtest_mongo.files.disk.folds_case", lambda root, directory: True)
    persist.use_files(tmp_path)
    minutes: Any
    months: Any
    minutes, months = persist.candle("BTCUSDT", "1m", "binance"), persist.candle("BTCUSDT", "1M", "binance")
    rows = candles(3, step=60_000)
    await minutes.write_candles_data(rows)
    # Both names lead to one directory, which is listed under the name that it was given.
    directory = tmp_path / "data" / "candle" / "binance" / "BTCUSDT"
    (directory / "1M").symlink_to(directory / "1m")

    def lists(root: str, path: tuple[str, ...]) -> bool:
        whole = Path(root, *path)
        return whole.exists() and whole.resolve() == whole

    monkeypatch.setattr("backtest_mongo.files.disk.has_spelling", lists)
    assert (await months.coverage()).rows == 0
    assert await months.read_candles_data(1, 0) is None
    month = candles(1, first=31 * 86_400_000)
    assert await months.write_candles_data(month) == 1
    assert await months.read_candles_data(1, month[0]["timestamp"]) == month
    assert (await minutes.coverage()).rows == 3


# Content


#: Where the engine reads fields in a form of its own, and where it doesn't.
FIELDS = [get_engine_fields(BY_NAME[slot]) for slot in ("state", "signal", "risk", "strategy", "interval")]


@settings(deadline=None)  # a machine may be busy
@given(value=payloads, fields=st.sampled_from(FIELDS))
def test_payload_comes_back_from_json_as_from_mongodb(value: dict[str, Any], fields: EngineFields) -> None:
    assert same(from_text(to_text(value, fields), fields), stored(value))


@pytest.mark.parametrize("fields", FIELDS)
def test_objects_that_look_like_extended_json_come_back_unchanged(fields: EngineFields) -> None:
    wrapped = [{"$date": "x"}, {"$date": "2024-01-01T00:00:00.000Z"}, {"$numberDouble": "NaN"}, {"$uuid": 5}]
    wrapped += [{"$literal": {"$oid": "1" * 24}}, {"$literal": 5}, {"$null": True}, {"$bson": ""}, {"$set": {"a": 1}}]
    for value in [*wrapped, {"a": wrapped}, {"a": {"minuteEstimatedTime": None}}]:
        assert from_text(to_text(value, fields), fields) == value
    for node_s in ({"$date": "x"}, {"$date": 5}, {"$literal": 5}, {"$oid": "x"}, {"$binary": 1}, {"$bson": "x"}):
        assert from_text(json.dumps(node_s).encode(), fields) == node_s


def test_plain_payload_is_written_as_node_writes_it() -> None:
    value = {"id": "s-1", "price": 50_000.5, "note": None, "levels": [1, True, {"ключ": "\u2028"}], "n": 2**53}
    text = '{"id":"s-1","price":50000.5,"note":null,"levels":[1,true,{"ключ":"\u2028"}],"n":9007199254740992}'
    assert to_text(value).decode() == text
    assert json.loads(to_text({"m": Decimal("1.10")})) == {"m": {"$numberDecimal": "1.10"}}


def test_other_values_of_bson_come_back() -> None:
    values = [bson.Regex("a", "i"), bson.Timestamp(1, 2), bson.MinKey(), bson.Code("x"), bson.Binary(b"x", 5)]
    held = bson.decode(bson.encode({"": values}), CODEC)[""]
    assert from_text(to_text(values)) == held


@pytest.mark.parametrize("text", ["", "{", '{"a": 1', "nonsense", "\xff"])
def test_invalid_json_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        from_text(text.encode("latin-1"))

"""Keys: any text is one, no two texts are the same key, and what collides in Redis shares no answer."""

from __future__ import annotations

import asyncio
import enum
import itertools
import unicodedata
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from backtest_mongo import SLOTS, InputError, InputTypeError, SlotSpec, StateAdapter, StorageAdapter
from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.testing.conformance.slots import ALIKE
from tests.conftest import Deployment
from tests.support import uniform
from tests.support.uniform import WHEN, candles, payload, read, write

pytestmark = [pytest.mark.either_driver, pytest.mark.one_python]

#: The Redis keys of the storage contract, word for word.
TEMPLATES = {
    "candle": "candle_cache:{exchangeName}:{symbol}:{interval}:{timestamp}",
    "signal": "signal_cache:{exchangeName}:{strategyName}:{symbol}",
    "schedule": "schedule_cache:{exchangeName}:{strategyName}:{symbol}",
    "strategy": "strategy_cache:{exchangeName}:{strategyName}:{symbol}",
    "risk": "risk_cache:{exchangeName}:{riskName}",
    "partial": "partial_cache:{exchangeName}:{strategyName}:{symbol}:{signalId}",
    "breakeven": "breakeven_cache:{exchangeName}:{strategyName}:{symbol}:{signalId}",
    "storage": "storage_cache:{backtest|live}:{signalId}",
    "notification": "notification_cache:{backtest|live}:{notificationId}",
    "log": "log_cache:{entryId}",
    "measure": "measure_cache:{bucket}:{entryKey}",
    "interval": "interval_cache:{bucket}:{entryKey}",
    "memory": "memory_cache:{signalId}:{bucketName}:{memoryId}",
    "recent": "recent_cache:{backtest|live}:{exchangeName}:{strategyName}:{frameName}:{symbol}",
    "state": "state_cache:{signalId}:{bucketName}",
    "dictionary": "dictionary_cache:{signalId}:{dictionaryName}",
    "session": "session_cache:{exchangeName}:{strategyName}:{frameName}:{symbol}:{backtest|live}",
}

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
#: Texts out of what could be taken for a separator, a template or an operator.
tricky = st.text(st.sampled_from(":%s{}$.*/\\ abé"), max_size=8)
#: What a context takes: it has no empty names.
names = tricky.filter(bool)
on_servers = settings(
    max_examples=50,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def test_every_slot_has_its_template() -> None:
    assert list(TEMPLATES) == [spec.name for spec in SLOTS]


@given(data=st.data())
def test_redis_key_is_the_contract_s(spec: SlotSpec, data: st.DataObject) -> None:
    values: dict[str, Any] = {}
    for name in spec.key:
        kinds: dict[str, st.SearchStrategy[Any]] = {
            "backtest": st.booleans(),
            "timestamp": st.integers(-(2**63), 2**63 - 1),
        }
        values[name] = data.draw(kinds.get(name, st.one_of(texts, tricky)), label=name)
    expected = ""
    for part in TEMPLATES[spec.name].split("{"):
        name, brace, rest = part.partition("}")
        if not brace:
            expected += part
        elif name == "backtest|live":
            expected += ("backtest" if values["backtest"] else "live") + rest
        else:
            expected += str(values[name]) + rest
    assert spec.redis_key(tuple(values.values())) == expected


def forget_ids() -> None:
    """Make the process ask Redis for every id."""
    current_hub().id_cache.local._ids.clear()


# Every slot whose Redis key has two texts side by side, and which two. Lists and windows never ask Redis for an id.
SIDE_BY_SIDE = [
    (spec, pair)
    for spec in SLOTS
    if spec.shape in ("document", "entry", "bucket")
    for pair in itertools.pairwise(spec.redis)
    if "backtest" not in pair
]


def at(spec: SlotSpec, unique: str, changes: dict[str, str]) -> tuple[Any, str]:
    """Return an adapter, and an item's key, that have these key fields."""
    fields = dict(zip(spec.context_fields, spec.context, strict=True))
    context = {fields[name]: value for name, value in changes.items() if name in fields}
    return uniform.adapter(spec, unique, **context), changes.get(spec.item or "", unique)


@on_servers
@given(place=st.sampled_from(SIDE_BY_SIDE), parts=st.tuples(names, names, names), together=st.booleans())
async def test_rows_whose_redis_keys_collide_are_never_mixed_up(
    deployment: Deployment,
    unique: str,
    place: tuple[SlotSpec, tuple[str, str]],
    parts: tuple[str, str, str],
    together: bool,
) -> None:
    spec, (first, second) = place
    one, two, three = parts
    left = at(spec, unique, {first: one, second: f"{two}:{three}"})
    right = at(spec, unique, {first: f"{one}:{two}", second: three})
    assert uniform.redis_key(*left) == uniform.redis_key(*right)
    await (await deployment.collection(spec)).delete_many({})
    await write(left[0], payload(spec, 1), left[1])
    forget_ids()
    assert await read(*right) == uniform.nothing(spec)
    await write(right[0], payload(spec, 2), right[1])
    for _ in range(2):
        forget_ids()
        if together:
            found = list(await asyncio.gather(read(*left), read(*right), read(*left)))
        else:
            found = [await read(*left), await read(*right), await read(*left)]
        assert found == [payload(spec, 1), payload(spec, 2), payload(spec, 1)]
    if spec.soft_delete:
        await getattr(left[0], f"remove_{spec.noun}_data")(left[1])
        forget_ids()
        assert [await read(*left), await read(*right)] == [None, payload(spec, 2)]


async def write_as(spec: SlotSpec, unique: str, text: str, number: int) -> None:
    if spec.shape == "series":
        await series(unique, text).write_candles_data(candles(1, price=float(number)))
    elif spec.shape == "collection":
        await write(uniform.adapter(spec, unique), {"number": number}, text)
    else:
        await write(same(spec, unique, text), payload(spec, number), text)


async def read_as(spec: SlotSpec, unique: str, text: str) -> Any:
    if spec.shape == "series":
        found = await series(unique, text).read_candles_data(1, 0)
        return found and found[0]["open"]
    if spec.shape == "collection":
        found = await read(uniform.adapter(spec, unique), text)
    else:
        found = await read(same(spec, unique, text), text)
    return (
        found and (found[0][1] if spec.payload == "list" else found[0] if isinstance(found, list) else found)["number"]
    )


def series(unique: str, text: str) -> Any:
    return ADAPTERS["candle"](text, "1m", text)


def same(spec: SlotSpec, unique: str, text: str) -> Any:
    """Return the adapter whose context is ``text`` throughout."""
    return uniform.adapter(spec, unique, **{name: text for name in spec.context if name != "backtest"})


async def test_texts_that_look_alike_are_different_keys(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
    assert (
        len({unicodedata.normalize("NFKC", text).strip().casefold() for text in ALIKE}) < len(set(ALIKE)) == len(ALIKE)
    )
    for number, text in enumerate(ALIKE):
        assert not await read_as(spec, unique, text)
        await write_as(spec, unique, text, number + 1)
    expected = list(range(1, len(ALIKE) + 1))
    assert [await read_as(spec, unique, text) for text in ALIKE] == expected
    await deployment.forget()
    assert await asyncio.gather(*(read_as(spec, unique, text) for text in ALIKE)) == expected
    assert len(await deployment.rows(spec)) == len(ALIKE)


@pytest.mark.shapes("bucket", "collection")
async def test_lists_are_in_the_order_of_their_keys_bytes(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
    keys = [*ALIKE, "", "\U0001f4c8", "\ufffd", "Z", "a"]  # in UTF-16, as Node compares, the first two change places
    for number, text in enumerate(keys):
        await write(uniform.adapter(spec, unique), {"number": number}, text)
    if spec.shape == "bucket":
        found = [row[0] if spec.items else row for row in await uniform.listed(uniform.adapter(spec, unique))]
    else:
        found = [row["id"] for row in await getattr(uniform.adapter(spec, unique), f"read_{spec.noun}_data")()]
    assert found == (keys if spec.newest else sorted(keys, key=str.encode))


@on_servers
@given(
    slot=st.sampled_from(SLOTS),
    text=st.one_of(texts.filter(bool), names),
    change=st.sampled_from(
        [str.casefold, str.upper, str.strip, lambda text: unicodedata.normalize("NFKD", text), "{} ".format]
    ),
)
async def test_text_and_what_a_program_could_make_of_it_are_different_keys(
    deployment: Deployment, unique: str, slot: SlotSpec, text: str, change: Callable[[str], str]
) -> None:
    other = change(text)
    assume(other not in ("", text))
    await (await deployment.collection(slot)).delete_many({})
    await deployment.forget()
    await write_as(slot, unique, text, 1)
    assert not await read_as(slot, unique, other)
    await write_as(slot, unique, other, 2)
    assert [await read_as(slot, unique, text), await read_as(slot, unique, other)] == [1, 2]


# Long keys


@pytest.mark.parametrize("length", [1_024, 1_025, 100_000])
async def test_long_keys_differ_by_their_last_character(
    deployment: Deployment, unique: str, spec: SlotSpec, length: int
) -> None:
    keys = ["x" * (length - 1) + last for last in "ab"] + ["é" * length]
    for number, key in enumerate(keys):
        await write_as(spec, unique, key, number + 1)
    assert [await read_as(spec, unique, key) for key in keys] == [1, 2, 3]
    await deployment.forget()
    assert await asyncio.gather(*(read_as(spec, unique, key) for key in keys)) == [1, 2, 3]
    await write_as(spec, unique, keys[0], 4)
    assert await read_as(spec, unique, keys[0]) == (1 if spec.immutable else 4)
    assert len(await deployment.rows(spec)) == 3


async def test_many_long_keys_are_written_and_read_in_one_turn(deployment: Deployment, unique: str) -> None:
    states = [StateAdapter(f"{number}{'x' * (1 << 20)}", unique) for number in range(18)]
    for count in range(2):
        await asyncio.gather(*(state.write_state_data({"count": count}, WHEN) for state in states))
        await deployment.forget()
        found = await asyncio.gather(*(state.read_state_data() for state in states))
        assert found == [{"count": count}] * len(states)
        forget_ids()


async def test_key_that_no_document_holds_is_refused(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
    key = "x" * (17 << 20)
    with pytest.raises(InputError, match=r"16 MiB|16,777,216"):
        await write_as(spec, unique, key, 1)
    assert await deployment.rows(spec) == []


# What is no text, or not quite one


class Symbol(enum.StrEnum):
    BTC = "BTCUSDT"


class Evil(str):
    """Says that it is another text."""

    __slots__ = ()

    def __str__(self) -> str:
        return "victim"

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash("victim")

    def __format__(self, spec: str) -> str:
        return "victim"


@pytest.mark.parametrize(
    ("value", "text"),
    [(Symbol.BTC, "BTCUSDT"), (np.str_("BTCUSDT"), "BTCUSDT"), (Evil("BTCUSDT"), "BTCUSDT")],
    ids=lambda value: type(value).__name__,
)
async def test_subclass_of_str_is_the_text_that_it_holds(
    deployment: Deployment, unique: str, spec: SlotSpec, value: Any, text: str
) -> None:
    await write_as(spec, unique, "victim", 1)
    await write_as(spec, unique, value, 2)
    assert [await read_as(spec, unique, key) for key in (text, "victim")] == [2, 1]
    if spec.shape != "collection":  # its rows are asked for by nobody's key
        assert await read_as(spec, unique, value) == 2
    assert len(await deployment.rows(spec)) == 2
    await deployment.forget()
    assert await read_as(spec, unique, text) == 2


@on_servers
@given(
    slot=st.sampled_from(SLOTS),
    data=st.data(),
    bad=st.sampled_from(["\0", "\ud800", "\udfff", "\udc00\ud800"]),
    around=st.tuples(texts, texts),
)
async def test_nul_and_lone_surrogates_are_refused_wherever_they_stand(
    deployment: Deployment, unique: str, slot: SlotSpec, data: st.DataObject, bad: str, around: tuple[str, str]
) -> None:
    text = bad.join(around)
    problem = "must not hold a NUL character" if bad == "\0" else "holds a lone surrogate, which is not valid Unicode"
    places = [name for name in slot.context if name != "backtest"]
    places += [slot.argument] if slot.item and slot.shape != "series" else []
    assume(places)
    name = data.draw(st.sampled_from(places))
    with pytest.raises(InputError) as caught:  # noqa: PT012  # whichever takes the text
        if name in slot.context:
            uniform.adapter(slot, unique, **{name: text})
        else:
            await write(uniform.adapter(slot, unique), payload(slot), text)
    where = f"{slot.value}[0].id" if slot.shape == "collection" else name
    assert str(caught.value) == f"{slot.name}: {where} {problem} (str)"
    assert await deployment.rows(slot) == []


@pytest.mark.parametrize(
    "value", [0, 1, 1.0, "", "true", "backtest", None, np.True_, np.int64(1), [], [True]], ids=repr
)
def test_flag_is_a_bool_and_nothing_like_it(value: Any) -> None:
    with pytest.raises(InputTypeError, match=r"^storage: backtest must be a bool, not "):
        StorageAdapter(value)

"""Payloads as objects of a model: of every slot, on every storage, as each kind of model."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Mapping
from types import FunctionType
from typing import Any

import pytest
from pydantic import BaseModel

import backtest_mongo
from backtest_mongo import (
    SLOTS,
    ConflictError,
    InputError,
    InputTypeError,
    PayloadError,
    SlotSpec,
    persist,
)
from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.adapters.shapes import TypedAdapter
from backtest_mongo.typed import TYPED_ADAPTERS, TypedSignalAdapter
from backtest_mongo.types import Versioned
from tests.conftest import Deployment
from tests.support.typed_rows import (
    AT,
    KINDS,
    PydanticRow,
    Side,
    StructRow,
    dump,
    listed,
    make,
    open_plain,
    open_typed,
    read,
    write,
)
from tests.support.uniform import WHEN, entry

pytestmark = [pytest.mark.one_python, pytest.mark.usefixtures("deployment"), pytest.mark.either_driver]

#: A slot of each kind: of every shape, with and without times, with payloads that may be null or are lists.
CHOSEN = [slot for slot in SLOTS if slot.name in ("signal", "risk", "state", "partial", "storage", "measure", "memory")]


def for_shapes(*shapes: str) -> pytest.MarkDecorator:
    """Return a mark for a test that is about some of the slots above."""
    slots = [slot for slot in CHOSEN if slot.shape in shapes]
    return pytest.mark.parametrize("slot", slots, ids=lambda slot: slot.name)


EVERY_SLOT = pytest.mark.shapes("document", "entry", "collection", "bucket")
ROWS = for_shapes("document", "entry", "collection", "bucket")
POINTS = for_shapes("document", "entry", "bucket")
EACH_KIND = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def wrong(key: str) -> dict[str, Any]:
    return {**dump(key), "priceOpen": "dear"}


@EVERY_SLOT
@EACH_KIND
async def test_object_comes_back_and_is_stored_as_a_plain_payload(spec: SlotSpec, unique: str, kind: type[Any]) -> None:
    adapter, key = open_typed(spec, unique, kind), entry(spec, unique)
    assert isinstance(adapter, (TYPED_ADAPTERS[spec.name], ADAPTERS[spec.name]))
    assert await read(adapter, key) is None
    await write(adapter, make(kind, key), key)
    found = await read(adapter, key)
    assert type(found) is kind
    assert found == make(kind, key)
    assert await read(open_plain(spec, unique), key) == dump(key)


@ROWS
@EACH_KIND
async def test_row_of_a_plain_adapter_is_read_as_an_object(slot: SlotSpec, unique: str, kind: type[Any]) -> None:
    key = entry(slot, unique)
    await write(open_plain(slot, unique), dump(key, 2), key)
    assert await read(open_typed(slot, unique, kind), key) == make(kind, key, 2)


@ROWS
@EACH_KIND
async def test_numbers_of_node_are_read_whichever_type_they_have(slot: SlotSpec, unique: str, kind: type[Any]) -> None:
    """Node stores integers as doubles, and JSON has no difference."""
    key = entry(slot, unique)
    await write(open_plain(slot, unique), {**dump(key), "priceOpen": 3, "schemaVersion": 2.0}, key)
    found = await read(open_typed(slot, unique, kind, upgrade={1: dict}), key)
    assert getattr(found, "price_open", getattr(found, "priceOpen", None)) == 3


@ROWS
@EACH_KIND
async def test_row_that_does_not_fit_is_an_error_with_its_path(slot: SlotSpec, unique: str, kind: type[Any]) -> None:
    adapter, plain, key = open_typed(slot, unique, kind), open_plain(slot, unique), entry(slot, unique)
    await write(plain, wrong(key), key)
    with pytest.raises(
        PayloadError, match=f"^{slot.name}: what is stored for .* doesn't fit {kind.__name__}"
    ) as caught:
        await read(adapter, key)
    error = caught.value
    path = "[0].priceOpen" if slot.payload == "list" else "priceOpen"
    assert (error.path, error.problems[0][0]) == (path, path)
    assert f"{path}: {error.problems[0][1]}" in str(error)
    assert error.slot == slot.name
    assert error.context == adapter.context
    assert error.key is not None
    assert error.key.items() >= dict(zip(slot.key, adapter._context, strict=False)).items()
    assert slot.item is None or error.key[slot.item] == key
    assert error.payload == ([wrong(key)] if slot.payload == "list" else wrong(key))
    # It is stored as before, and can be replaced.
    assert await read(plain, key) == wrong(key)
    await write(adapter, make(kind, key), key)
    assert await read(adapter, key) == make(kind, key)


@ROWS
async def test_wrong_objects_are_refused_before_anything_is_sent(slot: SlotSpec, unique: str) -> None:
    adapter, key = open_typed(slot, unique, PydanticRow), entry(slot, unique)
    place = rf"{slot.value}\[0\]" if slot.shape == "collection" or slot.payload == "list" else slot.value
    for value in (dump(key), make(StructRow, key), 1, "x", [make(PydanticRow, key)]):
        with pytest.raises(InputTypeError, match=f"^{slot.name}: {place} must be a PydanticRow, not "):
            await write(adapter, value, key)
    unreadable = make(PydanticRow, key)
    unreadable.price_open = "dear"
    with pytest.raises(InputError, match=f"{place} could not be read back as a PydanticRow: priceOpen: input should"):
        await write(adapter, unreadable, key)
    assert await read(adapter, key) is None


@for_shapes("document", "entry", "bucket")
async def test_none_clears_where_the_slot_says_so(slot: SlotSpec, unique: str) -> None:
    adapter, key = open_typed(slot, unique, PydanticRow), entry(slot, unique)
    await write(adapter, make(PydanticRow, key), key)
    method = getattr(adapter, f"write_{slot.noun}_data")
    arguments = (None, *((key,) if slot.item else ()), *((WHEN,) if slot.when else ()))
    if slot.payload == "object|null":
        await method(*arguments)
        assert await read(adapter, key) is None
    else:
        with pytest.raises(InputTypeError, match="not NoneType"):
            await method(*arguments)
        assert await read(adapter, key) == make(PydanticRow, key)


@POINTS
@EACH_KIND
async def test_versions_and_conflicts_have_objects(slot: SlotSpec, unique: str, kind: type[Any]) -> None:
    adapter, key = open_typed(slot, unique, kind), entry(slot, unique)
    value, absent = await read(adapter, key, with_version=True)
    assert value in (None, [])
    await write(adapter, make(kind, key, 1), key, expect=absent)
    versioned = await read(adapter, key, with_version=True)
    assert isinstance(versioned, Versioned)
    objects = [make(kind, key, 1)] if slot.payload == "list" else make(kind, key, 1)
    assert versioned.value == objects
    # The same version as without a model.
    assert (await read(open_plain(slot, unique), key, with_version=True)).version == versioned.version
    with pytest.raises(ConflictError) as caught:
        await write(adapter, make(kind, key, 2), key, if_absent=True)
    assert caught.value.found == objects
    await write(adapter, make(kind, key, 3), key, expect=versioned.version)
    assert await read(adapter, key) == make(kind, key, 3)


@POINTS
async def test_conflict_with_a_row_that_does_not_fit_has_the_payload(slot: SlotSpec, unique: str) -> None:
    adapter, key = open_typed(slot, unique, PydanticRow), entry(slot, unique)
    await write(open_plain(slot, unique), wrong(key), key)
    with pytest.raises(ConflictError) as caught:
        await write(adapter, make(PydanticRow, key), key, if_absent=True)
    assert caught.value.found == ([wrong(key)] if slot.payload == "list" else wrong(key))


@pytest.mark.parametrize("slot", [slot for slot in CHOSEN if slot.when], ids=lambda slot: slot.name)
async def test_reader_s_time_hides_later_objects(slot: SlotSpec, unique: str) -> None:
    adapter, key = open_typed(slot, unique, StructRow), entry(slot, unique)
    await write(adapter, make(StructRow, key), key, WHEN)
    assert await read(adapter, key, when=WHEN) == make(StructRow, key)
    assert await read(adapter, key, when=WHEN - 1) is None


@for_shapes("document")
@EACH_KIND
async def test_many_contexts_are_read_and_written_as_objects(slot: SlotSpec, unique: str, kind: type[Any]) -> None:
    adapter = open_typed(slot, unique, kind)
    contexts = [tuple(adapter._values), *({**adapter.context, slot.context[0]: f"{unique}-{n}"} for n in range(2))]
    values = [make(kind, number=number) for number in range(2)]
    written: list[Any] = [[value] for value in values] if slot.payload == "list" else values
    time = (WHEN,) if slot.when else ()
    await type(adapter).write_many(zip(contexts, written, strict=False), *time)
    found = await type(adapter).read_many(iter(contexts))
    assert found == [*written, [] if slot.payload == "list" else None]
    await getattr(persist, slot.name)(*contexts[0]).__class__.write_many(
        [(contexts[0], [wrong("r")] if slot.payload == "list" else wrong("r"))], *time
    )
    with pytest.raises(PayloadError, match="priceOpen") as caught:
        await type(adapter).read_many(contexts)
    assert caught.value.context == adapter.context
    with pytest.raises(InputTypeError, match="must be a"):
        await type(adapter).write_many([(contexts[1], dump())], *time)


@for_shapes("bucket")
@EACH_KIND
async def test_lists_of_a_bucket_have_objects(slot: SlotSpec, unique: str, kind: type[Any]) -> None:
    adapter = open_typed(slot, unique, kind)
    for number, key in enumerate("abc"):
        await write(adapter, make(kind, key, number), key)
    pairs = [(key, make(kind, key, number)) for number, key in enumerate("abc")]
    assert await listed(adapter) == pairs
    assert await getattr(adapter, f"newest_{slot.noun}_data")(2) == pairs[1:]
    own = [row async for row in getattr(adapter, f"list_{slot.noun}_data")()]
    assert own == (pairs if slot.items else [key for key, _ in pairs])
    await getattr(adapter, f"remove_{slot.noun}_data")("b")
    assert await read(adapter, "b") is None
    assert await listed(adapter) == [pairs[0], pairs[2]]
    await write(open_plain(slot, unique), wrong("c"), "c")
    rows = getattr(adapter, f"range_{slot.noun}_data")()
    assert await anext(rows) == pairs[0]
    with pytest.raises(PayloadError, match="priceOpen") as caught:
        await anext(rows)
    assert caught.value.key is not None
    assert caught.value.key[slot.key[-1]] == "c"


@for_shapes("bucket")
async def test_object_that_says_it_is_removed_is_not_found(slot: SlotSpec, unique: str) -> None:
    class Removable(BaseModel):
        removed: bool

    adapter = open_typed(slot, unique, Removable)
    await write(adapter, Removable(removed=False), "a")
    assert await read(adapter, "a") == Removable(removed=False)
    await write(adapter, Removable(removed=True), "a")
    assert await read(adapter, "a") is None


@for_shapes("collection")
@EACH_KIND
async def test_collections_are_lists_of_objects(slot: SlotSpec, unique: str, kind: type[Any]) -> None:
    adapter, keys = open_typed(slot, unique, kind), [entry(slot, f"{unique}-{number}") for number in range(3)]
    rows = [make(kind, key, number) for number, key in enumerate(keys)]
    method = getattr(adapter, f"read_{slot.noun}_data")
    await getattr(adapter, f"write_{slot.noun}_data")(rows)
    assert [row for row in await method() if row.id in keys] == rows
    assert await method(symbol=unique) == []

    # An object without an id can't be stored.
    class Nameless(BaseModel):
        name: str

    with pytest.raises(InputError, match=rf"{slot.value}\[0\] has no id"):
        await getattr(open_typed(slot, unique, Nameless), f"write_{slot.noun}_data")([Nameless(name="x")])
    with pytest.raises(InputTypeError, match=f"{slot.value} must be a list"):
        await getattr(adapter, f"write_{slot.noun}_data")(rows[0])


@for_shapes("entry")
async def test_empty_payload_of_an_entry_is_not_nothing(slot: SlotSpec, unique: str) -> None:
    class Open(BaseModel):
        levels: list[int] = []

    adapter, key = open_typed(slot, unique, Open), entry(slot, unique)
    assert await read(adapter, key) is None
    await write(open_plain(slot, unique), {}, key)
    assert await read(adapter, key) == Open()


@ROWS
@EACH_KIND
async def test_older_payloads_are_upgraded_and_written_in_the_new_version(
    slot: SlotSpec, unique: str, kind: type[Any]
) -> None:
    """Version 1 had ``price`` and ``long``, version 2 ``side``."""

    def add_side(payload: Any) -> Any:
        payload["side"] = "long" if payload.pop("long") else "short"
        return payload

    def rename_price(payload: Any) -> Any:
        return {**{name: value for name, value in payload.items() if name != "price"}, "priceOpen": payload["price"]}

    key, plain = entry(slot, unique), open_plain(slot, unique)
    adapter = open_typed(slot, unique, kind, upgrade={1: add_side, 2: rename_price})
    rest = {name: value for name, value in dump(key).items() if name not in ("side", "priceOpen")}
    for stored in (
        {**rest, "long": False, "price": 1.5},
        {**rest, "side": "short", "price": 1.5, "schemaVersion": 2},
        {**dump(key), "schemaVersion": 3},
    ):
        await write(plain, stored, key)
        assert await read(adapter, key) == make(kind, key)
        assert await read(plain, key) == stored  # a read writes nothing
    await write(adapter, make(kind, key, 2), key)
    assert await read(plain, key) == {**dump(key, 2), "schemaVersion": 3}
    assert await read(adapter, key) == make(kind, key, 2)
    # Who knows version 1 alone doesn't take it for one.
    with pytest.raises(PayloadError, match=f"schemaVersion: is 3, and {kind.__name__} describes version 1"):
        await read(open_typed(slot, unique, kind), key)


@ROWS
async def test_one_function_upgrades_from_any_version(slot: SlotSpec, unique: str) -> None:
    seen = []

    def upgrade(payload: Any, version: int) -> Any:
        seen.append(version)
        return {**payload, "priceOpen": payload.get("price", payload.get("cost"))}

    key, plain = entry(slot, unique), open_plain(slot, unique)
    adapter = open_typed(slot, unique, StructRow, upgrade=upgrade, schema_version=3)
    rest = {name: value for name, value in dump(key).items() if name != "priceOpen"}
    for stored in ({**rest, "price": 1.5}, {**rest, "cost": 1.5, "schemaVersion": 2}):
        await write(plain, stored, key)
        assert await read(adapter, key) == make(StructRow, key)
    assert {*seen} == {1, 2}


async def test_registry_returns_one_object_per_context_and_model(unique: str) -> None:
    first = persist.state(unique, "a", model=PydanticRow)
    assert persist.state(unique, bucket_name="a", model=PydanticRow) is first
    assert persist.state(unique, "b", model=PydanticRow) is not first
    assert type(persist.state(unique, "b", model=PydanticRow)) is type(first)
    others = [persist.state(unique, "a"), persist.state(unique, "a", model=StructRow)]
    others.append(persist.state(unique, "a", model=PydanticRow, schema_version=2))
    assert all(other is not first for other in others)
    assert len({*map(id, others)}) == 3
    first.dispose()
    assert persist.state(unique, "a", model=PydanticRow) is not first


async def test_slot_of_one_s_own_with_a_model(unique: str) -> None:
    name = f"own_{unique}"
    for shape, key in (("document", ()), ("entry", ("side",)), ("bucket", ("side",)), ("collection", ("itemId",))):
        spec = SlotSpec(
            name=f"{name}_{shape}",
            shape=shape,  # type: ignore[arg-type]  # which it is
            context=("symbol",),
            key=("symbol", *key),
            soft_delete=shape == "bucket",
            model=PydanticRow,
            upgrade={1: lambda payload: {**payload, "priceOpen": payload["price"]}},
        )
        adapter_class = persist.register(spec)
        assert persist.register(spec) is adapter_class
        adapter = getattr(persist, spec.name)("BTC")
        await write(adapter, make(PydanticRow), "r")
        assert await read(adapter, "r") == make(PydanticRow)
        # Another model for one caller.
        other = getattr(persist, spec.name)("BTC", model=StructRow, schema_version=2)
        assert await read(other, "r") == make(StructRow)
        method = getattr(adapter_class, f"read_{spec.name}_data")
        assert "PydanticRow" in method.__annotations__["return"]


async def test_slot_of_one_s_own_whose_payloads_are_lists(unique: str) -> None:
    spec = SlotSpec(
        name=f"own_{unique}_list",
        shape="document",
        context=("symbol",),
        key=("symbol",),
        payload="list",
        model=StructRow,
    )
    adapter = persist.register(spec)
    own = getattr(persist, spec.name)("BTC")
    rows = [make(StructRow, "a"), make(StructRow, "b")]
    await getattr(own, f"write_{spec.name}_data")(tuple(rows))
    assert await getattr(own, f"read_{spec.name}_data")() == rows
    with pytest.raises(InputTypeError, match="data must be a list, not StructRow"):
        await getattr(own, f"write_{spec.name}_data")(rows[0])
    with pytest.raises(InputTypeError, match=r"data\[1\] must be a StructRow, not dict"):
        await getattr(own, f"write_{spec.name}_data")([rows[0], {}])
    assert adapter.spec.payload_model is not None


HOSTILE: list[Any] = [
    {},
    {"id": None},
    {"id": {"$gt": ""}, "priceOpen": [], "side": {}, "opened": 5},
    {"schemaVersion": "2"},
    {"schemaVersion": None},
    {"schemaVersion": True},
    {"schemaVersion": -1},
    {"schemaVersion": 1.5},
    {"schemaVersion": math.nan},
    {"schemaVersion": math.inf},
    {"schemaVersion": 2**62},
    {"schemaVersion": {"a": 1}},
    {"\x1b[2Jid": 1, "a.b": 2, "$x": 3, "": 4},
    {"id": "x" * 10_000, "priceOpen": "y" * 10_000, "side": "z" * 10_000},
    {"id": "r", "priceOpen": 2**62, "side": "LONG", "opened": AT},
    {"levels": {"x" * 10_000: 1, "\x1b[2J": 2}, "tags": [[]] * 100},
]


@POINTS
@EACH_KIND
async def test_hostile_payloads_are_errors_that_name_the_row(slot: SlotSpec, unique: str, kind: type[Any]) -> None:
    adapter, plain, key = open_typed(slot, unique, kind), open_plain(slot, unique), entry(slot, unique)
    deep: Any = {}
    for _ in range(90):
        deep = {"levels": deep}
    for payload in (*HOSTILE, deep):
        await write(plain, payload, key)
        with pytest.raises(PayloadError) as caught:
            await read(adapter, key)
        error = caught.value
        assert len(str(error)) < 2_000
        assert str(error).isprintable()
        assert error.problems
        assert error.context == adapter.context
    await write(adapter, make(kind, key), key)
    assert await read(adapter, key) == make(kind, key)


@pytest.mark.mongodb("writes to the database as another program does")
@for_shapes("document", "entry", "bucket")
async def test_payload_that_is_no_object_is_an_error(deployment: Deployment, slot: SlotSpec, unique: str) -> None:
    adapter, key = open_typed(slot, unique, PydanticRow), entry(slot, unique)
    await write(open_plain(slot, unique), dump(key), key)
    for payload in (5, "text", True, [1], [[["x"]]]):
        await deployment.replace_payload(slot, payload)
        with pytest.raises(PayloadError) as caught:
            await read(adapter, key)
        assert caught.value.payload == payload
    await deployment.replace_payload(slot, None)
    assert await read(adapter, key) is None


async def test_own_implementation_takes_no_model(unique: str) -> None:
    class Own:
        def __init__(self, *context: str) -> None: ...
        async def wait_for_init(self, initial: bool = True) -> None: ...
        async def read_signal_data(self) -> dict[str, Any] | None: ...
        async def write_signal_data(self, row: Mapping[str, Any] | None) -> None: ...

    persist.use(signal=Own)
    with pytest.raises(InputError, match="a model needs one of this library's storages, unlike Own"):
        persist.signal(unique, "s", "x", model=PydanticRow)
    persist.use_dummy(slots=("signal",))
    dummy = persist.signal(unique, "s", "x", model=PydanticRow)
    await dummy.write_signal_data(make(PydanticRow))
    assert await dummy.read_signal_data() is None
    with pytest.raises(InputTypeError, match="must be a PydanticRow"):
        await dummy.write_signal_data(make(StructRow))


async def test_side_is_an_enum_again(unique: str) -> None:
    state = persist.state(unique, "a", model=PydanticRow)
    await state.write_state_data(make(PydanticRow), WHEN)
    found = await state.read_state_data()
    assert found is not None
    assert (found.side, found.opened, found.levels) == (Side.SHORT, AT, {10: 1.5, 20: 2.5})


@pytest.mark.mongodb("adapters of the other storages can't be pickled, whether they have a model or not")
async def test_adapter_can_be_pickled_and_copied(deployment: Deployment, unique: str) -> None:
    await backtest_mongo.setup(**deployment.config)
    state = persist.state(unique, "a", model=PydanticRow, upgrade={1: dict})
    await state.write_state_data(make(PydanticRow), WHEN)
    for other in (pickle.loads(pickle.dumps(state)), copy.copy(state)):
        assert type(other) is type(state)
        assert other.context == state.context
        assert await other.read_state_data() == make(PydanticRow)


def test_generic_classes_have_no_model_of_their_own() -> None:
    assert TypedSignalAdapter[PydanticRow] is not None
    with pytest.raises(InputTypeError, match=r"TypedSignalAdapter has no model \(persist.signal"):
        TypedSignalAdapter("a", "b", "c")


@pytest.mark.parametrize("arguments", [{"upgrade": {1: dict}}, {"schema_version": 2}])
def test_versions_without_a_model_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InputTypeError, match="signal: upgrade and schema_version need a model"):
        getattr(persist, "signal")("a", "b", "c", **arguments)  # noqa: B009  # which type checkers refuse
    with pytest.raises(InputTypeError, match="signal: model must be a pydantic model"):
        persist.signal("a", "b", "c", model=dict)
    with pytest.raises(TypeError, match="model"):
        getattr(persist, "candle")("a", "1m", "c", model=PydanticRow)  # noqa: B009  # the same


async def test_context_goes_before_a_model_of_the_same_name(unique: str) -> None:
    spec = SlotSpec(name=f"own_{unique}_model", shape="document", context=("model",), key=("model",))
    persist.register(spec)
    own = getattr(persist, spec.name)(model="gpt")
    await write(own, {"a": 1}, "r")
    assert own.context == {"model": "gpt"}
    assert await read(getattr(persist, spec.name)("gpt"), "r") == {"a": 1}


@pytest.mark.parametrize("slot", SLOTS, ids=lambda slot: slot.name)
async def test_adapter_without_a_model_runs_nothing_of_it(slot: SlotSpec, unique: str) -> None:
    open_typed(CHOSEN[0], unique, PydanticRow)
    kind = type(open_plain(slot, unique))
    assert not issubclass(kind, TypedAdapter)
    assert not any("typed" in function.__module__ for function in map(unwrap, vars_of(kind)) if function is not None)


def vars_of(kind: type[Any]) -> list[Any]:
    """Return all members of a class, wherever it has them from."""
    return [value for base in kind.__mro__ for value in vars(base).values()]


def unwrap(member: Any) -> Any:
    """Return the function of a method, ``None`` for anything else."""
    function = getattr(member, "__func__", member)
    return function if isinstance(function, FunctionType) else None

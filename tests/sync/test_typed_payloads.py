"""Payloads as objects of a model, without ``await``."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from backtest_mongo import SLOTS, InputError, InputTypeError, PayloadError, SlotSpec, sync
from tests.support import uniform
from tests.support.typed_rows import KINDS, PydanticRow, StructRow, dump, make
from tests.support.uniform import WHEN, entry
from tests.sync.support import ALL, TRANSACTIONAL
from tests.sync.support import make as open_plain

OF_DOCUMENTS = [spec for spec in SLOTS if spec.name in ("signal", "risk", "state", "partial", "storage", "memory")]


@ALL
@pytest.mark.parametrize("slot", OF_DOCUMENTS, ids=lambda slot: slot.name)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_objects_go_both_ways(storage: str, unique: str, slot: SlotSpec, kind: type[Any]) -> None:
    key = entry(slot, unique)
    adapter = getattr(sync.persist, slot.name)(**uniform.context(slot, unique), model=kind)
    assert getattr(sync.persist, slot.name)(**uniform.context(slot, unique), model=kind) is adapter
    read, write = (getattr(adapter, f"{verb}_{slot.noun}_data") for verb in ("read", "write"))
    value = [make(kind, key)] if slot.shape == "collection" or slot.payload == "list" else make(kind, key)
    entries = (key,) if slot.item and slot.shape != "collection" else ()
    write(value, *entries, *((WHEN,) if slot.when else ()))
    assert read(*entries) == value
    if slot.shape == "bucket":
        assert [*adapter.range_memory_data()] == [(key, value)]
    with pytest.raises(InputTypeError, match="must be a"):
        write([5] if slot.shape == "collection" else 5, *entries, *((WHEN,) if slot.when else ()))


@ALL
def test_row_that_does_not_fit_is_an_error(storage: str, unique: str) -> None:
    plain: Any = open_plain(OF_DOCUMENTS[0], unique)
    plain.write_signal_data({**dump(), "priceOpen": "dear"})
    typed = sync.persist.signal(*plain.context.values(), model=PydanticRow)
    with pytest.raises(PayloadError, match="priceOpen: input should be a valid number") as caught:
        typed.read_signal_data()
    assert pickle.loads(pickle.dumps(caught.value)).path == "priceOpen"


@TRANSACTIONAL
def test_blocks_and_watches_have_objects(storage: str, unique: str) -> None:
    state = sync.persist.state(unique, "b", model=StructRow, upgrade={1: lambda payload: payload})
    with state.watch() as changes:
        with sync.transaction(when=WHEN):
            state.write_state_data(make(StructRow))
            assert state.read_state_data() == make(StructRow)
        assert next(changes).payload == make(StructRow)
        sync.persist.state(unique, "b").write_state_data({"id": 5}, WHEN)
        state.write_state_data(make(StructRow, number=2), WHEN)
        with pytest.raises(PayloadError):
            next(changes)
        assert next(changes).payload == make(StructRow, number=2)
    assert sync.persist.state(unique, "b").read_state_data() == {**dump(number=2), "schemaVersion": 2}
    with sync.as_of(WHEN) as past:
        assert past.state(unique, "b", model=StructRow, schema_version=2).read_state_data() == make(StructRow, number=2)


def test_generic_classes_are_for_annotations() -> None:
    def find(adapter: sync.TypedSignalAdapter[PydanticRow]) -> PydanticRow | None:
        return adapter.read_signal_data()

    assert sync.TypedSignalAdapter[PydanticRow] is not None
    sync.persist.use_dummy()
    typed = sync.persist.signal("a", "b", "c", model=PydanticRow)
    assert isinstance(typed, sync.TypedSignalAdapter)
    assert isinstance(typed, sync.SignalAdapter)
    assert find(typed) is None
    with pytest.raises(InputError, match="TypedSignalAdapter has no model"):
        sync.TypedSignalAdapter("a", "b", "c")

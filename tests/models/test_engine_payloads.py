"""The models of the engine's payloads against what the engine has written."""

from __future__ import annotations

import copy
import math
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from backtest_mongo import SLOTS, SlotSpec, models, persist
from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.models import MODELS, EngineModel, Entry, Notification, OpenPosition, Signal, StrategyState
from tests.contract.test_golden_engine import GOLDEN, RUNS, entities, rows
from tests.support.uniform import WHEN

#: Slots whose payloads have their simulation time.
TIMED = ("memory", "state", "session")


def payloads() -> Iterator[tuple[SlotSpec, Any]]:
    """Yield the slot and the payload of each row of the engine's; of a list, each of its items."""
    for run in RUNS:
        for spec, _, payload in rows(GOLDEN / run / "dump"):
            for one in payload if spec.payload == "list" else [payload]:
                if one is not None:  # which clears a row
                    yield spec, one


def dump(value: Any) -> Any:
    payload = value.model_dump(by_alias=True)
    return list(payload) if isinstance(payload, tuple) else payload


def test_every_slot_but_dictionary_has_a_model() -> None:
    assert set(MODELS) == {spec.name for spec in SLOTS} - {"dictionary"}
    assert all(getattr(models, model.__name__) is model for model in MODELS.values())


def test_every_row_of_the_engine_is_read_and_written_as_it_was() -> None:
    count: Counter[str] = Counter()
    for spec, payload in payloads():
        value = MODELS[spec.name].model_validate(copy.deepcopy(payload))
        assert dump(value) == payload
        # Also the types: JSON's 100 is not written as 100.0.
        assert repr(sort(dump(value))) == repr(sort(payload))
        count[spec.name] += 1
    assert set(count) == set(MODELS)


def sort(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: sort(value[name]) for name in sorted(value)}
    return [sort(item) for item in value] if isinstance(value, list | tuple) else value


def test_required_fields_are_those_that_every_row_has() -> None:
    for spec, payload in payloads():
        model: Any = MODELS[spec.name]
        if issubclass(model, EngineModel):
            needed = {field.alias for field in model.model_fields.values() if field.is_required()}
            assert needed <= set(payload)
            assert needed >= model.ENGINE_NEEDS
            for name in needed:
                with pytest.raises(ValidationError) as caught:
                    model.model_validate({field: value for field, value in payload.items() if field != name})
                assert [error["loc"] for error in caught.value.errors()] == [(name,)]


def test_fields_of_later_versions_survive_at_every_depth() -> None:
    for spec, payload in payloads():
        grown = grow(payload, is_map=spec.name in ("partial", "breakeven"))
        assert dump(MODELS[spec.name].model_validate(copy.deepcopy(grown))) == grown


def grow(value: Any, *, is_map: bool = False) -> Any:
    """Add a field to every object."""
    if isinstance(value, list | tuple):
        return [grow(item) for item in value]
    if not isinstance(value, dict):
        return value
    added = {} if is_map else {"laterField": {"a": [1, None]}, "_later": None}
    return {**{name: grow(part) for name, part in value.items()}, **added}


async def test_engine_s_files_are_read_and_written_as_they_were(tmp_path: Path) -> None:
    """Through the adapters, which know infinity and dates, on a copy of the engine's own directory."""
    for run in RUNS:
        root = tmp_path / run
        shutil.copytree(GOLDEN / run / "dump", root)
        persist.use_files(root)
        before = entities(root)
        for spec, key, payload in rows(root):
            if spec.shape == "series" or payload is None or (spec.shape == "bucket" and payload["removed"]):
                continue
            factory = getattr(persist, spec.name)
            adapter = factory(**name_context(spec, key), model=MODELS[spec.name])
            arguments = (key[-1],) if spec.shape in ("entry", "bucket") else ()
            found = await getattr(adapter, f"read_{spec.noun}_data")(*arguments)
            written = [one for one in found if one.id == key[-1]] if spec.shape == "collection" else found
            assert written, spec.name
            when = payload["when"] if spec.name in TIMED else WHEN
            await getattr(adapter, f"write_{spec.noun}_data")(written, *arguments, *((when,) if spec.when else ()))
        assert entities(root) == before


def name_context(spec: SlotSpec, key: tuple[Any, ...]) -> dict[str, Any]:
    values = dict(zip(spec.key, key, strict=True))
    return {name: values[field] for name, field in zip(spec.context, spec.context_fields, strict=True)}


def test_names_are_those_of_either_language() -> None:
    fields: dict[str, Any] = {
        "id": "s-1",
        "symbol": "BTCUSDT",
        "position": "long",
        "timestamp": 1,
        "exchange_name": "binance",
        "strategy_name": "s",
        "frame_name": "",
        "price_open": 1,
        "price_take_profit": 2,
        "price_stop_loss": 0.5,
        "minute_estimated_time": math.inf,
        "scheduled_at": 1,
        "pending_at": 1,
    }
    signal = Signal(**fields, is_scheduled=True, entry=[Entry(price=1, cost=100, timestamp=1)])
    payload = signal.model_dump(by_alias=True)
    assert payload["_isScheduled"] is True
    assert payload["_entry"] == [{"price": 1, "cost": 100, "timestamp": 1}]
    assert payload["minuteEstimatedTime"] == math.inf
    assert "_peak" not in payload  # it was never set
    assert "note" not in payload
    assert Signal.model_validate(payload) == signal
    assert Signal(**fields, note=None).model_dump(by_alias=True)["note"] is None
    assert signal.model_dump()["price_open"] == 1
    assert set(signal.model_dump()) == {*fields, "is_scheduled", "entry"}


def test_parts_of_a_row_are_models_too() -> None:
    position = next(payload for spec, payload in payloads() if spec.name == "risk")
    item = OpenPosition.model_validate(position)
    assert item.name == "my_strategy_binance_BTCUSDT"
    assert item.position.symbol == "BTCUSDT"
    state = next(payload for spec, payload in payloads() if spec.name == "strategy" and payload["closedSignal"])
    closed = StrategyState.model_validate(state).closed_signal
    assert closed is not None
    assert (closed.close_id, closed.minute_estimated_time) == ("by-hand", math.inf)
    rejection = next(
        payload for spec, payload in payloads() if payload.__class__ is dict and payload.get("rejectionNote")
    )
    assert Notification.model_validate(rejection).model_extra is not None
    assert StrategyState().model_dump(by_alias=True) == {}


def test_models_are_for_the_adapters_of_their_slots(unique: str) -> None:
    for name, model in MODELS.items():
        if name != "candle":
            spec = ADAPTERS[name].spec
            context = {one: True if one == "backtest" else unique for one in spec.context}
            assert getattr(persist, name)(**context, model=model).spec is spec

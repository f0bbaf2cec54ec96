"""The registry: what engines and strategies code against."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, cast

import pytest

import backtest_mongo
from backtest_mongo import (
    SLOTS,
    ConfigError,
    InputError,
    MemoryAdapter,
    SignalAdapter,
    SlotSpec,
    StateAdapter,
    install,
    persist,
)
from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.contracts import CONTRACTS
from backtest_mongo.files.store import FileStore
from tests import uniform
from tests.conftest import Deployment

CONTEXT = ("BTCUSDT", "my_strategy", "binance")


class MySignal:
    """What a user writes to swap the storage of one slot."""

    def __init__(self, symbol: str, strategy_name: str, exchange_name: str) -> None:
        self.row: Any = None
        self.context = (symbol, strategy_name, exchange_name)

    async def wait_for_init(self, initial: bool = True) -> None: ...

    async def read_signal_data(self) -> Any:
        return self.row

    async def write_signal_data(self, row: Any) -> None:
        self.row = row


def test_before_install_every_slot_stores_in_files(
    spec: SlotSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    slot = getattr(persist, spec.name)(**uniform.context(spec, "x"))
    assert isinstance(slot, ADAPTERS[spec.name])
    assert isinstance(slot._store(), FileStore)
    assert list(tmp_path.iterdir()) == []


def test_install_points_every_slot_at_mongodb(spec: SlotSpec) -> None:
    install()
    context = uniform.context(spec, "x")
    assert type(getattr(persist, spec.name)(**context)) is ADAPTERS[spec.name]


async def test_setup_installs() -> None:
    await backtest_mongo.setup()
    assert type(persist.signal(*CONTEXT)) is SignalAdapter


def test_instance_is_made_once_per_context() -> None:
    install()
    one = persist.signal(*CONTEXT)
    assert persist.signal(*CONTEXT) is one
    assert persist.signal(symbol="BTCUSDT", exchange_name="binance", strategy_name="my_strategy") is one
    assert persist.signal("ETHUSDT", "my_strategy", "binance") is not one
    assert persist.session("s", "e", "f") is persist.session("s", "e", "f", "", False)


async def test_use_replaces_one_slot_and_no_other(deployment: Deployment) -> None:
    persist.use(signal=MySignal)
    signal = persist.signal(*CONTEXT)
    assert isinstance(signal, MySignal)
    assert signal.context == CONTEXT
    await signal.write_signal_data({"id": "x"})
    assert await persist.signal(*CONTEXT).read_signal_data() == {"id": "x"}
    assert await deployment.rows(SignalAdapter.spec) == []
    assert type(persist.state("a", "b")) is StateAdapter


def test_use_works_before_install_for_its_own_slot() -> None:
    persist.use(signal=MySignal)
    assert isinstance(persist.signal(*CONTEXT), MySignal)
    assert isinstance(persist.schedule(*CONTEXT)._store(), FileStore)  # type: ignore[attr-defined]


def test_use_forgets_instances_and_install_takes_all_slots_back() -> None:
    install()
    before = persist.signal(*CONTEXT)
    persist.use(signal=MySignal)
    assert persist.signal(*CONTEXT) is not before
    install()
    assert type(persist.signal(*CONTEXT)) is SignalAdapter


def test_any_callable_is_an_implementation() -> None:
    mine = MySignal(*CONTEXT)
    persist.use(signal=lambda *context: mine)
    assert persist.signal("a", "b", "c") is mine


def test_use_refuses_what_is_unknown_or_incomplete_and_changes_nothing() -> None:
    install()

    class Half:
        async def wait_for_init(self, initial: bool = True) -> None: ...
        async def read_signal_data(self) -> None: ...

    for implementations, message in (
        ({"signals": MySignal}, "persist.use: there is no slot 'signals'"),
        ({"signal": Half}, "signal: persist.use: Half lacks write_signal_data"),
        ({"signal": 5}, "signal: persist.use takes a class or a callable, not int"),
    ):
        with pytest.raises(ConfigError, match=f"^{message}"):
            persist.use(schedule=MySchedule, **cast("dict[str, Any]", implementations))
        assert isinstance(persist.schedule(*CONTEXT), ADAPTERS["schedule"])


class MySchedule(MySignal):
    async def read_schedule_data(self) -> None: ...
    async def write_schedule_data(self, row: Any) -> None: ...


async def test_dummy_makes_every_slot_a_no_op(spec: SlotSpec) -> None:
    # No server is set up here: a dummy that dialled would fail.
    await backtest_mongo.setup(CC_MONGO_CONNECTION_STRING="mongodb://127.0.0.1:1", CC_MONGO_TIMEOUT_MS=1)
    persist.use_dummy()
    slot: Any = getattr(persist, spec.name)(**uniform.context(spec, "x"))
    assert isinstance(slot, CONTRACTS[spec.name]) is True
    await slot.wait_for_init()
    if spec.shape == "series":
        assert await slot.write_candles_data(uniform.candles(1)) == 0
        assert await slot.read_candles_data(1, 0) is None
        return
    await uniform.write(slot, uniform.payload(spec))
    assert await uniform.read(slot) == uniform.nothing(spec)
    if spec.shape == "bucket":
        assert await uniform.listed(slot) == []
        await getattr(slot, f"remove_{spec.noun}_data")("x")


async def test_dummy_still_refuses_bad_input() -> None:
    persist.use_dummy()
    with pytest.raises(InputError):
        await persist.signal(*CONTEXT).write_signal_data({"a": {1}})


def test_dispose_forgets_the_instance() -> None:
    install()
    memory = persist.memory("signal-1", "notes")
    memory.dispose()
    assert persist.memory("signal-1", "notes") is not memory
    current = persist.memory("signal-1", "notes")
    memory.dispose()  # it is not the registry's any more
    assert persist.memory("signal-1", "notes") is current
    assert {spec.name for spec in SLOTS if spec.dispose} == {"memory", "state", "dictionary", "session"}
    assert isinstance(memory, MemoryAdapter)
    MemoryAdapter("a", "b").dispose()


def test_registry_s_methods_have_the_slots_signatures(spec: SlotSpec) -> None:
    method = getattr(persist, spec.name)
    assert list(inspect.signature(method).parameters) == list(spec.context)
    assert method.__name__ == spec.name
    assert method.__doc__
    assert spec.name in dir(persist)


def test_wrong_context_is_refused() -> None:
    install()
    with pytest.raises(TypeError, match=r"SignalAdapter\(.*\) lacks exchange_name"):
        persist.signal("a", "b")  # type: ignore[call-arg]  # that is what is tested
    with pytest.raises(InputError, match="symbol must be a str, not dict"):
        persist.signal({"$ne": None}, "b", "c")  # type: ignore[arg-type]  # that is what is tested

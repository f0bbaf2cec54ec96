"""The registry: what engines and strategies code against."""

from __future__ import annotations

import gc
import inspect
import os
import re
import threading
import tracemalloc
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from bson import ObjectId

import backtest_mongo
from backtest_mongo import (
    SLOTS,
    ConfigError,
    ConflictError,
    InputError,
    MemoryAdapter,
    SignalAdapter,
    SlotSpec,
    StateAdapter,
    install,
    persist,
)
from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.connection.id_cache import LocalIds
from backtest_mongo.contracts import CONTRACTS, SignalContract
from backtest_mongo.sqlite.store import SQLiteRows
from tests.conftest import Deployment
from tests.support import uniform

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


def test_before_install_every_slot_stores_in_sqlite(
    spec: SlotSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    slot = getattr(persist, spec.name)(**uniform.context(spec, "x"))
    assert isinstance(slot, ADAPTERS[spec.name])
    assert isinstance(slot._store(), SQLiteRows)
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
    assert isinstance(persist.schedule(*CONTEXT)._store(), SQLiteRows)


def test_use_forgets_instances_and_install_takes_all_slots_back() -> None:
    install()
    before = persist.signal(*CONTEXT)
    persist.use(signal=MySignal)
    assert persist.signal(*CONTEXT) is not before
    install()
    assert type(persist.signal(*CONTEXT)) is SignalAdapter


def test_any_callable_is_an_implementation() -> None:
    mine: SignalContract = MySignal(*CONTEXT)
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


@pytest.mark.shapes("document", "entry", "bucket")
async def test_dummy_has_no_row_to_conflict_with(spec: SlotSpec) -> None:
    persist.use_dummy()
    slot: Any = getattr(persist, spec.name)(**uniform.context(spec, "x"))
    value, absent = await uniform.read_version(slot)
    assert value == uniform.nothing(spec)
    for condition in ({"if_absent": True}, {"expect": absent}):
        for _ in range(2):
            await uniform.write(slot, uniform.payload(spec), **condition)
    with pytest.raises(ConflictError, match=f"^{spec.name}: writing failed: .* no longer stored") as caught:
        await uniform.write(slot, uniform.payload(spec), expect=f"v1-{0:032}")
    assert (caught.value.found, caught.value.version) == (None, absent)


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


@pytest.mark.parametrize("place", ["mongo", "files", "sqlite", "dummy"])
def test_library_s_own_object_lives_as_long_as_something_refers_to_it(
    place: str, spec: SlotSpec, tmp_path: Path
) -> None:
    serverless = {"files": lambda: persist.use_files(tmp_path), "sqlite": lambda: persist.use_sqlite(tmp_path / "a.db")}
    {"mongo": persist.use_mongo, "dummy": persist.use_dummy, **serverless}[place]()
    context = uniform.context(spec, "x")
    one = getattr(persist, spec.name)(**context)
    assert getattr(persist, spec.name)(**context) is one
    gone = weakref.ref(one)
    del one
    assert gone() is None  # at once: nothing is left to the garbage collector
    assert len(persist._instances[spec.name]) == 0
    assert getattr(persist, spec.name)(**context).context == context


@pytest.mark.shapes("document", "entry", "bucket", "series")
def test_context_takes_less_than_a_kilobyte(spec: SlotSpec) -> None:
    install()
    size = 500
    make = getattr(persist, spec.name)
    contexts = [{**uniform.context(spec, "x"), spec.context[0]: f"{number} of many"} for number in range(size)]
    ids = LocalIds()
    make(**contexts[0])
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    held = [make(**context) for context in contexts]
    for adapter in held:
        ids.put(spec.name, adapter._context, ObjectId(), True)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(persist._instances[spec.name]) == size
    assert (after - before) / size < 1_000
    del held, adapter
    assert len(persist._instances[spec.name]) == 0


def test_registered_slot_s_object_lives_as_long_as_something_refers_to_it() -> None:
    install()
    persist.register(
        SlotSpec(name="held_book", shape="document", context=("symbol",), key=("symbol",), redis=("symbol",))
    )
    one = persist.held_book("x")  # type: ignore[attr-defined]
    assert persist.held_book("x") is one  # type: ignore[attr-defined]
    gone = weakref.ref(one)
    del one
    assert gone() is None


class Slotted:
    """An implementation that can't be referred to weakly, and holds state."""

    __slots__ = ("row",)

    def __init__(self, *_: str) -> None:
        self.row: Any = None

    async def wait_for_init(self, initial: bool = True) -> None: ...

    async def read_signal_data(self) -> Any:
        return self.row

    async def write_signal_data(self, row: Any) -> None:
        self.row = row


@pytest.mark.parametrize("implementation", [MySignal, Slotted, lambda *context: Slotted()])
async def test_objects_of_own_implementations_are_kept_with_their_state(implementation: Any) -> None:
    persist.use(signal=implementation)
    await persist.signal(*CONTEXT).write_signal_data({"id": "x"})
    gc.collect()
    assert await persist.signal(*CONTEXT).read_signal_data() == {"id": "x"}
    persist.use(signal=implementation)
    assert await persist.signal(*CONTEXT).read_signal_data() is None


async def test_object_of_a_user_s_subclass_is_kept_and_disposed_of() -> None:
    install()

    class Counting(MemoryAdapter):
        calls = 0

    persist.use(memory=Counting)
    persist.memory("a", "b").calls += 1  # type: ignore[attr-defined]
    gc.collect()
    assert persist.memory("a", "b").calls == 1  # type: ignore[attr-defined]
    persist.memory("a", "b").dispose()
    assert persist.memory("a", "b").calls == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("implementation", [None, Slotted])
def test_threads_get_one_object_for_each_context(implementation: Any) -> None:
    install()
    if implementation is not None:
        persist.use(signal=implementation)
    for round_ in range(50):
        together = threading.Barrier(8)

        def ask(number: int, together: threading.Barrier = together, round_: int = round_) -> Any:
            together.wait()
            return persist.signal("BTCUSDT", "my_strategy", str(round_))

        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(ask, range(8)))
        assert all(one is found[0] for one in found)


def test_implementation_may_ask_for_other_slots() -> None:
    install()

    class Asking(MySignal):
        def __init__(self, *context: str) -> None:
            super().__init__(*context)
            self.schedule = persist.schedule(*context)

    persist.use(signal=Asking)
    assert isinstance(persist.signal(*CONTEXT), Asking)


def test_registry_s_methods_have_the_slots_signatures(spec: SlotSpec) -> None:
    method = getattr(persist, spec.name)
    of_model = [] if spec.shape == "series" else ["model", "upgrade", "schema_version"]
    assert list(inspect.signature(method).parameters) == [*spec.context, *of_model]
    assert method.__name__ == spec.name
    assert method.__doc__
    assert spec.name in dir(persist)


def test_wrong_context_is_refused() -> None:
    install()
    with pytest.raises(TypeError, match=r"SignalAdapter\(.*\) lacks exchange_name"):
        persist.signal("a", "b")  # type: ignore[call-overload]  # that is what is tested
    with pytest.raises(InputError, match="symbol must be a str, not dict"):
        persist.signal({"$ne": None}, "b", "c")  # type: ignore[call-overload]  # that is what is tested


# Single slots


async def test_one_slot_is_in_files_and_another_in_mongodb(deployment: Deployment, tmp_path: Path) -> None:
    persist.use_files(tmp_path, slots=("log", "notification"))
    persist.use_dummy(slots=["storage"])
    await persist.log().write_log_data([{"id": "l"}])
    await persist.notification(False).write_notification_data([{"id": "n"}])
    await persist.storage(False).write_storage_data([{"id": "s"}])
    await persist.signal(*CONTEXT).write_signal_data({"id": "x"})
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("[!.]*.json")}  # noqa: ASYNC240
    assert files == {"data/log/log/l.json", "data/notification/live/n.json"}
    assert await persist.log().read_log_data() == [{"id": "l"}]
    assert await persist.storage(False).read_storage_data() == []
    for name, rows in (("signal", 1), ("log", 0), ("notification", 0), ("storage", 0)):
        assert len(await deployment.rows(ADAPTERS[name].spec)) == rows
    persist.use_mongo(slots=("log",))
    assert await persist.log().read_log_data() == []
    assert await persist.notification(False).read_notification_data() == [{"id": "n"}]


def test_slots_that_are_not_named_keep_what_they_have(tmp_path: Path) -> None:
    install()
    persist.use(signal=MySignal)
    signal, schedule, log = persist.signal(*CONTEXT), persist.schedule(*CONTEXT), persist.log()
    files, sqlite = (partial(persist.use_files, tmp_path), partial(persist.use_sqlite, tmp_path / "backtest.db"))
    for use in (persist.use_dummy, persist.use_mongo, files, sqlite):
        use(slots=())
        use(slots=("log",))
        assert persist.signal(*CONTEXT) is signal
        assert persist.schedule(*CONTEXT) is schedule
        assert persist.log() is not log
        log = persist.log()
    install()
    assert persist.signal(*CONTEXT) is not signal


async def test_slot_before_setup_may_be_named_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    persist.use_files("elsewhere", slots=iter(["log"]))
    await persist.log().write_log_data([{"id": "l"}])
    await persist.signal(*CONTEXT).write_signal_data({"id": "x"})
    assert sorted(name.partition("-")[0] for name in os.listdir()) == ["backtest.db"] * 3 + ["elsewhere"]


@pytest.mark.parametrize("call", ["use_files", "use_sqlite", "use_dummy", "use_mongo"])
def test_unknown_slot_is_an_error_and_changes_nothing(call: str) -> None:
    install()
    log = persist.log()
    use = getattr(persist, call)
    problem = f"persist.{call}: there is no slot 'notfication' (did you mean notification?)"
    with pytest.raises(ConfigError, match=re.escape(problem)):
        use(slots=("log", "notfication"))
    with pytest.raises(ConfigError, match=rf"persist.{call}: there is no slot 5"):
        use(slots=("log", 5))
    with pytest.raises(ConfigError, match=r"slot names, not str .*slots=\('log',\) names one"):
        use(slots="log")
    with pytest.raises(ConfigError, match=r"slot names, not int"):
        use(slots=5)
    assert persist.log() is log

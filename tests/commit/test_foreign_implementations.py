"""A user's own implementations within transactions: their writes are refused, whatever kind of object they are."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from backtest_mongo import InputError, lease, persist, transaction
from backtest_mongo.contracts import SignalContract
from tests.conftest import Deployment
from tests.support.scopes import outside
from tests.support.uniform import WHEN, candles

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]


class Plain:
    """Keeps one row in memory."""

    def __init__(self, *context: str) -> None:
        self.row: Any = None

    async def wait_for_init(self, initial: bool = True) -> None: ...

    async def read_signal_data(self) -> Any:
        return self.row

    async def write_signal_data(self, row: Any) -> None:
        self.row = row


class Inherited(Plain):
    pass


class Slotted:
    __slots__ = ("row",)

    def __init__(self, *context: str) -> None:
        self.row: Any = None

    async def wait_for_init(self, initial: bool = True) -> None: ...

    async def read_signal_data(self) -> Any:
        return self.row

    async def write_signal_data(self, row: Any) -> None:
        self.row = row


class Derived(SignalContract):
    def __init__(self, *context: str) -> None:
        self.row: Any = None

    async def wait_for_init(self, initial: bool = True) -> None: ...

    async def read_signal_data(self) -> Any:
        return self.row

    async def write_signal_data(self, row: Any) -> None:
        self.row = row


class Awaitable(Plain):
    """Returns what is to be awaited."""

    def write_signal_data(self, row: Any) -> Any:
        return super().write_signal_data(row)


class Static(Plain):
    row: Any = None

    @staticmethod
    async def write_signal_data(row: Any) -> None:
        Static.row = row

    def __init__(self, *context: str) -> None:
        Static.row = None


class Frozen(type):
    def __setattr__(cls, name: str, value: Any) -> None:
        raise AttributeError("this class is not to be changed")


class OfFrozen(Plain, metaclass=Frozen):
    pass


def make_namespace(*context: str) -> Any:
    plain = Plain()
    return SimpleNamespace(
        wait_for_init=plain.wait_for_init,
        read_signal_data=plain.read_signal_data,
        write_signal_data=plain.write_signal_data,
    )


KINDS: tuple[Callable[..., Any], ...] = (
    *(Plain, Inherited, Slotted, Derived, Awaitable, Static, OfFrozen),
    make_namespace,
)


@pytest.mark.parametrize("kind", KINDS)
async def test_write_within_a_transaction_is_refused_by_the_names_of_both_slots(
    deployment: Deployment, unique: str, kind: Callable[..., Any]
) -> None:
    persist.use(signal=kind)
    signal, state = persist.signal("BTCUSDT", unique, "x"), persist.state(unique, "s")
    await signal.write_signal_data({"id": "before"})
    async with transaction(when=WHEN):
        await state.write_state_data({"n": 1})
        assert await signal.read_signal_data() == {"id": "before"}
        with pytest.raises(InputError, match=r"state is in .*, and signal is in .*of your own") as caught:
            await signal.write_signal_data({"id": "inside"})
        assert caught.value.slot == "signal"
        await outside(write(signal))
    assert await state.read_state_data() == {"n": 1}
    assert await signal.read_signal_data() == {"id": "beside it"}
    await signal.write_signal_data({"id": "after"})
    assert await signal.read_signal_data() == {"id": "after"}


async def write(signal: Any) -> None:
    await signal.write_signal_data({"id": "beside it"})


async def test_write_is_refused_as_the_first_one_and_in_blocks_within_blocks(
    deployment: Deployment, unique: str
) -> None:
    persist.use(signal=Plain)
    signal, state = persist.signal("BTCUSDT", unique, "x"), persist.state(unique, "s")
    async with lease(state):
        await signal.write_signal_data({"id": "a lease leaves others alone"})
        async with transaction(when=WHEN), transaction():
            with pytest.raises(InputError, match="can't take back what"):
                await signal.write_signal_data({"id": "inside"})
    assert await signal.read_signal_data() == {"id": "a lease leaves others alone"}


async def test_removals_and_shared_objects_of_several_slots_are_refused(deployment: Deployment, unique: str) -> None:
    class Memory:
        removed = 0

        async def wait_for_init(self, initial: bool = True) -> None: ...
        async def read_memory_data(self, memory_id: str, when: Any = None) -> Any: ...
        async def has_memory_data(self, memory_id: str) -> bool:
            return True

        async def write_memory_data(self, payload: Any, memory_id: str, when: Any) -> None: ...
        async def remove_memory_data(self, memory_id: str) -> None:
            self.removed += 1

        def list_memory_data(self, when: Any = None) -> Any: ...
        def dispose(self) -> None: ...

    class Both(Memory, Plain):
        pass

    both = Both()
    persist.use(memory=lambda *context: both, signal=lambda *context: both)
    for _ in range(3):  # however many contexts it serves
        objects: list[Any] = [persist.memory(unique, f"{_}"), persist.signal("BTCUSDT", unique, f"{_}")]
        assert all(one is both for one in objects)
    async with transaction(when=WHEN):
        await persist.state(unique, "s").write_state_data({"n": 1})
        with pytest.raises(InputError, match="and memory is in"):
            await persist.memory(unique, "m").remove_memory_data("a")
        with pytest.raises(InputError, match="and signal is in"):
            await persist.signal("BTCUSDT", unique, "x").write_signal_data({"id": "s"})
    await persist.memory(unique, "m").remove_memory_data("a")
    assert both.removed == 1


async def test_candles_of_ones_own_are_left_alone(deployment: Deployment, unique: str) -> None:
    class Candles:
        written = 0

        async def wait_for_init(self, initial: bool = True) -> None: ...
        async def read_candles_data(self, limit: int, since_timestamp: Any, until_timestamp: Any = None) -> Any: ...
        async def write_candles_data(self, candles: Any) -> int:
            self.written += len(candles)
            return self.written

    mine = Candles()
    persist.use(candle=lambda *context: mine)
    async with transaction():
        assert await persist.candle("BTCUSDT", "1m", "x").write_candles_data(candles(3)) == 3


def test_object_stays_what_it_is() -> None:
    persist.use(signal=Plain)
    signal: Any = persist.signal("BTCUSDT", "s", "x")
    assert type(signal) is Plain
    assert vars(signal) == {"row": None}
    assert vars(pickle.loads(pickle.dumps(signal))) == vars(copy.deepcopy(signal)) == {"row": None}
    assert Plain.write_signal_data.__name__ == "write_signal_data"
    assert Plain.write_signal_data.__qualname__ == "Plain.write_signal_data"

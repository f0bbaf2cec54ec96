"""One way to call every slot, derived from the table of slots: what the suite is written in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest

from backtest_mongo import SLOTS, SlotSpec

__all__ = [
    "ALIKE",
    "ENTRY",
    "MINUTE",
    "ROWS",
    "VERSIONED",
    "WHEN",
    "Slot",
    "each_slot",
    "fit_payload",
    "get_slot",
    "make_candles",
    "make_context",
    "make_payload",
    "needs",
]

WHEN: Final = 1_700_000_000_000
ENTRY: Final = "entry-1"
MINUTE: Final = 60_000
#: The shapes of slots whose payloads are rows.
ROWS: Final = ("document", "entry", "collection", "bucket")
#: The shapes of slots whose rows are read and written one by one.
VERSIONED: Final = ("document", "entry", "bucket")
#: Texts that are easily taken for one another.
ALIKE: Final = (
    *("caf\u00e9", "cafe\u0301", "Caf\u00e9", "caf\u00e9 ", " caf\u00e9", "caf\u00e9\n", "caf\u00e9\u200b", "cafe"),
    *("\u212b", "\u00c5", "A\u030a", "\ufb01", "fi", "\uff11", "1", "01", "1.0", " ", "\t", "ss", "\u00df", "SS"),
)


@dataclass(frozen=True)
class Slot:
    """An adapter of one context, called by what the table says of its slot."""

    spec: SlotSpec
    adapter: Any

    def _get(self, verb: str) -> Any:
        return getattr(self.adapter, f"{verb}_{self.spec.noun}_data")

    async def write(self, value: Any, key: str = ENTRY, when: Any = WHEN, **condition: Any) -> None:
        """Write a payload; in a collection, a list of this item alone."""
        if self.spec.shape == "collection":
            await self._get("write")([{"id": key, **value}])
        else:
            arguments = (*((key,) if self.spec.item else ()), *((when,) if self.spec.when else ()))
            await self._get("write")(value, *arguments, **condition)

    async def read(self, key: str = ENTRY, when: Any = None) -> Any:
        """Read a payload; of a collection, the items of this id in a list, without the id."""
        if self.spec.shape == "collection":
            rows = [row for row in await self._get("read")() if row["id"] == key]
            return [{name: value for name, value in row.items() if name != "id"} for row in rows]
        return await self._get("read")(*((key,) if self.spec.item else ()), **({} if when is None else {"when": when}))

    async def read_version(self, key: str = ENTRY, **time: Any) -> Any:
        """Read a payload with the row's version."""
        return await self._get("read")(*((key,) if self.spec.item else ()), with_version=True, **time)

    async def remove(self, key: str = ENTRY) -> None:
        await self._get("remove")(key)

    async def has(self, key: str = ENTRY) -> bool:
        found: bool = await self._get("has")(key)
        return found

    async def list_rows(self, **arguments: Any) -> list[Any]:
        """Return what a bucket's list yields, or what a collection's read returns."""
        if self.spec.shape == "collection":
            return list(await self._get("read")(**arguments))
        return [row async for row in self._get("list")(**arguments)]

    async def list_keys(self, **arguments: Any) -> list[str]:
        """Return the keys of a list, in its order."""
        rows = await self.list_rows(**arguments)
        if self.spec.shape == "collection":
            return [row["id"] for row in rows]
        return [row[0] for row in rows] if self.spec.items else rows

    async def write_list(self, items: list[dict[str, Any]]) -> None:
        """Write items of a collection in one call."""
        await self._get("write")(items)

    def wrap(self, value: Any) -> Any:
        """Return what :meth:`read` answers after :meth:`write` of a payload."""
        return [value] if self.spec.shape == "collection" else value

    @property
    def nothing(self) -> Any:
        """What a read answers when nothing is stored."""
        if self.spec.shape == "collection" or self.spec.payload == "list":
            return []
        return {} if self.spec.shape == "entry" else None


def get_slot(store: Any, spec: SlotSpec, unique: str = "x", **changes: Any) -> Slot:
    """Return a slot of a store, in the context that ``unique`` makes, but for some of its arguments."""
    context = {**make_context(spec, unique), **changes}
    return Slot(spec, getattr(store, spec.name)(*context.values()))


def make_context(spec: SlotSpec, unique: str) -> dict[str, Any]:
    """Return constructor arguments by name, in their order."""
    fixed: dict[str, Any] = {"backtest": True, "interval": "1m"}
    return {name: fixed.get(name, f"{name}-{unique}") for name in spec.context}


def make_payload(spec: SlotSpec, number: int = 1) -> Any:
    """Return a payload of the slot's kind."""
    value = {"number": number, "price": 50_000.5, "note": None, "nested": {"levels": [1, 2.5, "x"], "empty": {}}}
    return fit_payload(spec, value)


def fit_payload(spec: SlotSpec, value: dict[str, Any]) -> Any:
    """Return an object as a payload of the slot's kind."""
    return [["my_strategy:BTCUSDT", value]] if spec.payload == "list" else value


def make_candles(count: int, first: int = 0, step: int = MINUTE, price: float = 1.0) -> list[Any]:
    """Return candles from ``first`` on, in milliseconds since the epoch."""
    return [
        {
            "timestamp": first + index * step,
            "open": price,
            "high": price + 1,
            "low": price - 1,
            "close": price + 0.5,
            "volume": 10.0,
        }
        for index in range(count)
    ]


def each_slot(*shapes: str, **columns: object) -> pytest.MarkDecorator:
    """Run a test for each slot of these shapes, or of any, in which these columns of the table have these values."""
    specs = [
        spec
        for spec in SLOTS
        if (not shapes or spec.shape in shapes) and all(getattr(spec, name) == value for name, value in columns.items())
    ]
    return pytest.mark.parametrize("spec", specs, ids=[spec.name for spec in specs])


def needs(*slots: str) -> Callable[..., Any]:
    """Leave a test out if the store lacks one of these slots."""
    return pytest.mark.conformance_slots(*slots)

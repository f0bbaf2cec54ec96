"""Use rows of every slot as registers that hold a number, as the slot table describes them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from backtest_mongo import SLOTS, SlotSpec, persist
from backtest_mongo.connection.hub_registry import current_hub

__all__ = ["SPECS", "Register", "numbers_stored", "read_all"]

WHEN: Final = 1_700_000_000_000
STEP: Final = 60_000
SPECS: Final = {spec.name: spec for spec in SLOTS}
_FIXED: Final[dict[str, Any]] = {"backtest": True, "interval": "1m"}
#: More rows than a log or a notification list ever has here.
_ALL: Final = 1_000_000
_AT_ONCE: Final = 200


@dataclass(frozen=True)
class Register:
    """A row of a slot that holds a number.

    Args:
        slot: the slot's name.
        key: the entry, the context if that is the whole key, or the position of a candle.
        aside: whether the row is in another list than the registers that are read often, if lists have a context.
    """

    slot: str
    key: str
    aside: bool = False

    @classmethod
    def named(cls, name: str) -> Register:
        slot, key, aside = name.split("/")
        return cls(slot, key, bool(aside))

    @property
    def name(self) -> str:
        return f"{self.slot}/{self.key}/{'aside' if self.aside else ''}"

    @property
    def spec(self) -> SlotSpec:
        return SPECS[self.slot]

    @property
    def is_immutable(self) -> bool:
        return self.spec.immutable

    @property
    def adapter(self) -> Any:
        spec = self.spec
        own = self.key if spec.shape == "document" else "aside" if self.aside else "shared"
        context = {name: _FIXED.get(name, f"{name}-{own}") for name in spec.context}
        if "backtest" in context and self.aside:
            context["backtest"] = False
        return getattr(persist, self.slot)(**context)

    async def write(self, number: int) -> bool:
        """Write a number; return ``False`` if the slot keeps an earlier one."""
        spec, adapter = self.spec, self.adapter
        method = getattr(adapter, f"write_{spec.noun}_data")
        if spec.shape == "series":
            return bool(await method([_candle(int(self.key), number)]))
        if spec.shape == "collection":
            await method([{"id": self.key, "number": number}])
            return True
        value: Any = {"number": number}
        if spec.payload == "list":
            value = [["number", value]]
        await method(value, *((self.key,) if spec.item else ()), *((WHEN,) if spec.when else ()))
        return True

    async def read(self) -> int | None:
        spec, adapter = self.spec, self.adapter
        method = getattr(adapter, f"read_{spec.noun}_data")
        if spec.shape == "series":
            rows = await method(1, int(self.key) * STEP)
            return None if rows is None else int(rows[0]["open"])
        if spec.shape == "collection":
            return (await self._listed()).get(self.key)
        return _number(spec, await method(*((self.key,) if spec.item else ())))

    async def _listed(self) -> dict[str, int]:
        method = getattr(self.adapter, f"read_{self.spec.noun}_data")
        items = await (method() if self.spec.newest is None else method(_ALL))
        return {item["id"]: item["number"] for item in items}

    async def remove(self) -> None:
        await getattr(self.adapter, f"remove_{self.spec.noun}_data")(self.key)

    def forget(self) -> None:
        """Drop the id that this process knows, so that the next operation asks Redis, as in a fresh process."""
        current_hub().id_cache.local.drop(self.slot, self.natural_key)

    @property
    def natural_key(self) -> tuple[Any, ...]:
        item = int(self.key) * STEP if self.spec.shape == "series" else self.key
        return (*self.adapter._context, *((item,) if self.spec.item else ()))

    @property
    def redis_key(self) -> str:
        return self.spec.redis_key(self.natural_key)


async def read_all(registers: Iterable[Register]) -> dict[Register, int | None]:
    """Read many registers concurrently, and each list only once."""
    found: dict[Register, int | None] = {}
    lists: dict[tuple[str, bool], list[Register]] = {}
    limit = asyncio.Semaphore(_AT_ONCE)

    async def read(register: Register) -> None:
        async with limit:
            found[register] = await register.read()

    async def read_list(members: list[Register]) -> None:
        values = await members[0]._listed()
        found.update({register: values.get(register.key) for register in members})

    singles = []
    for register in registers:
        if register.spec.shape == "collection":
            lists.setdefault((register.slot, register.aside), []).append(register)
        else:
            singles.append(register)
    await asyncio.gather(*map(read, singles), *map(read_list, lists.values()))
    return found


def _candle(position: int, number: int) -> dict[str, Any]:
    price = float(number)
    return {"timestamp": position * STEP, "open": price, "high": price, "low": price, "close": price, "volume": 1.0}


def _number(spec: SlotSpec, payload: Any) -> int | None:
    if not payload:
        return None
    return int((payload[0][1] if spec.payload == "list" else payload)["number"])


def numbers_stored(database: Any) -> dict[tuple[str, tuple[Any, ...]], int | None]:
    """Return the number in every row by slot and natural key, read without the library; ``None`` if it is removed."""
    found: dict[tuple[str, tuple[Any, ...]], int | None] = {}
    for spec in SLOTS:
        for row in database[spec.collection].find():
            key = tuple(row[name] for name in spec.key)
            if (spec.name, key) in found:
                raise AssertionError(f"two rows of {spec.name} share the key {key}")
            number = int(row["open"]) if spec.immutable else _number(spec, row[spec.field])
            found[spec.name, key] = None if row.get("removed") is True else number
    return found

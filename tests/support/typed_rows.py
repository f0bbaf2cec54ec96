"""One payload as a model of each kind, and calls of every slot with objects of it."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from backtest_mongo import SlotSpec, persist
from tests.support import uniform
from tests.support.uniform import WHEN

__all__ = [
    "AT",
    "KINDS",
    "DataRow",
    "PydanticRow",
    "Side",
    "StructRow",
    "dump",
    "listed",
    "make",
    "open_plain",
    "open_typed",
    "read",
    "write",
]

AT = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)


class Side(Enum):
    LONG = "long"
    SHORT = "short"


class PydanticRow(BaseModel):
    model_config = ConfigDict(validate_by_name=True)

    id: str
    price_open: float = Field(alias="priceOpen")
    side: Side
    opened: datetime
    tags: frozenset[str] = frozenset()
    levels: dict[int, float] = {}


@dataclasses.dataclass
class DataRow:
    id: str
    priceOpen: float
    side: Side
    opened: datetime
    tags: frozenset[str] = frozenset()
    levels: dict[int, float] = dataclasses.field(default_factory=dict)


class StructRow(msgspec.Struct, rename="camel"):
    id: str
    price_open: float
    side: Side
    opened: datetime
    tags: frozenset[str] = frozenset()
    levels: dict[int, float] = {}


KINDS: tuple[type[Any], ...] = (PydanticRow, DataRow, StructRow)


def make(kind: type[Any], key: str = "r", number: int = 1) -> Any:
    """Return an object of a kind of model."""
    price = "priceOpen" if kind is DataRow else "price_open"
    # One tag, as the items of a set of msgspec's are stored in any order.
    tags, levels = frozenset(("a",)), {10: 1.5, 20: 2.5}
    return kind(id=key, **{price: number + 0.5}, side=Side.SHORT, opened=AT, tags=tags, levels=levels)


def dump(key: str = "r", number: int = 1) -> dict[str, Any]:
    """Return the payload of :func:`make`."""
    levels = {"10": 1.5, "20": 2.5}
    return {
        "id": key,
        "priceOpen": number + 0.5,
        "side": "short",
        "opened": AT,
        "tags": ["a"],
        "levels": levels,
    }


def open_typed(spec: SlotSpec, unique: str, model: type[Any], **options: Any) -> Any:
    """Return the registry's object of a slot with a model."""
    return getattr(persist, spec.name)(**uniform.context(spec, unique), model=model, **options)


def open_plain(spec: SlotSpec, unique: str) -> Any:
    """Return the registry's object of a slot without one."""
    return getattr(persist, spec.name)(**uniform.context(spec, unique))


async def write(adapter: Any, value: Any, key: str, when: Any = WHEN, **condition: Any) -> None:
    """Write one object; of a slot that holds lists, a list of it."""
    spec = adapter.spec
    method = getattr(adapter, f"write_{spec.noun}_data")
    if spec.shape == "collection":
        await method([value])
        return
    value = [value] if spec.payload == "list" else value
    await method(value, *((key,) if spec.item else ()), *((when,) if spec.when else ()), **condition)


async def read(adapter: Any, key: str, **arguments: Any) -> Any:
    """Read one object; ``None`` if nothing is stored."""
    spec = adapter.spec
    method = getattr(adapter, f"read_{spec.noun}_data")
    if spec.shape == "collection":
        rows = [row for row in await method() if (row["id"] if isinstance(row, dict) else row.id) == key]
        return rows[0] if rows else None
    found = await method(*((key,) if spec.item else ()), **arguments)
    if spec.payload == "list" and isinstance(found, list):
        return found[0] if found else None
    return found


async def listed(adapter: Any) -> list[Any]:
    """Return the rows of a bucket, by key."""
    return [row async for row in getattr(adapter, f"range_{adapter.spec.noun}_data")()]

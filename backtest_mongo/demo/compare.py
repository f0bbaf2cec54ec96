"""Comparing the end states of the two runs, row by row and field by field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from backtest_mongo import SLOTS, SlotSpec
from backtest_mongo.demo.databases import Databases
from backtest_mongo.types import Document

__all__ = ["Comparison", "compare"]

#: Facts about the writing, not about what was written.
_IGNORED: Final = ("_id", "createDate", "updatedDate")


@dataclass(frozen=True)
class Comparison:
    """How many rows each slot has in the interrupted run, and every difference between the two runs, as text."""

    documents: Mapping[str, int]
    differences: list[str]


async def compare(databases: Databases) -> Comparison:
    """Compare every slot, candles included."""
    documents: dict[str, int] = {}
    differences: list[str] = []
    for spec in SLOTS:
        interrupted = await _rows(databases, "interrupted", spec)
        expected = await _rows(databases, "uninterrupted", spec)
        documents[spec.name] = len(interrupted)
        for key in sorted({*interrupted, *expected}):
            where = f"{spec.name} {dict(zip(spec.key, key, strict=True))}"
            if key not in interrupted:
                differences.append(f"{where}: only the uninterrupted run has it")
            elif key not in expected:
                differences.append(f"{where}: only the interrupted run has it")
            else:
                differences += [f"{where}: {text}" for text in _differences("", interrupted[key], expected[key])]
    return Comparison(documents, differences)


async def _rows(databases: Databases, role: str, spec: SlotSpec) -> dict[tuple[Any, ...], Document]:
    return {
        tuple(document[name] for name in spec.key): {
            name: value for name, value in document.items() if name not in _IGNORED
        }
        async for document in databases.documents(role, spec)
    }


def _differences(path: str, one: object, other: object) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted({*one, *other}):
            yield from _differences(f"{path}.{name}" if path else name, one.get(name, ...), other.get(name, ...))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (item, counterpart) in enumerate(zip(one, other, strict=True)):
            yield from _differences(f"{path}[{index}]", item, counterpart)
    elif type(one) is not type(other) or one != other:
        yield f"{path} is {_shown(one)}, and {_shown(other)} without interruption"


def _shown(value: object) -> str:
    return "absent" if value is ... else repr(value)

"""Whole contexts: filters by their values, and how much is stored in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from backtest_mongo.core.specs import FLAG, Key, SlotSpec, camel
from backtest_mongo.core.suggestions import suggest
from backtest_mongo.errors import InputTypeError

__all__ = ["EVERYTHING", "MAX_STEP_ROWS", "Measure", "bind_filter", "matches", "name_values"]

#: The most rows, or versions, that one step deletes or renames.
MAX_STEP_ROWS: Final = 1_000
#: The filter that every context matches.
EVERYTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """How much is stored in one context, or in all that match a filter.

    Attributes:
        context: its values, in the order of the unique key; empty for all that match.
        contexts: how many contexts these are.
        rows: how many rows they have, removed ones included.
        bytes: the size of these rows.
        versions: how many versions of them are kept.
        written: when one of them was last written, in milliseconds since the epoch; of candles the newest.
    """

    context: Key = ()
    contexts: int = 0
    rows: int = 0
    bytes: int = 0
    versions: int = 0
    written: int | None = None


def bind_filter(spec: SlotSpec, given: Mapping[str, object]) -> dict[str, Any]:
    """Check a filter by names of the context, and return its values by document field.

    Raises:
        InputTypeError: a name is not part of the context, or a value has the wrong type.
        InputError: a value can't be part of a key.
    """
    for name in given:
        if name not in spec.context:
            hint = suggest(name, spec.context) if spec.context else f"{spec.name} has one context, without names"
            raise InputTypeError(f"{name!r} is not part of the context", slot=spec.name, hint=hint)
    return {
        camel(name): spec.check_flag(name, value) if name == FLAG else spec.check_key(name, value)
        for name, value in given.items()
    }


def matches(spec: SlotSpec, context: Key, where: Mapping[str, Any]) -> bool:
    """Return whether a context, in the order of the unique key, has the values of a filter."""
    return all(where.get(field, value) == value for field, value in zip(spec.key, context, strict=False))


def name_values(spec: SlotSpec, context: Key) -> dict[str, Any]:
    """Return the constructor's arguments by name, of a context in the order of the unique key."""
    by_field = dict(zip(spec.key, context, strict=False))
    return {name: by_field[camel(name)] for name in spec.context}

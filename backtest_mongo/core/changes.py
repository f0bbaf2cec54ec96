"""A change of what is stored, as ``watch()`` yields it, whatever the storage is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from backtest_mongo.core.specs import Key, SlotSpec, camel

__all__ = ["HISTORY_LOST", "Change", "ChangeKind", "name_context"]

ChangeKind: TypeAlias = Literal["written", "removed", "deleted"]

#: MongoDB's code of the error that what came after a token is no longer kept; every storage raises it so.
HISTORY_LOST: Final = 286


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of what a slot stores.

    Attributes:
        kind: ``written``; ``removed`` if a bucket's row was marked as removed; ``deleted`` if the row is gone: a candle
            after ``delete()``, or any row that another program deletes.
        slot: the slot's name.
        context: the constructor's arguments by name. On MongoDB ``None`` if deleted rows are not known one by one: a
            dropped collection, or a row that this watch does not remember. What was read before may then be outdated.
        key: what identifies the row within its context: an entry's or item's key, a candle's open time in milliseconds.
            ``None`` if a context has one row, or if all of its rows were deleted, and for series with columns.
        payload: what is stored, as a read would return it; ``None`` if the row was removed or deleted. Of a series with
            columns, the list of rows that one call has written, or ``{"start", "end", "rows"}``: the half-open range of
            times of rows that went straight into blocks or were deleted, and how many they are.
        when: the simulation time of the row in milliseconds since the epoch, where the slot has one.
        time: when the change was applied, in milliseconds since the epoch, UTC: by the server's clock, or on SQLite by
            that of the process that wrote.
        token: where to resume: ``watch(after=token)`` yields what came after this change.
    """

    kind: ChangeKind
    slot: str
    context: dict[str, str | bool] | None
    key: str | int | None
    payload: Any
    when: int | None
    time: int
    token: str


def name_context(spec: SlotSpec, context: Key) -> dict[str, str | bool]:
    """Return the constructor's arguments by name, of a context in the order of ``SlotSpec.key``."""
    by_field = dict(zip(spec.key, context, strict=False))
    return {name: by_field[camel(name)] for name in spec.context}

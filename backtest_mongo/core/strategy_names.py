"""The name of a strategy in the payloads that the engine writes, and how it is renamed there.

A payload names its strategy in fields ``strategyName``, at any depth: in the row itself, in the signals of a strategy's
row, in the positions of a risk profile, and in ``methodContext`` of a log entry. Two strings contain it as well: the
``id`` of a session, ``SYMBOL:strategy:exchange[:frame]:live|backtest``, and the name of a risk profile's position,
``strategy_exchange_SYMBOL``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from backtest_mongo.core.specs import FLAG, Key, SlotSpec
from backtest_mongo.errors import ConflictError

__all__ = ["FIELD", "MENTIONS", "Moved", "NewName", "Renamer", "has_strategy", "make_name_conflict"]

#: The field of keys and payloads that has the name.
FIELD: Final = "strategyName"
#: The slots whose keys have no strategy and whose payloads name one, and in which fields.
MENTIONS: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "risk": (("*", "*", FIELD),),
    "storage": ((FIELD,),),
    "notification": ((FIELD,),),
    "log": ((FIELD,), ("methodContext", FIELD)),
}


def has_strategy(spec: SlotSpec) -> bool:
    """Return whether the contexts of a slot have a strategy."""
    return FIELD in spec.context_fields


@dataclass(frozen=True, slots=True)
class NewName:
    """The name of a strategy, and its new name."""

    old: str
    new: str

    def change_key(self, spec: SlotSpec, key: Key) -> Key:
        """Return a key, or a context, with the new name."""
        return tuple(self.new if field == FIELD else value for field, value in zip(spec.key, key, strict=False))

    def change_payload(self, spec: SlotSpec, key: Key, payload: Any) -> Any:
        """Return the payload of a key with the new name, or the payload itself if there is nothing to change."""
        changed = self._change(payload)
        if spec.name == "session" and isinstance(changed, dict):
            old, new = (
                _make_session_id(dict(zip(spec.key, one, strict=True))) for one in (key, self.change_key(spec, key))
            )
            if changed.get("id") == old:
                changed = {name: new if name == "id" else value for name, value in changed.items()}
        if spec.name == "risk" and isinstance(changed, list):
            pairs = [self._change_position(pair) for pair in changed]
            changed = changed if pairs == changed else pairs
        return changed

    def _change(self, value: Any) -> Any:
        if isinstance(value, dict):
            parts = {
                name: self.new if name == FIELD and part == self.old else self._change(part)
                for name, part in value.items()
            }
            return parts if any(parts[name] is not part for name, part in value.items()) else value
        if isinstance(value, list):
            items = [self._change(item) for item in value]
            return items if any(one is not other for one, other in zip(items, value, strict=True)) else value
        return value

    def _change_position(self, pair: Any) -> Any:
        """Return a pair of a position's name and the position with the name that belongs to the position."""
        if (
            not isinstance(pair, list)
            or len(pair) != 2
            or not isinstance(pair[0], str)
            or not isinstance(pair[1], dict)
        ):
            return pair
        start = f"{self.old}_"
        is_its = pair[1].get(FIELD) == self.new and pair[0].startswith(start)
        return [f"{self.new}_{pair[0].removeprefix(start)}", pair[1]] if is_its else pair


def _make_session_id(values: Mapping[str, Any]) -> str:
    frame = (values["frameName"],) if values["frameName"] else ()
    parts = (values["symbol"], values[FIELD], values["exchangeName"], *frame, "backtest" if values[FLAG] else "live")
    return ":".join(parts)


def make_name_conflict(
    spec: SlotSpec, target: Key, what_stays: str = "nothing of this context was renamed"
) -> ConflictError:
    """Return the error that a context has something stored under its new name; the key's first fields are its."""
    return ConflictError(
        "renaming a strategy failed: something is already stored under its new name",
        slot=spec.name,
        collection=spec.collection,
        key=dict(zip(spec.key, target, strict=False)),
        hint=f"{what_stays}; delete one of the two, or choose another name",
    )


class Moved(NamedTuple):
    """How many rows have another name now, and how many versions."""

    rows: int
    versions: int


class Renamer(Protocol):
    """What renames the rows of one slot in a database with transactions.

    An SQLite file that can't be opened makes each method raise ``ConfigError``.
    """

    async def check(self) -> None:
        """Make sure that the database can do it.

        Raises:
            StoreError: it has no transactions, as a standalone MongoDB, or answers with an error.
            StoreUnavailableError: it does not answer.
        """
        ...

    async def count(self, context: Key) -> Moved:
        """Return how many rows and versions a context has.

        Raises:
            StoreUnavailableError: the database does not answer, or another process keeps it locked.
            StoreError: it answers with an error.
        """
        ...

    async def is_moving(self, source: Key, target: Key) -> bool:
        """Return whether the rows of one context are on their way to another one, which a killed process began.

        Raises:
            StoreUnavailableError: the database does not answer, or another process keeps it locked.
            StoreError: it answers with an error.
        """
        ...

    async def move(self, source: Key, target: Key, name: NewName) -> Moved:
        """Give the rows of a context, and their versions, another name.

        It may be killed, and called again: a context is wholly under one of the names or, if it has more rows than one
        transaction takes, on its way.

        Raises:
            ConflictError: something is stored under the other name, and is not of a move that was killed.
            LeaseHeldError: somebody holds the lease of one of the contexts.
            StoreUnavailableError: the database does not answer, or another process keeps it locked; a part may be
                moved. Call it again.
            StoreError: it answers with an error; a part may be moved.
        """
        ...

    async def count_mentions(self, name: NewName) -> dict[Key, int]:
        """Return, by context, how many rows and versions name the strategy in their payloads.

        Raises:
            StoreUnavailableError: the database does not answer, or another process keeps it locked.
            StoreError: it answers with an error.
        """
        ...

    async def rename_mentions(self, name: NewName) -> int:
        """Change the name in these payloads, and return how many rows were changed.

        Raises:
            LeaseHeldError: somebody holds the lease of one of their contexts.
            StoreUnavailableError: the database does not answer, or another process keeps it locked; a part may be
                changed. Call it again.
            StoreError: it answers with an error; a part may be changed.
        """
        ...

"""A trade: the stored signal with its id, and its moments.

Engines choose their own fields. Fields are found by the names that the Node package, the demo and most other engines
use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from backtest_mongo.cli.databases import get_adapter
from backtest_mongo.cli.stored_past import list_keys
from backtest_mongo.core.simulation_time import to_time
from backtest_mongo.core.slots import SLOTS
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.errors import InputError

__all__ = ["Moment", "Trade", "find_trade"]

_STORAGE: Final[SlotSpec] = next(spec for spec in SLOTS if spec.name == "storage")
#: The fields that hold the times; the first one with a value counts.
_SCHEDULED: Final = ("scheduledAt",)
_OPENED: Final = ("pendingAt", "openedAt", "openTimestamp")
_CLOSED: Final = ("closedAt", "closeTimestamp", "closedTimestamp")
_CREATED: Final = ("createdAt", "timestamp")
#: States of a signal that never became a position.
_UNFILLED: Final = ("scheduled", "cancelled")
#: How many ids are compared with one that is not stored, and how many similar ones are suggested.
_MOST_IDS: Final = 20_000
_NAMED: Final = 5


@dataclass(frozen=True)
class Moment:
    """A time of a trade, in milliseconds since the epoch, and what happened then."""

    when: int
    events: tuple[str, ...]


@dataclass(frozen=True)
class Trade:
    """A stored signal.

    Attributes:
        id: its id.
        backtest: whether it is a backtest's.
        row: the payload of its row in the storage slot.
    """

    id: str
    backtest: bool
    row: Mapping[str, Any]

    def get_text(self, name: str) -> str | None:
        """Return a field that holds a name, ``None`` if the row has none."""
        value = self.row.get(name)
        return value if isinstance(value, str) else None

    def list_moments(self) -> list[Moment]:
        """Return the moments that the row has, in the order of their times.

        Raises:
            InputError: it has none.
        """
        status = self.get_text("status")
        events: list[tuple[str, int | None]] = [
            ("scheduled", self._find_time(_SCHEDULED)),
            # A signal that waits for its price has 0.
            ("opened", None if status in _UNFILLED else self._find_time(_OPENED)),
        ]
        if status == "cancelled":
            events.append(("cancelled", self._find_time((*_CLOSED, "updatedAt"))))
        elif status == "closed":
            events.append(("closed", self._find_time((*_CLOSED, "updatedAt"))))
        elif status is None:
            events.append(("closed", self._find_time(_CLOSED)))
        if not any(when is not None for _, when in events):
            events = [("created", self._find_time(_CREATED))]
        by_time: dict[int, list[str]] = {}
        for event, when in events:
            if when is not None:
                by_time.setdefault(when, []).append(event)
        if not by_time:
            names = ", ".join((*_SCHEDULED, *_OPENED, *_CLOSED, *_CREATED))
            raise InputError(f"the row of {self.id} in storage has no time", hint=f"it has none of {names}")
        return [Moment(when, tuple(names)) for when, names in sorted(by_time.items())]

    def _find_time(self, names: tuple[str, ...]) -> int | None:
        times = (to_time(self.row.get(name)) for name in names)
        return next((time for time in times if time is not None), None)


async def find_trade(name: str, backtest: bool | None) -> Trade:
    """Return the trade with an id.

    Args:
        name: the id.
        backtest: whether it is a backtest's; ``None`` for either.

    Raises:
        InputError: there is none, or both a backtest and live trading have one.
    """
    key = _STORAGE.check_key("id", name)
    flags = (False, True) if backtest is None else (backtest,)
    documents = await get_adapter(_STORAGE)._base_store().find_many([(flag, key) for flag in flags])
    found = []
    for flag, document in zip(flags, documents, strict=True):
        payload = None if document is None else document.get(_STORAGE.field)
        if isinstance(payload, Mapping):
            found.append(Trade(key, flag, payload))
    if len(found) > 1:
        raise InputError(f"both a backtest and live trading have a trade {name}", hint="pass --backtest or --live")
    if not found:
        where = {None: "", True: " of a backtest", False: " of live trading"}[backtest]
        raise InputError(f"no trade{where} has the id {name!r}", hint=await _suggest(key, flags))
    return found[0]


async def _suggest(name: str, flags: tuple[bool, ...]) -> str:
    ids: list[str] = []
    for flag in flags:
        ids += [key[-1] for key in await list_keys(_STORAGE, {"backtest": flag}, None, _MOST_IDS)]
    if not ids:
        return "storage has no signals"
    text = name.casefold()
    similar = {one: one for one in ids if text and text in one.casefold()}
    by_letters = {one.casefold(): one for one in ids}
    similar |= {by_letters[one]: one for one in get_close_matches(text, by_letters, _NAMED, cutoff=0.75)}
    named = list(similar)[:_NAMED]
    if not named:
        return "`backtest-mongo inspect storage` shows the signals that are stored"
    more = f", or one of {len(similar) - len(named):,} more" if len(similar) > len(named) else ""
    return f"did you mean {', '.join(named)}{more}?"

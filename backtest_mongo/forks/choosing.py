"""Which rows belong to a strategy, as far as the rows themselves say so.

Slots with a strategy in their key say so there, and lists in the payloads of their rows. A row that is keyed by the id
of a signal belongs to the signal's strategy: the rows of strategies and storage name the ids. No other rows say so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from backtest_mongo.core.past_rows import LostRow, PastRow
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.types import LeftOut

__all__ = ["Choice"]

_STRATEGY: Final = "strategyName"
_SIGNAL: Final = "signalId"
#: Where the payload of a list's row names its strategy; the engine's log does so in the second place.
_PLACES: Final = ((_STRATEGY,), ("methodContext", _STRATEGY))
#: The slots whose payloads are signals, and the one whose payload has some.
_SIGNALS: Final = ("signal", "schedule", "recent")
_SIGNAL_PARTS: Final = "strategy"
#: The end of the names of its fields that hold the id of a signal.
_ID: Final = "Id"

_NO_STRATEGY: Final = "neither its keys nor its payloads name a strategy"
_NO_NAME: Final = "their payloads name no strategy"
_NO_SIGNAL: Final = "no row says which strategy their signals belong to"


class Choice:
    """The rows of one strategy, or all rows with ``None``."""

    def __init__(self, strategy_name: str | None) -> None:
        self._strategy = strategy_name
        self._signals: set[str] = set()
        self._other_signals: set[str] = set()
        self._left: Counter[tuple[str, str]] = Counter()

    @property
    def left_out(self) -> Iterator[LeftOut]:
        """How many rows were left out because nothing says which strategy they belong to."""
        for (slot, reason), rows in self._left.items():
            yield LeftOut(slot, rows, reason)

    def order(self, specs: Iterable[SlotSpec]) -> list[SlotSpec]:
        """Return slots in the order in which they must be read: those keyed by ids of signals last."""
        return sorted(specs, key=_is_by_signal)

    def take(self, spec: SlotSpec, row: PastRow | LostRow) -> bool:
        """Return whether a row is the strategy's, and note what it says about signals, or why it is left out."""
        if self._strategy is None:
            return True
        fields = row.fields if isinstance(row, LostRow) else dict(zip(spec.key, row.key, strict=True))
        if _STRATEGY in spec.key:
            name = fields.get(_STRATEGY)
        elif spec.shape == "collection":
            name = _find_name(row.payload)
        else:
            return self._take_unnamed(spec, fields)
        if not isinstance(name, str):
            return self._leave(spec, _NO_NAME)
        is_mine = name == self._strategy
        if isinstance(row, PastRow):
            (self._signals if is_mine else self._other_signals).update(_find_signals(spec, fields, row.payload))
        return is_mine

    def takes_series(self, spec: SlotSpec, context: Key) -> bool:
        """Return whether a series is the strategy's, or of a market, which any strategy may read."""
        if self._strategy is None or _STRATEGY not in spec.context_fields:
            return True
        return bool(context[spec.key.index(_STRATEGY)] == self._strategy)

    def _take_unnamed(self, spec: SlotSpec, fields: Mapping[str, Any]) -> bool:
        if _SIGNAL not in spec.key:
            return self._leave(spec, _NO_STRATEGY)
        signal = fields.get(_SIGNAL)
        if signal in self._signals:
            return True
        return False if signal in self._other_signals else self._leave(spec, _NO_SIGNAL)

    def _leave(self, spec: SlotSpec, reason: str) -> bool:
        self._left[spec.name, reason] += 1
        return False


def _is_by_signal(spec: SlotSpec) -> bool:
    return _SIGNAL in spec.key and _STRATEGY not in spec.key and spec.shape != "collection"


def _find_name(payload: Any) -> Any:
    for place in _PLACES:
        value = payload
        for name in place:
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, str):
            return value
    return None


def _find_signals(spec: SlotSpec, fields: Mapping[str, Any], payload: Any) -> list[str]:
    """Return the ids of the signals that a row of a strategy names."""
    found = [fields.get(_SIGNAL)]
    if isinstance(payload, dict):
        if spec.name in _SIGNALS:
            found.append(payload.get("id"))
        elif spec.name == _SIGNAL_PARTS:
            found += [_find_id(name, part) for name, part in payload.items()]
    return [one for one in found if isinstance(one, str)]


def _find_id(name: str, part: Any) -> Any:
    return part.get("id") if isinstance(part, dict) else part if name.endswith(_ID) else None

"""The engine's layout: where each slot's files are, and which fields the engine reads in a form of its own.

It is not part of the slot table because only files have it. A slot that isn't named here has a directory per field of
its key, below ``data/{name}``.

In a template, fields of the key are in braces and directories end in slashes; ``.json`` follows it. A part in brackets
is left out if its field is empty. Of the fields that are joined by ``_``, those marked ``*`` keep the ``_`` in their
values: the names of strategies, risks and frames are written as the engine writes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from backtest_mongo.core.specs import SlotSpec

__all__ = [
    "MAX_SLASHES",
    "NO_FIELDS",
    "SIGNALS",
    "EngineFields",
    "find_holders",
    "get_engine_fields",
    "get_template",
    "may_have_slash",
]

_TEMPLATES: Final[Mapping[str, str]] = {
    "signal": "data/signal/{symbol}_{strategyName*}_{exchangeName}/{symbol}",
    "schedule": "data/schedule/{symbol}_{strategyName*}_{exchangeName}/{symbol}",
    "strategy": "data/strategy/{symbol}_{strategyName*}_{exchangeName}/strategy",
    "risk": "data/risk/{riskName*}_{exchangeName}/positions",
    "partial": "data/partial/{symbol}_{strategyName*}_{exchangeName}/{signalId}",
    "breakeven": "data/breakeven/{symbol}_{strategyName*}_{exchangeName}/{signalId}",
    "log": "data/log/log/{entryId}",
    "memory": "memory/{signalId}/{bucketName}/{memoryId}",
    "recent": "data/recent/{symbol}_{strategyName*}_{exchangeName}[_{frameName*}]_{backtest}/{symbol}",
    "state": "state/{signalId}/{bucketName}/{bucketName}",
    "dictionary": "dictionary/{signalId}/{dictionaryName}/{dictionaryName}",
    "session": "session/{strategyName}/{exchangeName}[/{frameName}]/{symbol*}_{backtest}",
}

#: Fields whose value may have slashes, each of which makes one more directory in the engine's path.
_MAY_HAVE_SLASH: Final = frozenset({"symbol", "strategyName", "frameName", "riskName", "bucketName", "entryKey"})
#: How many slashes in names are looked for in the paths of the engine's files.
MAX_SLASHES: Final = 4

#: Where a field is in a payload: names and indexes from its top; ``*`` is every item of a list.
FieldPath: TypeAlias = tuple[str | int, ...]


class EngineFields(NamedTuple):
    """The fields of a payload that the engine reads in a form of its own.

    Attributes:
        endless: fields in which null means infinity, which JSON lacks. The engine drops a row that has anything but a
            number or null there.
        dates: fields that hold dates as ISO strings.
    """

    endless: tuple[FieldPath, ...] = ()
    dates: tuple[FieldPath, ...] = ()


_ENDLESS: Final = "minuteEstimatedTime"
_ROW: Final = EngineFields(endless=((_ENDLESS,),))
#: The signals in a strategy's row, from which it resumes after a crash.
SIGNALS: Final = (
    "closedSignal",
    "cancelledSignal",
    "activatedSignal",
    "takeProfitSignal",
    "stopLossSignal",
    "retryOpenSignal",
)
_FIELDS: Final[Mapping[str, EngineFields]] = {
    "signal": _ROW,
    "schedule": _ROW,
    "storage": _ROW,
    "recent": _ROW,
    "notification": _ROW,
    "risk": EngineFields(endless=(("*", 1, _ENDLESS),)),
    "strategy": EngineFields(endless=tuple((name, _ENDLESS) for name in SIGNALS)),
    "interval": EngineFields(dates=(("when",),)),
}
NO_FIELDS: Final = EngineFields()


def get_template(spec: SlotSpec) -> str:
    """Return the template of a slot's paths below the root."""
    return _TEMPLATES.get(spec.name) or "/".join(("data", spec.name, *(f"{{{name}}}" for name in spec.key)))


def get_engine_fields(spec: SlotSpec) -> EngineFields:
    """Return the fields of a slot's payloads that the engine reads in a form of its own."""
    return _FIELDS.get(spec.name, NO_FIELDS)


def may_have_slash(field: str) -> bool:
    """Return whether the engine may write a value with slashes in this field of a key."""
    return field in _MAY_HAVE_SLASH


def find_holders(payload: Any, path: FieldPath) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the objects in a payload that have the field at a path, with the field's name."""
    *above, name = path
    found = [payload]
    for step in above:
        if step == "*":
            found = [item for one in found if isinstance(one, list) for item in one]
        elif isinstance(step, int):
            found = [one[step] for one in found if isinstance(one, list) and len(one) > step]
        else:
            found = [one[step] for one in found if isinstance(one, dict) and step in one]
    yield from ((one, str(name)) for one in found if isinstance(one, dict) and name in one)

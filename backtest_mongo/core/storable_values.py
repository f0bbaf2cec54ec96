"""Changing a model's values to what can be stored and parsed again: enums, sets, dates, durations, keys."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from enum import Enum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import PurePath
from typing import Any, Final

__all__ = ["make_storable"]

_SEQUENCES: Final = (list, tuple, deque)
_SETS: Final = (set, frozenset)
#: What becomes text, as in JSON.
_TEXTS: Final = (
    *(date, time, timedelta, PurePath),
    *(IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network),
)


def make_storable(value: Any) -> Any:
    """Return a value in which what BSON lacks is replaced by what a model parses again. Containers are copied.

    An enum becomes its value; sets become lists, in order if their items have one; dates, times of day, durations,
    paths, network addresses and URLs become text, and so do keys. What else can't be stored is left for the check of
    payloads, which names its path.

    Raises:
        ValueError: two keys of a mapping are the same text.
    """
    if isinstance(value, Enum):
        return make_storable(value.value)
    if isinstance(value, Mapping):
        return _copy_mapping(value)
    if isinstance(value, _SEQUENCES):
        return [make_storable(item) for item in value]
    if isinstance(value, _SETS):
        return _sort([make_storable(item) for item in value])
    if isinstance(value, _TEXTS) and not isinstance(value, datetime):
        return _to_text(value)
    if type(value).__module__.startswith("pydantic") and type(value).__name__.endswith(("Url", "Dsn")):
        return str(value)
    return value


def _copy_mapping(value: Mapping[Any, Any]) -> dict[Any, Any]:
    copy = {key if type(key) is str else _make_key(key): make_storable(item) for key, item in value.items()}
    if len(copy) < len(value):
        raise ValueError("two keys of a mapping are the same text")
    return copy


def _make_key(key: Any) -> Any:
    if isinstance(key, Enum):
        key = key.value
    if isinstance(key, str) or key is None:
        return key
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    try:
        (text,) = to_jsonable_python({key: None})
    except PydanticSerializationError:
        return key
    return text


def _sort(items: list[Any]) -> list[Any]:
    try:
        return sorted(items)
    except TypeError:  # of several types
        return items


def _to_text(value: Any) -> Any:
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(value)

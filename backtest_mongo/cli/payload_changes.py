"""What differs between two payloads, field by field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from backtest_mongo.cli.formatting import format_compact

__all__ = ["FieldChange", "list_changes"]

#: The value of a field that was not there.
_ABSENT: Final = object()


@dataclass(frozen=True)
class FieldChange:
    """A field that differs: its path, such as ``_peak.price``, and what it was and is, as text."""

    path: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.path}: {self.before} -> {self.after}" if self.path else f"{self.before} -> {self.after}"


def list_changes(before: Any, after: Any) -> list[FieldChange]:
    """Return the fields that differ, in the order in which they are stored; a missing value is ``-``.

    Objects are compared field by field, and lists of one length entry by entry.
    """
    return list(_compare("", before, after))


def _compare(path: str, before: Any, after: Any) -> Iterator[FieldChange]:
    if _is_equal(before, after):
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for name in dict.fromkeys((*before, *after)):
            inner = f"{path}.{name}" if path else str(name)
            yield from _compare(inner, before.get(name, _ABSENT), after.get(name, _ABSENT))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for place, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _compare(f"{path}[{place}]", one, other)
    else:
        yield FieldChange(path, _format(before), _format(after))


def _is_equal(before: Any, after: Any) -> bool:
    # 1 and True are equal to Python, and so are 1 and 1.0, which a store tells apart.
    if type(before) is not type(after):
        return False
    if isinstance(before, dict | list):
        return len(before) == len(after) and json.dumps(before, default=repr) == json.dumps(after, default=repr)
    return bool(before == after) or (before != before and after != after)  # NaN


def _format(value: Any) -> str:
    return "-" if value is _ABSENT else format_compact(value)

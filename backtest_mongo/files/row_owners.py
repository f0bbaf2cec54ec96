"""Which key a row belongs to, where more than one key may have its path."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from backtest_mongo.core.specs import FLAG, Key, SlotSpec
from backtest_mongo.errors import StoreError
from backtest_mongo.files import disk
from backtest_mongo.files.directory import Directory, FileRow
from backtest_mongo.files.layout import SIGNALS
from backtest_mongo.files.paths import PathTemplate, Place

__all__ = ["find_names", "is_free", "is_row_of"]


def is_row_of(paths: PathTemplate, directory: Directory, place: Place, key: Key, row: FileRow) -> bool:
    """Return whether a file's row is a key's: by its metadata sidecar, else by its payload, else by its path."""
    names: Mapping[str, Any] = find_names(paths.spec, row.payload)
    values = dict(zip(paths.spec.key, key, strict=True))
    has_these_names = all(values[name] == value for name, value in names.items())
    if place.needs_names:
        return bool(names) and paths.read_known(place.path, {name: (names[name],) for name in names}) == (key,)
    if paths.is_unambiguous(place.path):
        return True
    if row.key is not None:
        return row.key == key
    if not place.is_shared:  # only the engine can have written the row of another key there
        return directory.has_metadata(place.path[-1]) or has_these_names
    if "strategyName" in names or "frameName" in names:
        return has_these_names
    if row.noted_key is not None:
        return row.noted_key == key
    # Of the keys that it may have: the one whose frame has no _, and that has a frame only in backtests.
    frame = values["frameName"]
    return "_" not in frame and bool(frame) == values[FLAG]


def is_free(paths: PathTemplate, directory: Directory, place: Place, key: Key) -> bool:
    """Return whether a key's row may be written to a place: no other key's row is there."""
    if not place.is_shared or paths.is_unambiguous(place.path):
        return True
    row = None
    with suppress(StoreError, disk.UnfitError):  # a file that holds no row is replaced
        row = directory.read(place.path[-1])
    return row is None or is_row_of(paths, directory, place, key, row)


def find_names(spec: SlotSpec, payload: Any) -> dict[str, Any]:
    """Return the fields of its key that a payload names; a strategy's row also names them in the signals in it."""
    found: dict[str, Any] = {}
    for part in _parts(spec, payload):
        for name in spec.key:
            value = part.get(name)
            if isinstance(value, bool if name == FLAG else str):
                found.setdefault(name, value)
    return found


def _parts(spec: SlotSpec, payload: Any) -> list[dict[str, Any]]:
    """Return the objects in a payload that may name fields of its key, the outermost first."""
    if spec.name == "risk" and isinstance(payload, list):
        return [pair[1] for pair in payload if isinstance(pair, list) and len(pair) > 1 and isinstance(pair[1], dict)]
    if not isinstance(payload, dict):
        return []
    inner = [payload.get(name) for name in (*SIGNALS, "createdSignal")] if spec.name == "strategy" else []
    return [payload, *(one for one in inner if isinstance(one, dict))]

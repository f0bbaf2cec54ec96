"""Building the document of a file's row, as MongoDB is to store it. It blocks."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from backtest_mongo.core.candle_rules import END, explain_problem
from backtest_mongo.core.payload import check_payload
from backtest_mongo.core.specs import FLAG, Key, SlotSpec
from backtest_mongo.dumps.parse import FileRefusedError, ParsedFile
from backtest_mongo.files.candles import check_candle
from backtest_mongo.files.directory import Directory
from backtest_mongo.types import INTERVALS, Document

__all__ = ["DocumentBuilder"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class DocumentBuilder:
    """Builds the documents of one slot.

    Args:
        root: the dump.
        spec: the slot.
        report_damage: is called with the path of each metadata sidecar that can't be read.
    """

    def __init__(self, root: str, spec: SlotSpec, report_damage: Callable[[str], None]) -> None:
        self._root = root
        self._spec = spec
        self._report_damage = report_damage

    def build(self, key: Key, file: ParsedFile) -> Document:
        """Return the document of a row.

        Raises:
            FileRefusedError: the payload can't be one of this slot, or the file has been removed meanwhile.
            InputError: a field of the key, or the payload, can't be stored.
        """
        spec = self._spec
        fields = dict(zip(spec.key, key, strict=True))
        modified = _make_date(file.modified)
        if spec.is_candles:
            candle = _check_candle(file.payload, key[-1], fields["interval"])
            return {**fields, **candle, "createDate": modified, "updatedDate": modified, "__v": 0}
        for name, value in fields.items():
            if name != FLAG:
                spec.check_key(name, value)
        name = file.path[-1]
        directory = Directory(spec, os.path.join(self._root, *file.path[:-1]))
        row = directory.read(name)
        damaged = directory.find_damaged_metadata(name)
        if damaged is not None:
            self._report_damage(damaged)
        order = directory.find_order(name) if spec.newest is not None else None
        created = order[0] if order is not None else directory.find_created(name)
        if row is None or created is None:
            raise FileRefusedError("it was removed during the import", "run the import again")
        check_payload(file.payload, spec.field, spec.name)
        if spec.payload == "list" and not isinstance(file.payload, list):
            raise FileRefusedError(f"it holds {_name_kind(file.payload)}, not a list", "repair or remove the file")
        document: Document = {**fields, spec.field: file.payload}
        if spec.when:
            document["when"] = row.when
        if spec.soft_delete:
            document["removed"] = row.removed
        return {**document, "createDate": _make_date(created), "updatedDate": modified, "__v": 0}


def _make_date(nanoseconds: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=nanoseconds // 1_000_000)


def _check_candle(payload: Any, time: int, interval: str) -> dict[str, float]:
    if interval not in INTERVALS:
        raise FileRefusedError("its interval is unknown", f"use one of {', '.join(INTERVALS)}")
    try:
        candle = check_candle(payload)
    except ValueError as error:
        raise FileRefusedError(f"it {error}", "repair or remove the file") from None
    own_time = payload.get("timestamp", time)
    if isinstance(own_time, bool) or own_time != time:
        raise FileRefusedError("its name is not the time of its candle", "repair or remove the file")
    # What opens after the year 9999 has not closed, and is counted as such.
    problem = explain_problem({"timestamp": min(time, END - 1), **candle})
    if problem is not None:
        raise FileRefusedError(f"it can't be a candle: {problem}", "repair or remove the file")
    return candle


def _name_kind(value: Any) -> str:
    return {dict: "an object", str: "a string", type(None): "null", bool: "true or false"}.get(type(value), "a number")

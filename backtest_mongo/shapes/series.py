"""Series: immutable rows on a time grid."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real

from backtest_mongo import types
from backtest_mongo.errors import InputError, InputTypeError
from backtest_mongo.shapes.frames import FramesAdapter
from backtest_mongo.types import PRICES, Candle, Document, When

__all__ = ["SeriesAdapter"]

_FIELDS = ("timestamp", *PRICES)
_LATEST = 2**63 - 1


class SeriesAdapter(FramesAdapter):
    async def _read(self, limit: int, since: When, until: When | None = None) -> list[Candle] | None:
        if type(limit) is not int:
            raise InputTypeError(f"limit must be an int, not {type(limit).__name__}", slot=self.spec.name)
        if limit < 1:
            raise InputError(f"limit must be 1 or more, not {limit} (int)", slot=self.spec.name)
        first = self._millis(since, "since_timestamp")
        last = first + (limit - 1) * self._step
        if last > _LATEST:
            raise InputError(f"limit {limit} (int) leads beyond 64 bits", slot=self.spec.name)
        if until is not None and last > self._millis(until, "until_timestamp"):
            return None
        return await self._rows().window(self._context, first, self._step, limit)

    async def _write(self, candles: object) -> int:
        self._check_list(candles, self.spec.value, "write_frame() takes frames")
        now = types.now_ms()
        rows: dict[int, Document] = {}
        for index, candle in enumerate(candles):  # type: ignore[arg-type, var-annotated]  # a list, by the check above
            row = _plain_row(candle) or self._row(candle, f"{self.spec.value}[{index}]")
            if row["timestamp"] + self._step <= now:
                rows.setdefault(row["timestamp"], row)
        return await self._rows().insert_new(self._context, self._step, rows)

    def _row(self, candle: object, path: str) -> Document:
        if not isinstance(candle, Mapping):
            raise InputTypeError(f"{path} must be a dict, not {type(candle).__name__}", slot=self.spec.name)
        missing = [name for name in _FIELDS if name not in candle]
        if missing:
            raise InputError(f"{path} lacks {', '.join(missing)} ({type(candle).__name__})", slot=self.spec.name)
        row: Document = {"timestamp": self._millis(candle["timestamp"], f"{path}.timestamp")}
        for name in PRICES:
            value = candle[name]
            if type(value) is not float:
                if not isinstance(value, Real) or isinstance(value, bool):
                    kind = type(value).__name__
                    raise InputTypeError(f"{path}.{name} must be a number, not {kind}", slot=self.spec.name)
                try:
                    value = float(value)
                except OverflowError:
                    value = math.inf
            if not math.isfinite(value):
                raise InputError(f"{path}.{name} must be finite, not {value} (float)", slot=self.spec.name)
            row[name] = value
        return row


def _plain_row(candle: object) -> Document | None:
    """Return the row of a candle that needs no conversion, which nearly all are; ``None`` for any other, bad or not."""
    try:
        row = {name: candle[name] for name in _FIELDS}  # type: ignore[index]  # what has no items is caught
    except (KeyError, TypeError, IndexError):
        return None
    time, open_, high, low, close, volume = row.values()
    # The sum is finite only if each of them is; where it overflows, the longer way decides.
    plain = type(time) is int and float is type(open_) is type(high) is type(low) is type(close) is type(volume)
    if plain and -_LATEST < time < _LATEST and math.isfinite(open_ + high + low + close + volume):
        return row
    return None

"""The content of a candle's file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from backtest_mongo.files.text import to_text
from backtest_mongo.types import PRICES

__all__ = ["check_candle", "encode_candle"]


#: From here on, not every whole number is a double.
_FIRST_INEXACT: Final = 2.0**53


class _CandleFile(BaseModel):
    model_config = ConfigDict(strict=True)

    open: FiniteFloat
    high: FiniteFloat
    low: FiniteFloat
    close: FiniteFloat
    volume: FiniteFloat


def encode_candle(time: int, row: Mapping[str, Any]) -> bytes:
    """Encode a candle as the engine does, for which every number is a double: whole ones have no fraction."""
    return to_text({"timestamp": time, **{name: _shorten(row[name]) for name in PRICES}})


def _shorten(value: Any) -> Any:
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) < _FIRST_INEXACT
    return int(value) if is_whole and (value or math.copysign(1, value) > 0) else value


def check_candle(payload: Any) -> dict[str, float]:
    """Return the prices and the volume of a candle that was read from a file.

    Raises:
        ValueError: it is not a candle.
    """
    try:
        candle = _CandleFile.model_validate(payload)
    except ValidationError:
        raise ValueError("holds no candle") from None
    return {name: getattr(candle, name) for name in PRICES}

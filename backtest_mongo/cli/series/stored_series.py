"""Choosing stored series of a slot by parts of their context, and naming them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backtest_mongo.adapters.shapes import ColumnSeriesAdapter
from backtest_mongo.cli.context_text import format_values
from backtest_mongo.cli.databases import get_adapter
from backtest_mongo.core.control_characters import escape_controls
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.errors import InputError

__all__ = ["format_series", "get_series_adapter", "select_series"]


def get_series_adapter(spec: SlotSpec) -> type[ColumnSeriesAdapter]:
    """Return the adapter class of a slot for the database that the command works on."""
    adapter: Any = get_adapter(spec)
    return adapter  # type: ignore[no-any-return]  # of a series with columns, as the slot is one


async def select_series(spec: SlotSpec, context: Mapping[str, Any]) -> list[ColumnSeriesAdapter]:
    """Return the stored series whose contexts have these values.

    Raises:
        InputError: there is none.
    """
    adapter = get_series_adapter(spec)
    found = [adapter(**one) async for one in adapter.list_contexts(**context)]
    if not found:
        given = " with " + ", ".join(f"{name}={value}" for name, value in context.items()) if context else ""
        raise InputError(f"no series{given} is stored", slot=spec.name)
    return found


def format_series(adapter: ColumnSeriesAdapter) -> str:
    """Format a series' name, such as ``BTCUSDT binance``."""
    return escape_controls(format_values(adapter.spec, adapter.context))

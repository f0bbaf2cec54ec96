"""Rows of the built-in series with columns."""

from __future__ import annotations

from typing import Any

import pytest

from backtest_mongo.series.columns import store

__all__ = ["equity", "shrink_blocks", "trades"]


def trades(*ids: int) -> list[dict[str, Any]]:
    """Return trades, one a millisecond, by their ids."""
    return [
        {"timestamp": 1_000 * id_, "trade_id": id_, "price": id_ + 0.5, "amount": 1.0, "side": "buy"} for id_ in ids
    ]


def equity(*times: int, value: float = 1.0) -> list[dict[str, Any]]:
    return [
        {"timestamp": time, "equity": value, "cash": None, "unrealized_pnl": None, "position": None} for time in times
    ]


def shrink_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let frames of four rows go straight into blocks, of four rows each."""
    monkeypatch.setattr(store, "_MANY", 4)
    monkeypatch.setattr("backtest_mongo.columns.merging.BLOCK_ROWS", 4)

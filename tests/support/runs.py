"""The names of runs in stored rows."""

from __future__ import annotations

from typing import Any

from backtest_mongo import SlotSpec
from backtest_mongo.mongo.updates import read_origin
from tests.conftest import Deployment, SQLiteDeployment

__all__ = ["list_runs", "read_runs"]


async def read_runs(deployment: Deployment, spec: SlotSpec) -> list[tuple[Any, str | None]]:
    """Return payload and run of each stored row of a slot, in the order of creation."""
    if isinstance(deployment, SQLiteDeployment):
        return [(row[spec.field], row["run"]) for row in await deployment.rows(spec)]
    rows = await (await deployment.collection(spec)).find().sort("_id", 1).to_list(None)
    return [(row.get(spec.field), (read_origin(row) or {}).get("run")) for row in rows]


async def list_runs(deployment: Deployment, spec: SlotSpec) -> list[str | None]:
    """Return the run of each stored row of a slot, in the order of creation."""
    return [run for _, run in await read_runs(deployment, spec)]

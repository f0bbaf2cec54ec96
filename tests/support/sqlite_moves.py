"""What databases and files hold, to compare it after it was moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import backtest_mongo
from backtest_mongo import (
    persist,
)
from backtest_mongo.core.extended_json import to_json
from backtest_mongo.core.payload import CODEC
from tests.sqlite.support import query


async def read_documents(name: str) -> dict[str, list[dict[str, Any]]]:
    """Return all documents of a database by collection and key, without their ids, and candles without dates."""
    database = (await backtest_mongo.get_mongo())[name]
    found = {}
    for spec in (adapter.spec for adapter in persist._adapters.values()):
        dropped = ("_id", "__v", *(("createDate", "updatedDate") if spec.shape == "series" else ()))
        collection: Any = database.get_collection(spec.collection, codec_options=CODEC)
        rows = [
            {name: value for name, value in sorted(row.items()) if name not in dropped}
            for row in await collection.find().to_list(None)
        ]
        found[spec.collection] = sorted(rows, key=lambda row: repr([row.get(name) for name in spec.key]))
    return found


def as_text(documents: Any) -> Any:
    """Return documents in a form in which a NaN equals itself, and 0.0 differs from -0.0 and a date from a number."""
    return {name: [to_json(row) for row in rows] for name, rows in documents.items()}


def read_tables(path: Path) -> dict[str, list[Any]]:
    """Return all rows of a database in the order of first writes, and the candles in their blocks."""
    tables = [name for (name,) in query(path, "SELECT name FROM sqlite_master WHERE name LIKE '%-items'")]
    found = {}
    for name in sorted(tables):
        columns = [row[1] for row in query(path, f"PRAGMA table_info([{name}])")]
        left_out = {"created", "written"} if "candles" in columns else {"number"}
        names = ", ".join(f"[{column}]" for column in columns if column not in left_out)
        rows = query(
            path, f"SELECT {names} FROM [{name}] ORDER BY {'1, 2, 3, 4' if 'candles' in columns else 'number'}"
        )
        if rows:
            found[name] = rows
    return found


async def write_log(*ids: str) -> None:
    await persist.log().write_log_data([{"id": one} for one in ids])


async def list_log() -> list[str]:
    return [row["id"] for row in await persist.log().read_log_data()]

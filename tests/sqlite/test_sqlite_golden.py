"""What the Node package and its engine wrote, written into SQLite and read back, and as the shell sees it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import SLOTS, SlotSpec, persist
from backtest_mongo.core.extended_json import from_json
from tests.contract import test_golden
from tests.contract.test_golden import GOLDEN, from_golden
from tests.contract.test_golden_engine import GOLDEN as ENGINE
from tests.contract.test_golden_engine import RUNS, check, rows
from tests.sqlite.support import query
from tests.support.uniform import WHEN

#: What stands for the dates of documents, which are not compared.
NOW = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("run", RUNS)
async def test_rows_of_the_engine_come_back_as_they_were(path: Path, run: str) -> None:
    dump = ENGINE / run / "dump"
    writes = []
    for spec, key, payload in rows(dump):
        fields = dict(zip(spec.key, key, strict=True))
        adapter = getattr(persist, spec.name)(*(fields[name] for name in spec.context_fields))
        write = getattr(adapter, f"write_{spec.noun}_data")
        if spec.shape in ("series", "collection"):
            writes.append(write([payload]))
        else:
            writes.append(write(payload, *(key[-1:] if spec.item else ()), *((WHEN,) if spec.when else ())))
    await asyncio.gather(*writes)
    await backtest_mongo.close()
    assert (await check(dump, lambda spec: getattr(persist, spec.name))).total() == len(writes)


@pytest.mark.shapes("document", "entry", "collection", "bucket")
async def test_columns_are_the_fields_of_the_reference_s_documents(
    path: Path, spec: SlotSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    for slot in SLOTS:
        monkeypatch.setattr(test_golden, slot.class_name, persist._get_implementation(slot))
    await test_golden.run_the_script()
    fields = (*spec.key, spec.field, *(("when",) if spec.when else ()), *(("removed",) if spec.soft_delete else ()))
    columns = ", ".join(f'"{field}"' for field in fields)
    ours = [dict(zip(fields, row, strict=True)) for row in query(path, f'SELECT {columns} FROM "{spec.collection}"')]
    for row in ours:
        row[spec.field] = from_json(row[spec.field])
    theirs = [{field: row[field] for field in fields} for row in from_golden(GOLDEN["documents"][spec.collection], NOW)]

    def by_key(row: dict[str, Any]) -> str:
        return repr([row[name] for name in spec.key])

    assert sorted(ours, key=by_key) == sorted(({**row, **_as_columns(row)} for row in theirs), key=by_key)


def _as_columns(row: dict[str, Any]) -> dict[str, Any]:
    """Return the flags of a document as SQLite has them."""
    return {name: int(row[name]) for name in ("backtest", "removed") if name in row}

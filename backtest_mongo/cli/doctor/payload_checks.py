"""Checks of payloads in slots that have a model: rows that can't be read as objects of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import bson
from bson.errors import BSONError

from backtest_mongo.adapters.registry import persist
from backtest_mongo.adapters.shapes.typed import parse_payload
from backtest_mongo.cli.doctor.findings import Deployment, Finding, Listed
from backtest_mongo.cli.doctor.sqlite_checks import DatabaseFile
from backtest_mongo.cli.doctor.stored_data_checks import list_collections
from backtest_mongo.core.control_characters import escape_controls
from backtest_mongo.core.payload import CODEC, RAW_CODEC
from backtest_mongo.core.payload_models import PayloadModel, describe_problems
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.wording import format_count
from backtest_mongo.errors import PayloadError
from backtest_mongo.mongo.collection import aggregate
from backtest_mongo.sqlite.layout import make_row_table
from backtest_mongo.sqlite.whole_layout import find_columns
from backtest_mongo.sqlite.whole_layout import list_collections as list_tables
from backtest_mongo.sqlite.whole_rows import DamagedRow, fetch_page

__all__ = ["check_payloads", "check_payloads_of_file"]

#: Rows of each slot that are read in MongoDB, and rows that are named.
_ROWS: Final = 200
_NAMED: Final = 5
_ADVICE: Final = (
    "reading one raises PayloadError: teach upgrade= of the model to change it, or read it without a model and write "
    "it again"
)


async def check_payloads(deployment: Deployment) -> AsyncIterator[Finding]:
    """Read a sample of the rows of each slot that has a model."""
    there = await list_collections(deployment)
    for spec, payloads in _list_models():
        if spec.collection not in there:
            continue
        rows = _Rows(spec, payloads)
        collection = deployment.hub.get_database(spec)[spec.collection].with_options(codec_options=RAW_CODEC)
        pipeline: list[dict[str, Any]] = [{"$match": {"removed": {"$ne": True}}}, {"$sample": {"size": _ROWS}}]
        for document in await aggregate(collection, pipeline):
            raw: Any = document
            try:
                row = bson.decode(raw.raw, CODEC)
            except BSONError:
                continue  # not a question of the model
            rows.check(tuple(row.get(name) for name in spec.key), row.get(spec.field))
        yield rows.describe("random ")


def check_payloads_of_file(file: DatabaseFile) -> Iterator[Finding]:
    """Read the rows of each slot that has a model."""
    tables = set(list_tables(file.connection))
    for spec, payloads in _list_models():
        if spec.collection not in tables:
            continue
        columns, known = find_columns(file.connection, spec.collection), make_row_table(spec).columns
        if columns not in (known, known[:-1]):
            continue  # which is another finding
        rows, last = _Rows(spec, payloads), -(2**63)
        while (page := fetch_page(spec, file.connection, last, has_run=columns == known)) is not None:
            found, last = page
            for row in found:
                if not isinstance(row, DamagedRow) and not row[0].removed:
                    rows.check(row[0].key, row[1])
        yield rows.describe()


def _list_models() -> list[tuple[SlotSpec, PayloadModel]]:
    """Return the slots that have a model: those that a module of the user has registered."""
    specs = [adapter.spec for adapter in persist._adapters.values()]
    return [(spec, spec.payload_model) for spec in specs if spec.payload_model is not None]


class _Rows:
    """Rows of a slot that were read."""

    def __init__(self, spec: SlotSpec, payloads: PayloadModel) -> None:
        self._spec = spec
        self._payloads = payloads
        self._count = 0
        self._unfit = Listed(_NAMED)

    def check(self, key: Key, payload: Any) -> None:
        """Read a row, and note whether it fits."""
        self._count += 1
        try:
            parse_payload(self._spec, self._payloads, key, payload)
        except PayloadError as error:
            name = escape_controls(", ".join(map(str, key)))
            self._unfit.add(f"{name or 'its only row'}: {describe_problems([*error.problems])}")

    def describe(self, kind: str = "") -> Finding:
        """Return the finding of all of them."""
        name, model = self._spec.collection, self._payloads.kind.__name__
        counted = format_count(self._count, f"{kind}row")
        if self._unfit.count:
            text = f"{name}: {self._unfit.count:,} of {counted} {_verb(self._unfit.count)} fit {model}: {self._unfit}"
            return Finding("payloads", "problem", text, _ADVICE)
        return Finding("payloads", "ok", f"{name}: {counted}, all of which fit {model}")


def _verb(count: int) -> str:
    return "doesn't" if count == 1 else "don't"

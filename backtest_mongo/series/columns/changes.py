"""The changes of series with columns, in one stream of the database.

A group of rows that is inserted into the tail is one change, with the rows. What goes straight into blocks, and what is
deleted, is noted in the document of the series: one change, with its range of times. Rows that only move, from the tail
to blocks or from a group to the rest of it, are no change.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from backtest_mongo.connection.hub import Hub
from backtest_mongo.core.changes import Change, ChangeKind
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.errors import StoreError
from backtest_mongo.mongo.change_decoder import ChangeDecoder
from backtest_mongo.mongo.change_stream import ChangeStream
from backtest_mongo.mongo.contexts import match_context
from backtest_mongo.series.columns.blocks import name_blocks
from backtest_mongo.series.columns.heads import name_heads
from backtest_mongo.types import Document

__all__ = ["ColumnChangeStream"]

#: Where an event has what is noted in the document of a series.
_NOTE: Final = "updateDescription.updatedFields.change"
#: Events after which rows may be gone that no other event names.
_DROPS: Final = ("drop", "rename")


class ColumnChangeStream(ChangeStream):
    """The changes of one slot's series with columns, or of one series, on one event loop."""

    def _get_watched(self) -> Any:
        return self._hub.get_database(self._spec)

    def _make_decoder(self) -> ChangeDecoder:
        return _Decoder(self._hub, self._spec, self._context)

    async def _stored(self) -> list[Document | None]:
        return []  # changes that delete rows name them

    def _pipeline(self) -> list[Document]:
        spec = self._spec
        context = {} if self._context is None else match_context(spec, self._context)
        in_tail, noted = (
            {f"{path}.{name}": value for name, value in context.items()}
            for path in ("fullDocument", f"{_NOTE}.context")
        )
        # Groups are replaced when they have been checked, or when some rows of them are taken back.
        group = {"fullDocument.unchecked": None, "fullDocument.moved": None}
        events: list[Document] = [
            {"ns.coll": spec.collection, "operationType": {"$in": ["insert", "replace"]}, **group, **in_tail},
            {"ns.coll": name_heads(spec), "operationType": "update", f"{_NOTE}.kind": {"$exists": True}, **noted},
            {"ns.coll": {"$in": [spec.collection, name_blocks(spec)]}, "operationType": {"$in": [*_DROPS]}},
            {"operationType": "invalidate"},
        ]
        return [{"$match": {"$or": events}}, {"$unset": ["fullDocument.keys", "updateDescription.updatedFields.taken"]}]


class _Decoder(ChangeDecoder):
    """Turns the events of the database, in their order, into changes of one series, or of all."""

    def __init__(self, hub: Hub, spec: SlotSpec, context: Key | None) -> None:
        super().__init__(spec, context)
        self._hub = hub

    def remember(self, rows: Iterable[Document | None]) -> None:
        return None

    def decode(self, event: Document) -> Change | None:
        kind = event["operationType"]
        if kind in ("insert", "replace"):
            return self._decode_group(event)
        if kind == "update":
            note = event["updateDescription"]["updatedFields"]["change"]
            range_ = {"start": int(note["start"]), "end": int(note["end"]), "rows": int(note["rows"])}
            return self._make(event, note["kind"], self._read_context(note["context"]), range_)
        return self._make(event, "deleted", self._context, None) if kind in _DROPS else None

    def _decode_group(self, event: Document) -> Change:
        from backtest_mongo.columns.codec import DamagedRowsError, decode

        document = event["fullDocument"]
        context = self._read_context(document)
        try:
            rows = decode(self._spec, match_context(self._spec, context), document)
        except DamagedRowsError as error:
            raise StoreError(
                f"watching failed: a group of rows is damaged, {error}",
                slot=self._spec.name,
                collection=self._spec.collection,
                hint="read what is stored, and start a new watch",
            ) from None
        return self._make(event, "written", context, rows.rows(self._spec))

    def _read_context(self, document: Document) -> Key:
        return tuple(document.get(name) for name in self._spec.context_key)

    def _make(self, event: Document, kind: ChangeKind, context: Key | None, payload: Any) -> Change:
        return self._change(event, kind, context, None, payload, None)

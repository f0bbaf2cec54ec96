"""How a change is read from an event of MongoDB's change streams.

An event of an update names the fields that have changed, and comes with the document as it is when the server looks it
up, which may be after later changes. So the event's own fields take precedence, then what is remembered of the row,
then the looked-up document. For parts of payloads see :mod:`~backtest_mongo.mongo.change_payloads`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, NamedTuple

from backtest_mongo.core.changes import Change, ChangeKind, name_context
from backtest_mongo.core.simulation_time import to_time
from backtest_mongo.core.specs import FLAG, Key, SlotSpec, camel
from backtest_mongo.mongo.change_payloads import UNKNOWN, ChangePayloads
from backtest_mongo.mongo.updates import ORIGIN
from backtest_mongo.types import PRICES, Document, to_millis

__all__ = ["REMEMBERED", "ChangeDecoder", "KnownRow"]

#: Rows of which a watch remembers the key; some hundred bytes each.
REMEMBERED: Final = 65_536


class KnownRow(NamedTuple):
    """What is remembered of a row. ``key`` is in the order of ``SlotSpec.key``."""

    key: Key
    when: int | None
    removed: bool


class ChangeDecoder:
    """Turns the events of one stream, in their order, into changes of one context, or of a whole slot."""

    def __init__(self, spec: SlotSpec, context: Key | None) -> None:
        self._spec = spec
        self._context = context
        self._rows: OrderedDict[Any, KnownRow] = OrderedDict()
        self._forgets = False
        self._payloads = ChangePayloads()
        self._defaults = {camel(name): False if name == FLAG else "" for name in spec.optional}

    def remember(self, rows: Iterable[Document | None]) -> None:
        """Remember rows that are stored already, so that their deletion can be reported; ``None`` is an unknown row."""
        for document in rows:
            if document is None:
                self._forgets = True
            else:
                self._put(document["_id"], self.row(document))
                stamp = document.get("updatedDate")
                if isinstance(stamp, datetime):  # asked for of rows with an origin alone
                    self._payloads.put(document["_id"], document.get(self._spec.field), stamp)

    def forget(self, oid: Any) -> None:
        """Forget the payload of a row, of which a change was not decoded."""
        self._payloads.drop(oid)

    def row(self, document: Document) -> KnownRow:
        """Return the fields that are remembered of a stored document."""
        return self._row(document, {}, None)

    def decode(self, event: Document) -> Change | None:
        """Return the change that an event reports; ``None`` if it does not concern what is watched."""
        kind = event["operationType"]
        if self._spec.is_candles and "txnNumber" in event:  # no other transactions write candles
            self._note_move(event)
            return None
        if kind in ("insert", "update", "replace"):
            return self._written(event)
        if kind == "delete":
            return self._deleted(event)
        # Dropped, or renamed: every row is gone.
        were_any = bool(self._rows) or self._forgets
        self._rows.clear()
        self._payloads.clear()
        self._forgets = False
        return None if not were_any else self._change(event, "deleted", self._context, None, None, None)

    def _note_move(self, event: Document) -> None:
        """Note that a candle was moved from rows to blocks, or back, which is no change."""
        oid = event["documentKey"]["_id"]
        document = event.get("fullDocument")
        if event["operationType"] == "insert" and document:
            self._put(oid, self._row(document, document, None))
        else:
            self._rows.pop(oid, None)

    def _written(self, event: Document) -> Change | None:
        oid = event["documentKey"]["_id"]
        known = self._rows.get(oid)
        # Absent where the document has been deleted since.
        document = event.get("fullDocument") or {}
        if not document and known is None:
            return None
        fields = event.get("updateDescription", {}).get("updatedFields", {})
        if event["operationType"] != "update":
            fields, known = document, None
        row = self._row(document, fields, known)
        if self._context is not None and row.key[: len(self._context)] != self._context:
            return None
        self._put(oid, row)
        payload = self._payload(event, row.key, document)
        if row.removed:
            return self._change(event, "removed", self._context_of(row.key), self._key_of(row.key), None, row.when)
        return self._change(event, "written", self._context_of(row.key), self._key_of(row.key), payload, row.when)

    def _deleted(self, event: Document) -> Change | None:
        self._payloads.drop(event["documentKey"]["_id"])
        row = self._rows.pop(event["documentKey"]["_id"], None)
        if row is not None:
            return self._change(event, "deleted", self._context_of(row.key), self._key_of(row.key), None, row.when)
        if self._context is not None and not self._forgets:
            return None  # of another context
        return self._change(event, "deleted", None, None, None, None)

    def _put(self, oid: Any, row: KnownRow) -> None:
        self._rows[oid] = row
        self._rows.move_to_end(oid)
        if len(self._rows) > REMEMBERED:
            self._rows.popitem(last=False)
            self._forgets = True

    def _row(self, document: Document, fields: Document, known: KnownRow | None) -> KnownRow:
        spec = self._spec
        if known is not None and not fields.keys() & {*spec.key}:
            key = known.key
        else:
            # Rows of an older version of the Node package lack some.
            key = tuple(document.get(name, self._defaults.get(name)) for name in spec.key)
            if spec.is_candles:
                key = (*key[:-1], to_time(key[-1]))
        when = fields.get("when", known.when if known else document.get("when")) if spec.when else None
        removed = fields.get("removed", known.removed if known else document.get("removed"))
        return KnownRow(key, to_time(when), spec.soft_delete and removed is True)

    def _payload(self, event: Document, key: Key, document: Document) -> Any:
        spec = self._spec
        if spec.is_candles:
            return {"timestamp": key[-1], **{name: document.get(name) for name in PRICES}}
        oid, is_known = event["documentKey"]["_id"], True
        description = event.get("updateDescription", {})
        fields = description.get("updatedFields", {}) if event["operationType"] == "update" else document
        if fields is document or spec.field in fields:
            payload = fields.get(spec.field)
        else:
            payload = self._payloads.apply(oid, spec.field, description)
            if payload is UNKNOWN:
                payload, stamp = document.get(spec.field), fields.get("updatedDate")
                is_known = stamp is not None and document.get("updatedDate") == stamp
        if is_known:
            if ORIGIN in document or any(name.partition(".")[0] == ORIGIN for name in fields):
                self._payloads.put(oid, payload)
            else:
                self._payloads.drop(oid)
        return payload

    def _context_of(self, key: Key) -> Key:
        return key[: len(self._spec.context)]

    def _key_of(self, key: Key) -> str | int | None:
        return key[-1] if self._spec.item else None

    def _change(
        self, event: Document, kind: ChangeKind, context: Key | None, key: Any, payload: Any, when: int | None
    ) -> Change:
        spec = self._spec
        return Change(
            kind=kind,
            slot=spec.name,
            context=None if context is None else name_context(spec, context),
            key=key,
            payload=payload,
            when=when,
            time=_time(event),
            token=event["_id"]["_data"],
        )


def _time(event: Document) -> int:
    wall: datetime | None = event.get("wallTime")  # MongoDB 6 and later
    # Before that, to the second.
    return to_millis(wall) if wall is not None else int(event["clusterTime"].time) * 1000

"""The rows of a slot in MongoDB as they were at a time, in the form in which they are stored."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import bson
from bson.raw_bson import RawBSONDocument
from pymongo.errors import PyMongoError

from backtest_mongo.connection.hub import Hub
from backtest_mongo.core.history import find_history, find_row_time
from backtest_mongo.core.past_rows import NO_TIME, NO_VERSIONS, OLDER, FoundRow, LostRow, PastRow
from backtest_mongo.core.payload import CODEC
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.dumps.documents import IncompleteDocumentError, WholeDocuments, find_key
from backtest_mongo.mongo.collection import SlotCollection, split_keys
from backtest_mongo.mongo.updates import ORIGIN, read_origin
from backtest_mongo.mongo.versions import MongoVersions, get_versions
from backtest_mongo.types import Document

__all__ = ["MongoRowReader", "make_version"]


class _Row(NamedTuple):
    """A row as it is: its key, all of it as BSON and decoded, and its simulation time."""

    key: Key
    raw: RawBSONDocument
    document: Document
    time: int | None

    @property
    def is_versioned(self) -> bool:
        """Whether its last write has a version."""
        return "when" in (read_origin(self.document) or {})

    @property
    def is_new(self) -> bool:
        """Whether its last write, which has a version, is its first one: both have one time then.

        It may have several versions, if one commit wrote many bars.
        """
        return self.is_versioned and self.document.get("createDate") == self.document["updatedDate"]


class MongoRowReader:
    """Reads the rows of one slot, which is not a series.

    Args:
        hub: the connections.
        spec: the slot.
        has_versions: whether there are versions of its rows. If none are kept any more, they count only for rows whose
            last write has one: a row that was written since without one may have been anything in between.
    """

    def __init__(self, hub: Hub, spec: SlotSpec, has_versions: bool) -> None:
        self._spec = spec
        self._documents = WholeDocuments(hub, spec)
        self._collection = SlotCollection(hub, spec)
        self._versions: MongoVersions | None = get_versions(hub, spec) if has_versions else None
        self._is_kept = find_history(spec) is not None

    async def read_pages(self, until: int) -> AsyncIterator[Sequence[FoundRow]]:
        """Yield all rows by id, at most a thousand at a time."""
        async for page in self._documents.read_pages():
            yield await self._resolve(page, until)

    async def find(self, keys: Sequence[Key], until: int) -> Sequence[FoundRow]:
        """Return the rows with these keys."""
        found: list[FoundRow] = []
        for some in split_keys(list(keys)):
            query = {"$or": [self._collection.key_filter(key) for key in some]}
            found += await self._resolve(await self._collection.read("reading", partial(self._fetch, query)), until)
        return found

    async def _fetch(self, query: Document) -> list[RawBSONDocument]:
        codec: Any = CODEC.with_options(document_class=RawBSONDocument)
        found: list[RawBSONDocument] = (
            await self._collection.documents.with_options(codec_options=codec).find(query).to_list(None)
        )
        return found

    async def _resolve(self, page: Sequence[RawBSONDocument], until: int) -> list[FoundRow]:
        """Return rows as they were, without those that did not exist."""
        found: list[FoundRow | None] = []
        later: dict[int, _Row] = {}
        for raw in page:
            row = self._decode(raw)
            if isinstance(row, LostRow):
                found.append(row)
            elif row.time is not None and row.time <= until:
                found.append(self._make_row(row))
            elif self._versions is not None and (row.is_versioned or self._is_kept):
                later[len(found)] = row
                found.append(None)
            else:
                found.append(self._lose(row, NO_TIME if row.time is None else NO_VERSIONS))
        if later:
            for place, then in zip(later, await self._find_versions([*later.values()], until), strict=True):
                found[place] = then
        return [row for row in found if row is not None]

    def _decode(self, raw: RawBSONDocument) -> _Row | LostRow:
        spec = self._spec
        try:
            document = bson.decode(raw.raw, CODEC)
        except PyMongoError:
            raise
        except Exception as error:  # bson raises half a dozen kinds, some of its own and some builtin
            return LostRow({}, f"it can't be decoded ({type(error).__name__})")
        try:
            key = find_key(spec, document)
        except IncompleteDocumentError as error:
            return LostRow({"_id": document["_id"]}, str(error), document.get(spec.field))
        return _Row(key, raw, document, find_row_time(spec, document))

    async def _find_versions(self, rows: Sequence[_Row], until: int) -> list[FoundRow | None]:
        """Return the latest versions that are not later than a time."""
        assert self._versions is not None
        versions = await self._versions.find_at([row.key for row in rows], until)
        missing = [row.key for row, version in zip(rows, versions, strict=True) if version is None and not row.is_new]
        first = dict(zip(missing, await self._versions.find_first_writes(missing), strict=True)) if missing else {}
        return [
            self._explain(row, first.get(row.key)) if version is None else self._make_version(row, version)
            for row, version in zip(rows, versions, strict=True)
        ]

    def _explain(self, row: _Row, first: datetime | None) -> LostRow | None:
        """Return why a row has no version at a time, ``None`` if it did not exist yet."""
        if row.is_new or (first is not None and first == row.document.get("createDate")):
            return None
        return self._lose(row, NO_VERSIONS if first is None else OLDER)

    def _make_version(self, row: _Row, version: Document) -> PastRow | None:
        """Return the row of a version, or of a document that has been written for an earlier time meanwhile."""
        if version.get("removed") is True:
            return None
        spec = self._spec
        is_row = "written" not in version
        time = find_row_time(spec, version) if is_row else version["when"]
        document = {**version, "updatedDate": version["updatedDate"] if is_row else version["written"]}
        stored = self._make_stored(row, document, version[spec.field], time)
        return PastRow(row.key, version[spec.field], time, stored)

    def _make_row(self, row: _Row) -> PastRow | None:
        if row.document.get("removed") is True:
            return None
        spec = self._spec
        time = row.time if self._versions is not None else None
        # The payload as BSON, in which every number keeps its type.
        return PastRow(
            row.key, row.document[spec.field], time, self._make_stored(row, row.document, row.raw[spec.field], time)
        )

    def _make_stored(self, row: _Row, document: Document, payload: Any, time: int | None) -> Document:
        """Return the document of a row; its run is left out, because a fork belongs to none."""
        spec = self._spec
        stored: Document = {"_id": row.raw["_id"], **dict(zip(spec.key, row.key, strict=True)), spec.field: payload}
        for name, value in (("when", document.get("when")), ("createDate", row.document.get("createDate"))):
            if value is not None and (name != "when" or spec.when):
                stored[name] = value
        if spec.soft_delete:
            stored["removed"] = False
        written = document.get("updatedDate")
        if written is not None:
            stored["updatedDate"] = written
        if time is not None and isinstance(written, datetime):
            stored[ORIGIN] = {"when": time, "written": written}
        return {**stored, "__v": row.document.get("__v", 0)}

    def _lose(self, row: _Row, problem: str) -> LostRow:
        fields = dict(zip(self._spec.key, row.key, strict=True))
        return LostRow(fields, problem, row.document.get(self._spec.field))


def make_version(spec: SlotSpec, document: Document, time: int) -> Document:
    """Return the version of a row that is stored."""
    version: Document = {name: document[name] for name in (*spec.key, spec.field)} | {"when": time}
    if spec.soft_delete:
        version["removed"] = False
    return {**version, "written": document["updatedDate"], "created": document["updatedDate"]}

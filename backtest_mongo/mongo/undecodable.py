"""Rows that another program wrote and that can't be decoded.

A list leaves them out. Each is logged once, with as much of its key as is readable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError

from backtest_mongo.core.log import log
from backtest_mongo.core.payload import CODEC, RAW_CODEC
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.types import Document

__all__ = ["ListPage", "UndecodableRows", "decode_page"]

#: Decodes what can be decoded of a document that can't.
_LENIENT_CODEC: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    unicode_decode_error_handler="replace", datetime_conversion=DatetimeConversion.DATETIME_MS
)
#: Stands in a key for bytes that are not UTF-8.
_REPLACEMENT: Final = "\ufffd"


class UndecodableRows:
    """The rows of a slot that were found to be undecodable; each is logged once, as ``warning``."""

    def __init__(self, spec: SlotSpec, warning: str) -> None:
        self.spec: SlotSpec = spec
        self._warning = warning
        self._logged: set[str] = set()

    def report(self, raw: bytes, error: BSONError) -> Document:
        """Log a row, unless it has been logged before, and return what can be read of its key."""
        try:
            row = bson.decode(raw, _LENIENT_CODEC)
        except BSONError:
            row = {}
        key = {name: row.get(name) for name in self.spec.key}
        if str(key) not in self._logged:
            self._logged.add(str(key))
            log().warning(
                self._warning,
                slot=self.spec.name,
                collection=self.spec.collection,
                key=key,
                error=type(error).__name__,
            )
        return key


@dataclass(slots=True)
class ListPage:
    """A part of a list: the rows that could be decoded, how many there were, and the last part of the last one's key.

    ``error`` is why that is unknown.
    """

    rows: list[Document]
    count: int
    last: Any
    error: BSONError | None = None
    is_last: bool = False


def decode_page(reply: bytes, undecodable: UndecodableRows) -> ListPage:
    """Decode a reply to a list. A row that can't be decoded is left out, and reported to ``undecodable``."""
    item = undecodable.spec.key[-1]
    try:
        rows = bson.decode_all(reply, CODEC)
    except BSONError:
        pass
    else:
        return ListPage(rows, len(rows), rows[-1].get(item) if rows else None)
    page = ListPage([], 0, None)
    for raw in bson.decode_all(reply, RAW_CODEC):
        page.count += 1
        try:
            row = bson.decode(raw.raw, CODEC)
        except BSONError as error:
            key = undecodable.report(raw.raw, error)
            page.last = key.get(item)
            # The list can't be carried on behind a key that is unknown.
            page.error = error if page.last is None or _REPLACEMENT in page.last else None
        else:
            page.rows.append(row)
            page.last, page.error = row.get(item), None
    return page

"""Rows that another program wrote and that can't be decoded: their keys, as far as they are readable, and a warning."""

from __future__ import annotations

from typing import Any, Final

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError

from backtest_mongo.core.log import log
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.types import Document

__all__ = ["REPLACEMENT", "UndecodableRows"]

#: Decodes what can be decoded of a document that can't.
_LENIENT_CODEC: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    unicode_decode_error_handler="replace", datetime_conversion=DatetimeConversion.DATETIME_MS
)
#: Stands in a key for bytes that are not UTF-8.
REPLACEMENT: Final = "\ufffd"


class UndecodableRows:
    """The rows of a slot that were found to be undecodable; each is logged once, as ``warning``."""

    def __init__(self, spec: SlotSpec, warning: str) -> None:
        self._spec = spec
        self._warning = warning
        self._logged: set[str] = set()

    def report(self, raw: bytes, error: BSONError) -> Document:
        """Log a row, unless it has been logged before, and return what can be read of its key."""
        try:
            row = bson.decode(raw, _LENIENT_CODEC)
        except BSONError:
            row = {}
        key = {name: row.get(name) for name in self._spec.key}
        if str(key) not in self._logged:
            self._logged.add(str(key))
            log().warning(
                self._warning,
                slot=self._spec.name,
                collection=self._spec.collection,
                key=key,
                error=type(error).__name__,
            )
        return key

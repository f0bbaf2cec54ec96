"""Which rows of a slot are stored: those whose key has the parts that a command line names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from backtest_mongo.core.specs import FLAG, SlotSpec, camel
from backtest_mongo.core.unit_times import UNIT_NAMES
from backtest_mongo.errors import InputError
from backtest_mongo.types import Document

if TYPE_CHECKING:
    from backtest_mongo.core.changes import Change

__all__ = ["FoundRows", "RowFilter", "find_rows", "list_key_names", "parse_part"]

#: Stands for any value of a part of the key.
_ANY: Final = "-"
_FLAGS: Final = {"backtest": True, "true": True, "live": False, "false": False}


def list_key_names(spec: SlotSpec) -> tuple[str, ...]:
    """Return the names of the parts of a slot's key, in the order of the constructor's arguments."""
    return (*spec.context, *((spec.argument,) if spec.item else ()))


@dataclass(frozen=True)
class RowFilter:
    """Which rows of a slot to show: ``parts`` has values by document field; other fields match anything."""

    spec: SlotSpec
    parts: dict[str, Any]

    @classmethod
    def parse(cls, spec: SlotSpec, words: Sequence[str]) -> RowFilter:
        """Read the parts of a key from a command line.

        Raises:
            InputError: there are too many, or one has the wrong type.
        """
        names = list_key_names(spec)
        if len(words) > len(names):
            known = ", ".join(names) or "none"
            raise InputError(f"{len(words)} parts of a key were given", slot=spec.name, hint=f"it has {known}")
        parts: dict[str, Any] = {}
        for name, word in zip(names, words, strict=False):
            if word != _ANY:
                field = str(spec.item) if name == spec.argument and spec.item else camel(name)
                parts[field] = parse_part(spec, name, word)
        return cls(spec, parts)

    def matches(self, change: Change) -> bool:
        """Return whether a change is of a row that is wanted, or may be."""
        if change.context is None:
            return True
        values: dict[str, Any] = {camel(name): value for name, value in change.context.items()}
        if self.spec.item and change.key is not None:
            values[self.spec.item] = change.key
        return all(values.get(name, wanted) == wanted for name, wanted in self.parts.items())


def parse_part(spec: SlotSpec, name: str, word: str) -> Any:
    """Return a part of a key that a command line names.

    Raises:
        InputError: it can't be one.
    """
    if name == FLAG:
        if word.lower() not in _FLAGS:
            raise InputError(f"backtest must be backtest or live, not {word!r}", slot=spec.name)
        return _FLAGS[word.lower()]
    if spec.shape == "series" and name == spec.argument:
        try:
            return int(word)
        except ValueError:
            unit = UNIT_NAMES[spec.unit]
            raise InputError(f"timestamp must be {unit}, not {word!r}", slot=spec.name) from None
    return spec.check_key(name, word)


@dataclass(frozen=True)
class FoundRows:
    """Documents in the order of their keys.

    Attributes:
        documents: the documents.
        count: how many match in all; ``None`` if there are more than these, and nobody has counted them.
        unknown: rows whose state at the requested time is unknown, because no versions are kept.
        older: the same for rows whose versions begin later.
        problems: why rows could not be read, by row.
    """

    documents: list[Document]
    count: int | None
    unknown: int = 0
    older: int = 0
    problems: tuple[str, ...] = ()


async def find_rows(wanted: RowFilter, limit: int) -> FoundRows:
    """Return the first ``limit`` matching documents; of candles the last ones, newest first.

    Raises:
        StoreUnavailableError: MongoDB can't be reached.
        StoreError: MongoDB refuses it.
    """
    from backtest_mongo.connection.hub_registry import current_hub
    from backtest_mongo.mongo.collection import SlotCollection

    collection = SlotCollection(current_hub(), wanted.spec)
    documents, parts = collection.documents, wanted.parts

    async def fetch() -> FoundRows:
        # Of candles the last ones are wanted; the keys of everything else are names.
        order = -1 if wanted.spec.is_candles else 1
        sort = [(name, order) for name in wanted.spec.key]
        found = await documents.find(parts).sort(sort).limit(limit).to_list(limit) if limit else []
        if len(found) < limit:
            return FoundRows(found, len(found))
        return FoundRows(
            found, await (documents.count_documents(parts) if parts else documents.estimated_document_count())
        )

    return await collection.read("reading", fetch)

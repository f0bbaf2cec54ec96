"""Which rows of a slot are stored: those whose key has the parts that a command line names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from backtest_mongo.core.specs import FLAG, SlotSpec, camel
from backtest_mongo.core.suggestions import suggest
from backtest_mongo.core.unit_times import UNIT_NAMES
from backtest_mongo.errors import InputError
from backtest_mongo.types import Document

if TYPE_CHECKING:
    from backtest_mongo.core.changes import Change

__all__ = ["FoundRows", "RowFilter", "find_rows", "list_key_names", "name_field", "parse_part", "parse_words"]

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
        """Read the parts of a key from a command line, as :func:`parse_words` does.

        Raises:
            InputError: they are not parts of the slot's key.
        """
        given = parse_words(spec, words, list_key_names(spec))
        return cls(spec, {name_field(spec, name): value for name, value in given.items()})

    def matches(self, change: Change) -> bool:
        """Return whether a change is of a row that is wanted, or may be."""
        if change.context is None:
            return True
        values: dict[str, Any] = {camel(name): value for name, value in change.context.items()}
        if self.spec.item and change.key is not None:
            values[self.spec.item] = change.key
        return all(values.get(name, wanted) == wanted for name, wanted in self.parts.items())


def name_field(spec: SlotSpec, name: str) -> str:
    """Return the document field of a part of the key."""
    return str(spec.item) if spec.item and name == spec.argument else camel(name)


def parse_words(spec: SlotSpec, words: Sequence[str], names: Sequence[str], *, any_word: bool = True) -> dict[str, Any]:
    """Return the parts of a key that the words of a command line give, by name.

    A word is ``NAME=VALUE``, or a value. Values are those of the first names, in their order; they come before the
    words with names, except that of an entry's key, which may also come after them.

    Args:
        spec: the slot.
        words: the words.
        names: the names of the parts that can be given.
        any_word: whether ``-`` in the place of a value leaves it open.

    Raises:
        InputError: a name is unknown or has no value, a part is given twice, there are too many values, or one has the
            wrong type.
    """
    given: dict[str, Any] = {}
    values: list[str] = []
    is_named = False
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name.replace("-", "_").isidentifier():
            _check_name(spec, name, word, names)
            _add_part(spec, given, name, value)
            is_named = True
        elif word in names and word != FLAG:
            raise InputError(
                f"{word} has no value", slot=spec.name, hint=f"give {word}=VALUE; if it is a value, {names[0]}={word}"
            )
        elif not is_named:
            values.append(word)
        elif spec.item and names[-1] == spec.argument:
            _add_part(spec, given, names[-1], word)
        else:
            raise InputError(
                f"{word!r} comes after a word with a name",
                slot=spec.name,
                hint=f"give values first, or all by name: {_show_names(names)}",
            )
    if len(values) > len(names):
        known = ", ".join(names) or "none"
        raise InputError(f"{len(values)} parts of a key were given", slot=spec.name, hint=f"it has {known}")
    for name, value in zip(names, values, strict=False):
        if value != _ANY or not any_word:
            _add_part(spec, given, name, value)
    return {name: given[name] for name in names if name in given}


def _check_name(spec: SlotSpec, name: str, word: str, names: Sequence[str]) -> None:
    if name in names:
        return
    if not names:
        raise InputError(f"{spec.name} has no {name!r}: it has one context, without names")
    raise InputError(
        f"{spec.name} has no {name!r}: {suggest(name, names)}",
        hint=f"if {word!r} is a value, give it by name, as in {names[0]}={word}",
    )


def _add_part(spec: SlotSpec, given: dict[str, Any], name: str, word: str) -> None:
    if name in given:
        raise InputError(f"{name} is given twice", slot=spec.name)
    given[name] = parse_part(spec, name, word)


def _show_names(names: Sequence[str]) -> str:
    return " ".join(f"{name}=..." for name in names)


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

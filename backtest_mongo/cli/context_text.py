"""Contexts as text: the words that select some on a command line, their names, and what is stored in them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import typer

from backtest_mongo.cli.stored_rows import list_key_names, name_field, parse_words
from backtest_mongo.core.slots import SERIES, SLOTS
from backtest_mongo.core.specs import FLAG, SlotSpec, camel
from backtest_mongo.core.suggestions import suggest
from backtest_mongo.errors import InputError

if TYPE_CHECKING:
    from backtest_mongo.core.contexts import Measure

__all__ = [
    "SPECS",
    "find_spec",
    "format_context",
    "format_values",
    "measure_to_json",
    "name_context",
    "parse_context",
    "parse_filter",
    "parse_row",
]

#: The slots by name.
SPECS: Final = {spec.name: spec for spec in (*SLOTS, *SERIES)}


def find_spec(name: str) -> SlotSpec:
    """Return the slot that a command line names.

    Raises:
        typer.BadParameter: there is none.
    """
    spec = SPECS.get(name)
    if spec is None:
        raise typer.BadParameter(f"{name!r} is not a slot: {suggest(name, SPECS)}", param_hint="'SLOT'")
    return spec


def parse_filter(spec: SlotSpec, words: Sequence[str], param: str) -> dict[str, Any]:
    """Return the values of a context that words give, by document field, as :func:`parse_context` does."""
    return {camel(name): value for name, value in parse_context(spec, words, param).items()}


def parse_context(spec: SlotSpec, words: Sequence[str], param: str) -> dict[str, Any]:
    """Return the values of a context that words give, by the constructor's arguments.

    A word is ``NAME=VALUE``, or a value in the order of the arguments; ``-`` there leaves one open.

    Args:
        spec: the slot.
        words: the words.
        param: the argument or option that they belong to.

    Raises:
        typer.BadParameter: a word has a name that is unknown or given twice, or a wrong value, or there are too many.
    """
    return _parse(spec, words, spec.context, param)


def parse_row(spec: SlotSpec, words: Sequence[str], param: str) -> dict[str, Any]:
    """Return the parts of a row's key that words give, by document field: its context, and the key of an entry.

    Raises:
        typer.BadParameter: as :func:`parse_context`.
    """
    given = _parse(spec, words, list_key_names(spec), param)
    return {name_field(spec, name): value for name, value in given.items()}


def _parse(spec: SlotSpec, words: Sequence[str], names: Sequence[str], param: str) -> dict[str, Any]:
    try:
        return parse_words(spec, words, names)
    except InputError as error:
        raise typer.BadParameter(str(error), param_hint=param) from None


def name_context(spec: SlotSpec, measure: Measure) -> dict[str, Any]:
    """Return the constructor's arguments of a context, by name."""
    from backtest_mongo.core.contexts import name_values

    return name_values(spec, measure.context)


def format_context(spec: SlotSpec, measure: Measure) -> str:
    """Return the values that a slot's constructor takes, quoted for a shell; the slot's name if there are none."""
    return format_values(spec, name_context(spec, measure))


def format_values(spec: SlotSpec, values: Mapping[str, Any]) -> str:
    """Return the arguments of a slot's constructor, quoted for a shell; the slot's name if there are none."""
    words = [("backtest" if value else "live") if name == FLAG else str(value) for name, value in values.items()]
    return shlex.join(words) or spec.name


def measure_to_json(spec: SlotSpec | None, measure: Measure) -> dict[str, Any]:
    """Return a measure for JSON, with its context, or the number of contexts; times are in milliseconds."""
    named: dict[str, Any] = {"contexts": measure.contexts} if spec is None else {"context": name_context(spec, measure)}
    return {
        **named,
        "rows": measure.rows,
        "bytes": measure.bytes,
        "versions": measure.versions,
        "written": measure.written,
    }

"""Queries for documents of several series at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from backtest_mongo.core.specs import Key
from backtest_mongo.types import Document

__all__ = ["match_any", "match_series"]


def match_series(fields: Sequence[str], name: str, wanted: Iterable[tuple[Key, Sequence[int]]]) -> list[Document]:
    """Return the alternatives that together match the documents of some series, by the wanted values of ``name``.

    Series that want the same values and differ in one field alone, such as the symbol, share an alternative: the server
    takes a tenth of the time that it takes for as many alternatives.

    Args:
        fields: what identifies a series.
        name: the field of integers that the documents of a series differ in.
        wanted: the values of ``fields`` of each series, and those of ``name``.
    """
    listed = [(context, tuple(values)) for context, values in wanted]
    at = max(range(len(fields)), key=lambda field: len({context[field] for context, _ in listed}))
    groups: dict[tuple[Key, Key, tuple[int, ...]], list[Any]] = {}
    for context, values in listed:
        groups.setdefault((context[:at], context[at + 1 :], values), []).append(context[at])
    return [
        {
            **dict(zip(fields, (*before, _equal(alike), *after), strict=True)),
            name: {"$in": list(values)},
        }
        for (before, after, values), alike in groups.items()
    ]


def _equal(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else {"$in": values}


def match_any(alternatives: Sequence[Document]) -> Document:
    """Return the query that matches what any of the alternatives does."""
    return alternatives[0] if len(alternatives) == 1 else {"$or": list(alternatives)}

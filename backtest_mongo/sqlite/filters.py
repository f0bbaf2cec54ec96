"""Lists that are filtered by what payloads hold: the conditions of a statement, and the indexes that serve them.

An index costs every write of its slot, so it is created in the background when a list is first filtered by its field.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from backtest_mongo.core.selection import PayloadFilter
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.sqlite.change_log import quote
from backtest_mongo.sqlite.layout import make_row_table

__all__ = ["extract", "make_conditions", "make_filter_indexes"]


def make_conditions(spec: SlotSpec, where: PayloadFilter | None) -> tuple[str, tuple[Any, ...]]:
    """Return the conditions of a filter, each after ``AND``, and their parameters."""
    if where is None:
        return "", ()
    field = quote(make_row_table(spec).field)
    conditions: list[str] = []
    parameters: list[Any] = []
    for path, text in where.texts:
        conditions += [f"{extract(field, path)}=?", f"{_find_type(field, path)}='text'"]
        parameters.append(text)
    if where.time:
        value = extract(field, where.time)
        for compared, time in ((">=", where.since), ("<=", where.until)):
            if time is not None:
                conditions.append(f"{value}{compared}?")
                parameters.append(time)
        conditions.append(f"{_find_type(field, where.time)} IN ('integer','real')")
    return "".join(f" AND {condition}" for condition in conditions), tuple(parameters)


def make_filter_indexes(spec: SlotSpec, where: PayloadFilter) -> Iterator[str]:
    """Yield the statements that make the indexes of a filter.

    That of a text has the rows in the order of the list, so that a part of them is found without sorting all.
    """
    table = make_row_table(spec)
    context = "".join(f"{quote(column)}, " for column in table.context)
    order = quote(table.item) if spec.newest is None else "number"
    paths = [(path, f", {order}") for path, _ in where.texts] + ([(where.time, "")] if where.time else [])
    for path, ordered in paths:
        name = quote(f"{table.name} by {path}")
        value = extract(quote(table.field), path)
        yield f"CREATE INDEX IF NOT EXISTS {name} ON {quote(table.name)} ({context}{value}{ordered})"


# Not of a payload that is no JSON, as somebody may have stored with the sqlite3 shell: it would fail the whole list.


def extract(field: str, path: str) -> str:
    return f"CASE WHEN json_valid({field}) THEN json_extract({field}, '{_quote_path(path)}') END"


def _find_type(field: str, path: str) -> str:
    return f"CASE WHEN json_valid({field}) THEN json_type({field}, '{_quote_path(path)}') END"


def _quote_path(path: str) -> str:
    return "$" + "".join(f'."{name}"' for name in path.split("."))

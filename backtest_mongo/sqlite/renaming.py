"""Renames a strategy in SQLite: each context in one transaction, with its versions, however many rows it has.

Rows are deleted and inserted under the other name, with their numbers and dates, so that watches of both names see it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from backtest_mongo.core.commits import make_claim
from backtest_mongo.core.contexts import MAX_STEP_ROWS
from backtest_mongo.core.extended_json import from_json, to_json
from backtest_mongo.core.log import log
from backtest_mongo.core.specs import FLAG, POINTS, Key, SlotSpec
from backtest_mongo.core.strategy_names import FIELD, Moved, NewName, make_name_conflict
from backtest_mongo.sqlite import lease_rows
from backtest_mongo.sqlite.change_log import TABLE as CHANGES
from backtest_mongo.sqlite.change_log import quote
from backtest_mongo.sqlite.contexts import has_table, list_columns, match_context
from backtest_mongo.sqlite.database import Connection
from backtest_mongo.sqlite.layout import RowTable
from backtest_mongo.sqlite.row_codec import now

__all__ = ["SQLiteRenamer"]

_RENAMING: Final = "renaming a strategy"


class SQLiteRenamer:
    """Renames rows of one slot in its table.

    Args:
        spec: the slot.
        table: its table.
        read: carries out a read: ``None`` if nothing was ever written.
        write: carries out a write in a transaction.
    """

    def __init__(
        self,
        spec: SlotSpec,
        table: RowTable,
        read: Callable[..., Awaitable[Any]],
        write: Callable[[str, Callable[[], Callable[[Connection], Any]]], Awaitable[Any]],
    ) -> None:
        self._spec = spec
        self._table = table
        self._read = read
        self._write = write
        self._key = table.columns[1 : 1 + len(spec.key)]
        self._context = self._key[: len(spec.context)]
        #: By table the columns that tell a row, or a version, from all others.
        self._unique = {table.name: ("number",), spec.versions: (*self._key, "when")}

    async def check(self) -> None:
        return None

    # Contexts

    async def count(self, context: Key) -> Moved:
        return await self._read("listing", self._count, context) or Moved(0, 0)

    def _count(self, connection: Connection, context: Key) -> Moved:
        return Moved(*(self._count_in(connection, name, context) for name in (self._table.name, self._spec.versions)))

    def _count_in(self, connection: Connection, name: str, context: Key) -> int:
        if not has_table(connection, name):
            return 0
        statement = f"SELECT count(*) FROM {quote(name)} WHERE {match_context(self._context)}"
        (count,) = connection.execute(statement, context).fetchone()
        return int(count)

    async def is_moving(self, source: Key, target: Key) -> bool:
        return False  # a killed process has moved all of a context, or nothing

    async def move(self, source: Key, target: Key, name: NewName) -> Moved:
        moved: Moved = await self._write(_RENAMING, lambda: partial(self._move, source, target, name))
        return moved

    def _move(self, source: Key, target: Key, name: NewName, connection: Connection) -> Moved:
        spec, at = self._spec, now()
        claim = make_claim((spec, source), (spec, target))
        lease_rows.refuse_held(connection, claim, (), at)
        count = self._count(connection, source)
        if sum(count) and sum(self._count(connection, target)):
            raise make_name_conflict(spec, target)
        (before,) = connection.execute(f"SELECT max(number) FROM {CHANGES}").fetchone()
        rows = self._fetch(connection, self._table.name, match_context(self._context), source)
        table = quote(self._table.name)
        for row in rows:
            connection.execute(f"DELETE FROM {table} WHERE number=?", (row["number"],))
            renamed = {**row, **self._rename(row, name)}
            columns, places = ", ".join(map(quote, renamed)), ", ".join("?" * len(renamed))
            connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({places})", (*renamed.values(),))
        # The triggers have noted when the rows were written, and not when they got their name.
        connection.execute(f"UPDATE {CHANGES} SET time=? WHERE number>?", (at, before))
        versions = 0
        if has_table(connection, spec.versions):
            found = self._fetch(connection, spec.versions, match_context(self._context), source)
            versions = self._update(connection, spec.versions, found, name)
        return Moved(len(rows), versions)

    def _fetch(
        self, connection: Connection, name: str, condition: str, parameters: Sequence[Any], limit: int = -1
    ) -> list[dict[str, Any]]:
        """Return rows with their columns; text that is not UTF-8 stays ``bytes``."""
        columns = list_columns(connection, name)
        if not columns:  # nothing was ever written into it
            return []
        order = ", ".join(map(quote, self._unique[name]))
        connection.text_factory = _decode
        try:
            statement = (
                f"SELECT {', '.join(map(quote, columns))} FROM {quote(name)} WHERE {condition} ORDER BY {order} LIMIT ?"
            )
            found = connection.execute(statement, (*parameters, limit)).fetchall()
        finally:
            connection.text_factory = str
        return [dict(zip(columns, row, strict=True)) for row in found]

    def _update(self, connection: Connection, table: str, rows: Sequence[Mapping[str, Any]], name: NewName) -> int:
        """Change rows in place, and return how many have something to change."""
        changed = 0
        unique = self._unique[table]
        for row in rows:
            fields = self._rename(row, name)
            if fields:
                columns = ", ".join(f"{quote(column)}=?" for column in fields)
                statement = f"UPDATE {quote(table)} SET {columns} WHERE {match_context(unique)}"
                connection.execute(statement, (*fields.values(), *(row[column] for column in unique)))
                changed += 1
        return changed

    def _rename(self, row: Mapping[str, Any], name: NewName) -> dict[str, Any]:
        """Return the columns of a row that the other name changes."""
        spec = self._spec
        key = tuple(
            bool(row[column]) if field == FLAG else row[column]
            for column, field in zip(self._key, spec.key, strict=True)
        )
        changed = {
            column: name.new
            for column, field in zip(self._key, spec.key, strict=True)
            if field == FIELD and row[column] == name.old
        }
        column = self._table.columns[1 + len(spec.key)]
        payload = row.get(column)
        if isinstance(payload, str):
            try:
                decoded = from_json(payload)
            except (ValueError, RecursionError, TypeError):
                log().warning("a payload that can't be decoded keeps its names", slot=spec.name, key=repr(key))
            else:
                renamed = name.change_payload(spec, key, decoded)
                if renamed is not decoded:
                    changed[column] = to_json(renamed)
        return changed

    # Payloads that name a strategy

    async def count_mentions(self, name: NewName) -> dict[Key, int]:
        return await self._read("listing", self._count_mentions, name) or {}

    def _count_mentions(self, connection: Connection, name: NewName) -> dict[Key, int]:
        counts: dict[Key, int] = {}
        last: int | None = None
        while page := self._find_page(connection, self._table.name, last):
            for row in page:
                if self._rename(row, name):
                    context = self._make_context(row)
                    counts[context] = counts.get(context, 0) + 1
            last = page[-1]["number"]
        return counts

    async def rename_mentions(self, name: NewName) -> int:
        if not await self.count_mentions(name):
            return 0
        renamed, last = 0, None
        done: int
        if self._spec.shape in POINTS:
            await self._write(_RENAMING, lambda: partial(self._rename_versions, name))
        while True:
            work = partial(self._rename_page, last, name)
            done, last = await self._write(_RENAMING, lambda work=work: work)  # type: ignore[misc]
            renamed += done
            if last is None:
                return renamed

    def _rename_versions(self, name: NewName, connection: Connection) -> None:
        if has_table(connection, self._spec.versions):
            self._update(connection, self._spec.versions, self._fetch(connection, self._spec.versions, "1", ()), name)

    def _rename_page(self, last: int | None, name: NewName, connection: Connection) -> tuple[int, int | None]:
        """Change the payloads of the next rows; return how many, and the last row, if there may be more."""
        page = self._find_page(connection, self._table.name, last)
        if not page:
            return 0, None
        mentioning = [row for row in page if self._rename(row, name)]
        if mentioning:
            spec, at = self._spec, now()
            contexts = {self._make_context(row): None for row in mentioning}
            lease_rows.refuse_held(connection, make_claim(*((spec, context) for context in contexts)), (), at)
            (before,) = connection.execute(f"SELECT max(number) FROM {CHANGES}").fetchone()
            self._update(connection, self._table.name, mentioning, name)
            connection.execute(f"UPDATE {CHANGES} SET time=? WHERE number>?", (at, before))
        return len(mentioning), page[-1]["number"]

    def _find_page(self, connection: Connection, table: str, last: int | None) -> list[dict[str, Any]]:
        """Return the next rows whose payload may name a strategy."""
        payload = quote(self._table.columns[1 + len(self._spec.key)])
        parameters = (-(2**63) if last is None else last, f'"{FIELD}"')
        return self._fetch(connection, table, f"number>? AND instr({payload}, ?)", parameters, MAX_STEP_ROWS)

    def _make_context(self, row: Mapping[str, Any]) -> Key:
        fields = self._spec.key[: len(self._spec.context)]
        return tuple(
            bool(row[column]) if field == FLAG else row[column]
            for column, field in zip(self._context, fields, strict=True)
        )


def _decode(text: bytes) -> str | bytes:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text

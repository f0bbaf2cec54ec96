"""The rows of a slot as they were at a time, as they are stored, and writing them to another file."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final, TypeAlias

from backtest_mongo.core.extended_json import from_json
from backtest_mongo.core.past_rows import NO_VERSIONS, OLDER, FoundRow, LostRow, PastRow
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.sqlite.database import Connection, Database
from backtest_mongo.sqlite.layout import make_version_table
from backtest_mongo.sqlite.whole_layout import find_columns
from backtest_mongo.sqlite.whole_rows import DamagedRow, WholeRow, WholeRows, fetch_page

__all__ = ["PastRows"]

#: Rows, and the number of the last one that was looked at.
Page: TypeAlias = tuple[list[FoundRow], int]
#: A row as it is, and its payload.
Found: TypeAlias = tuple[WholeRow, Any]

_FIRST: Final = 1


class PastRows(WholeRows):
    """The rows of a slot that is no series.

    Args:
        database: where they are.
        spec: the slot.
        is_kept: whether versions of them are kept now. If not, stored versions count only for rows whose last write has
            one: a row that was written since without one may have been anything in between.
    """

    def __init__(self, database: Database, spec: SlotSpec, *, is_kept: bool) -> None:
        super().__init__(database, spec)
        self._versions = make_version_table(spec)
        self._is_kept = is_kept

    async def has_versions(self) -> bool:
        """Return whether versions are kept, or were."""
        return self._is_kept or bool(await self._read_in_thread("reading", find_columns, self._versions.name))

    async def read_past(self, after: int, until: int) -> Page | None:
        """Return the next rows after a number in the order of creation, as they were at a time; none at the end.

        What was not there or was removed is left out.

        Raises:
            StoreError: the database is damaged.
            StoreUnavailableError: another process held the lock until the deadline.
        """
        return await self._read_in_thread("reading", self._read_page, after, until)

    async def find_past(self, keys: Sequence[Key], until: int) -> list[FoundRow]:
        """Return rows as they were at a time, without those that were not there or were removed."""
        return await self._read_in_thread("reading", self._find_keys, keys, until) or []

    async def write_past(self, rows: Sequence[PastRow]) -> None:
        """Insert rows in their order, each with the version that it is."""
        if rows:
            await self._write("writing", lambda: partial(self._insert_all, rows))

    # What is called with a connection

    def _read_page(self, connection: Connection, after: int, until: int) -> Page | None:
        with _Moment(connection):
            page = fetch_page(self._spec, connection, after)
            if page is None:
                return None
            rows, last = page
            return self._resolve_all(connection, rows, until), last

    def _find_keys(self, connection: Connection, keys: Sequence[Key], until: int) -> list[FoundRow]:
        with _Moment(connection):
            return self._resolve_all(connection, list(self._find(connection, keys).values()), until)

    def _resolve_all(self, connection: Connection, rows: Sequence[Found | DamagedRow], until: int) -> list[FoundRow]:
        has_versions = bool(find_columns(connection, self._versions.name))
        found = (self._resolve(connection, row, until, has_versions) for row in rows)
        return [row for row in found if row is not None]

    def _resolve(
        self, connection: Connection, found: Found | DamagedRow, until: int, has_versions: bool
    ) -> FoundRow | None:
        """Return a row as it was, ``None`` if there was none."""
        if isinstance(found, DamagedRow):
            return LostRow(dict(zip(self._spec.key, found.key, strict=False)), found.problem)
        row, payload = found
        latest = connection.execute(self._versions.latest, row.key).fetchone() if has_versions else None
        version: int | None = None
        if latest is not None and latest[1] == row.written:
            # Two writes may be in one millisecond; a removal keeps the row's own time.
            is_same = not self._spec.when or row.removed or latest[0] == row.when
            version = latest[0] if is_same else None
        is_versioned = version is not None
        time = version if version is not None else row.when if self._spec.when else row.written
        if time <= until:
            kept = time if has_versions or self._is_kept else None
            return None if row.removed else PastRow(row.key, payload, kept, row._replace(run=None))
        if has_versions and (is_versioned or self._is_kept):
            return self._find_version(connection, row, payload, until)
        return self._lose(row, NO_VERSIONS, payload)

    def _find_version(self, connection: Connection, row: WholeRow, payload: Any, until: int) -> FoundRow | None:
        version = connection.execute(self._versions.find, (*row.key, until)).fetchone()
        if version is None:
            earliest = connection.execute(self._versions.first, row.key).fetchone()
            # A row that was created by a write with a version has the same time of writing.
            if earliest is not None and earliest[0] == row.created:
                return None
            return self._lose(row, NO_VERSIONS if earliest is None else OLDER, payload)
        text, *removed, when, written = version
        if removed and removed[0]:
            return None
        then = WholeRow(row.key, text, when if self._spec.when else 0, False, row.created, written)
        try:
            return PastRow(row.key, from_json(text), when, then)
        except (ValueError, RecursionError, TypeError):
            return self._lose(row, "its version holds no JSON", payload)

    def _lose(self, row: WholeRow, problem: str, payload: Any) -> LostRow:
        return LostRow(dict(zip(self._spec.key, row.key, strict=True)), problem, payload)

    def _insert_all(self, rows: Sequence[PastRow], connection: Connection) -> None:
        self._insert([row.stored for row in rows], connection)
        kept = [row for row in rows if row.time is not None]
        if not kept:
            return
        if self._versions.name not in connection.tables:
            self._versions.make(connection)
            connection.tables.add(self._versions.name)
        removed = (0,) if self._spec.soft_delete else ()
        connection.executemany(
            self._versions.upsert,
            [(*row.key, row.time, row.stored.text, *removed, *[row.stored.written] * 2) for row in kept],
        )


class _Moment:
    """A transaction that reads, so that all is of one moment."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN")

    def __exit__(self, *error: object) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

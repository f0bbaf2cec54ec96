"""Commits of many rows in one transaction of SQLite, fenced by leases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from backtest_mongo.core.commits import ABSENT_ROW, UNKNOWN_ROW, Claim, Commit, Holder, RowWrite, State
from backtest_mongo.core.config import get_config
from backtest_mongo.core.history import find_history
from backtest_mongo.core.lease_errors import make_foreign_error
from backtest_mongo.core.retention import find_due
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.versions import is_expected, make_conflict, make_version
from backtest_mongo.sqlite import lease_rows
from backtest_mongo.sqlite.driver_errors import DRIVER_ERRORS, lacks_table, raise_translated
from backtest_mongo.sqlite.layout import RowTable, make_row_table
from backtest_mongo.sqlite.removal import mark_removed
from backtest_mongo.sqlite.row_codec import Row, decode_row, encode_row, name_state, now
from backtest_mongo.sqlite.version_rows import keep_unversioned, prune, write_versions
from backtest_mongo.types import Document

if TYPE_CHECKING:
    from backtest_mongo.sqlite.database import Connection, Database

__all__ = ["SQLiteCommitter"]

T = TypeVar("T")


class SQLiteCommitter:
    """The transactions and leases of one database file."""

    def __init__(self, database: Database) -> None:
        self._database = database
        #: Versions that were written.
        self._versions = 0

    @property
    def name(self) -> str:
        return f"the SQLite database {self._database.path}"

    @property
    def seconds(self) -> float:
        return get_config().CC_MONGO_TIMEOUT_MS / 1000

    async def check(self) -> None:
        return None

    # Committing

    async def commit(self, commit: Commit) -> Sequence[State]:
        return await self._write("writing", lambda: self._prepare(commit), commit.rows[0].spec, commit.seconds)

    async def write(self, row: RowWrite) -> None:
        await self.write_all((row,))

    async def write_all(self, rows: Sequence[RowWrite]) -> None:
        await self.commit(Commit(rows, (), self.seconds))

    async def settle(self, commit: Commit) -> None:
        """Say that nothing was applied: no outcome is unknown here, as what fails is undone."""

    def _prepare(self, commit: Commit) -> Callable[[Connection], Sequence[State]]:
        """Encode the rows, outside of the transaction."""
        at = now()
        states = [UNKNOWN_ROW if _is_mark(row) else (*encode_row(row.spec, row.fields), at) for row in commit.rows]
        return partial(self._apply, commit, states, at)

    def _apply(self, commit: Commit, states: Sequence[State], at: int, connection: Connection) -> Sequence[State]:
        for claim in commit.claims:
            lease_rows.fence(connection, claim, commit.id, at)
        inserts: dict[str, tuple[RowTable, list[Row]]] = {}
        for row, state in zip(commit.rows, states, strict=True):
            table = make_row_table(row.spec)
            if table.name not in connection.tables:
                table.make(connection)
                connection.tables.add(table.name)
            if row.is_kept:
                keep_unversioned(connection, row.spec, row.key)
            if _is_mark(row):
                run = row.fields.get("run")
                marked = mark_removed(connection, table, row.spec, row.key, run, at, self._database.path)
                if marked is not None and row.is_kept:
                    self._write_versions(connection, row, at, marked[0])
                continue
            self._check_row(commit, row, table, connection)
            inserts.setdefault(table.name, (table, []))[1].append((*row.key, *state, state[-1], row.fields.get("run")))
            if row.is_kept:
                self._write_versions(connection, row, at)
        for table, rows in inserts.values():
            connection.executemany(table.upsert, rows)
        return states

    def _write_versions(self, connection: Connection, row: RowWrite, at: int, when: int | None = None) -> None:
        write_versions(connection, row, at, when)
        before, count = self._versions, 1 + len(row.earlier)
        self._versions += count
        retention = None if find_due(before, count) is None else find_history(row.spec)
        if retention is not None and retention.is_limited:
            prune(connection, row.spec, row.key, retention)

    def _check_row(self, commit: Commit, row: RowWrite, table: RowTable, connection: Connection) -> None:
        """Compare a row with what is known or expected of it.

        Raises:
            LeaseLostError: somebody else has written a leased row.
            ConflictError: a compare-and-set has found something else.
        """
        if row.known is UNKNOWN_ROW and not row.is_conditional:
            return
        found: Row | None = connection.execute(table.find_written, row.key).fetchone()
        if row.known is not UNKNOWN_ROW and found != (None if row.known is ABSENT_ROW else row.known):
            raise make_foreign_error(commit, row, _read_time(row.known), _read_time(found))
        if row.is_conditional:
            document = None if found is None else decode_row(row.spec, row.key, found[:-1], self._database.path)
            version = make_version(row.spec, name_state(row.spec, found))
            if not is_expected(row.spec, document, version, row.expected):
                raise make_conflict(row.spec, row.key, document, version, row.expected)

    async def read(self, spec: SlotSpec, key: Key) -> tuple[Document | None, State]:
        table = make_row_table(spec)
        try:
            found = await self._database.read_here(partial(_find_state, table), key)
        except DRIVER_ERRORS as error:
            if lacks_table(error):
                return None, ABSENT_ROW
            raise_translated(error, "reading", self._database.path, spec.name)
        if found is None:
            return None, ABSENT_ROW
        return decode_row(spec, key, found[:-1], self._database.path), found

    # Leases

    async def acquire(self, claim: Claim, ids: Sequence[str]) -> None:
        await self._write_leases(lambda connection: lease_rows.acquire(connection, claim, ids, now()))

    async def renew(self, claim: Claim) -> bool:
        seconds = claim.ttl / 3
        return await self._write_leases(lambda connection: lease_rows.renew(connection, claim, now()), seconds)

    async def release(self, claim: Claim) -> None:
        seconds = claim.ttl / 3
        await self._write_leases(lambda connection: lease_rows.release(connection, claim, now()), seconds)

    async def list_leases(self) -> list[Holder]:
        try:
            return await self._database.read_in_thread(lease_rows.list_held, now()) or []
        except DRIVER_ERRORS as error:
            raise_translated(error, "listing the leases", self._database.path, None)

    async def release_by_force(self, name: str) -> bool:
        return await self._write_leases(lambda connection: lease_rows.release_by_force(connection, name, now()))

    async def _write_leases(self, work: Callable[[Connection], T], seconds: float | None = None) -> T:
        return await self._write("writing a lease", lambda: work, None, seconds)

    async def _write(
        self,
        doing: str,
        prepare: Callable[[], Callable[[Connection], T]],
        spec: SlotSpec | None,
        seconds: float | None = None,
    ) -> T:
        try:
            return await self._database.write(prepare, None if seconds is None else min(seconds, self.seconds))
        except DRIVER_ERRORS as error:
            raise_translated(error, doing, self._database.path, spec.name if spec is not None else None)


def _is_mark(row: RowWrite) -> bool:
    """Return whether a row is only marked as removed, whatever payload it has by then."""
    return row.is_removal and row.known is UNKNOWN_ROW


def _find_state(table: RowTable, connection: Connection, key: Key) -> Row | None:
    row: Row | None = connection.execute(table.find_written, key).fetchone()
    return row


def _read_time(state: State | None) -> datetime | None:
    """Return when a row was written."""
    return None if state is None or state is ABSENT_ROW else datetime.fromtimestamp(state[-1] / 1000, UTC)

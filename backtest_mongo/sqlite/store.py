"""The store of one slot in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from backtest_mongo.core.background import start_background
from backtest_mongo.core.commits import Committer
from backtest_mongo.core.contexts import EVERYTHING, Measure
from backtest_mongo.core.log import log
from backtest_mongo.core.no_history import NoHistory
from backtest_mongo.core.pruning import Pruner
from backtest_mongo.core.selection import EVERY_ROW, PayloadFilter, Selection
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.strategy_names import Renamer
from backtest_mongo.core.versions import is_expected, make_conflict, make_version
from backtest_mongo.errors import ConflictError, StoreError
from backtest_mongo.sqlite.column_layout import ColumnTable
from backtest_mongo.sqlite.committer import SQLiteCommitter
from backtest_mongo.sqlite.contexts import SQLiteContexts
from backtest_mongo.sqlite.database import Connection, Database
from backtest_mongo.sqlite.driver_errors import DRIVER_ERRORS, is_undecodable, lacks_table, raise_translated
from backtest_mongo.sqlite.filters import make_conditions, make_filter_indexes
from backtest_mongo.sqlite.layout import RowTable, SeriesTable, make_row_table
from backtest_mongo.sqlite.pruning import SQLitePruner
from backtest_mongo.sqlite.removal import mark_removed
from backtest_mongo.sqlite.renaming import SQLiteRenamer
from backtest_mongo.sqlite.row_codec import Row, decode_row, encode_row, name_state, now
from backtest_mongo.types import Document, Version

__all__ = ["SQLiteRows", "SQLiteStore", "decode_text"]

#: Rows of a list that are read at a time.
_PAGE: Final = 1_000
#: Rows by key that are read on the event loop at most.
_FEW: Final = 32

T = TypeVar("T")


def _fetch_undecodable(connection: Connection, statement: str, parameters: Row) -> list[Row]:
    """Return rows of which some hold text that is not UTF-8, which stays ``bytes``."""
    connection.text_factory = decode_text  # a call for each text, so not in general
    try:
        return connection.execute(statement, parameters).fetchall()
    finally:
        connection.text_factory = str


def _execute_all(statements: Sequence[str], connection: Connection) -> None:
    for statement in statements:
        connection.execute(statement)


def decode_text(text: bytes) -> str | bytes:
    """Decode a column. Text that is not UTF-8 stays ``bytes``."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text


class SQLiteRows:
    """How the statements on a slot's table are carried out."""

    def __init__(self, database: Database, spec: SlotSpec, table: RowTable | SeriesTable | ColumnTable) -> None:
        self._database = database
        self._spec = spec
        self._made = table
        self._contexts = SQLiteContexts(spec, table.tables, table.context, table.sizes, self._read_in_thread)

    @property
    def committer(self) -> Committer:
        if self._database.committer is None:
            self._database.committer = SQLiteCommitter(self._database)
        return self._database.committer

    async def ready(self) -> None:
        """Make the file and the slot's table, if they are missing."""
        await self._write("opening", lambda: lambda connection: None)

    def list_contexts(self, where: Mapping[str, Any] = EVERYTHING) -> AsyncIterator[Key]:
        """Yield the contexts that have rows, in the order of the key."""
        return self._contexts.list_contexts(where)

    async def measure(self, where: Mapping[str, Any], *, by_context: bool) -> list[Measure]:
        return await self._contexts.measure(where, by_context=by_context)

    async def _read_here(self, doing: str, work: Callable[..., T], *arguments: Any) -> T | None:
        """Read on the event loop: what is found, or ``None`` if nothing was ever written."""
        try:
            return await self._database.read_here(work, *arguments)
        except DRIVER_ERRORS as error:
            if lacks_table(error):
                return None
            raise_translated(error, doing, self._database.path, self._spec.name)

    async def _read_in_thread(self, doing: str, work: Callable[..., T], *arguments: Any) -> T | None:
        """Read in a thread: what is found, or ``None`` if nothing was ever written."""
        try:
            return await self._database.read_in_thread(work, *arguments)
        except DRIVER_ERRORS as error:
            if lacks_table(error):
                return None
            raise_translated(error, doing, self._database.path, self._spec.name)

    async def _write(self, doing: str, prepare: Callable[[], Callable[[Connection], T]]) -> T:
        """Write in a transaction that makes the table if it is missing; see :class:`~.database.Write`."""

        def prepare_all() -> Callable[[Connection], T]:
            apply = prepare()

            def apply_all(connection: Connection) -> T:
                if self._made.name not in connection.tables:
                    self._made.make(connection)
                    connection.tables.add(self._made.name)
                return apply(connection)

            return apply_all

        try:
            return await self._database.write(prepare_all)
        except DRIVER_ERRORS as error:
            raise_translated(error, doing, self._database.path, self._spec.name)


class SQLiteStore(SQLiteRows, NoHistory):
    """A slot's rows in a database, for any event loop; any number of processes may share the file."""

    def __init__(self, database: Database, spec: SlotSpec) -> None:
        self._table = table = make_row_table(spec)
        super().__init__(database, spec, table)
        self._warned: set[str] = set()
        #: Statements of filters' indexes that this process has asked for.
        self._indexed: set[str] = set()
        self.pruner: Pruner = SQLitePruner(spec, self._read_in_thread, self._write)

    # Reading

    async def find(self, key: Key) -> Document | None:
        row = await self._read_here("reading", self._fetch, key)
        return None if row is None else self._decode(key, row)

    async def find_many(self, keys: Sequence[Key]) -> list[Document | None]:
        read = self._read_here if len(keys) <= _FEW else self._read_in_thread
        return await read("reading", self._find_all, keys) or [None] * len(keys)

    async def find_version(self, key: Key) -> tuple[Document | None, Version]:
        row = await self._read_here("reading", self._fetch_written, key)
        return (None if row is None else self._decode(key, row[:-1])), make_version(
            self._spec, name_state(self._spec, row)
        )

    async def scan(
        self, context: Key, until: int | None = None, chosen: Selection = EVERY_ROW
    ) -> AsyncIterator[Document]:
        """Yield the chosen rows of a context by key, without those that are removed or later than ``until``."""
        times = () if until is None or not self._spec.when else (until,)
        filtered, texts = make_conditions(self._spec, chosen.where)
        first, end, left, is_behind = chosen.first, chosen.end, chosen.limit, False
        while True:
            statement = self._table.make_page(
                is_behind=is_behind,
                has_end=end is not None,
                has_until=bool(times),
                newest_first=chosen.newest_first,
                filtered=filtered,
            )
            rows = _PAGE if left is None else min(_PAGE, left)
            keys = (first,) if end is None else (first, end)
            parameters = (*context, *keys, *times, *texts, rows)
            page = await self._read_in_thread("listing", self._list, statement, parameters, context)
            if page is None:
                return
            self._index_filter(chosen.where)
            documents, count, last = page
            for document in documents:
                yield document
            left = None if left is None else left - len(documents)
            if count < rows or left == 0:
                return
            if chosen.newest_first:
                end = last
            else:
                first, is_behind = last, True

    async def newest(self, context: Key, limit: int, where: PayloadFilter | None = None) -> list[Document]:
        """Return the ``limit`` newest rows of a context, oldest first."""
        filtered, texts = make_conditions(self._spec, where)
        statement, parameters = self._table.make_newest(filtered), (*context, *texts, limit)
        found = await self._read_in_thread("listing", self._list, statement, parameters, context)
        if found is not None:
            self._index_filter(where)
        return [] if found is None else found[0][::-1]

    def _index_filter(self, where: PayloadFilter | None) -> None:
        """Let the indexes of a filter be made, if they are missing, beside the read that has used it first."""
        if where is None:
            return
        statements = [one for one in make_filter_indexes(self._spec, where) if one not in self._indexed]
        if statements:
            self._indexed.update(statements)
            start_background(
                partial(self._write, "creating an index", lambda: partial(_execute_all, statements)),
                "the index of a filter could not be created, so lists that use the filter are slower",
                slot=self._spec.name,
                database=self._database.path,
            )

    # Contexts as a whole

    async def delete_some(self, context: Key, owners: Collection[str]) -> tuple[int, bool]:
        if not await self._read_in_thread("reading", self._contexts.exists, context):
            return 0, False
        return await self._write("deleting", lambda: partial(self._contexts.delete_some, context, owners))

    @property
    def renamer(self) -> Renamer:
        return SQLiteRenamer(self._spec, self._table, self._read_in_thread, self._write)

    # What is called with a connection

    def _fetch(self, connection: Connection, key: Key) -> Row | None:
        row: Row | None = connection.execute(self._table.find, key).fetchone()
        return row

    def _fetch_written(self, connection: Connection, key: Key) -> Row | None:
        row: Row | None = connection.execute(self._table.find_written, key).fetchone()
        return row

    def _find_all(self, connection: Connection, keys: Sequence[Key]) -> list[Document | None]:
        found = (connection.execute(self._table.find, key).fetchone() for key in keys)
        return [None if row is None else self._decode(key, row) for key, row in zip(keys, found, strict=True)]

    def _list(
        self, connection: Connection, statement: str, parameters: Row, context: Key
    ) -> tuple[list[Document], int, str]:
        """Return the rows of a page, how many it has with those that can't be decoded, and its last key."""
        try:
            rows = connection.execute(statement, parameters).fetchall()
        except sqlite3.OperationalError as error:
            if not is_undecodable(error):
                raise
            rows = _fetch_undecodable(connection, statement, parameters)
        documents = [self._decode_sound((*context, item), row) for item, *row in rows]
        return [document for document in documents if document is not None], len(rows), rows[-1][0] if rows else ""

    def _decode(self, key: Key, row: Sequence[Any]) -> Document:
        return decode_row(self._spec, key, row, self._database.path)

    def _decode_sound(self, key: Key, row: Sequence[Any]) -> Document | None:
        """Return a row for a list, or ``None`` if it holds no JSON: a bad row must not hide all others."""
        try:
            return self._decode(key, row)
        except StoreError as error:
            shown = repr(error.key)
            if shown not in self._warned:
                self._warned.add(shown)
                log().warning("a list lacks a row that can't be decoded", slot=self._spec.name, key=shown)
            return None

    # Writing

    async def upsert(self, key: Key, fields: Document) -> None:
        await self._write("writing", partial(self._prepare_rows, ((key, fields),)))

    async def upsert_each(self, rows: Sequence[tuple[Key, Document]]) -> None:
        """Write rows of any keys, those of one key in their order, in one transaction."""
        if rows:
            await self._write("writing", partial(self._prepare_rows, rows))

    async def upsert_many(self, rows: Sequence[tuple[Key, Document]]) -> None:
        """Write rows with different keys in one transaction; their order is that among the newest rows."""
        await self.upsert_each(rows)

    async def replace(self, key: Key, fields: Document, expected: Version | None) -> None:
        """Upsert a row if it has the expected version or, with ``None``, if a read finds nothing.

        Raises:
            ConflictError: it has not.
        """

        def prepare() -> Callable[[Connection], ConflictError | None]:
            return partial(self._replace, key, self._encode(key, fields, now()), expected)

        conflict = await self._write("writing", prepare)
        if conflict is not None:
            raise conflict

    async def remove(self, key: Key, run: str | None = None) -> None:
        await self._write("removing", lambda: partial(self._remove, key, run))

    def _prepare_rows(self, rows: Sequence[tuple[Key, Document]]) -> Callable[[Connection], None]:
        at = now()
        return partial(self._upsert, [self._encode(key, fields, at) for key, fields in rows])

    def _encode(self, key: Key, fields: Document, at: int) -> Row:
        """Return the parameters of an upsert."""
        return (*key, *encode_row(self._spec, fields), at, at, fields.get("run"))

    def _upsert(self, parameters: Sequence[Row], connection: Connection) -> None:
        connection.executemany(self._table.upsert, parameters)

    def _replace(
        self, key: Key, parameters: Row, expected: Version | None, connection: Connection
    ) -> ConflictError | None:
        """Upsert a row, or return why not: an error that is raised would undo the writes of others with its own."""
        row = self._fetch_written(connection, key)
        document = None if row is None else self._decode(key, row[:-1])
        version = make_version(self._spec, name_state(self._spec, row))
        if not is_expected(self._spec, document, version, expected):
            return make_conflict(self._spec, key, document, version, expected)
        connection.execute(self._table.upsert, parameters)
        return None

    def _remove(self, key: Key, run: str | None, connection: Connection) -> None:
        mark_removed(connection, self._table, self._spec, key, run, now(), self._database.path)

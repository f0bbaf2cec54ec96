"""Series with columns in SQLite: new rows go to a tail of small groups, which is merged into blocks of columns.

:mod:`~backtest_mongo.sqlite.column_layout` describes the tables. Each call is one transaction, so where the first row
of a key wins, it looks into tail and blocks within it; where the last one wins, a later group wins over an earlier one
and over blocks, until they are merged. Rows behind everything that is stored, as nearly all are, need no look.

A write merges the small groups at the end of the tail once there are :data:`_GROUPS` of them, so that reading does not
get slow by thousands of groups of one row, and the tail into blocks once it has the rows of one; many rows behind all
others go into blocks at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from backtest_mongo.columns.turns import Turn, Turns
from backtest_mongo.core.columns import MOST_NEGATIVE
from backtest_mongo.core.commits import make_claim
from backtest_mongo.core.log import log
from backtest_mongo.core.series_retention import Piece, parse_stored_retention
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.store_protocols import Counts
from backtest_mongo.core.strategy_names import Renamer
from backtest_mongo.errors import StoreError, StoreUnavailableError
from backtest_mongo.sqlite import lease_rows
from backtest_mongo.sqlite.change_log import encode_deleted, fill_record
from backtest_mongo.sqlite.column_layout import make_column_table
from backtest_mongo.sqlite.column_renaming import ColumnRenamer
from backtest_mongo.sqlite.column_retention import (
    RETENTION,
    find_prunable,
    is_retention_known,
    move_retention,
    read_retention,
    write_retention,
)
from backtest_mongo.sqlite.database import Connection, Database
from backtest_mongo.sqlite.row_codec import now
from backtest_mongo.sqlite.store import SQLiteRows
from backtest_mongo.types import Coverage, SeriesSize

if TYPE_CHECKING:
    from backtest_mongo.columns.arrays import ColumnArrays
    from backtest_mongo.sqlite.column_documents import Encoded, Part
    from backtest_mongo.sqlite.column_parts import PartReader
    from backtest_mongo.sqlite.column_sealing import ColumnSealer, Run, Step

__all__ = ["SQLiteColumns"]

#: What the times are within; no row is at the first one.
_FIRST: Final = MOST_NEGATIVE
_LAST: Final = 2**63 - 1
#: So many small groups at the end of a tail are merged into one.
_GROUPS: Final = 32
#: A process looks how many there are after so many that have fewer rows and bytes than these, and after each other one.
_UNSEEN: Final = 8
_LARGE: Final = 512
_LARGE_BYTES: Final = 250_000
#: From so many rows on, or more bytes than a group has, a write tries to make blocks of them at once.
_BULK: Final = 32_768
#: Rows of a group of the tail at most.
_MOST_ROWS: Final = 65_536
#: More rows, or bytes, than these are encoded in a thread.
_FEW: Final = 2_048
_FEW_BYTES: Final = 1_000_000
#: How often the tail is merged beside other writers before it is done while none can write.
_ATTEMPTS: Final = 3
#: Parts that one step deletes at most.
_DELETED: Final = 64


class SQLiteColumns(SQLiteRows):
    """The series of a slot with columns in a database, for any event loop; any number of processes may share it."""

    row_bytes = 900_000_000

    def __init__(self, database: Database, spec: SlotSpec) -> None:
        self._table = table = make_column_table(spec)
        super().__init__(database, spec, table)
        #: The series whose tail this process merges.
        self._sealing: set[Key] = set()
        #: How many rows a tail must have before it is merged again, where that has failed, and how many small groups.
        self._put_off: dict[Key, int] = {}
        self._groups_put_off: dict[Key, int] = {}
        #: How many small groups this process writes before it looks how many there are.
        self._unseen: dict[Key, int] = {}
        self._tools: tuple[PartReader, ColumnSealer] | None = None
        self._turns = Turns()

    @property
    def _reader(self) -> PartReader:
        return self._make_tools()[0]

    @property
    def _sealer(self) -> ColumnSealer:
        return self._make_tools()[1]

    def _make_tools(self) -> tuple[PartReader, ColumnSealer]:
        if self._tools is None:
            from backtest_mongo.sqlite.column_parts import PartReader
            from backtest_mongo.sqlite.column_sealing import ColumnSealer

            reader = PartReader(self._spec, self._table, self._database.path)
            self._tools = reader, ColumnSealer(self._spec, self._table, reader)
        return self._tools

    @property
    def renamer(self) -> Renamer:
        return ColumnRenamer(self._spec, self._table, self._read_in_thread, self._write)

    # Writing

    async def insert(self, context: Key, rows: ColumnArrays) -> int:
        """Store rows, each key once and in order, and return how many were new; see ``ColumnStore``.

        Raises:
            StoreUnavailableError: another process held the lock until the deadline.
            StoreError: the database refuses, or what these rows are compared with is damaged; nothing was written.
        """
        from backtest_mongo.columns.sizes import GROUP_BYTES, measure_rows

        if not len(rows):
            return 0
        is_bulk, is_small = len(rows) >= _BULK, False
        if not is_bulk:
            size = measure_rows(rows).count()
            is_bulk, is_small = size > GROUP_BYTES, len(rows) <= _FEW and size <= _FEW_BYTES
        key = (asyncio.get_running_loop(), context)
        async with self._turns.take(key, int(rows.time[0]), int(rows.time[-1]), is_alone=not is_small) as turn:
            is_in_blocks = is_bulk and await self._insert_blocks(context, rows)
            added, tail_rows = (len(rows), None) if is_in_blocks else await self._insert_groups(context, rows, turn)
        if is_in_blocks:
            await self._prune_behind(context)
        elif tail_rows is not None:
            await self._seal_whole(context, tail_rows)
        return added

    async def _insert_groups(self, context: Key, rows: ColumnArrays, turn: Turn) -> tuple[int, int | None]:
        """Add rows to the tail; return how many were new, and how many the tail has if it is to be merged into blocks.

        The turn is over as soon as the writer keeps the order.
        """
        from backtest_mongo.columns.sizes import split_groups

        def encode() -> list[Encoded]:
            return self._encode_groups([*split_groups(rows, _MOST_ROWS, has_keys=False)])

        encoded = await asyncio.to_thread(encode) if turn.is_alone else encode()
        turn.share()
        apply = partial(self._insert, context, rows, encoded)
        added, tail_rows, error = await self._write("writing", lambda: apply)
        if error is not None:
            raise error
        return added, tail_rows

    async def _insert_blocks(self, context: Key, rows: ColumnArrays) -> bool:
        """Store rows as blocks, or nothing unless they fit and all others come before them; return whether they are."""
        time = int(rows.time[0])
        if await self._read_here("writing", self._is_behind, context, time) is False:
            return False
        encoded = await asyncio.to_thread(self._encode_blocks, rows)
        if encoded is None:
            return False
        apply = partial(self._append_blocks, context, encoded)
        return await self._write("writing", lambda: apply)

    # What need not be kept

    async def retain(self, context: Key, keep: str | None) -> None:
        """Keep the part of a series from now on that a text names, or all; what need not be kept is deleted."""
        await self._write("writing", lambda: partial(self._retain, context, keep))
        await self._prune_behind(context)

    def _retain(self, context: Key, keep: str | None, connection: Connection) -> None:
        write_retention(connection, self._spec, context, keep)

    async def _prune_behind(self, context: Key) -> None:
        """Delete what need not be kept after a write; if that fails, a later one does it."""
        try:
            await self.prune_rows(context)
        except (StoreError, StoreUnavailableError) as error:
            log().warning("old rows of a series could not be deleted", slot=self._spec.name, problem=str(error))

    async def prune_rows(self, context: Key) -> int:
        """Delete the blocks and groups that need not be kept, in one transaction; return how many rows."""
        if not await self._read_in_thread("reading", self._find_prunable, context):
            return 0
        return await self._write("deleting", lambda: partial(self._prune, context))

    async def count_prunable(self, context: Key) -> int:
        """Return how many rows need not be kept."""
        found = await self._read_in_thread("reading", self._find_prunable, context) or ()
        return sum(piece.rows for _, _, piece in found)

    def _find_prunable(self, connection: Connection, context: Key) -> list[tuple[bool, int, Piece]]:
        keep = read_retention(connection, self._spec, context)
        if keep is None:
            return []
        key = dict(zip(self._spec.key, context, strict=False))
        retention = parse_stored_retention(keep, slot=self._spec.name, collection=RETENTION, key=key)
        return find_prunable(connection, self._spec, self._table, context, retention)

    def _prune(self, context: Key, connection: Connection) -> int:
        found = self._find_prunable(connection, context)
        for is_block, number, _ in found:
            connection.execute(self._table.delete[is_block], (number,))
        if found:
            pieces = [piece for _, _, piece in found]
            bounds = min(piece.first for piece in pieces), max(piece.last for piece in pieces)
            self._record_deleted(connection, context, *bounds, sum(piece.rows for piece in pieces), now())
        return sum(piece.rows for _, _, piece in found)

    async def delete_rows(self, context: Key, first: int, end: int) -> int:
        """Delete the rows of a half-open range of times, and return how many were deleted.

        A damaged block or group is deleted if the range has all of its rows.

        Raises:
            StoreError: one that is damaged has other rows, too; nothing was deleted.
        """
        apply = partial(self._delete, context, *_clamp(first, end))
        count, error = await self._write("deleting", lambda: apply)
        if error is not None:
            raise error
        return count

    async def delete_some(self, context: Key, owners: Collection[str]) -> tuple[int, bool]:
        """Delete some blocks of a series or, once there are none, some groups.

        Returns:
            How many rows were deleted, and whether any may be left.

        Raises:
            LeaseHeldError: another owner has the lease.
        """
        if not await self._read_in_thread("reading", self._exists, context):
            return 0, False
        return await self._write("deleting", lambda: partial(self._delete_some, context, owners))

    # Reading

    async def read_rows(self, context: Key, first: int, end: int, names: Collection[str] | None = None) -> ColumnArrays:
        """Return the rows of a half-open range of times, with all columns or those of these names.

        Raises:
            StoreError: a part of them is damaged.
        """
        range_ = _clamp(first, end)
        found = await self._read_in_thread("reading", self._reader.read_range, context, *range_, names)
        return self._make_empty(names) if found is None else found

    async def read_last(self, context: Key, count: int, end: int, names: Collection[str] | None = None) -> ColumnArrays:
        """Return the last rows of those before a time: so many, or all if there are fewer.

        Raises:
            StoreError: a part of them is damaged.
        """
        if count < 1:
            return self._make_empty(names)
        _, last = _clamp(_FIRST, end)
        found = await self._read_in_thread("reading", self._reader.read_last, context, count, last, names)
        return self._make_empty(names) if found is None else found

    async def cover(self, context: Key, end: int) -> Coverage:
        """Return the first and the last time of the rows before ``end``, and their number.

        Raises:
            StoreError: a part of the rows that were replaced, or are in blocks and in the tail, is damaged.
        """
        found = await self._read_in_thread("listing", self._cover, context, _clamp(_FIRST, end)[1])
        return Coverage(*(found or (None, None, 0)))

    async def size(self, context: Key) -> SeriesSize:
        """Return how the series is stored; rows that were replaced and not merged yet count."""
        found = await self._read_in_thread("listing", self._reader.measure, context)
        return SeriesSize(0, 0, 0, 0, 0, 0, None) if found is None else found

    async def copy_rows(
        self, context: Key, end: int, target: SQLiteColumns, copied: Key
    ) -> AsyncIterator[tuple[int, StoreError | None]]:
        """Insert the rows before a time into another database, for forks, about a block at a time.

        Args:
            context: the series.
            end: the first time that is left out, in the slot's unit.
            target: where they go; what is stored there stays or is replaced, as the slot says.
            copied: the context that they get.

        Yields:
            After each step how many rows were copied, or why some can't be: they are damaged.
        """
        starts = await self._read_in_thread("reading", self._list_starts, context) or []
        bounds = [_FIRST, *(start for start in starts[1:] if start < end), end]
        for first, last in pairwise(bounds):
            try:
                rows = await self.read_rows(context, first, last)
            except StoreUnavailableError:
                raise
            except StoreError as error:
                yield 0, error
            else:
                if len(rows):
                    yield await target.insert(copied, rows), None

    async def verify_rows(self, context: Key) -> AsyncIterator[tuple[Coverage, str | None]]:
        """Read each block and each group of the tail; yield what it covers, and what is wrong with it."""
        numbers = await self._read_in_thread("reading", self._list_numbers, context) or ()
        for is_block, number in numbers:
            found = await self._read_in_thread("reading", self._verify, context, is_block, number)
            if found is not None:  # otherwise it was merged meanwhile
                yield found

    def _make_empty(self, names: Collection[str] | None) -> ColumnArrays:
        from backtest_mongo.columns.arrays import ColumnArrays

        return ColumnArrays.empty(self._spec, names)

    # Sealing

    async def seal_rows(self, context: Key, *, is_all: bool = True) -> AsyncIterator[Counts]:
        """Merge the tail into blocks, whole blocks alone unless ``is_all``; yield blocks and rows after each step.

        Raises:
            StoreError: one of the groups or blocks is damaged; the tail stays as it is.
        """
        until = None
        if is_all:
            until = await self._read_in_thread("sealing", self._sealer.find_newest, context)
            if until is None:
                return
        failures = 0
        while (run := await self._read_in_thread("sealing", self._start_run, context, until)) is not None:
            at = 0
            while at < len(run.rows):
                step = await self._read_in_thread("sealing", self._prepare_step, context, run, at)
                counts = None
                if step is not None:
                    apply = partial(self._apply_step, context, run, step)
                    counts = await self._write("sealing", lambda apply=apply: apply)  # type: ignore[misc]
                if step is None or counts is None:
                    failures += 1
                    break
                yield counts
                at = step.end
            if failures >= _ATTEMPTS:
                failures = 0
                done, error = await self._write("sealing", lambda: partial(self._seal_run, context, until))
                if error is not None:
                    raise error
                yield done

    async def _seal_whole(self, context: Key, tail_rows: int) -> None:
        """Merge the tail after a write; if that fails, the rows stay where they are."""
        if context in self._sealing or tail_rows < self._put_off.get(context, 0):
            return
        self._sealing.add(context)
        try:
            async for _ in self.seal_rows(context, is_all=False):
                pass
            await self.prune_rows(context)
            self._put_off.pop(context, None)
        except (StoreError, StoreUnavailableError) as error:
            self._put_off[context] = 2 * tail_rows
            log().warning(
                "the tail of a series can't be merged into blocks, so it grows and reading takes longer",
                slot=self._spec.name,
                key=repr(context),
                error=str(error),
            )
        finally:
            self._sealing.discard(context)

    # What is called with a connection: writing

    def _encode_groups(self, groups: Sequence[ColumnArrays]) -> list[Encoded]:
        from backtest_mongo.sqlite.column_documents import encode_group

        return [encode_group(self._spec, rows) for rows in groups]

    def _encode_blocks(self, rows: ColumnArrays) -> list[Encoded] | None:
        """Return the blocks of rows, ``None`` if those of one time are too many for a block."""
        from backtest_mongo.sqlite.column_documents import encode_block, find_unfit, split

        pieces = split(rows)
        if find_unfit(pieces) is not None:
            return None
        return [encode_block(self._spec, int(piece.time[0]), piece) for piece in pieces]

    def _is_behind(self, connection: Connection, context: Key, time: int) -> bool:
        """Return whether all stored rows come before a time."""
        last = connection.execute(self._table.last_time, context).fetchone()
        if last is not None and last[0] >= time:
            return False
        return connection.execute(self._table.is_in_tail, (*context, time)).fetchone() is None

    def _append_blocks(self, context: Key, blocks: Sequence[Encoded], connection: Connection) -> bool:
        if not self._is_behind(connection, context, blocks[0].first):
            return False
        at = now()
        self._begin(connection, context)
        for encoded in blocks:
            connection.execute(self._table.insert_block, encoded.make_parameters(context, at, at))
            self._record(connection, context, encoded, at)
        return True

    def _insert(
        self, context: Key, rows: ColumnArrays, groups: Sequence[Encoded], connection: Connection
    ) -> tuple[int, int | None, StoreError | None]:
        """Add groups to the tail.

        Returns:
            How many rows were added; how many the tail has, if so many that it is to be merged into blocks; and why
            nothing was added: an error that is raised would undo the writes of others with its own.
        """
        from backtest_mongo.columns.sizes import split_groups

        count = len(rows)
        if self._spec.immutable and not self._is_behind(connection, context, groups[0].first):
            try:
                new = self._drop_known(connection, context, rows)
            except StoreError as error:
                return 0, None, error
            if len(new) < count:
                count = len(new)
                groups = self._encode_groups([*split_groups(new, _MOST_ROWS, has_keys=False)])
        at = now()
        self._begin(connection, context)
        for encoded in groups:
            connection.execute(self._table.insert_group, encoded.make_parameters(context, at, at))
            self._record(connection, context, encoded, at)
        unseen = self._unseen.get(context, 0)
        if unseen and count < _LARGE and sum(len(encoded.document) for encoded in groups) < _LARGE_BYTES:
            self._unseen[context] = unseen - 1
            return count, None, None
        self._unseen[context] = _UNSEEN - 1
        return count, self._merge_small(connection, context), None

    def _begin(self, connection: Connection, context: Key) -> None:
        """Give a series that is written for the first time what the slot keeps of each."""
        if self._spec.keep and not is_retention_known(connection, self._spec, context):
            is_stored = self._exists(connection, context)
            write_retention(connection, self._spec, context, None if is_stored else self._spec.keep)

    def _drop_known(self, connection: Connection, context: Key, rows: ColumnArrays) -> ColumnArrays:
        """Return the rows whose keys are not stored."""
        from backtest_mongo.sqlite.column_documents import has_times

        for part in self._reader.list_parts(connection, context, int(rows.time[0]), int(rows.time[-1])):
            if has_times(rows, part.first, part.last):
                rows = rows.take(~self._reader.load(connection, context, part, ()).contains(rows))
                if not len(rows):
                    break
        return rows

    def _merge_small(self, connection: Connection, context: Key) -> int | None:
        """Merge the small groups at the end of the tail, if they are many.

        Returns:
            How many rows the tail has, if the others have those of a block.
        """
        from backtest_mongo.sqlite.column_documents import encode_group, merge
        from backtest_mongo.sqlite.column_sealing import count_large, is_block

        sizes: list[tuple[int, int, int]] = connection.execute(self._table.group_sizes, context).fetchall()
        large = count_large(sizes)
        small = sizes[large:]
        if len(small) >= max(_GROUPS, self._groups_put_off.get(context, 0)):
            groups = {part.number: part for part in self._reader.list_groups(connection, context)}
            some = [groups[number] for number, *_ in small]
            try:
                rows = merge([self._reader.load(connection, context, part) for part in some])
            except StoreError:  # those who read it are told
                self._groups_put_off[context] = 2 * len(small)
            else:
                self._groups_put_off.pop(context, None)
                _, first, last, count, head, document = encode_group(self._spec, rows)
                (created,) = connection.execute(self._table.created_from, (*context, some[0].number)).fetchone()
                parameters = (first, last, count, head, created, document, some[-1].number)
                connection.execute(self._table.replace_group, parameters)
                connection.executemany(self._table.delete[False], [(part.number,) for part in some[:-1]])
        return sum(rows for _, rows, _ in sizes) if is_block(sizes[:large]) else None

    def _delete(self, context: Key, first: int, last: int, connection: Connection) -> tuple[int, StoreError | None]:
        """Delete rows from one time to another; return how many, or why none."""
        reader = self._reader
        listed = reader.list_blocks(connection, context, first, last) + reader.list_groups(connection, context)
        parts = [part for one in listed if (part := reader.restore(connection, one)).overlaps(first, last)]
        changed: list[tuple[Part, Encoded | None]] = []
        gone = 0
        try:
            for part in parts:
                if part.is_within(first, last):
                    changed.append((part, None))
                    gone += part.rows
                    continue
                rest, count = self._cut_out(connection, context, part, first, last)
                if count:
                    changed.append((part, rest))
                    gone += count
        except StoreError as error:
            return 0, error
        if not changed:
            return 0, None
        with suppress(StoreError):  # then rows that were replaced, or are in blocks and in the tail, are counted twice
            *_, gone = reader.cover(connection, context, first, last)
        at = now()
        for part, kept in changed:
            if kept is not None and not part.is_block:
                parameters = (kept.first, kept.last, kept.rows, kept.head, None, kept.document, part.number)
                connection.execute(self._table.replace_group, parameters)
                continue
            connection.execute(self._table.delete[part.is_block], (part.number,))
            if kept is not None:
                connection.execute(self._table.insert_block, kept.make_parameters(context, at, at))
        range_ = max(first, min(part.first for part, _ in changed)), min(last, max(part.last for part, _ in changed))
        self._record_deleted(connection, context, *range_, gone, at)
        return gone, None

    def _cut_out(
        self, connection: Connection, context: Key, part: Part, first: int, last: int
    ) -> tuple[Encoded | None, int]:
        """Return what remains of a part without the rows from one time to another, and how many these are."""
        from backtest_mongo.sqlite.column_documents import encode_block, encode_group

        rows = self._reader.load(connection, context, part)
        are_kept = (rows.time < first) | (rows.time > last)
        rest = rows.take(are_kept)
        if len(rest) in (0, len(rows)):  # of 0 the header would be wrong, as there are rows outside of the range
            return None, len(rows) - len(rest)
        start = part.start
        encoded = encode_group(self._spec, rest) if start is None else encode_block(self._spec, start, rest)
        return encoded, len(rows) - len(rest)

    def _delete_some(self, context: Key, owners: Collection[str], connection: Connection) -> tuple[int, bool]:
        lease_rows.refuse_held(connection, make_claim((self._spec, context)), owners, now())
        reader = self._reader
        # Groups last, as they have the rows that have replaced some of the blocks.
        parts = reader.list_blocks(connection, context, _FIRST, _LAST) + reader.list_groups(connection, context)
        some = parts[:_DELETED]
        if len(some) == len(parts):
            move_retention(connection, self._spec, context, None)
        if not some:
            return 0, False
        connection.executemany(self._table.delete[True], [(part.number,) for part in some if part.is_block])
        connection.executemany(self._table.delete[False], [(part.number,) for part in some if not part.is_block])
        rows = sum(part.rows for part in some)
        range_ = min(part.first for part in some), max(part.last for part in some)
        self._record_deleted(connection, context, *range_, rows, now())
        return rows, len(parts) > len(some)

    def _record(self, connection: Connection, context: Key, encoded: Encoded, at: int) -> None:
        connection.execute(self._table.record, fill_record(encoded.document, "written", at, context))

    def _record_deleted(self, connection: Connection, context: Key, first: int, last: int, rows: int, at: int) -> None:
        content = encode_deleted(first, last, rows)
        connection.execute(self._table.record, fill_record(content, "deleted", at, context))

    # What is called with a connection: sealing

    def _start_run(self, connection: Connection, context: Key, until: int | None) -> Run | None:
        from backtest_mongo.sqlite.column_parts import open_snapshot

        with open_snapshot(connection):
            return self._sealer.start(connection, context, until)

    def _prepare_step(self, connection: Connection, context: Key, run: Run, at: int) -> Step | None:
        from backtest_mongo.sqlite.column_parts import open_snapshot

        with open_snapshot(connection):
            return self._sealer.prepare(connection, context, run, at)

    def _apply_step(self, context: Key, run: Run, step: Step, connection: Connection) -> Counts | None:
        return self._sealer.apply(connection, context, run, step)

    def _seal_run(self, context: Key, until: int | None, connection: Connection) -> tuple[Counts, StoreError | None]:
        """Carry out a run in one transaction, which no other writer can come in between."""
        blocks = rows = at = 0
        try:
            run = self._sealer.start(connection, context, until)
            while run is not None and at < len(run.rows):
                step = self._sealer.prepare(connection, context, run, at)
                written, merged = self._sealer.apply(connection, context, run, step) or (0, 0)
                blocks, rows, at = blocks + written, rows + merged, step.end
        except StoreError as error:
            return (0, 0), error
        return (blocks, rows), None

    # What is called with a connection: reading

    def _cover(self, connection: Connection, context: Key, last: int) -> tuple[int | None, int | None, int]:
        from backtest_mongo.sqlite.column_parts import open_snapshot

        with open_snapshot(connection):
            return self._reader.cover(connection, context, _FIRST, last)

    def _list_numbers(self, connection: Connection, context: Key) -> list[tuple[bool, int]]:
        found: list[tuple[bool, int]] = []
        for is_block in (True, False):
            numbers = connection.execute(self._table.numbers[is_block], context).fetchall()
            found += [(is_block, number) for (number,) in numbers]
        return found

    def _list_starts(self, connection: Connection, context: Key) -> list[int]:
        blocks = self._reader.list_blocks(connection, context, _FIRST, _LAST)
        return [part.start for part in blocks if part.start is not None]

    def _verify(
        self, connection: Connection, context: Key, is_block: bool, number: int
    ) -> tuple[Coverage, str | None] | None:
        from backtest_mongo.sqlite.column_parts import open_snapshot

        with open_snapshot(connection):
            return self._reader.verify(connection, context, is_block, number)

    def _exists(self, connection: Connection, context: Key) -> bool:
        return any(
            connection.execute(f"{statement} LIMIT 1", context).fetchone() is not None
            for statement in self._table.numbers
        )


def _clamp(first: int, end: int) -> tuple[int, int]:
    """Return the first and the last time of a half-open range, both within those that there are.

    No row is at :data:`_FIRST`, which is all that an empty range has.
    """
    if first >= end or first > _LAST:
        return _FIRST, _FIRST
    return max(first, _FIRST), min(max(end - 1, _FIRST), _LAST)

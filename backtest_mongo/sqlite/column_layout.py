"""The tables of a slot that is a series with columns: its tail and its blocks.

A row of either is a document of :mod:`~backtest_mongo.columns.codec` as BSON, and its header: how many rows of the
series it has, their first and last times, and the header's checksum ``head``, so a header is checked without reading
the document. ``created`` and ``written`` are when its oldest and its newest row were written. The document does not
have the context, so a series is renamed without changing it.

The tail, the slot's own table, has groups of rows in the order of their writing. A block has the rows from its
``start``, which its checksum covers, to the next block's start.

A ``number`` is never given twice, so one that is still there has not been replaced; of a group with the same number
the rows become fewer, or more if others were merged into it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.sqlite.change_log import make_record, quote
from backtest_mongo.sqlite.layout import Table, name_columns

__all__ = ["BLOCKS", "ColumnTable", "make_column_table"]

#: How the name of a table of blocks ends.
BLOCKS: Final = "-blocks"
#: Names that the columns of a context can't have.
_TAIL_COLUMNS: Final = ("first", "last", "rows", "head", "created", "written", "document")
_OTHER_COLUMNS: Final = (*_TAIL_COLUMNS, "number", "start", "rowid", "oid", "_rowid_")


@dataclass(frozen=True, kw_only=True)
class ColumnTable(Table):
    """The tail of a series, and its blocks. Each statement begins with the context as its parameters."""

    blocks: Table
    #: The columns of the context.
    context: tuple[str, ...]
    #: How many rows there are, and their bytes, as SQL sums them up.
    sizes: tuple[str, str]

    # Headers: number, start (``NULL`` in the tail), first, last, rows and head.

    #: Those of the tail, in the order of writing.
    groups: str
    #: Those of the blocks that are responsible for times from one, given twice, to another, by start.
    block_heads: str
    #: Those of so many blocks that start before a time, or at it, the last one first.
    blocks_before: str
    #: That of the first block.
    first_block: str

    #: The start of the next block behind one.
    next_start: str
    #: The last time of the last block, and whether a group has a row at a time or later.
    last_time: str
    is_in_tail: str
    #: Number, rows and bytes of each group, in the order of writing.
    group_sizes: str

    insert_group: str
    insert_block: str
    #: See :func:`~backtest_mongo.sqlite.change_log.make_record`.
    record: str

    # Of both tables, by whether it is that of the blocks. Their only parameter is a number.

    fetch: tuple[str, str]
    #: The header.
    part: tuple[str, str]
    delete: tuple[str, str]
    #: First, last, rows, head, created, which stays if it is ``NULL``, and document come before the number.
    replace_group: str
    #: When the oldest of the groups from a number on was written, and the newest of those up to a number.
    created_from: str
    written_until: str
    #: When the newest row of a block was written.
    block_written: str

    #: The contexts of all series, in the order of the key, which an index has.
    contexts: str
    #: Numbers of so many blocks of any series, at random.
    sample: str
    #: How many blocks, or groups, there are, their rows, their bytes, and when the oldest row was written.
    counts: tuple[str, str]
    #: Their first and last times.
    ranges: tuple[str, str]
    #: Gives the rows of a context, which comes second, another one.
    rename: tuple[str, str]
    #: Numbers of the context's rows, of blocks by start and of groups in the order of writing.
    numbers: tuple[str, str]

    @property
    def tables(self) -> tuple[str, ...]:
        return (self.name, self.blocks.name)

    def make(self, connection: sqlite3.Connection) -> None:
        """Make both tables if they are missing.

        Raises:
            IndexConflictError: there is one with other columns.
        """
        super().make(connection)
        self.blocks.make(connection)


@cache
def make_column_table(spec: SlotSpec) -> ColumnTable:
    """Return the tables of a series with columns."""
    context = name_columns(spec.key[: len(spec.context)], _OTHER_COLUMNS)
    name = spec.collection
    blocks = f"{spec.name.replace('_', '-')}{BLOCKS}"
    table, of_blocks = both = quote(name), quote(blocks)
    stored = ("number", *context, *_TAIL_COLUMNS)
    stored_blocks = ("number", *context, "start", *_TAIL_COLUMNS)
    within = " AND ".join(f"{quote(column)}=?" for column in context) or "1"
    group_head = "number, NULL, first, last, [rows], head"
    block_head = "number, start, first, last, [rows], head"
    renamed = ", ".join(f"{quote(column)}=?" for column in context)
    indexed = "".join(f"{quote(column)}, " for column in context)
    listed = ", ".join(map(quote, context)) or "NULL"
    context_again = _number_parameters(context)
    # The start of the block that is responsible for a time: for times before all blocks it is the first one.
    responsible = (
        f"coalesce((SELECT max(start) FROM {of_blocks} WHERE {context_again} AND start<=:first), "
        f"(SELECT min(start) FROM {of_blocks} WHERE {context_again}))"
    )
    return ColumnTable(
        name=name,
        columns=stored,
        creation=(
            _make_table(name, stored, context),
            f"CREATE INDEX IF NOT EXISTS {quote(f'{name} by time')} ON {table} ({indexed}last, first, [rows], head)",
        ),
        blocks=Table(
            name=blocks,
            columns=stored_blocks,
            creation=(
                _make_table(blocks, stored_blocks, context),
                f"CREATE UNIQUE INDEX IF NOT EXISTS {quote(f'{blocks} by start')} ON {of_blocks} ({indexed}start)",
            ),
        ),
        context=context,
        sizes=("sum([rows])", "sum(length(document))"),
        groups=f"SELECT {group_head} FROM {table} WHERE {within} ORDER BY number",
        block_heads=f"SELECT {block_head} FROM {of_blocks} WHERE {context_again} AND start>={responsible} "
        "AND start<=:last ORDER BY start",
        blocks_before=f"SELECT {block_head} FROM {of_blocks} WHERE {within} AND start<=? ORDER BY start DESC LIMIT ?",
        first_block=f"SELECT {block_head} FROM {of_blocks} WHERE {within} ORDER BY start LIMIT 1",
        next_start=f"SELECT min(start) FROM {of_blocks} WHERE {within} AND start>?",
        last_time=f"SELECT last FROM {of_blocks} WHERE {within} ORDER BY start DESC LIMIT 1",
        is_in_tail=f"SELECT 1 FROM {table} WHERE {within} AND last>=? LIMIT 1",
        group_sizes=f"SELECT number, [rows], length(document) FROM {table} WHERE {within} ORDER BY number",
        insert_group=_insert(table, stored[1:]),
        insert_block=_insert(of_blocks, stored_blocks[1:]),
        record=make_record(name, context),
        fetch=_for_both("SELECT document FROM {} WHERE number=?", both),
        part=(
            f"SELECT {group_head} FROM {table} WHERE number=?",
            f"SELECT {block_head} FROM {of_blocks} WHERE number=?",
        ),
        delete=_for_both("DELETE FROM {} WHERE number=?", both),
        replace_group=f"UPDATE {table} SET first=?, last=?, [rows]=?, head=?, created=coalesce(?, created), document=? "
        "WHERE number=?",
        created_from=f"SELECT min(created) FROM {table} WHERE {within} AND number>=?",
        written_until=f"SELECT max(written) FROM {table} WHERE {within} AND number<=?",
        block_written=f"SELECT written FROM {of_blocks} WHERE number=?",
        contexts=f"SELECT {listed} FROM {table} UNION SELECT {listed} FROM {of_blocks} "
        f"ORDER BY {', '.join(str(place + 1) for place in range(max(1, len(context))))}",
        sample=f"SELECT number FROM {of_blocks} ORDER BY random() LIMIT ?",
        counts=_for_both(
            f"SELECT count(*), sum([rows]), sum(length(document)), min(created) FROM {{}} WHERE {within}", both
        ),
        ranges=_for_both(f"SELECT min(first), max(last) FROM {{}} WHERE {within}", both),
        rename=_for_both(f"UPDATE {{}} SET {renamed} WHERE {within}", both),
        numbers=(
            f"SELECT number FROM {table} WHERE {within} ORDER BY number",
            f"SELECT number FROM {of_blocks} WHERE {within} ORDER BY start",
        ),
    )


def _number_parameters(context: Sequence[str]) -> str:
    """Return the condition for a context whose values are parameters by name, as a statement has them repeatedly."""
    return " AND ".join(f"{quote(column)}=:part{at}" for at, column in enumerate(context)) or "1"


def _make_table(name: str, columns: Sequence[str], context: Sequence[str]) -> str:
    kinds = {"number": "INTEGER PRIMARY KEY AUTOINCREMENT", "document": "BLOB NOT NULL"}
    kinds |= {column: "INTEGER NOT NULL" if column == "backtest" else "TEXT NOT NULL" for column in context}
    listed = ", ".join(f"{quote(column)} {kinds.get(column, 'INTEGER NOT NULL')}" for column in columns)
    return f"CREATE TABLE IF NOT EXISTS {quote(name)} ({listed})"


def _insert(table: str, columns: Sequence[str]) -> str:
    return f"INSERT INTO {table} ({', '.join(map(quote, columns))}) VALUES ({', '.join('?' * len(columns))})"


def _for_both(statement: str, tables: tuple[str, str]) -> tuple[str, str]:
    tail, blocks = tables
    return statement.format(tail), statement.format(blocks)

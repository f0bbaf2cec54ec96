"""Transactions: many writes that are committed together, or not at all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from types import TracebackType
from typing import Self

from backtest_mongo.commit.committing import commit_rows
from backtest_mongo.commit.scope import Rows, Scope, current_scope, make_two_stores_error
from backtest_mongo.core.commits import Committer, RowWrite
from backtest_mongo.core.specs import Key
from backtest_mongo.errors import InputError

__all__ = ["Transaction", "get_default_time", "refuse_foreign_write"]


class Transaction(Scope):
    """A block whose writes are committed together at its end: see :func:`backtest_mongo.transaction`."""

    title = "transaction"

    def __init__(self, when: int | None, check: Callable[[], Awaitable[None]], run: str | None = None) -> None:
        super().__init__(run)
        self._when = when
        self._check = check
        #: What is to be written, by database: of one alone there is something.
        self._rows: dict[Committer, Rows] = {}
        self._root: Transaction = self
        self._committer: Committer | None = None
        self._has_conditions = False
        #: The slot that was written first, for messages.
        self._first_slot = ""

    @property
    def when(self) -> int | None:
        """The time of writes and reads within it that name none, in milliseconds since the epoch."""
        scope: Scope | None = self
        while isinstance(scope, Transaction):
            if scope._when is not None:
                return scope._when
            scope = scope.outer
        return None

    @property
    def default_time(self) -> int | None:
        return self.when

    async def __aenter__(self) -> Self:
        if self.loop is not None:
            raise InputError("a transaction is one block", hint="call transaction() for each")
        outer = current_scope.get()
        self.bind(outer)
        if outer is not None:
            outer.check_usable()
            if isinstance(outer, Transaction):
                self._root = outer._root
        if self._root is self:
            await self._check()
        current_scope.set(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        current_scope.set(self.outer)
        self.shut(is_over=True)
        if error is not None:
            return
        committer = self._root._committer
        if committer is None:
            return
        rows = self._rows.get(committer, {})
        if self._root is not self:
            assert isinstance(self.outer, Transaction)
            self.outer.check_usable()
            self.outer._take(committer, rows)
        else:
            await commit_rows(committer, [row for some in rows.values() for row in some.values()], self.outer)

    def _take(self, committer: Committer, rows: Rows) -> None:
        own = self._rows.setdefault(committer, {})
        for slot, some in rows.items():
            kept = own.setdefault(slot, {})
            for key, row in some.items():
                before = kept.get(key)
                if row.is_kept and before is not None:
                    row.follow(before)
                kept[key] = row

    def _get_rows(self, committer: Committer, slot: str) -> dict[Key, RowWrite]:
        return self._rows.setdefault(committer, {}).setdefault(slot, {})

    def get_finder(self, committer: Committer, slot: str) -> Callable[[Key], RowWrite | None]:
        return self._get_rows(committer, slot).get

    def get_own(self, committer: Committer, slot: str, key: Key) -> RowWrite | None:
        return self._get_rows(committer, slot).get(key)

    def list_own(self, committer: Committer, slot: str) -> Iterator[Mapping[Key, RowWrite]]:
        yield self._get_rows(committer, slot)

    def take(self, row: RowWrite, committer: Committer) -> bool:
        root = self._root
        if root._committer is not committer or root._has_conditions or row.is_conditional or row.is_removal:
            return False
        if row.is_kept:  # what it replaces is a version, too
            return False
        self._rows[committer][row.spec.name][row.key] = row
        return True

    async def write(self, rows: list[RowWrite], committer: Committer) -> None:
        root = self._root
        slot = rows[0].spec.name
        if root._committer is None:
            await committer.check()
            # Concurrent first calls wait for the same check.
            if root._committer is None:
                root._committer, root._first_slot = committer, slot
        if root._committer is not committer:
            raise make_two_stores_error("transaction", root._first_slot, root._committer.name, slot, committer.name)
        kept = self._get_rows(committer, slot)
        for row in rows:
            before = self._find_pending(committer, slot, row.key)
            if before is not None:
                if kept.get(row.key) is before:
                    row.follow(before)
                else:  # of a block around this one, which takes it over at the end
                    row.is_removal = row.is_removal and before.is_removal
                if before.is_conditional:
                    # What the first write expects is still to be found at the commit.
                    row.is_conditional, row.expected = True, before.expected
            root._has_conditions |= row.is_conditional
            kept[row.key] = row

    def _find_pending(self, committer: Committer, slot: str, key: Key) -> RowWrite | None:
        """Return what this transaction is yet to write of a row, in this block or in one around it."""
        scope: Scope | None = self
        while isinstance(scope, Transaction):
            row = scope.get_own(committer, slot, key)
            if row is not None:
                return row
            scope = scope.outer
        return None


def get_default_time() -> int | None:
    """Return the time of the current transaction, ``None`` where there is none or it has none."""
    scope = current_scope.get()
    return None if scope is None else scope.default_time


def refuse_foreign_write(slot: str, store: str) -> None:
    """Refuse a write that no database of this library carries out, where a transaction is current.

    Args:
        slot: the slot's name.
        store: what messages call its store.

    Raises:
        InputError: there is one.
    """
    scope: Scope | None = current_scope.get()
    while scope is not None:
        if isinstance(scope, Transaction):
            root = scope._root
            if root._committer is not None:
                raise make_two_stores_error("transaction", root._first_slot, root._committer.name, slot, store)
            raise InputError(
                f"a transaction can't take back what {store} writes",
                slot=slot,
                hint=f"write {slot} outside of the transaction",
            )
        scope = scope.outer

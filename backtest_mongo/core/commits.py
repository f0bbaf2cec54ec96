"""What is committed as a whole, what a lease is, and what a database needs to have for both."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias
from uuid import uuid4

from bson.raw_bson import RawBSONDocument

from backtest_mongo.core.payload import make_copier
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.types import Document

__all__ = [
    "ABSENT_ROW",
    "UNKNOWN_ROW",
    "Claim",
    "Commit",
    "Committer",
    "Holder",
    "RowWrite",
    "State",
    "make_claim",
    "name_lease",
]

#: What a database knows a stored row by: whatever tells it from every other state of the row.
State: TypeAlias = Any


_INFINITY: Final = float("inf")


class _NoState:
    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


#: The state of a row of which nothing is known: it is written over.
UNKNOWN_ROW: Final[State] = _NoState("UNKNOWN_ROW")
#: The state of a row that is known not to exist.
ABSENT_ROW: Final[State] = _NoState("ABSENT_ROW")


class RowWrite:
    """One row to be written.

    Args:
        spec: its slot.
        key: its natural key.
        fields: what is stored: the payload, encoded, and ``when`` and ``removed`` if the slot has them; and ``run`` if
            it belongs to one.
        is_removal: whether the row is only marked as removed, whatever payload it has.
        expected: what a compare-and-set was given: a version, or ``None`` for a row that no read finds.
        is_conditional: whether it is a compare-and-set.
        is_kept: whether a version of it is stored, too.
    """

    __slots__ = (
        "_image",
        "_load",
        "at",
        "earlier",
        "expected",
        "fields",
        "first",
        "is_conditional",
        "is_hidden",
        "is_kept",
        "is_removal",
        "is_waiting",
        "key",
        "known",
        "size",
        "spec",
        "when",
    )

    def __init__(
        self,
        spec: SlotSpec,
        key: Key,
        fields: Document,
        *,
        is_removal: bool = False,
        expected: str | None = None,
        is_conditional: bool = False,
        is_kept: bool = False,
    ) -> None:
        self.spec: SlotSpec = spec
        self.key: Key = key
        self.fields: Document = fields
        self.is_kept: bool = is_kept
        #: The time of its version; infinity where the database's clock gives it.
        self.at: float = _INFINITY
        if is_kept:
            at = fields.pop("at", None)
            when = fields.get("when") if at is None else at
            self.at = _INFINITY if when is None else when
        #: Versions of the row that it replaces before they were committed, oldest first.
        self.earlier: tuple[RowWrite, ...] = ()
        #: The earliest time that the row was written at since it was committed last: what is later is deleted.
        self.first: float = self.at
        self.is_removal: bool = is_removal
        self.expected: str | None = expected
        self.is_conditional: bool = is_conditional
        #: Whether it is acknowledged and not committed yet.
        self.is_waiting: bool = False
        #: The state that the row must have for the commit to go through.
        self.known: State = UNKNOWN_ROW
        payload = fields[spec.field]
        #: Bytes of the payload, about.
        self.size: int = len(payload.raw) if type(payload) is RawBSONDocument else 64
        #: Whether a read finds nothing: it is removed, or its payload is null.
        self.is_hidden: bool = payload is None or fields.get("removed") is True
        when = fields.get("when")
        #: Its simulation time; infinity where that is not a number, so that who reads with a limit looks closer.
        self.when: float = when if type(when) is int else _INFINITY
        self._load: Callable[[bytes], Any] | None = None
        self._image = b""

    def follow(self, before: RowWrite) -> None:
        """Replace what is yet to be committed of the same row, and take over its versions that are not later."""
        self.is_removal = self.is_removal and before.is_removal
        if self.is_kept:
            self.earlier = tuple(row for row in (*before.earlier, before) if row.at < self.at)
            self.first = min(before.first, self.at)
            self.size += sum(row.size for row in self.earlier)

    def find_at(self, until: float) -> RowWrite | None:
        """Return the latest of its versions that is not later than a time."""
        return next((row for row in (self, *reversed(self.earlier)) if row.at <= until), None)

    def copy_payload(self) -> Any:
        """Return the payload, a copy of its own for each caller."""
        if self._load is None:
            self._load, self._image = make_copier(self.fields[self.spec.field])
        return self._load(self._image)

    def copy_document(self) -> Document:
        """Return the row as a read finds it, without its key; the payload is the caller's own."""
        document = self.fields.copy()
        document[self.spec.field] = self.copy_payload()
        return document


def name_lease(spec: SlotSpec, context: Key) -> str:
    """Return the id of the lease of a context: its slot, and the values of its key, in the order of the key."""
    return f"{spec.name}{json.dumps(context, ensure_ascii=False)}"


@dataclass(slots=True, kw_only=True)
class Claim:
    """The leases of one owner in one database.

    Attributes:
        owner: the owner's id, of which there is one for each time that leases are taken.
        ttl: seconds until a lease that is not renewed may be taken by others.
        contexts: slot and context of each lease, by its id. The first one is the head: it is changed by every commit,
            and whoever takes one of the leases from the owner takes them all.
        handle: what the database keeps for the owner.
    """

    owner: str
    ttl: float
    contexts: dict[str, tuple[SlotSpec, Key]]
    handle: Any = None

    @property
    def head(self) -> str:
        """The id of the lease that commits change."""
        return next(iter(self.contexts))


def make_claim(*contexts: tuple[SlotSpec, Key]) -> Claim:
    """Return the leases of contexts for nobody, to ask who holds them."""
    return Claim(owner="", ttl=0, contexts={name_lease(spec, context): (spec, context) for spec, context in contexts})


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A lease that is held.

    Attributes:
        id: the lease's id: the slot, and the values of the context in the order of the unique key.
        slot: the slot's name.
        context: the fields of the natural key that are the context, by name.
        host: the name of the owner's machine.
        process: the number of the owner's process.
        since: when the owner took it, in milliseconds since the epoch, by the database's clock.
        until: when it ends unless it is renewed, likewise.
        is_expired: whether that time is over, by the database's clock.
        owner: the owner's id. All leases of one owner are lost together.
    """

    id: str
    slot: str
    context: dict[str, Any]
    host: str
    process: int
    since: int
    until: int
    is_expired: bool
    owner: str


class Commit:
    """Rows that are written together, under the leases of their contexts.

    Args:
        rows: the rows, with different keys, in the order in which they were first written.
        claims: whose leases cover them, which are fenced.
        seconds: how long it may take.
    """

    def __init__(self, rows: Sequence[RowWrite], claims: Sequence[Claim], seconds: float) -> None:
        self.id: str = uuid4().hex
        self.rows: Sequence[RowWrite] = rows
        self.claims: Sequence[Claim] = claims
        self.seconds: float = seconds
        #: What the database keeps of a commit whose outcome is unknown.
        self.in_doubt: Any = None
        #: How many times it was sent again because others wrote the same rows.
        self.conflicts: int = 0
        #: The context of who waits for it, as telemetry knows it.
        self.caller: Context = Context()


class Committer(Protocol):
    """A database on one event loop that can commit many rows as a whole, and has leases.

    An SQLite file that can't be opened makes each method raise ``ConfigError``.
    """

    @property
    def name(self) -> str:
        """What messages call the database."""
        ...

    @property
    def seconds(self) -> float:
        """How long an operation may take."""
        ...

    async def check(self) -> None:
        """Make sure that the database can do this at all.

        Raises:
            StoreError: it can't, as a standalone MongoDB, or it answers with an error.
            StoreUnavailableError: it does not answer.
        """
        ...

    async def commit(self, commit: Commit) -> Sequence[State]:
        """Write all rows or none, and return the states that they have then, in their order.

        Raises:
            CommitUnknownError: whether it was applied is unknown. Calling this again finds out, and applies it.
            StoreUnavailableError: the database does not answer, or others write the same rows; nothing is stored.
            StoreError: the database refuses a row; nothing is stored.
            LeaseLostError: one of the leases is no longer the owner's, or another writer has written a leased row.
            ConflictError: a compare-and-set has found something else.
        """
        ...

    async def write(self, row: RowWrite) -> None:
        """Write one row, with others that are written at the same time.

        Raises:
            StoreUnavailableError: the database does not answer; ``may_be_applied`` says whether it may be stored.
            StoreError: the database refuses the row, or has no transactions, as a standalone MongoDB; nothing is
                stored.
            ConflictError: a compare-and-set has found something else.
        """
        ...

    async def write_all(self, rows: Sequence[RowWrite]) -> None:
        """Write rows of different keys of one slot, all or at least a thousand at a time in one transaction.

        Of concurrent calls with the same key, here and of :meth:`write`, the last one counts.

        Raises:
            StoreUnavailableError: the database does not answer; ``may_be_applied`` says whether some may be stored.
            StoreError: the database refuses one of them, or has no transactions: none of its transaction is stored.
        """
        ...

    async def settle(self, commit: Commit) -> Sequence[State] | None:
        """Find out whether a commit was applied whose outcome was unknown: ``None`` if it was not and never will be.

        Raises:
            CommitUnknownError: it is still unknown.
        """
        ...

    async def read(self, spec: SlotSpec, key: Key) -> tuple[Document | None, State]:
        """Return a stored row and its state.

        Raises:
            StoreUnavailableError: the database does not answer, or another process keeps it locked.
            StoreError: it answers with an error, or what is stored can't be decoded.
        """
        ...

    async def acquire(self, claim: Claim, ids: Sequence[str]) -> None:
        """Take leases, all or none.

        Raises:
            LeaseHeldError: one of them is held by another owner.
            StoreUnavailableError: the database does not answer, or another process keeps it locked; they may be taken.
            StoreError: it answers with an error.
        """
        ...

    async def renew(self, claim: Claim) -> bool:
        """Renew all leases of an owner, and return whether they are still its own.

        Raises:
            StoreUnavailableError: the database does not answer, or another process keeps it locked.
            StoreError: it answers with an error.
        """
        ...

    async def release(self, claim: Claim) -> None:
        """Give back all leases of an owner.

        Raises:
            StoreUnavailableError: the database does not answer, or another process keeps it locked.
            StoreError: it answers with an error.
        """
        ...

    async def list_leases(self) -> list[Holder]:
        """Return all leases that are held, by id.

        Raises:
            StoreUnavailableError: the database does not answer, or another process keeps it locked.
            StoreError: it answers with an error.
        """
        ...

    async def release_by_force(self, name: str) -> bool:
        """Take a lease from its owner, and return whether it was held.

        Raises:
            StoreUnavailableError: the database does not answer, or another process keeps it locked.
            StoreError: it answers with an error.
        """
        ...

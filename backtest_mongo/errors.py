"""The errors that this library raises.

::

    BacktestMongoError
    ├── ConfigError (ValueError)            a configuration field is unknown or wrong
    ├── SlotError (ValueError)              a row of a slot table contradicts itself or another row
    ├── InputError (ValueError)             the caller's mistake; nothing was sent
    │   └── InputTypeError (TypeError)      ... and the type is at fault
    ├── ConflictError                       a conditional write found another row than it expects; nothing was written
    ├── StoreUnavailableError               MongoDB can't be reached or did not answer in time, or SQLite is locked
    │   ├── InitError                       a server was still unreachable when ``wait_for_init`` gave up
    │   └── CommitUnknownError              whether a transaction was committed is unknown; it can find out
    ├── LeaseError                          a lease can't be had, or can't be used
    │   ├── LeaseHeldError                  another owner has it
    │   └── LeaseLostError                  it has ended, or somebody else has written its rows
    ├── StoreError                          MongoDB, SQLite, or the disk that holds files answered with an error
    │   ├── IndexConflictError              an existing index or table conflicts with what a slot needs
    │   └── PayloadError                    what is stored doesn't fit the model that it is read into
    ├── ServerError                         an embedded server can't be found, started or kept running
    └── ChildError                          a trading process of the demo exited without being killed

Redis has no error here. It is a cache: a failure costs time and one warning, and is never raised.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

__all__ = [
    "BacktestMongoError",
    "CommitUnknownError",
    "ConfigError",
    "ConflictError",
    "IndexConflictError",
    "InitError",
    "InputError",
    "InputTypeError",
    "LeaseError",
    "LeaseHeldError",
    "LeaseLostError",
    "PayloadError",
    "ServerError",
    "SlotError",
    "StoreError",
    "StoreUnavailableError",
]


class BacktestMongoError(Exception):
    """The root of every error that this library raises on purpose.

    No field ever holds a credential.

    Attributes:
        message: which call failed, and why.
        slot: the slot that it concerns, or ``None``.
        collection: the MongoDB collection, or ``None``.
        key: the natural key of the document, or ``None``.
        hint: what to do about it, or ``None``.
    """

    def __init__(
        self,
        message: str,
        *,
        slot: str | None = None,
        collection: str | None = None,
        key: Mapping[str, Any] | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.slot = slot
        self.collection = collection
        self.key: dict[str, Any] | None = dict(key) if key is not None else None
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.slot}: {self.message}" if self.slot else self.message
        return f"{text} ({self.hint})" if self.hint else text

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception.__reduce__ drops keyword-only arguments, and errors do cross process pools.
        return _rebuild, (type(self), self.message, self.__dict__.copy())


def _rebuild(cls: type[BacktestMongoError], message: str, state: dict[str, Any]) -> BacktestMongoError:
    error = cls(message)
    error.__dict__.update(state)
    return error


class ConfigError(BacktestMongoError, ValueError):
    """A configuration field is unknown or holds a bad value; the message names the field."""


class SlotError(BacktestMongoError, ValueError):
    """A :class:`~backtest_mongo.SlotSpec` contradicts itself or another row; the message names both."""


class InputError(BacktestMongoError, ValueError):
    """An argument can't be stored or queried. Nothing was sent to any server."""


class InputTypeError(InputError, TypeError):
    """An argument has a type that can't be stored or queried. Nothing was sent to any server."""


class ConflictError(BacktestMongoError):
    """A write with ``if_absent`` or ``expect`` found another row than it expects. Nothing was written.

    Attributes:
        found: the payload that is there, or ``None`` where a read finds nothing.
        version: the version of the row that is there, for ``expect`` of the next try.
    """

    found: Any = None
    version: str = ""


class StoreUnavailableError(BacktestMongoError):
    """MongoDB can't be reached or did not answer in time, or another process kept an SQLite file locked.

    Attributes:
        may_be_applied: true after a write whose outcome is unknown: it may have been applied, or may still be. To
            settle it, repeat the write, as every write is an upsert on its natural key. Repeating it also replaces what
            another writer has stored in the meantime.
    """

    may_be_applied: bool = False


class InitError(StoreUnavailableError):
    """A server was still unreachable, or refused the connection, when ``wait_for_init`` gave up. It can be retried."""


class CommitUnknownError(StoreUnavailableError):
    """Whether a transaction was committed is unknown: the answer was lost, and the time was up.

    ``may_be_applied`` is true. Either all of its writes are stored, or none, or they will be in a moment.
    """

    _again: Callable[[], Awaitable[None]] | None = None

    async def commit_again(self) -> None:
        """Find out whether the transaction was committed, and commit it if it was not.

        Once it returns, all of its writes are stored. It can be called any number of times, on the same event loop.

        Raises:
            CommitUnknownError: it is still unknown.
            LeaseLostError: it was not committed, and can't be any more.
            BacktestMongoError: it was not committed, for another reason; nothing of it is stored.
        """
        if self._again is None:
            raise InputError(
                "commit_again() works in the process in which the error was raised",
                hint="read what is stored: all writes of the transaction are there, or none",
            )
        await self._again()

    def __reduce__(self) -> tuple[Any, ...]:
        # The connection stays in its process.
        state = {name: value for name, value in self.__dict__.items() if name != "_again"}
        return _rebuild, (type(self), self.message, state)


class LeaseError(BacktestMongoError):
    """A lease can't be had, or can't be used."""


class LeaseHeldError(LeaseError):
    """Another owner has the lease of a context.

    Attributes:
        host: the name of the owner's machine.
        process: the number of the owner's process.
        since: when the owner took it, in milliseconds since the epoch, by the database's clock.
        until: when it ends unless the owner renews it, likewise.
    """

    host: str = ""
    process: int = 0
    since: int = 0
    until: int = 0


class LeaseLostError(LeaseError):
    """A lease has ended before its block has, or somebody else has written a row that it covers.

    Nothing of the transaction that met it is stored, and nothing can be written under the lease any more. Leave the
    block, take the lease anew, and go on from what is stored.
    """

    #: The owner whose lease it is; empty where that is not known.
    owner: str = ""


class StoreError(BacktestMongoError):
    """MongoDB, SQLite, or the disk that holds files answered with an error.

    Attributes:
        code: the server's code of the error, or SQLite's extended one; ``None`` if there is none.
    """

    code: int | None = None


class IndexConflictError(StoreError):
    """An existing index, or the table of an SQLite file, conflicts with what a slot needs."""


class PayloadError(StoreError):
    """What is stored doesn't fit the model that it is read into. It stays as it is.

    It is a ``StoreError``, because what is stored is at fault and not what the caller passed. An object that would not
    fit its own model is an ``InputError`` when it is written.

    Attributes:
        context: the constructor's arguments by name.
        path: where the first problem is in the payload, such as ``_entry[0].price``; empty for the payload as a whole.
        problems: all problems, as pairs of a path and what is wrong there.
        payload: what is stored.
    """

    context: Mapping[str, str | bool] | None = None
    path: str = ""
    problems: tuple[tuple[str, str], ...] = ()
    payload: Any = None


class ServerError(BacktestMongoError):
    """An embedded server can't be found, started or kept running."""

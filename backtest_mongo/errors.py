"""The errors that this library raises.

::

    BacktestMongoError
    ├── ConfigError (ValueError)            a configuration field is unknown or wrong
    ├── SlotError (ValueError)              a row of a slot table contradicts itself or another row
    ├── InputError (ValueError)             the caller's mistake: nothing was sent
    │   └── InputTypeError (TypeError)      ... and the type is at fault
    ├── StoreUnavailableError               MongoDB can't be reached, or did not answer in time
    │   └── InitError                       a server was still unreachable when ``wait_for_init`` gave up
    ├── StoreError                          MongoDB, or the disk that files are on, answered with an error
    │   └── IndexConflictError              an index in the database is in the way of one of ours
    ├── ServerError                         an embedded server can't be found, started or kept running
    └── ChildError                          a trading process of the demo ended although nobody killed it

Redis has no error here: it is a cache, so a Redis that fails costs time and a warning, never an exception.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = [
    "BacktestMongoError",
    "ConfigError",
    "IndexConflictError",
    "InitError",
    "InputError",
    "InputTypeError",
    "ServerError",
    "SlotError",
    "StoreError",
    "StoreUnavailableError",
]


class BacktestMongoError(Exception):
    """The root of every error that this library raises on purpose.

    ``slot`` and ``collection`` say where it happened and ``key`` which document was meant, each ``None`` where
    that has no meaning; ``hint`` says what to do about it. No field ever holds a credential.
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
    """The caller gave something that can't be stored or asked for. Nothing was sent to any server."""


class InputTypeError(InputError, TypeError):
    """The caller gave a value of a type that can't be stored or asked for. Nothing was sent to any server."""


class StoreUnavailableError(BacktestMongoError):
    """MongoDB can't be reached or did not answer in time.

    ``may_be_applied`` is true after a write whose outcome is unknown: it may have been applied, or may still be.
    Writing the same again makes it sure, as every write is an upsert on its natural key; it also replaces what another
    writer has written meanwhile.
    """

    may_be_applied: bool = False


class InitError(StoreUnavailableError):
    """A server was still unreachable, or refused us, when ``wait_for_init`` gave up; it can be called again."""


class StoreError(BacktestMongoError):
    """MongoDB, or the disk that files are on, answered with an error. ``code`` is the server's, where there is one."""

    code: int | None = None


class IndexConflictError(StoreError):
    """An index that is already in the database contradicts one that a slot needs."""


class ServerError(BacktestMongoError):
    """An embedded server can't be found, started or kept running."""

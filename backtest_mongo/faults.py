"""The driver's errors in this library's words."""

from __future__ import annotations

from typing import Any, Final

from bson.errors import BSONError
from pymongo.errors import (
    ConfigurationError,
    ConnectionFailure,
    DocumentTooLarge,
    ExecutionTimeout,
    InvalidOperation,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
)

from backtest_mongo.errors import BacktestMongoError, IndexConflictError, InputError, StoreError, StoreUnavailableError
from backtest_mongo.specs import SlotSpec
from backtest_mongo.types import Document

__all__ = ["DRIVER_ERRORS", "DUPLICATE_KEY", "is_transient", "translated", "without_frames"]

#: What a call of the driver raises.
DRIVER_ERRORS: Final = (PyMongoError, BSONError)
#: The server's code of a write that would break a unique index.
DUPLICATE_KEY: Final = 11000
_TOO_LARGE: Final = (17419, 17420, 10334)
#: What a server answers that is going down, coming up or changing its role, or has lost the cursor of a list meanwhile:
#: the retryable errors of the drivers' specification, and CursorNotFound, QueryPlanKilled and CursorKilled.
_TRANSIENT: Final = frozenset(
    (6, 7, 43, 89, 91, 134, 175, 189, 237, 262, 9001, 10107, 11600, 11602, 13435, 13436)
)  # fmt: skip
_UNREACHABLE: Final = (ConnectionFailure, ConfigurationError, ExecutionTimeout, WaitQueueTimeoutError)


def is_transient(error: Exception) -> bool:
    """Tell whether the same call may succeed soon: the connection was lost, or the server can't serve just now."""
    if isinstance(error, ServerSelectionTimeoutError):
        return False  # the driver has waited for a server as long as it may
    if isinstance(error, ConnectionFailure):
        return True
    if not isinstance(error, OperationFailure):
        return False
    details = error.details or {}
    if str(details.get("errmsg", "")).startswith("Transaction numbers"):
        # PyMongo repeats a write whose connection could not be made as if it were on a replica set. A standalone
        # refuses it then, and takes it when it is asked anew.
        return True
    failed = (*details.get("writeErrors", ()), *details.get("writeConcernErrors", ()))
    return error.code in _TRANSIENT or any(row.get("code") in _TRANSIENT for row in failed)


def translated(error: Exception, doing: str, spec: SlotSpec, key: Document | None) -> BacktestMongoError:
    where: dict[str, Any] = {"slot": spec.name, "collection": spec.collection, "key": key}
    kind = type(error).__name__
    details = (error.details or {}) if isinstance(error, OperationFailure) else {}
    failed = details.get("writeErrors") or [{}]
    code = failed[0].get("code") or getattr(error, "code", None)
    if isinstance(error, DocumentTooLarge) or code in _TOO_LARGE:
        return InputError(f"{doing} failed: the document is over MongoDB's limit of 16 MiB", **where)
    if isinstance(error, BSONError):
        hint = "another program has written what Python can't hold"
        return StoreError(f"{doing} failed: a stored document can't be decoded ({kind})", **where, hint=hint)
    if isinstance(error, InvalidOperation):
        closed = StoreUnavailableError(f"{doing} failed: the connections were closed meanwhile", **where)
        closed.may_be_applied = _is_write(doing)
        return closed
    unconfirmed = bool(details.get("writeConcernErrors")) and not failed[0]
    if unconfirmed or getattr(error, "timeout", False) or isinstance(error, _UNREACHABLE):
        unknown = _is_write(doing)
        unavailable = StoreUnavailableError(
            f"{doing} failed: MongoDB is unavailable ({kind})",
            **where,
            hint="it may have been applied or not" if unknown else "is it running, and the address right?",
        )
        unavailable.may_be_applied = unknown
        return unavailable
    if code == DUPLICATE_KEY:
        conflict = _conflict(doing, spec, failed[0].get("keyPattern") or details.get("keyPattern"), where)
        conflict.code = code
        return conflict
    advice: str | None = None
    if code == 13:
        advice = "the user lacks the right to do this"
    elif code == 18:
        advice = "the login is refused: check user, password and authSource"
    elif code == 123:
        advice = "linearizable reads need a replica set"
    refused = StoreError(f"{doing} failed: MongoDB answered with error {code or kind}", **where, hint=advice)
    refused.code = code
    return refused


def _conflict(doing: str, spec: SlotSpec, pattern: Document | None, where: dict[str, Any]) -> IndexConflictError:
    """Return the error of a write that a unique index refuses, which can't be one of ours: writes are upserts."""
    over = f" over {', '.join(pattern)}" if pattern else ""
    hint = "compare the collection's indexes with the slot's key, and drop the one that is not of this library"
    if pattern and spec.former and {*pattern} == {*spec.former}:
        hint = (
            "an older version of the Node package made it: `backtest-mongo migrate` shows what is to be done, "
            "and with --apply does it"
        )
    return IndexConflictError(
        f"{doing} failed: a unique index{over}, which is not ours, is in the way", **where, hint=hint
    )


def without_frames(error: BaseException) -> BaseException:
    """Return the error, and all that led to it, without the frames it came through.

    In some of them the driver holds the password in variables, and there are reports that show variables.
    """
    chain: BaseException | None = error
    seen: set[int] = set()
    while chain is not None and id(chain) not in seen:
        seen.add(id(chain))
        chain.__traceback__ = None
        chain = chain.__cause__ or chain.__context__
    return error


def _is_write(doing: str) -> bool:
    return doing.startswith(("writing", "removing"))

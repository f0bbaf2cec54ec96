"""The driver's errors: which of them to retry, and as which of this library's errors to raise them."""

from __future__ import annotations

import re
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
    WriteConcernError,
)

from backtest_mongo.core.outcomes import UNKNOWN
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.errors import BacktestMongoError, IndexConflictError, InputError, StoreError, StoreUnavailableError
from backtest_mongo.types import Document

__all__ = [
    "DRIVER_ERRORS",
    "DUPLICATE_KEY",
    "describe_error",
    "is_answer",
    "is_transient",
    "make_not_primary_error",
    "make_unanswered_error",
    "strip_frames",
    "translate_error",
]

#: What the driver's calls raise.
DRIVER_ERRORS: Final = (PyMongoError, BSONError)
#: The server's code of a write that would break a unique index.
DUPLICATE_KEY: Final = 11000
_TOO_LARGE: Final = (17419, 17420, 10334)
#: What a server answers that is going down, coming up or changing its role, or has lost the cursor of a list meanwhile:
#: the retryable errors of the drivers' specification, and CursorNotFound, QueryPlanKilled and CursorKilled.
_TRANSIENT: Final = frozenset(
    (6, 7, 43, 89, 91, 134, 175, 189, 237, 262, 9001, 10107, 11600, 11602, 13435, 13436)
)  # fmt: skip
#: What the server calls the errors of single writes in a bulk write, of which it sends the number alone.
_NAMES: Final = {2: "BadValue", 14: "TypeMismatch", 121: "DocumentValidationFailure"}
_BAD_OPTION: Final = (9, 72)  # FailedToParse, InvalidOptions
_READ_CONCERNS: Final = ("local", "available", "majority", "linearizable", "snapshot")
_ADVICE: Final = {
    13: "the user lacks the right to do this",
    18: "the login was refused: check user, password and authSource",
}
#: Where the drivers' texts begin to repeat the whole topology, the settings, or the server's reply.
_DETAILS: Final = re.compile(r", Timeout:|, full error:| \(configured timeouts:|\n")
_UNREACHABLE: Final = (ConnectionFailure, ConfigurationError, ExecutionTimeout, WaitQueueTimeoutError)


def is_transient(error: Exception) -> bool:
    """Return whether the same call may succeed soon: the connection was lost, or the server can't serve just now."""
    if isinstance(error, ServerSelectionTimeoutError):
        return False  # the driver has waited for a server as long as it may
    if isinstance(error, ConnectionFailure):
        return True
    if not isinstance(error, OperationFailure):
        return False
    details = error.details or {}
    if str(details.get("errmsg", "")).startswith("Transaction numbers"):
        # PyMongo repeats a write whose connection could not be made as if it were on a replica set. A standalone
        # refuses that, and accepts the write when it is sent again.
        return True
    failed = (*details.get("writeErrors", ()), *details.get("writeConcernErrors", ()))
    return error.code in _TRANSIENT or any(row.get("code") in _TRANSIENT for row in failed)


def is_answer(error: Exception) -> bool:
    """Return whether the server has carried out a call or refused it for good, so that it serves others too.

    A request whose time was up was neither. The driver raises the server's error for it as well where too little time
    is left to ask.
    """
    if not isinstance(error, OperationFailure):
        return False
    return _is_unconfirmed(error) or not (error.timeout or is_transient(error))


def translate_error(
    error: Exception,
    doing: str,
    spec: SlotSpec,
    key: Document | None,
    hosts: str,
    read_concern: str = "linearizable",
) -> BacktestMongoError:
    """Return the error to raise. ``hosts`` are the addresses of MongoDB, without credentials.

    ``read_concern`` is the level of the collection's reads.
    """
    where: dict[str, Any] = {"slot": spec.name, "collection": spec.collection, "key": key}
    kind = type(error).__name__
    details = (error.details or {}) if isinstance(error, OperationFailure) else {}
    failed = details.get("writeErrors") or [{}]
    code = failed[0].get("code") or getattr(error, "code", None)
    if isinstance(error, DocumentTooLarge) or code in _TOO_LARGE:
        return InputError(f"{doing} failed: the document is over MongoDB's limit of 16 MiB", **where)
    if isinstance(error, BSONError):
        hint = "another program wrote a value that Python can't represent"
        return StoreError(f"{doing} failed: a stored document can't be decoded ({kind})", **where, hint=hint)
    if isinstance(error, InvalidOperation):
        closed = StoreUnavailableError(f"{doing} failed: the connections were closed before it was answered", **where)
        closed.may_be_applied = _is_write(doing)
        return closed
    unreachable = getattr(error, "timeout", False) or isinstance(error, _UNREACHABLE)
    if unreachable or _is_unconfirmed(error) or is_transient(error):
        unknown = _is_write(doing)
        unavailable = StoreUnavailableError(
            f"{doing} failed: MongoDB at {hosts} is unavailable ({kind})",
            **where,
            hint=UNKNOWN if unknown else "is it running, and is CC_MONGO_CONNECTION_STRING right?",
        )
        unavailable.may_be_applied = unknown
        return unavailable
    if code == DUPLICATE_KEY:
        conflict = _conflict(doing, spec, failed[0].get("keyPattern") or details.get("keyPattern"), where)
        conflict.code = code
        return conflict
    advice = _ADVICE.get(code or 0)
    if code == 123:
        advice = f"{read_concern} reads need a replica set"
    elif code == 148:
        advice = f"majority reads are turned off on the server, and {read_concern} reads need them"
    elif code in _BAD_OPTION and read_concern not in _READ_CONCERNS:
        advice = "MongoDB does not know the readConcernLevel in CC_MONGO_CONNECTION_STRING"
    name = failed[0].get("codeName") or (details.get("codeName") if not failed[0] else None) or _NAMES.get(code or 0)
    answer = f"{code} ({name})" if code and name else code or name or kind
    refused = StoreError(f"{doing} failed: MongoDB answered with error {answer}", **where, hint=advice)
    refused.code = code
    return refused


def make_unanswered_error(
    doing: str, spec: SlotSpec, key: Document | None, hosts: str, reason: str, was_sent: bool
) -> StoreUnavailableError:
    """Return the error of a call whose answer is no longer awaited."""
    unknown = was_sent and _is_write(doing)
    error = StoreUnavailableError(
        f"{doing} failed: MongoDB at {hosts} is unavailable: {reason}",
        slot=spec.name,
        collection=spec.collection,
        key=key,
        hint=UNKNOWN if unknown else None if was_sent else "it was not sent",
    )
    error.may_be_applied = unknown
    return error


def make_not_primary_error(doing: str, spec: SlotSpec, hosts: str) -> StoreUnavailableError:
    """Return the error of a read from a server that is known not to be the primary."""
    return StoreUnavailableError(
        f"{doing} failed: MongoDB at {hosts} is unavailable: it is not the primary, and only the primary is up to date",
        slot=spec.name,
        collection=spec.collection,
        hint="directConnection=true keeps to this server; name the replicaSet instead to follow the primary",
    )


def _is_unconfirmed(error: Exception) -> bool:
    """Return whether a write was applied, and only the wait until it was durable failed.

    An index may have rejected some rows of a bulk write as well; for the others the same holds.
    """
    if isinstance(error, WriteConcernError):  # of a single command, whichever its code
        return True
    details = (error.details or {}) if isinstance(error, OperationFailure) else {}
    refused = details.get("writeErrors", ())
    return bool(details.get("writeConcernErrors")) and all(row.get("code") == DUPLICATE_KEY for row in refused)


def describe_error(error: BaseException) -> str:
    """Return in a few words why a server can't be reached or denies access: the drivers' own texts take many lines."""
    kind = type(error).__name__
    if isinstance(error, OperationFailure) and error.code is not None:
        name = (error.details or {}).get("codeName") or kind
        advice = _ADVICE.get(error.code)
        return f"error {error.code}, {name}{f': {advice}' if advice else ''}"
    text = _DETAILS.split(str(error))[0].strip()
    return f"{kind}: {text[:200].rstrip('.')}" if text else kind


def _conflict(doing: str, spec: SlotSpec, pattern: Document | None, where: dict[str, Any]) -> IndexConflictError:
    """Return the error of a write that a unique index refuses, which can't be one of ours: writes are upserts."""
    if doing.startswith("preparing"):
        return IndexConflictError(
            f"{doing} failed: several documents have the same key, so the unique index can't be created",
            **where,
            hint="delete all but one document of each key; the next operation creates the index",
        )
    fields = f" on {', '.join(pattern)}" if pattern else ""
    hint = "compare the collection's indexes with the slot's key, and drop the one that this library did not create"
    if pattern and spec.former and {*pattern} == {*spec.former}:
        hint = (
            "an older version of the Node package created it: `backtest-mongo migrate` shows what to do, "
            "and with --apply does it"
        )
    return IndexConflictError(
        f"{doing} failed: a unique index{fields}, which this library did not create, rejects the row",
        **where,
        hint=hint,
    )


def strip_frames(error: BaseException) -> BaseException:
    """Return the error, and all that led to it, without the frames it came through.

    Some of these frames hold the password in a variable, and some error reports show variables.
    """
    chain: BaseException | None = error
    known: set[int] = set()
    while chain is not None and id(chain) not in known:
        known.add(id(chain))
        chain.__traceback__ = None
        chain = chain.__cause__ or chain.__context__
    return error


def _is_write(doing: str) -> bool:
    return doing.startswith(("writing", "removing", "deleting", "renaming"))

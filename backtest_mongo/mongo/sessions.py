"""Sessions and transactions of either driver, which differ in what has to be awaited."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any, Final

from pymongo import ReadPreference, WriteConcern
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern

from backtest_mongo.connection.driver_errors import DRIVER_ERRORS
from backtest_mongo.connection.hub import Hub
from backtest_mongo.connection.operation import Deadline, seconds_left
from backtest_mongo.core.log import log

__all__ = ["abort", "begin", "commit_again", "is_conflict", "is_uncertain", "open_session"]

#: How long an abort may take; it has time of its own, as it is never sent once a deadline is over.
_ABORT_SECONDS: Final = 2.0
_FIRST_PAUSE: Final = 0.002
_LONGEST_PAUSE: Final = 0.25
_MAJORITY: Final = WriteConcern("majority")
_LOCAL: Final = ReadConcern("local")
#: What a server answers to a statement of a transaction that lost against another one, or that it does not know.
_CONFLICTS: Final = frozenset((24, 112, 246, 251))


async def open_session(hub: Hub) -> Any:
    """Return a session, which is made with the first command that uses it."""
    session: Any = hub.mongo.start_session()
    return await session if inspect.isawaitable(session) else session  # Motor's is one to await


async def begin(session: Any) -> None:
    """Begin a transaction, which replaces the session's last one."""
    begun = session.start_transaction(
        read_concern=_LOCAL, write_concern=_MAJORITY, read_preference=ReadPreference.PRIMARY
    )
    if inspect.isawaitable(begun):  # PyMongo's
        await begun


async def abort(session: Any) -> None:
    """Abort a transaction, so that its rows are free; if the server can't be reached, it ends by itself."""
    try:
        with Deadline(_ABORT_SECONDS):
            await session.abort_transaction()
    except PyMongoError as error:
        log().debug("a transaction was not aborted", error=type(error).__name__)


async def commit_again(session: Any) -> None:
    """Commit a transaction, again until its outcome is known or the time is up.

    Raises:
        PyMongoError: it is not committed or, if :func:`is_uncertain` of it, that is unknown.
    """
    pause = _FIRST_PAUSE
    while True:
        try:
            await session.commit_transaction()
        except DRIVER_ERRORS as error:
            if not is_uncertain(error) or pause >= seconds_left():
                raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        else:
            return


def is_conflict(error: Exception) -> bool:
    """Return whether a transaction was not applied and may be if it is sent again."""
    if not isinstance(error, PyMongoError):
        return False
    if error.has_error_label("TransientTransactionError"):
        return True
    details = (error.details or {}) if isinstance(error, OperationFailure) else {}
    failed = details.get("writeErrors", ())
    code = getattr(error, "code", None)
    return code in _CONFLICTS or any(row.get("code") in _CONFLICTS for row in failed)


def is_uncertain(error: Exception) -> bool:
    """Return whether a commit that failed like this may have been applied, or may still be."""
    if isinstance(error, PyMongoError) and error.has_error_label("UnknownTransactionCommitResult"):
        return True
    if isinstance(error, ConnectionFailure):
        return True
    return not isinstance(error, OperationFailure) or error.timeout

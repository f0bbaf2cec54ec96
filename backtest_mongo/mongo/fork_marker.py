"""The marker of a database that was made by ``fork()``.

::

    {_id: "fork", source: "backtest-kit", at: 1733043600000, strategyName: null, asBacktest: false,
     candles: "backtest-kit", begun: <date>, finished: <date>, owner: ...}

It is in the collection of the format marker, and is the first document of the database. ``finished`` is null until all
rows are there, and ``owner`` says which call writes them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId
from pymongo.errors import DuplicateKeyError

from backtest_mongo.core.fork_marks import ForkMark
from backtest_mongo.mongo.format import FORK_ID, MARKERS
from backtest_mongo.types import Document, to_millis

if TYPE_CHECKING:
    from pymongo.asynchronous.database import AsyncDatabase

__all__ = ["begin_fork", "finish_fork", "read_fork"]

_MINE: Final = {"_id": FORK_ID}


async def read_fork(database: AsyncDatabase[Document]) -> ForkMark | None:
    """Return what the marker says, ``None`` if there is none.

    Raises:
        PyMongoError: the server can't be reached, or refuses it.
    """
    marker = await database[MARKERS].find_one(_MINE)
    if marker is None:
        return None
    name = marker.get("strategyName")
    return ForkMark(
        source=str(marker.get("source", "")),
        at=int(marker.get("at", 0)),
        strategy_name=None if name is None else str(name),
        as_backtest=marker.get("asBacktest") is True,
        candles=str(marker.get("candles", "")),
        begun=_read_time(marker.get("begun")) or 0,
        finished=_read_time(marker.get("finished")),
    )


async def begin_fork(database: AsyncDatabase[Document], mark: ForkMark, owner: ObjectId) -> bool:
    """Write the marker of a fork that is started or restarted, and return whether nobody else has started another one.

    Raises:
        PyMongoError: the server can't be reached, or refuses it.
    """
    marker: Document = {
        "source": mark.source,
        "at": mark.at,
        "strategyName": mark.strategy_name,
        "asBacktest": mark.as_backtest,
        "candles": mark.candles,
    }
    begun = {"begun": _make_date(mark.begun), "finished": None, "owner": owner}
    try:
        # Of another fork, or of one that was finished meanwhile, the marker is not found and can't be made.
        await database[MARKERS].update_one({**_MINE, **marker, "finished": None}, {"$set": begun}, upsert=True)
    except DuplicateKeyError:
        return False
    return True


async def finish_fork(database: AsyncDatabase[Document], mark: ForkMark, owner: ObjectId) -> bool:
    """Note that a fork is finished, and return whether nobody else has restarted it meanwhile.

    Raises:
        PyMongoError: the server can't be reached, or refuses it.
    """
    finished = None if mark.finished is None else _make_date(mark.finished)
    result = await database[MARKERS].update_one({**_MINE, "owner": owner}, {"$set": {"finished": finished}})
    return bool(result.matched_count)


def _make_date(millis: int) -> datetime:
    return datetime.fromtimestamp(millis / 1000, UTC)


def _read_time(date: Any) -> int | None:
    return to_millis(date) if isinstance(date, datetime) and date.tzinfo else None

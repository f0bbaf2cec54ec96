"""The format marker of a database: what a program must know to write to it.

It is one document, ``{_id: "format", needs: ["leases"]}`` in the collection ``backtest_mongo``. A feature is noted when
it is first used, and every program reads the marker before its first operation: one that does not know a feature would
write past it, or take a series whose candles are in blocks for an empty one. A database that was made by ``fork()``
has another one, :mod:`~backtest_mongo.mongo.fork_marker`, and is refused until it is finished. Databases without
markers are read and written by all versions. The Node package reads none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pymongo import WriteConcern
from pymongo.errors import OperationFailure

from backtest_mongo.connection.hub import Hub
from backtest_mongo.errors import ConfigError
from backtest_mongo.types import Document

if TYPE_CHECKING:
    from pymongo.asynchronous.database import AsyncDatabase

__all__ = [
    "FEATURES",
    "FORK_ID",
    "MARKERS",
    "OWN_COLLECTIONS",
    "check_format",
    "note_candle_blocks",
    "note_feature",
    "read_needs",
]

#: The collection of the markers.
MARKERS: Final = "backtest_mongo"
#: The id of the marker of a fork.
FORK_ID: Final = "fork"
_ID: Final = "format"
_UNAUTHORIZED: Final = 13
_CANDLE_BLOCKS: Final = "candle-blocks"

#: The collections that the library has besides those of slots: this one, and those of leases and commits.
OWN_COLLECTIONS: Final = (MARKERS, "leases", "commits")
#: What this version knows.
FEATURES: Final = frozenset({"leases", "series", _CANDLE_BLOCKS})


async def check_format(hub: Hub) -> None:
    """Refuse, once for each hub, a database that needs what this version does not know.

    Raises:
        ConfigError: it does.
        PyMongoError: the server can't be reached.
    """
    if hub.is_format_checked:
        return
    for database in {one.name: one for one in (hub.database, hub.candle_database)}.values():
        await _check_database(database)
    hub.is_format_checked = True


async def _check_database(database: AsyncDatabase[Document]) -> None:
    ids = {"$in": [_ID, FORK_ID]}
    try:
        found = await database[MARKERS].find({"_id": ids}).to_list(None)
    except OperationFailure as error:
        if error.code != _UNAUTHORIZED:
            raise
        return  # this user reads the collections of slots alone
    markers = {marker["_id"]: marker for marker in found}
    unknown = sorted(set(_list_needs(markers.get(_ID))) - FEATURES)
    if unknown:
        raise ConfigError(
            f"the database {database.name} needs what this version of backtest-mongo does not know: "
            f"{', '.join(unknown)}",
            hint="upgrade backtest-mongo; nothing in the database was changed",
        )
    fork = markers.get(FORK_ID)
    if fork is not None and fork.get("finished") is None:
        raise ConfigError(
            f"the database {database.name} is an unfinished fork",
            hint="fork again with the same arguments, which starts over, or drop the database",
        )


async def read_needs(hub: Hub) -> list[str]:
    """Return what a program must know to write to the database.

    Raises:
        PyMongoError: the server can't be reached, or refuses it.
    """
    return _list_needs(await hub.database[MARKERS].find_one({"_id": _ID}))


def _list_needs(marker: Document | None) -> list[str]:
    needs = (marker or {}).get("needs", [])
    return [str(feature) for feature in (needs if isinstance(needs, list) else [needs])]


async def note_feature(hub: Hub, feature: str) -> None:
    """Note in the marker that a feature is in use.

    Raises:
        PyMongoError: the server can't be reached, or refuses it.
    """
    if feature not in hub.noted_features:
        await hub.database[MARKERS].update_one({"_id": _ID}, {"$addToSet": {"needs": feature}}, upsert=True)
        hub.noted_features.add(feature)


async def note_candle_blocks(hub: Hub) -> None:
    """Note in the marker of the database of candles that there may be series whose candles are in blocks alone."""
    markers = hub.candle_database[MARKERS].with_options(write_concern=WriteConcern("majority"))
    await markers.update_one({"_id": _ID}, {"$addToSet": {"needs": _CANDLE_BLOCKS}}, upsert=True)

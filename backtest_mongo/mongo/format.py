"""The format marker of a database: what a program must know to write to it.

It is one document, ``{_id: "format", needs: ["leases"]}`` in the collection ``backtest_mongo``. A feature is noted when
it is first used, and every program reads the marker before its first operation: one that does not know a feature would
write past it. Databases without the marker are read and written by all versions. The Node package does not read it.
"""

from __future__ import annotations

from typing import Final

from pymongo.errors import OperationFailure

from backtest_mongo.connection.hub import Hub
from backtest_mongo.errors import ConfigError

__all__ = ["FEATURES", "OWN_COLLECTIONS", "check_format", "note_leases", "read_needs"]

_COLLECTION: Final = "backtest_mongo"
_ID: Final = "format"
_UNAUTHORIZED: Final = 13

#: The collections that the library has besides those of slots: this one, and those of leases and commits.
OWN_COLLECTIONS: Final = (_COLLECTION, "leases", "commits")
#: What this version knows.
FEATURES: Final = frozenset({"leases"})


async def check_format(hub: Hub) -> None:
    """Refuse, once for each hub, a database that needs what this version does not know.

    Raises:
        ConfigError: it does.
        PyMongoError: the server can't be reached.
    """
    if hub.is_format_checked:
        return
    try:
        needs = await read_needs(hub)
    except OperationFailure as error:
        if error.code != _UNAUTHORIZED:
            raise
        needs = []  # this user reads the collections of slots alone
    unknown = sorted(set(needs) - FEATURES)
    if unknown:
        raise ConfigError(
            f"the database {hub.database.name} needs what this version of backtest-mongo does not know: "
            f"{', '.join(unknown)}",
            hint="upgrade backtest-mongo; nothing in the database was changed",
        )
    hub.is_format_checked = True


async def read_needs(hub: Hub) -> list[str]:
    """Return what a program must know to write to the database.

    Raises:
        PyMongoError: the server can't be reached, or refuses it.
    """
    marker = await hub.database[_COLLECTION].find_one({"_id": _ID}) or {}
    needs = marker.get("needs", [])
    return [str(feature) for feature in (needs if isinstance(needs, list) else [needs])]


async def note_leases(hub: Hub) -> None:
    """Note in the marker that leases are in use."""
    if not hub.has_noted_leases:
        await hub.database[_COLLECTION].update_one({"_id": _ID}, {"$addToSet": {"needs": "leases"}}, upsert=True)
        hub.has_noted_leases = True

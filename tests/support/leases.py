"""Leases of processes that are killed, and raw access to what is stored of leases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from pymongo import MongoClient

import backtest_mongo
from backtest_mongo import persist, setup
from backtest_mongo.core.commits import Claim, name_lease
from tests.sqlite.support import change, query

__all__ = ["LeasesInFile", "LeasesOnServer", "StoredLeases", "take_leases"]

LONG_AGO = 1_700_000_000_000


async def take_leases(*adapters: Any, ttl: float = 3_600.0) -> Claim:
    """Take leases as a process does that is killed afterwards: nobody renews them or gives them back."""
    committer = adapters[0]._base_store().committer
    contexts = {name_lease(one.spec, one._context): (one.spec, one._context) for one in adapters}
    claim = Claim(owner=uuid4().hex, ttl=ttl, contexts=contexts)
    await committer.check()
    await committer.acquire(claim, list(contexts))
    return claim


@dataclass
class StoredLeases:
    """The leases of one database, and the options that name it on a command line."""

    options: list[str]

    def take(self, adapters: Callable[[Any], list[Any]], ttl: float = 3_600.0) -> None:
        """Take leases for a process that is killed; ``adapters`` makes them from the registry."""
        raise NotImplementedError

    def expire(self, name: str) -> None:
        """Let a lease have ended at :data:`LONG_AGO`."""
        raise NotImplementedError

    def find_owner(self, name: str) -> str | None:
        raise NotImplementedError


@dataclass
class LeasesOnServer(StoredLeases):
    """Those of the MongoDB that the environment names."""

    client: MongoClient[dict[str, Any]]
    database: str

    @property
    def documents(self) -> Any:
        return self.client[self.database]["leases"]

    def take(self, adapters: Callable[[Any], list[Any]], ttl: float = 3_600.0) -> None:
        async def take() -> None:
            async with setup():
                await take_leases(*adapters(persist), ttl=ttl)

        asyncio.run(take())

    def expire(self, name: str) -> None:
        until = datetime.fromtimestamp(LONG_AGO / 1000, UTC)
        assert self.documents.update_one({"_id": name}, {"$set": {"until": until}}).matched_count == 1

    def find_owner(self, name: str) -> str | None:
        return self.documents.find_one({"_id": name})["owner"]  # type: ignore[no-any-return]


@dataclass
class LeasesInFile(StoredLeases):
    """Those of an SQLite file."""

    path: Path

    def take(self, adapters: Callable[[Any], list[Any]], ttl: float = 3_600.0) -> None:
        async def take() -> None:
            persist.use_sqlite(self.path)
            await take_leases(*adapters(persist), ttl=ttl)
            await backtest_mongo.close()

        asyncio.run(take())

    def expire(self, name: str) -> None:
        change(self.path, f"UPDATE leases SET until={LONG_AGO} WHERE id='{name}'")

    def find_owner(self, name: str) -> str | None:
        ((owner,),) = query(self.path, "SELECT owner FROM leases WHERE id=?", name)
        return owner  # type: ignore[no-any-return]

"""The id cache: natural key to ``_id``, in this process first, then in Redis.

An entry is a hint and never an answer: whoever fetches by a cached ``_id`` compares the document's natural key with the
asked-for one. So a lost, stale, poisoned or colliding entry costs a round trip and changes no result. Absence is never
cached.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from functools import partial
from typing import Any, Final

from bson import ObjectId
from bson.errors import InvalidId

from backtest_mongo.guard import Guard
from backtest_mongo.redis_clients import RedisClient, get_all, set_all
from backtest_mongo.specs import Key, SlotSpec

__all__ = ["IdCache", "LocalIds"]

#: Entries that one process keeps; about 400 bytes each.
LOCAL_ENTRIES: Final = 65_536
#: Entries set by one command.
SET_ENTRIES: Final = 1_000


class LocalIds:
    """The in-process part: the least recently used entry goes first when the bound is reached."""

    def __init__(self, entries: int = LOCAL_ENTRIES) -> None:
        self._entries = entries
        # The flag tells whether this process knows that Redis has the same id.
        self._ids: OrderedDict[tuple[str, Key], tuple[ObjectId, bool]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._ids)

    def get(self, name: str, key: Key) -> ObjectId | None:
        entry = self._ids.get((name, key))
        if entry is None:
            return None
        self._ids.move_to_end((name, key))
        return entry[0]

    def is_published(self, name: str, key: Key, oid: ObjectId) -> bool:
        return self._ids.get((name, key)) == (oid, True)

    def put(self, name: str, key: Key, oid: ObjectId, published: bool) -> None:
        self._ids[name, key] = (oid, published)
        self._ids.move_to_end((name, key))
        if len(self._ids) > self._entries:
            self._ids.popitem(last=False)

    def drop(self, name: str, key: Key) -> None:
        self._ids.pop((name, key), None)


class IdCache:
    """Both parts together. No method ever raises because of Redis, or takes longer for it than 50 ms a command."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis
        self._guard = Guard("Redis")
        self.local: LocalIds = LocalIds()

    @property
    def is_left_alone(self) -> bool:
        """Whether Redis kept failing, and is not asked for now."""
        return self._guard.is_open

    async def close(self) -> None:
        """Send no more, and give the commands under way their 50 ms to end."""
        await self._guard.close()

    async def get(self, spec: SlotSpec, key: Key) -> ObjectId | None:
        """Return what Redis knows of a key that :attr:`local` does not have."""
        return (await self.get_many(spec, [key])).get(key)

    async def get_many(self, spec: SlotSpec, keys: list[Key]) -> dict[Key, ObjectId]:
        """The same for many keys, by one command."""
        values = await self._guard.run(lambda: get_all(self._redis, [spec.redis_key(key) for key in keys]))
        found = {}
        for key, value in zip(keys, values or (), strict=False):
            oid = _object_id(value)
            if oid is not None:
                found[key] = oid
                self.local.put(spec.name, key, oid, published=True)
        return found

    async def put(self, spec: SlotSpec, key: Key, oid: ObjectId) -> None:
        """Make both parts hold ``oid``. Redis is spared when this process knows that it does already."""
        if not self.local.is_published(spec.name, key, oid):
            await self.put_many(spec, [(key, oid)])

    async def put_many(self, spec: SlotSpec, ids: Iterable[tuple[Key, ObjectId]], *, local: bool = True) -> None:
        """The same for many keys, a thousand a command. With ``local=False`` only Redis is filled."""
        waiting = [entry for entry in ids if not self.local.is_published(spec.name, *entry)]
        for start in range(0, len(waiting), SET_ENTRIES):
            chunk = waiting[start : start + SET_ENTRIES]
            done = await self._guard.run(partial(self._set, spec, chunk))
            if local:
                for key, oid in chunk:
                    self.local.put(spec.name, key, oid, published=bool(done))

    async def _set(self, spec: SlotSpec, ids: list[tuple[Key, ObjectId]]) -> bool:
        await set_all(self._redis, {spec.redis_key(key): str(oid) for key, oid in ids})
        return True


def _object_id(value: Any) -> ObjectId | None:
    """Return the id that a Redis value spells; ``None`` for anything else, which no writer of ours put there."""
    if not isinstance(value, bytes) or len(value) != 24:
        return None
    try:
        return ObjectId(value.decode("ascii"))
    except (InvalidId, UnicodeDecodeError):
        return None

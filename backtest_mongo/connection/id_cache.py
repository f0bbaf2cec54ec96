"""The id cache: natural key to ``_id``, in this process first, then in Redis.

An entry is a hint and never an answer: every fetch by a cached ``_id`` compares the document's natural key with the one
that was asked for. So a lost, stale, poisoned or colliding entry costs a round trip and changes no result. Absence is
never cached.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, AnyStr, Final

from bson import ObjectId
from bson.errors import InvalidId

from backtest_mongo.connection.command_guard import CommandGuard
from backtest_mongo.connection.redis_clients import RedisClient, delete_all, get_all, set_all
from backtest_mongo.core.specs import Key, SlotSpec

__all__ = ["IdCache", "LocalIds"]

#: Entries that one process keeps; about 400 bytes each.
LOCAL_ENTRIES: Final = 65_536
#: Entries set by one command.
SET_ENTRIES: Final = 1_000


class LocalIds:
    """The part in this process. When it is full, the least recently used entry is dropped."""

    def __init__(self, entries: int = LOCAL_ENTRIES) -> None:
        self._entries = entries
        # The flag says whether Redis is known to have the same id.
        self._ids: OrderedDict[tuple[str, Key], tuple[ObjectId, bool]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._ids)

    def get(self, name: str, key: Key) -> ObjectId | None:
        entry = self._ids.get((name, key))
        if entry is None:
            return None
        self._ids.move_to_end((name, key))
        return entry[0]

    def get_many(self, name: str, keys: Iterable[Key]) -> dict[Key, ObjectId]:
        """Return the ids that are known."""
        ids, found = self._ids, {}
        for key in keys:
            entry = ids.get((name, key))
            if entry is not None:
                ids.move_to_end((name, key))
                found[key] = entry[0]
        return found

    def entry(self, name: str, key: Key) -> tuple[ObjectId, bool] | None:
        """Return the id of a key, and whether this process knows that Redis has it."""
        entry = self._ids.get((name, key))
        if entry is not None:
            self._ids.move_to_end((name, key))
        return entry

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
    """Both parts together. No method raises because of Redis, or waits for it longer than 50 ms per operation."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis
        self._guard = CommandGuard("Redis")
        self.local: LocalIds = LocalIds()

    @property
    def is_breaker_open(self) -> bool:
        """Whether the circuit breaker of Redis is open or half-open."""
        return self._guard.is_breaker_open

    async def settle(self) -> None:
        """Wait until all commands under way have ended, late ones included."""
        await self._guard.settle()

    async def close(self) -> None:
        """Send no more commands, and give those under way their 50 ms to end."""
        await self._guard.close()

    async def get(self, spec: SlotSpec, key: Key) -> ObjectId | None:
        """Return the id that Redis has for a key which :attr:`local` does not have."""
        return (await self.get_many(spec, [key])).get(key)

    async def get_many(self, spec: SlotSpec, keys: list[Key]) -> dict[Key, ObjectId]:
        """The same for many keys, by one command."""
        if not spec.redis:
            return {}
        values = await self._guard.run(lambda: get_all(self._redis, [spec.redis_key(key) for key in keys]))
        found = {}
        for key, value in zip(keys, values or (), strict=False):
            oid = _object_id(value)
            if oid is not None:
                found[key] = oid
                self.local.put(spec.name, key, oid, published=True)
        return found

    async def put(self, spec: SlotSpec, key: Key, oid: ObjectId) -> None:
        """Put ``oid`` into both parts. Redis is not asked if it is known to have it already."""
        if not self.local.is_published(spec.name, key, oid):
            await self.put_many(spec, [(key, oid)])

    async def put_many(self, spec: SlotSpec, ids: Iterable[tuple[Key, ObjectId]]) -> None:
        """The same for many keys, a thousand per command."""
        waiting = [entry for entry in ids if not self.local.is_published(spec.name, *entry)]
        if not spec.redis:
            for key, oid in waiting:
                self.local.put(spec.name, key, oid, published=True)  # there is nowhere else to be
            return
        for start in range(0, len(waiting), SET_ENTRIES):
            chunk = waiting[start : start + SET_ENTRIES]
            done = await self._guard.run(partial(self._set, {spec.redis_key(key): str(oid) for key, oid in chunk}))
            for key, oid in chunk:
                self.local.put(spec.name, key, oid, published=bool(done))

    async def publish(self, keys: Sequence[bytes], ids: Sequence[bytes]) -> None:
        """Put ids into Redis alone, a thousand per command.

        Args:
            keys: Redis keys, as bytes: for tens of thousands, redis-py takes twice as long to encode text.
            ids: the ids of these keys, in the same order, as 24 hexadecimal digits.
        """
        for start in range(0, len(keys), SET_ENTRIES):
            end = start + SET_ENTRIES
            await self._guard.run(partial(self._set, dict(zip(keys[start:end], ids[start:end], strict=True))))

    async def drop_many(self, spec: SlotSpec, keys: Sequence[Key]) -> None:
        """Drop the ids of these keys from both parts, a thousand per command; from Redis only if it answers."""
        for key in keys:
            self.local.drop(spec.name, key)
        for start in range(0, len(keys) if spec.redis else 0, SET_ENTRIES):
            await self._guard.run(
                partial(self._drop, [spec.redis_key(key) for key in keys[start : start + SET_ENTRIES]])
            )

    async def _drop(self, keys: list[str]) -> bool:
        await delete_all(self._redis, keys)
        return True

    async def _set(self, ids: Mapping[AnyStr, AnyStr]) -> bool:
        await set_all(self._redis, ids)
        return True


def _object_id(value: Any) -> ObjectId | None:
    """Return the id in a Redis value; ``None`` for anything else, which this library did not write."""
    if not isinstance(value, bytes) or len(value) != 24:
        return None
    try:
        return ObjectId(value.decode("ascii"))
    except (InvalidId, UnicodeDecodeError):
        return None

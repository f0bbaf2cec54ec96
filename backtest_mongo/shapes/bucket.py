"""Bucket: keys and values with soft delete, read one at a time or listed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

from backtest_mongo.shapes.base import Adapter
from backtest_mongo.specs import Key
from backtest_mongo.types import When

__all__ = ["BucketAdapter"]


class BucketAdapter(Adapter):
    def _key(self, entry: str) -> Key:
        return (*self._context, self.spec.check_key(self.spec.argument, entry))

    async def _read(self, entry: str, when: When | None = None) -> dict[str, Any] | None:
        key, until = self._key(entry), self._until(when)
        return cast("dict[str, Any] | None", self._value(await self._store().find(key), until))

    async def _has(self, entry: str) -> bool:
        return await self._store().find(self._key(entry)) is not None

    async def _write(self, value: object, entry: str, when: When | None = None) -> None:
        spec = self.spec
        key = self._key(entry)
        self._check_object(value, spec.value)
        millis = self._millis(when) if spec.when else self._until(when)  # type: ignore[arg-type]  # None is refused
        fields = self._as_fields(key, value, millis)
        # Writing brings a removed key back, unless the payload itself says that it is removed.
        fields["removed"] = cast("Mapping[str, Any]", value).get("removed") is True
        await self._store().upsert(key, fields)

    async def _remove(self, entry: str) -> None:
        await self._store().remove(self._key(entry))

    def _keys(self, when: When | None = None) -> AsyncIterator[str]:
        return self._scan_keys(self._until(when))

    async def _scan_keys(self, until: int | None) -> AsyncIterator[str]:
        name = self.spec.key[-1]
        async for document in self._store().scan(self._context, until):
            yield document[name]

    def _items(self, when: When | None = None) -> AsyncIterator[tuple[str, Any]]:
        return self._scan_items(self._until(when))

    async def _scan_items(self, until: int | None) -> AsyncIterator[tuple[str, Any]]:
        name, field = self.spec.key[-1], self.spec.field
        async for document in self._store().scan(self._context, until):
            yield document[name], document.get(field)

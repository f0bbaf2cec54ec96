"""Collection: many documents, each keyed by its item's own ``id``, read as a list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backtest_mongo.errors import InputError, InputTypeError
from backtest_mongo.shapes.base import Adapter
from backtest_mongo.specs import Key
from backtest_mongo.types import Document

__all__ = ["CollectionAdapter"]

_MOST = 2**31 - 1


class CollectionAdapter(Adapter):
    async def _read_all(self) -> list[Any]:
        field = self.spec.field
        return [document.get(field) async for document in self._store().scan(self._context)]

    async def _read_newest(self, limit: int) -> list[Any]:
        if type(limit) is not int:
            raise InputTypeError(f"limit must be an int, not {type(limit).__name__}", slot=self.spec.name)
        if not 1 <= limit <= _MOST:
            raise InputError(f"limit must be 1 or more, and fit in 31 bits, not {limit} (int)", slot=self.spec.name)
        field = self.spec.field
        return [document.get(field) for document in await self._store().newest(self._context, limit)]

    async def _write(self, items: object) -> None:
        spec = self.spec
        self._check_list(items, spec.value)
        rows: dict[Key, Document] = {}
        for index, item in enumerate(items):  # type: ignore[arg-type, var-annotated]  # a list, by the check above
            path = f"{spec.value}[{index}]"
            key = (*self._context, self._id(item, path))
            self._check_object(item, path)
            # An id that comes twice keeps its place, and its last payload: as if written one after another.
            rows[key] = self._as_fields(key, item)
        await self._store().upsert_many(list(rows.items()))

    def _id(self, item: object, path: str) -> str:
        if not isinstance(item, Mapping):
            raise InputTypeError(f"{path} must be a dict, not {type(item).__name__}", slot=self.spec.name)
        if "id" not in item:
            raise InputError(f"{path} has no id ({type(item).__name__})", slot=self.spec.name)
        return self.spec.check_key(f"{path}.id", item["id"])

"""Entry: one document per context and one more key, usually a signal's id."""

from __future__ import annotations

from typing import Any

from backtest_mongo.shapes.base import Adapter
from backtest_mongo.types import When

__all__ = ["EntryAdapter"]


class EntryAdapter(Adapter):
    async def _read(self, entry: str, when: When | None = None) -> dict[str, Any]:
        key = (*self._context, self.spec.check_key(self.spec.argument, entry))
        until = self._until(when)
        value = self._value(await self._store().find(key), until)
        return {} if value is None else value

    async def _write(self, value: object, entry: str, when: When | None = None) -> None:
        spec = self.spec
        key = (*self._context, spec.check_key(spec.argument, entry))
        self._check_object(value, spec.value)
        millis = self._millis(when) if spec.when else None  # type: ignore[arg-type]  # None is refused by the check
        await self._store().upsert(key, self._as_fields(key, value, millis))

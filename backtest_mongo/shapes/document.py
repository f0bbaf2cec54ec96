"""Document: one document per context."""

from __future__ import annotations

from typing import Any, cast

from backtest_mongo.payload import check_payload
from backtest_mongo.shapes.base import Adapter
from backtest_mongo.types import When

__all__ = ["DocumentAdapter"]


class DocumentAdapter(Adapter):
    async def _read(self, when: When | None = None) -> dict[str, Any] | None:
        until = self._until(when)
        value: Any = self._value(await self._store().find(self._context), until)
        if value is None and self.spec.payload == "list":
            value = []
        return cast("dict[str, Any] | None", value)  # or a list, as the table says

    async def _write(self, value: object, when: When | None = None) -> None:
        spec = self.spec
        if spec.payload == "list":
            self._check_list(value, spec.value)
            check_payload(value, spec.value, spec.name)
        elif value is not None or spec.payload == "object":
            self._check_object(value, spec.value)
        # A slot that stores a time needs one: None is refused by the check.
        millis = self._millis(when) if spec.when else None  # type: ignore[arg-type]
        await self._store().upsert(self._context, self._fields(self._context, value, millis))

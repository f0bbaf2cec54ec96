"""Document: one document per context."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self, cast

from backtest_mongo.errors import InputTypeError
from backtest_mongo.payload import check_payload
from backtest_mongo.shapes.base import Adapter
from backtest_mongo.types import Context, Document, When

__all__ = ["DocumentAdapter"]


class DocumentAdapter(Adapter):
    async def _read(self, when: When | None = None) -> dict[str, Any] | None:
        until = self._until(when)
        value: Any = self._value(await self._store().find(self._context), until)
        if value is None and self.spec.payload == "list":
            value = []
        return cast("dict[str, Any] | None", value)  # or a list, as the table says

    async def _write(self, value: object, when: When | None = None) -> None:
        fields = self._checked(value, when)
        await self._store().upsert(self._context, fields)

    @classmethod
    async def _read_many(cls, contexts: Iterable[Context], when: When | None = None) -> list[dict[str, Any] | None]:
        adapters = [cls._of(context) for context in contexts]
        return await asyncio.gather(*(adapter._read(when) for adapter in adapters))

    @classmethod
    async def _write_many(cls, rows: Iterable[tuple[Context, object]], when: When | None = None) -> None:
        # All are checked before any is sent.
        checked = [(adapter, adapter._checked(value, when)) for adapter, value in cls._pairs(rows)]
        upserts = (adapter._store().upsert(adapter._context, fields) for adapter, fields in checked)
        outcomes = await asyncio.gather(*upserts, return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    @classmethod
    def _pairs(cls, rows: Iterable[tuple[Context, object]]) -> list[tuple[DocumentAdapter, object]]:
        return [(cls._of(context), value) for context, value in rows]

    @classmethod
    def _of(cls, context: Context) -> Self:
        if isinstance(context, Mapping):
            return cls(**context)
        if isinstance(context, str) or not isinstance(context, Sequence):
            kind = type(context).__name__
            raise InputTypeError(f"a context must be a sequence or a mapping, not {kind}", slot=cls.spec.name)
        return cls(*context)

    def _checked(self, value: object, when: When | None) -> Document:
        spec = self.spec
        if spec.payload == "list":
            self._check_list(value, spec.value)
            check_payload(value, spec.value, spec.name)
        elif value is not None or spec.payload == "object":
            self._check_object(value, spec.value)
        # A slot that stores a time needs one: None is refused by the check.
        millis = self._millis(when) if spec.when else None  # type: ignore[arg-type]
        return self._as_fields(self._context, value, millis)

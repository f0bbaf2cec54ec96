"""The same four shapes with a model: payloads go in and come out as objects of it.

What these classes add is around the methods of their bases, so adapters without a model run none of it.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, ClassVar, Generic, TypeVar

from backtest_mongo.adapters.shapes.documents import (
    Adapter,
    BucketAdapter,
    CollectionAdapter,
    DocumentAdapter,
    EntryAdapter,
)
from backtest_mongo.core.changes import Change, name_context
from backtest_mongo.core.payload_models import PayloadModel, UnfitPayload
from backtest_mongo.core.specs import Key, SlotSpec, camel
from backtest_mongo.core.watch import ChangeSource
from backtest_mongo.errors import ConflictError, InputTypeError, PayloadError
from backtest_mongo.types import Context, Document, Revision, Version, Versioned, When

__all__ = [
    "TypedAdapter",
    "TypedBucketAdapter",
    "TypedCollectionAdapter",
    "TypedDocumentAdapter",
    "TypedEntryAdapter",
    "parse_payload",
]

M = TypeVar("M")


def parse_payload(spec: SlotSpec, payloads: PayloadModel, key: Key, payload: Any) -> Any:
    """Return the object of a stored payload; of a payload that is a list, the objects of its items.

    Args:
        spec: the slot.
        payloads: its model.
        key: the natural key of the row, or what is known of it.
        payload: the payload, which is the caller's own; ``None`` is returned as it is.

    Raises:
        PayloadError: it doesn't fit the model.
    """
    if payload is None and spec.shape != "collection":
        return None
    try:
        if spec.payload != "list":
            return payloads.parse(payload)
        return _parse_list(payloads, payload)
    except UnfitPayload as unfit:
        context = name_context(spec, key)
        shown = ", ".join(f"{name}={value!r}" for name, value in context.items())
        entry = f"{', ' if shown else ''}{spec.argument}={key[-1]!r}" if spec.item and len(key) == len(spec.key) else ""
        error = PayloadError(
            f"what is stored for {shown}{entry} doesn't fit {payloads.kind.__name__}: {unfit}",
            slot=spec.name,
            collection=spec.collection,
            key=dict(zip(spec.key, key, strict=False)),
            hint="upgrade= changes older payloads as they are read; without a model the row is read as it is",
        )
        error.context, error.problems, error.payload = context, tuple(unfit.problems), payload
        error.path = unfit.problems[0][0]
        raise error from unfit.__cause__


def _parse_list(payloads: PayloadModel, payload: Any) -> list[Any]:
    if not isinstance(payload, list):
        raise UnfitPayload([("", f"must be a list, not {type(payload).__name__}")])
    found = []
    for index, item in enumerate(payload):
        try:
            found.append(payloads.parse(item))
        except UnfitPayload as unfit:
            problems = [
                (f"[{index}]{'.' if path[:1] not in ('', '[') else ''}{path}", text) for path, text in unfit.problems
            ]
            raise UnfitPayload(problems) from unfit.__cause__
    return found


class TypedAdapter(Adapter, Generic[M]):
    """A slot in one context, whose payloads are objects of a model."""

    _payloads: ClassVar[PayloadModel]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if not hasattr(self, "_payloads"):
            name = type(self).__name__
            raise InputTypeError(f"{name} has no model", hint=f"persist.{self.spec.name}(..., model=Model) makes one")
        super().__init__(*args, **kwargs)

    @classmethod
    def _parse(cls, key: Key, payload: Any) -> Any:
        """Return the object of what is stored under a key."""
        return parse_payload(cls.spec, cls._payloads, key, payload)

    @classmethod
    def _dump(cls, value: object, path: str) -> Any:
        """Return the payload of an object."""
        return cls._payloads.dump(value, path, cls.spec.name)

    def _parse_found(self, key: Key, found: Any) -> Any:
        """Return what a read has found, as an object."""
        if isinstance(found, Versioned):
            return Versioned(self._parse(key, found.value), found.version)
        return self._parse(key, found)

    async def _list_revisions(
        self, key: Key, since: When | None, until: When | None, newest_first: object
    ) -> AsyncIterator[Revision]:
        async for revision in super()._list_revisions(key, since, until, newest_first):
            yield revision._replace(value=None if revision.value is None else self._parse(key, revision.value))

    async def _replace(self, key: Key, fields: Document, if_absent: object, expect: object) -> None:
        try:
            await super()._replace(key, fields, if_absent, expect)
        except ConflictError as error:
            with suppress(PayloadError):  # the conflict matters more, and what is stored is in the error as it is
                error.found = None if error.found is None else self._parse(key, error.found)
            raise

    @classmethod
    def _stream(cls, context: Key | None, after: str | None) -> ChangeSource | None:
        source = super()._stream(context, after)
        return None if source is None else _TypedSource(source, cls)


class TypedDocumentAdapter(TypedAdapter[M], DocumentAdapter, Generic[M]):
    """One document per context, which is an object of a model."""

    async def _read(self, when: When | None = None, with_version: bool = False) -> Any:
        return self._parse_found(self._context, await super()._read(when, with_version))

    @classmethod
    async def _read_many(cls, contexts: Iterable[Context], when: When | None = None) -> list[Any]:
        keys = [cls._bind(context) for context in contexts]
        found = await super()._read_many([name_context(cls.spec, key) for key in keys], when)
        return [cls._parse(key, payload) for key, payload in zip(keys, found, strict=True)]

    @classmethod
    def _make_fields(cls, key: Key, value: object, when: When | None, path: str) -> Document:
        return super()._make_fields(key, cls._dump_all(value, path), when, path)

    @classmethod
    def _dump_all(cls, value: object, path: str) -> Any:
        if cls.spec.payload == "list":
            cls._check_list(value, path)
            items: Any = value
            return [cls._dump(item, f"{path}[{index}]") for index, item in enumerate(items)]
        return None if value is None and cls.spec.payload == "object|null" else cls._dump(value, path)


class TypedEntryAdapter(TypedAdapter[M], EntryAdapter, Generic[M]):
    """One document per context and one more key, which is an object of a model. A read of nothing is ``None``."""

    async def _read(self, entry: str, when: When | None = None, with_version: bool = False) -> Any:
        found = await super()._read(entry, when, with_version)
        return self._parse_found((*self._context, entry), found)

    @classmethod
    def _get_payload(cls, document: Document | None, until: int | None, nothing: Any = None) -> Any:
        # An empty payload may be stored, and be one that the model takes.
        return super()._get_payload(document, until, None)

    @classmethod
    def _make_fields(cls, key: Key, value: object, when: When | None, path: str) -> Document:
        return super()._make_fields(key, cls._dump(value, path), when, path)


class TypedBucketAdapter(TypedAdapter[M], BucketAdapter, Generic[M]):
    """Keys and values with soft delete, whose values are objects of a model."""

    async def _read(self, entry: str, when: When | None = None, with_version: bool = False) -> Any:
        found = await super()._read(entry, when, with_version)
        return self._parse_found((*self._context, entry), found)

    async def _write(
        self,
        value: object,
        entry: str,
        when: When | None = None,
        if_absent: bool = False,
        expect: Version | None = None,
    ) -> None:
        await super()._write(self._dump(value, self.spec.value), entry, when, if_absent, expect)

    async def _scan_items(self, until: int | None, chosen: Any) -> AsyncIterator[tuple[str, Any]]:
        async for entry, payload in super()._scan_items(until, chosen):
            yield entry, self._parse((*self._context, entry), payload)


class TypedCollectionAdapter(TypedAdapter[M], CollectionAdapter, Generic[M]):
    """Many documents, each an object of a model whose payload has an ``id``, read as a list."""

    async def _read_all(self, **wanted: Any) -> list[Any]:
        return [self._parse_row(document) async for document in self._scan(wanted)]

    async def _read_newest(self, limit: int, **wanted: Any) -> list[Any]:
        return [self._parse_row(document) for document in await self._find_newest(limit, wanted)]

    def _parse_row(self, document: Mapping[str, Any]) -> Any:
        # A row that a transaction is yet to write may lack the fields of its key.
        payload = document.get(self.spec.field)
        item = document.get(self.spec.key[-1]) or (payload.get("id") if isinstance(payload, Mapping) else None)
        return self._parse(self._context if item is None else (*self._context, item), payload)

    async def _write(self, items: Sequence[object]) -> None:
        self._check_list(items, self.spec.value)
        await super()._write([self._dump(item, f"{self.spec.value}[{index}]") for index, item in enumerate(items)])


class _TypedSource:
    """Changes whose payloads are objects of a model. One that doesn't fit is raised, and the next call goes on."""

    def __init__(self, source: ChangeSource, adapter: type[TypedAdapter[Any]]) -> None:
        self._source = source
        self._adapter = adapter

    @property
    def token(self) -> str | None:
        return self._source.token

    @property
    def ended(self) -> Future[None]:
        return self._source.ended

    async def begin(self) -> None:
        await self._source.begin()

    async def next(self) -> Change | None:
        change = await self._source.next()
        if change is None or change.payload is None:
            return change
        return replace(change, payload=self._adapter._parse(self._make_key(change), change.payload))

    def _make_key(self, change: Change) -> Key:
        fields: dict[str, Any] = {camel(name): value for name, value in (change.context or {}).items()}
        if change.key is not None:
            fields[self._adapter.spec.key[-1]] = change.key
        return tuple(fields[name] for name in self._adapter.spec.key if name in fields)

    async def close(self) -> None:
        await self._source.close()

    def close_soon(self) -> None:
        self._source.close_soon()

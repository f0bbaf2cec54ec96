"""Bounded reads of what the registry's storage holds: contexts, rows by key, the newest rows, and last prices."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any, Final, TypeAlias

from backtest_mongo.adapters.registry import persist
from backtest_mongo.adapters.shapes import Adapter
from backtest_mongo.core.commits import Holder
from backtest_mongo.core.payload_fields import read_number
from backtest_mongo.core.selection import PayloadFilter
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.store_protocols import Store
from backtest_mongo.errors import StoreError, StoreUnavailableError
from backtest_mongo.overview.model import Price
from backtest_mongo.overview.payloads import shorten
from backtest_mongo.types import INTERVALS, Document

__all__ = ["MOST_CONTEXTS", "KnownRows", "StoredRows"]

#: Lists of newest rows that are known, by slot, context, limit and texts.
KnownRows: TypeAlias = dict[tuple[str, Key, int, tuple[tuple[str, str], ...]], list[Any]]

#: The most contexts of a slot that are listed.
MOST_CONTEXTS: Final = 10_000
#: Keys that are read at a time.
_BATCH: Final = 1_000
#: Reads of different runs that are under way at a time.
_READS: Final = 16
_ORDER: Final = {interval: place for place, interval in enumerate(INTERVALS)}


class StoredRows:
    """What is read for one overview. A row that can't be read becomes a problem, and the others are read.

    Args:
        known: newest rows that need not be read again; what is read is added.
    """

    def __init__(self, known: KnownRows) -> None:
        self.problems: list[str] = []
        self._known = known
        self._turns = asyncio.Semaphore(_READS)

    async def list_contexts(self, spec: SlotSpec) -> list[dict[str, Any]]:
        """Return the contexts of a slot that have rows, by the constructor's arguments, in the order of the key."""
        adapter = _get_adapter(spec)
        if adapter is None:
            return []
        found: list[dict[str, Any]] = []
        try:
            listed: Any = adapter.list_contexts()
            async with aclosing(listed) as contexts:
                async for context in contexts:
                    if len(found) == MOST_CONTEXTS:
                        self.problems.append(f"{spec.name}: only the first {MOST_CONTEXTS:,} contexts are shown")
                        break
                    found.append(context)
        except StoreUnavailableError:
            raise
        except StoreError as error:
            self.problems.append(str(error))
        return found

    async def find_rows(self, spec: SlotSpec, contexts: Sequence[dict[str, Any]]) -> list[Document | None]:
        """Return the row of each context of a slot that has one row per context."""
        keys = [spec.order_context(spec.bind((), context)) for context in contexts]
        found: list[Document | None] = []
        store = self._get_store(spec)
        if store is None:
            return [None] * len(contexts)
        for start in range(0, len(keys), _BATCH):
            some = keys[start : start + _BATCH]
            try:
                found += await store.find_many(some)
            except StoreUnavailableError:
                raise
            except StoreError:  # one of them can't be decoded
                found += [await self._find_row(store, key) for key in some]
        return found

    async def _find_row(self, store: Store, key: Key) -> Document | None:
        try:
            return await store.find(key)
        except StoreUnavailableError:
            raise
        except StoreError as error:
            self.problems.append(str(error))
            return None

    async def find_newest(self, spec: SlotSpec, context: Key, limit: int, *texts: tuple[str, str]) -> list[Any]:
        """Return what an overview needs of the newest payloads of a collection, the newest first.

        Args:
            spec: the slot.
            context: its context.
            limit: how many to return at most.
            texts: paths in the payload, and the text that is there.
        """
        key = (spec.name, context, limit, texts)
        if key not in self._known:
            self._known[key] = await self._read_newest(spec, *key[1:])
        return self._known[key]

    async def _read_newest(
        self, spec: SlotSpec, context: Key, limit: int, texts: tuple[tuple[str, str], ...]
    ) -> list[Any]:
        store = self._get_store(spec)
        if store is None:
            return []
        where = PayloadFilter(texts=texts) if texts else None
        try:
            async with self._turns:
                documents = await store.newest(context, limit, where)
        except StoreUnavailableError:
            raise
        except StoreError as error:
            self.problems.append(str(error))
            return []
        return [shorten(document.get(spec.field)) for document in reversed(documents)]

    async def find_last(self, spec: SlotSpec, context: dict[str, Any]) -> int | None:
        """Return the time of the last row of a series with columns, in the slot's unit."""
        adapter: Any = _get_adapter(spec)
        if adapter is None:
            return None
        try:
            async with self._turns:
                rows = await adapter(**context).read_last(1, columns=[])
        except StoreUnavailableError:
            raise
        except StoreError as error:
            self.problems.append(str(error))
            return None
        return rows[-1]["timestamp"] if rows else None

    async def find_price(self, spec: SlotSpec, symbol: str, exchange_name: str) -> Price | None:
        """Return the last candle of the shortest interval that is stored of a symbol on an exchange."""
        adapter: Any = _get_adapter(spec)
        if adapter is None:
            return None
        try:
            async with self._turns:
                listed = adapter.list_contexts(symbol=symbol, exchange_name=exchange_name)
                contexts = [context async for context in listed]
                if not contexts:
                    return None
                shortest = min(contexts, key=lambda context: _ORDER[context["interval"]])
                series = adapter(**shortest)
                bounds = await series.bounds()
                candles = None if bounds is None else await series.read_candles_data(1, bounds[1])
        except StoreUnavailableError:
            raise
        except StoreError as error:
            self.problems.append(str(error))
            return None
        close = read_number(candles[0], "close") if candles else None
        return None if close is None else Price(interval=shortest["interval"], time=bounds[1], close=close)

    async def list_leases(self, spec: SlotSpec) -> list[Holder] | None:
        """Return all leases; ``None`` where there are none, as in JSON files."""
        store = self._get_store(spec)
        if store is None:
            return None
        try:
            return await store.committer.list_leases()
        except StoreUnavailableError:
            raise
        except StoreError:
            return None

    def _get_store(self, spec: SlotSpec) -> Store | None:
        adapter = _get_adapter(spec)
        try:
            return None if adapter is None else adapter._base_store()
        except StoreError as error:  # files have no versions, and the configuration wants some
            self.problems.append(str(error))
            return None


def _get_adapter(spec: SlotSpec) -> type[Adapter] | None:
    """Return the adapter class of a slot; ``None`` if the program stores it in something of its own."""
    adapter = persist._get_implementation(spec)
    return adapter if isinstance(adapter, type) and issubclass(adapter, Adapter) else None

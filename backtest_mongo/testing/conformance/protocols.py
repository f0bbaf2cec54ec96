"""What the suite calls of a store, and how it finds one."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Store", "StoreFactory"]


class Store(Protocol):
    """An open instance of a store.

    It has a method per slot, named like those of ``persist``, which takes the slot's context by position and returns an
    adapter::

        store.signal("BTCUSDT", "my_strategy", "binance")

    An adapter has the methods of the slot's contract in :mod:`backtest_mongo.contracts`. The suite may ask for one
    context as often as it likes, and does not care whether it gets the same object. What else it calls depends on the
    capabilities: ``docs/conformance.md`` lists it by capability.

    Only a store that declares ``transactions`` needs ``transaction()``, and only one that declares ``leases``
    ``lease()``.
    """

    def transaction(self, *, when: int | None = None) -> AbstractAsyncContextManager[Any]:
        """Begin a block whose writes are stored together at its end, and dropped if an exception leaves it.

        Args:
            when: the simulation time of writes in it that name none, in milliseconds since the epoch (UTC).
        """
        ...

    def lease(self, *adapters: Any, ttl: float, wait: float) -> AbstractAsyncContextManager[Any]:
        """Begin a block that owns the contexts of adapters, until its end or until it is not renewed for ``ttl``.

        Args:
            adapters: an adapter of each context.
            ttl: seconds; the suite takes 2 and more.
            wait: seconds to wait for an owner to give it back, or to be gone for ``ttl``.

        Raises:
            LeaseHeldError: when the block begins: another owner has one of them.
            LeaseLostError: from a write or a commit in the block: it was lost, and nothing of it is stored.
        """
        ...


class StoreFactory(Protocol):
    """What ``--store`` names: a class, or any other callable with these attributes.

    Attributes:
        capabilities: names out of ``CAPABILITIES``.

    Two attributes are optional. ``slots`` names the slots that the store has; without it, those are the seventeen of
    ``SLOTS``, and ``trade`` and ``equity`` for a store with ``series``. ``remove``, a coroutine function, is called
    with the directory after each test, if something is stored elsewhere.
    """

    capabilities: Collection[str]

    def __call__(self, directory: Path) -> AbstractAsyncContextManager[Any]:
        """Return what opens an instance of a store when it is entered, and closes it when it is left.

        One directory is one store: all instances that are opened with it share their rows, at once or one after the
        other, in one process or in several. An empty directory is an empty store. It may be entered in one task and
        left in another.

        Args:
            directory: exists, and belongs to one test.
        """
        ...

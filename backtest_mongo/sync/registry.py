"""``persist`` without ``await``: the same registry, whose objects are those of this package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from backtest_mongo.adapters.registry import persist as registry
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.sync.wrapping import SyncAdapter, wrap_class, wrap_factory

__all__ = ["Registry", "persist"]


class Registry:
    """Gives engines and strategies their storage, without naming it: ``backtest_mongo.persist``, without ``await``.

    Both are one: what :meth:`use_sqlite`, :meth:`use` and others choose, they choose for both. An implementation of
    your own that :meth:`use` names is asynchronous.
    """

    def register(self, spec: SlotSpec) -> type[SyncAdapter]:
        """Add a slot of your own, and return its adapter class: see ``backtest_mongo.persist.register``."""
        return wrap_class(registry.register(spec))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        found = getattr(registry, name)
        if name not in registry._adapters:
            return found  # type: ignore[no-any-return]  # which is a method
        return wrap_factory(found, is_foreign=True)

    def __dir__(self) -> list[str]:
        return dir(registry)


#: The registry of this process.
persist: Registry = Registry()

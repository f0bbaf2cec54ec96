"""The registry: what engines and strategies code against, so that swapping the storage changes no strategy."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.contracts import SlotFactories, contract_methods, factory
from backtest_mongo.dummy import dummy
from backtest_mongo.errors import ConfigError, InputTypeError, SlotError
from backtest_mongo.expansion import expand
from backtest_mongo.files.adapter import DIRECTORY, filed
from backtest_mongo.shapes import Adapter
from backtest_mongo.specs import Key, SlotSpec, check_table
from backtest_mongo.spelling import meant

__all__ = ["Registry", "persist"]

Implementation: TypeAlias = Callable[..., Any]


class Registry(SlotFactories):
    """The registry: what engines and strategies code against, so that swapping the storage changes no strategy.

    ::

        signal = persist.signal("BTCUSDT", "my_strategy", "binance")
        await signal.write_signal_data({"id": "s-1"})

    There is a method of each slot's name, which takes the slot's context and gives the one object of that context, made
    on first use. What its methods are stands in :mod:`backtest_mongo.contracts`.

    Where it stores is said elsewhere, once: in JSON files in the working directory's ``dump``, as the Node package does
    by default; in MongoDB after ``await setup()``; in other files after :meth:`use_files`, nowhere after
    :meth:`use_dummy`; and, slot by slot, in what :meth:`use` names. :meth:`register` adds slots.
    """

    def __init__(self) -> None:
        self._adapters: dict[str, type[Adapter]] = {}
        self._implementations: dict[str, Implementation] = {}
        self._instances: dict[str, dict[Key, Any]] = {}
        # Makes of MongoDB's adapter what a slot without an implementation of its own gets. It is None until the first
        # is asked for: only then does the working directory count.
        self._choose: Callable[[type[Adapter]], Implementation] | None = None
        for adapter in ADAPTERS.values():
            self._add(adapter)

    def _use(self, implementations: Mapping[str, Implementation]) -> None:
        for name, implementation in implementations.items():
            adapter = self._adapters.get(name)
            if adapter is None:
                raise ConfigError(f"persist.use: there is no slot {name!r}", hint=meant(name, self._adapters))
            if not callable(implementation):
                raise ConfigError(
                    f"persist.use takes a class or a callable, not {type(implementation).__name__}",
                    slot=name,
                    hint=f"{name}=lambda *context: it gives one object to every context",
                )
            if isinstance(implementation, type):
                missing = [method for method in contract_methods(adapter) if not hasattr(implementation, method)]
                if missing:
                    raise ConfigError(
                        f"persist.use: {implementation.__name__} lacks {', '.join(missing)}",
                        slot=name,
                        hint=f"help({adapter.__name__}) shows what they are",
                    )
        for name, implementation in implementations.items():
            self._implementations[name] = implementation
            self._instances[name].clear()

    def use_mongo(self) -> None:
        """Point every slot at MongoDB; ``install()`` does this."""
        self._use_all(lambda adapter: adapter)

    def use_files(self, directory: str | os.PathLike[str] = DIRECTORY) -> None:
        """Make every slot store to JSON files below ``directory``, laid out as the Node package's. No server is needed.

        It is how it is before ``await setup()``, below the directory ``dump`` of the working directory. A relative
        directory is taken now, whatever the working directory is later. Nothing is made before the first write.
        """
        self._use_all(filed(Path(directory).absolute()))

    def use_dummy(self) -> None:
        """Make every slot a no-op: input is checked, writes go nowhere, reads find nothing. No server is needed."""
        self._use_all(dummy)

    def register(self, spec: SlotSpec) -> Any:
        """Add a slot of your own and return its adapter class, made like those of this library.

        ``persist`` has it from then on under the slot's name. Registering an equal row again gives the same class.

        Type checkers can't read the row, so they let every call of the class pass; annotated with a ``Protocol`` of
        yours, ``OrderBookAdapter: Callable[[str, str], OrderBook] = persist.register(...)``, they check it. They take
        ``persist.order_book`` for a mistake; ``getattr(persist, "order_book")`` isn't one.

        Raises:
            SlotError: the row's name, collection or Redis prefix is taken.
        """
        if not isinstance(spec, SlotSpec):
            raise InputTypeError(f"persist.register takes a SlotSpec, not {type(spec).__name__}")
        known = self._adapters.get(spec.name)
        if known is not None and known.spec == spec:
            return known
        check_table((*(adapter.spec for adapter in self._adapters.values()), spec))
        if hasattr(self, spec.name):
            raise SlotError(f"a slot of this name would hide persist.{spec.name}", slot=spec.name)
        # As namedtuple does: the class belongs to the module that asks for it, so that pickle finds it there.
        adapter = expand(spec, sys._getframe(1).f_globals.get("__name__", __name__))
        self._add(adapter)
        setattr(self, spec.name, MethodType(factory(spec), self))
        return adapter

    if not TYPE_CHECKING:  # which would take every name for one of the registry's

        def __getattr__(self, name: str) -> Any:
            # Without the object: Python would add a guess of its own, on some of its versions and in some places.
            raise AttributeError(f"persist has no slot {name!r} ({meant(name, self._adapters)})", name=name)

    def _add(self, adapter: type[Adapter]) -> None:
        self._adapters[adapter.spec.name] = adapter
        self._instances[adapter.spec.name] = {}

    def _use_all(self, choose: Callable[[type[Adapter]], Implementation]) -> None:
        self._choose = choose
        self._implementations.clear()
        for instances in self._instances.values():
            instances.clear()

    def _get(self, spec: SlotSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        context = spec.bind(args, kwargs)
        instances = self._instances[spec.name]
        instance = instances.get(context)
        if instance is None:
            instance = instances[context] = self._implementation(spec)(*context)
            if isinstance(instance, Adapter):
                instance._on_dispose = partial(self._forget, spec.name, context, instance)
        return instance

    def _forget(self, name: str, context: Key, instance: Any) -> None:
        if self._instances[name].get(context) is instance:
            del self._instances[name][context]

    def _implementation(self, spec: SlotSpec) -> Implementation:
        implementation = self._implementations.get(spec.name)
        if implementation is None:
            if self._choose is None:
                self._choose = filed(Path(DIRECTORY).absolute(), on_demand=False)
            implementation = self._implementations[spec.name] = self._choose(self._adapters[spec.name])
        return implementation


#: The registry of this process.
persist: Final = Registry()

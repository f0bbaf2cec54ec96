"""The registry: engines and strategies code against it, so that swapping the storage changes no strategy."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from weakref import WeakValueDictionary

from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.adapters.contracts import SlotFactories, list_contract_methods, make_factory
from backtest_mongo.adapters.dummy import make_dummy
from backtest_mongo.adapters.expansion import expand
from backtest_mongo.adapters.files import DEFAULT_DIRECTORY, bind_to_files
from backtest_mongo.adapters.foreign_writes import guard_writes
from backtest_mongo.adapters.shapes import Adapter
from backtest_mongo.adapters.sqlite import DEFAULT_DATABASE, bind_to_default, bind_to_sqlite
from backtest_mongo.core.payload_models import PayloadModel
from backtest_mongo.core.slots import SLOTS
from backtest_mongo.core.specs import Key, SlotSpec, check_table
from backtest_mongo.core.suggestions import suggest
from backtest_mongo.errors import ConfigError, InputTypeError, SlotError

__all__ = ["Registry", "persist"]

Implementation: TypeAlias = Callable[..., Any]

# Whichever threads ask for an object, it is made once. An implementation may ask for other slots while it is made.
_lock = threading.RLock()


def _renew_lock() -> None:
    global _lock
    _lock = threading.RLock()  # the thread that held it doesn't exist in the child


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


class Registry(SlotFactories):
    """Gives engines and strategies their storage, without naming it.

    ::

        signal = persist.signal("BTCUSDT", "my_strategy", "binance")
        await signal.write_signal_data({"id": "s-1"})

    Each slot has a method of its name, which takes the slot's context and returns the one object of that context, made
    on first use. The library's own objects hold no state: they live as long as something refers to them, and the next
    call makes an equal one. Objects of your own implementations are kept until ``dispose()`` or until another
    implementation takes over.

    The storage is chosen elsewhere, once: the SQLite database ``backtest.db`` in the working directory by default;
    MongoDB after ``await setup()``; another SQLite database after :meth:`use_sqlite`; JSON files, laid out as the Node
    package's, after :meth:`use_files`; none after :meth:`use_dummy`; and for single slots what :meth:`use` names.
    :meth:`register` adds slots.

    Every storage of this library has all methods of the slot's adapter, so that is the object's type to type checkers
    and editors. Your own implementation needs only those of its contract: see :mod:`backtest_mongo.contracts`.
    """

    def __init__(self) -> None:
        self._adapters: dict[str, type[Adapter]] = {}
        self._implementations: dict[str, Implementation] = {}
        # By slot and context. The library's own objects are held weakly; those of others may hold state, so they are
        # kept.
        self._instances: dict[str, MutableMapping[Key, Any]] = {}
        # Turns MongoDB's adapter into the implementation of each slot that has none of its own. It is None until the
        # first is asked for: only then does the working directory count.
        self._choose: Callable[[type[Adapter]], Implementation] | None = None
        #: Whether no slot has an implementation of its own.
        self._are_alike = True
        # One bound method for all objects, of which there may be thousands.
        self._forget_instance = self._forget
        for adapter in ADAPTERS.values():
            self._add(adapter)

    def _use(self, implementations: Mapping[str, Implementation]) -> None:
        for name, implementation in implementations.items():
            adapter = self._adapters.get(name)
            if adapter is None:
                raise ConfigError(f"persist.use: there is no slot {name!r}", hint=suggest(name, self._adapters))
            if not callable(implementation):
                raise ConfigError(
                    f"persist.use takes a class or a callable, not {type(implementation).__name__}",
                    slot=name,
                    hint=f"{name}=lambda *context: instance returns one object for every context",
                )
            if isinstance(implementation, type):
                missing = [method for method in list_contract_methods(adapter) if not hasattr(implementation, method)]
                if missing:
                    raise ConfigError(
                        f"persist.use: {implementation.__name__} lacks {', '.join(missing)}",
                        slot=name,
                        hint=f"help({adapter.__name__}) shows what they are",
                    )
        with _lock:
            self._are_alike = False
            for name, implementation in implementations.items():
                self._implementations[name] = implementation
                self._instances[name] = {}

    def use_mongo(self, *, slots: Iterable[str] | None = None) -> None:
        """Make slots store in MongoDB. ``install()`` does so for all.

        Args:
            slots: names of slots; ``None`` is every slot. The others keep what they have.

        Raises:
            ConfigError: there is no such slot. Nothing is changed then.
        """
        self._use_for("use_mongo", slots, lambda adapter: adapter)

    def use_files(
        self, directory: str | os.PathLike[str] = DEFAULT_DIRECTORY, *, slots: Iterable[str] | None = None
    ) -> None:
        """Make slots store in JSON files, laid out as the Node package's. No server is needed.

        ``await setup()`` points every slot at MongoDB, so call this after it::

            await setup()
            persist.use_files("dump", slots=("log", "notification"))

        Nothing is made on disk before the first write.

        Args:
            directory: where the files are. A relative path is resolved now, whatever the working directory is later.
            slots: names of slots; ``None`` is every slot. The others keep what they have.

        Raises:
            ConfigError: there is no such slot. Nothing is changed then.
        """
        self._use_for("use_files", slots, bind_to_files(Path(directory).absolute()))

    def use_sqlite(
        self, path: str | os.PathLike[str] = DEFAULT_DATABASE, *, slots: Iterable[str] | None = None
    ) -> None:
        """Make slots store in an SQLite database, which is one file. No server is needed.

        Before ``await setup()`` every slot stores in ``backtest.db`` in the working directory. ``await setup()`` points
        every slot at MongoDB, so call this after it.

        Any number of processes, threads and event loops may share the file. A write is on the disk when its call
        returns; concurrent ones share a transaction. Nothing is made on disk before the first write or
        ``wait_for_init()``. :func:`~backtest_mongo.close` waits for pending writes and closes the file; the next
        operation opens it again.

        Args:
            path: the file, on a local disk. A relative path is resolved now, whatever the working directory is later.
                ``:memory:`` is a database without a file, one for all of the process and lasting as long as it.
            slots: names of slots; ``None`` is every slot. The others keep what they have.

        Raises:
            ConfigError: there is no such slot, or ``path`` is a directory or can't be a path. Nothing is changed then.
                What else is wrong with a file is raised by the first operation: it is another program's, was written by
                a newer version of this library, or can't be opened or written by this user.
        """
        self._use_for("use_sqlite", slots, bind_to_sqlite(path))

    def use_dummy(self, *, slots: Iterable[str] | None = None) -> None:
        """Make slots check their input and store nothing: reads find nothing. No server is needed.

        Args:
            slots: names of slots; ``None`` is every slot. The others keep what they have.

        Raises:
            ConfigError: there is no such slot. Nothing is changed then.
        """
        self._use_for("use_dummy", slots, make_dummy)

    async def _check_transactions(self) -> None:
        """Make sure, where all slots are stored in MongoDB, that it has transactions.

        Raises:
            StoreError: it is a standalone.
            StoreUnavailableError: it does not answer.
        """
        if self._choose is None or not self._are_alike:
            return
        adapter = self._get_implementation(SLOTS[-1])
        if adapter is self._adapters[SLOTS[-1].name]:
            await adapter._base_store().committer.check()

    def register(self, spec: SlotSpec) -> Any:
        """Add a slot of your own, and return its adapter class, made like those of this library.

        From then on ``persist`` has a method of the slot's name. Registering an equal row again returns the same class.

        Type checkers can't read the row, so they accept every call of the class. They check it where a ``Protocol`` of
        yours is given: ``OrderBookAdapter: Callable[[str, str], OrderBook] = persist.register(...)``. They report
        ``persist.order_book`` as an error; write ``getattr(persist, "order_book")``.

        Args:
            spec: the slot's row.

        Returns:
            The adapter class. It belongs to the calling module, so that ``pickle`` finds it there.

        Raises:
            SlotError: the row's name, collection or Redis prefix is taken.
            InputTypeError: ``spec`` is not a :class:`~backtest_mongo.SlotSpec`.
        """
        if not isinstance(spec, SlotSpec):
            raise InputTypeError(f"persist.register takes a SlotSpec, not {type(spec).__name__}")
        known = self._adapters.get(spec.name)
        if known is not None and known.spec == spec:
            return known
        check_table((*(adapter.spec for adapter in self._adapters.values()), spec))
        if hasattr(self, spec.name):
            raise SlotError(f"a slot of this name would hide persist.{spec.name}", slot=spec.name)
        # As namedtuple does.
        adapter = expand(spec, sys._getframe(1).f_globals.get("__name__", __name__))
        self._add(adapter)
        setattr(self, spec.name, MethodType(make_factory(spec), self))
        return adapter

    if not TYPE_CHECKING:  # which would take every name for one of the registry's

        def __getattr__(self, name: str) -> Any:
            # Without obj=, as some versions of Python would add a suggestion of their own.
            raise AttributeError(f"persist has no slot {name!r} ({suggest(name, self._adapters)})", name=name)

    @property
    def _is_chosen(self) -> bool:
        """Whether a storage was named, or one is in use."""
        return self._choose is not None or bool(self._implementations)

    def _add(self, adapter: type[Adapter]) -> None:
        self._adapters[adapter.spec.name] = adapter
        self._instances[adapter.spec.name] = WeakValueDictionary()

    def _use_for(
        self, call: str, slots: Iterable[str] | None, choose: Callable[[type[Adapter]], Implementation]
    ) -> None:
        if slots is None:
            self._use_all(choose)
            return
        if isinstance(slots, str) or not isinstance(slots, Iterable):
            raise ConfigError(
                f"persist.{call}: slots must be slot names, not {type(slots).__name__}",
                hint=f"slots=({slots!r},) names one" if isinstance(slots, str) else None,
            )
        names = list(slots)
        for name in names:
            if not isinstance(name, str) or name not in self._adapters:
                hint = suggest(name, self._adapters) if isinstance(name, str) else None
                raise ConfigError(f"persist.{call}: there is no slot {name!r}", hint=hint)
        self._use({name: choose(self._adapters[name]) for name in names})
        with _lock:
            for name in names:  # the library's own, which hold no state
                self._instances[name] = WeakValueDictionary()

    def _use_all(self, choose: Callable[[type[Adapter]], Implementation]) -> None:
        with _lock:
            self._choose, self._are_alike = choose, True
            self._implementations.clear()
            self._instances = {name: WeakValueDictionary() for name in self._adapters}

    def _get_instance(
        self, spec: SlotSpec, args: tuple[Any, ...], kwargs: dict[str, Any], payloads: PayloadModel | None = None
    ) -> Any:
        if payloads is not None:
            return self._get_typed_instance(spec, spec.bind(args, kwargs), payloads)
        context = spec.bind(args, kwargs)
        with _lock:
            instances = self._instances[spec.name]
            instance = instances.get(context)
            if instance is None:
                instance = self._get_implementation(spec)(*context)
                if isinstance(instance, Adapter):
                    context = instance._values if instance._values == context else context
                    instance._kept = (self._forget_instance, spec.name, context)
                else:
                    guard_writes(instance, self._adapters[spec.name])
                instances[context] = instance
            return instance

    def _get_typed_instance(self, spec: SlotSpec, context: Key, payloads: PayloadModel) -> Any:
        from backtest_mongo.adapters.typed import bind_to_model  # which makes a class per slot

        key = (context, payloads)
        with _lock:
            instances = self._instances[spec.name]
            instance = instances.get(key)
            if instance is None:
                instance = bind_to_model(self._get_implementation(spec), payloads, spec)(*context)
                instance._kept = (self._forget_instance, spec.name, key)
                instances[key] = instance
            return instance

    def _forget(self, name: str, context: Key, instance: Adapter) -> None:
        with _lock:
            instances = self._instances[name]
            if instances.get(context) is instance:
                instances.pop(context, None)

    def _get_implementation(self, spec: SlotSpec) -> Implementation:
        implementation = self._implementations.get(spec.name)
        if implementation is None:
            if self._choose is None:
                self._choose = bind_to_default()
            implementation = self._implementations[spec.name] = self._choose(self._adapters[spec.name])
        return implementation


#: The registry of this process.
persist: Final = Registry()

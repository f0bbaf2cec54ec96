"""What an implementation of each slot must have: a ``Protocol`` per slot, made from the adapters.

``contracts.pyi`` spells them out. A class that derives from one can't be instantiated while it lacks a method.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from types import FunctionType, new_class
from typing import Any, Protocol, runtime_checkable

from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.expansion import context_signature, with_self
from backtest_mongo.shapes import Adapter
from backtest_mongo.slots import SLOTS
from backtest_mongo.specs import SlotSpec

__all__ = ["CONTRACTS", "SlotFactories", "contract", "contract_methods", "factory", "factory_doc"]


def contract_methods(adapter: type[Adapter]) -> dict[str, Callable[..., Any]]:
    """Return the public methods that every implementation of a slot must have."""
    own = {name: value for name, value in vars(adapter).items() if isinstance(value, FunctionType) and name[0] != "_"}
    return {"wait_for_init": Adapter.wait_for_init, **own}


def contract(adapter: type[Adapter]) -> type:
    """Return the protocol that an adapter class fulfils."""
    spec = adapter.spec
    members: dict[str, Any] = {name: _abstract(method) for name, method in contract_methods(adapter).items()}
    members["__module__"] = __name__
    members["__doc__"] = f"What an implementation of the ``{spec.name}`` slot must have."
    return runtime_checkable(new_class(_name(spec), (Protocol,), exec_body=lambda namespace: namespace.update(members)))


def _name(spec: SlotSpec) -> str:
    return spec.class_name.removesuffix("Adapter") + "Contract"


def _abstract(method: Callable[..., Any]) -> Callable[..., Any]:
    assert isinstance(method, FunctionType)  # for the type checker
    copy = FunctionType(method.__code__, method.__globals__, method.__name__, method.__defaults__, method.__closure__)
    copy.__annotations__, copy.__doc__ = dict(method.__annotations__), method.__doc__
    return abstractmethod(copy)


def factory(spec: SlotSpec) -> Callable[..., Any]:
    """Return the registry's method for a slot."""

    def make(self: SlotFactories, *args: Any, **kwargs: Any) -> Any:
        return self._get(spec, args, kwargs)

    make.__name__, make.__qualname__ = spec.name, f"{SlotFactories.__name__}.{spec.name}"
    make.__annotations__ = {"return": _name(spec)}
    make.__doc__ = factory_doc(spec)
    make.__signature__ = with_self(context_signature(spec, returns=_name(spec)))  # type: ignore[attr-defined]
    return make


def factory_doc(spec: SlotSpec) -> str:
    """Return the docstring of the registry's method for a slot."""
    about = f", {spec.about}" if spec.about else ""
    return f"Return what stores the ``{spec.name}`` slot{about}: one object for each context."


class SlotFactories:
    """The part of the registry that differs by slot: a method of each slot's name, and ``use()``."""

    def use(self, **implementations: Callable[..., Any]) -> None:
        """Replace the storage of slots by your own: ``persist.use(signal=MySignal)``.

        The name is the slot's. The value is a class, or any callable, that takes the slot's context by position and
        gives an object with the methods of the slot's contract: here those of
        :class:`backtest_mongo.contracts.SignalContract`. Instances that were made before are forgotten.

        Raises:
            ConfigError: there is no such slot, or a class lacks a method of the contract. Nothing is changed then.
        """
        self._use(implementations)

    def _use(self, implementations: Mapping[str, Callable[..., Any]]) -> None:
        raise NotImplementedError

    def _get(self, spec: SlotSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        raise NotImplementedError


for _spec in SLOTS:
    setattr(SlotFactories, _spec.name, factory(_spec))

CONTRACTS: dict[str, type] = {name: contract(adapter) for name, adapter in ADAPTERS.items()}
globals().update({protocol.__name__: protocol for protocol in CONTRACTS.values()})

__all__ += [protocol.__name__ for protocol in CONTRACTS.values()]

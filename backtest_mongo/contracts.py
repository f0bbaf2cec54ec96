"""What an implementation of each slot must have: a ``Protocol`` per slot, made from the adapters.

``contracts.pyi`` spells them out. A class that derives from one can't be instantiated while it lacks a method.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable
from types import FunctionType, new_class
from typing import Any, Protocol, runtime_checkable

from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.expansion import context_signature
from backtest_mongo.shapes import Adapter
from backtest_mongo.slots import SLOTS
from backtest_mongo.specs import SlotSpec

__all__ = ["CONTRACTS", "SlotFactories", "contract", "contract_methods", "factory"]


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
    make.__doc__ = f"Return the registered implementation of the ``{spec.name}`` slot for this context."
    signature = context_signature(spec, returns=_name(spec))
    this = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    make.__signature__ = signature.replace(parameters=[this, *signature.parameters.values()])  # type: ignore[attr-defined]
    return make


class SlotFactories:
    """The registry's methods, one a slot."""

    def _get(self, spec: SlotSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        raise LookupError(spec.name)


for _spec in SLOTS:
    setattr(SlotFactories, _spec.name, factory(_spec))

CONTRACTS: dict[str, type] = {name: contract(adapter) for name, adapter in ADAPTERS.items()}
globals().update({protocol.__name__: protocol for protocol in CONTRACTS.values()})

__all__ += [protocol.__name__ for protocol in CONTRACTS.values()]

"""Writes of a user's own implementations, which no transaction can take back: within one they are refused."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from types import FunctionType
from typing import Any

from backtest_mongo.adapters.contracts import list_contract_methods
from backtest_mongo.adapters.shapes import Adapter
from backtest_mongo.commit.scope import current_scope
from backtest_mongo.commit.transaction import refuse_foreign_write
from backtest_mongo.core.specs import SlotSpec

__all__ = ["guard_writes"]

_MARK = "_backtest_mongo_slot"


def guard_writes(instance: Any, adapter: type[Adapter]) -> None:
    """Make the methods of an object that write or remove rows of a slot refuse to run within a transaction.

    The methods of its class are wrapped, once, so that it stays what it is: of the same class, pickled as before, and
    with ``__slots__`` if it has them. Methods that are the object's own are wrapped there. Methods that can't be
    replaced in either place stay unguarded, and so do candles, which are not part of a transaction.
    """
    spec = adapter.spec
    if spec.is_candles:
        return
    for name in list_contract_methods(adapter):
        if name.startswith(("write_", "remove_")):
            _guard(instance, name, spec)


def _guard(instance: Any, name: str, spec: SlotSpec) -> None:
    kind = type(instance)
    title = f"an implementation of your own ({kind.__qualname__})"
    method = inspect.getattr_static(kind, name, None)
    own = inspect.getattr_static(instance, name, None)
    if own is method and getattr(method, _MARK, None) == spec.name:
        return
    if own is method and isinstance(method, FunctionType):
        try:
            setattr(kind, name, _wrap(method, spec, title))
        except (AttributeError, TypeError):  # a class that does not let itself be changed
            pass
        else:
            return
    call = getattr(instance, name, None)
    if callable(call) and getattr(call, _MARK, None) != spec.name:
        try:
            setattr(instance, name, _wrap(call, spec, title))
        except (AttributeError, TypeError):
            return


def _wrap(call: Callable[..., Any], spec: SlotSpec, title: str) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(call):

        @wraps(call)
        async def write(*args: Any, **kwargs: Any) -> Any:
            if current_scope.get() is not None:
                refuse_foreign_write(spec.name, title)
            return await call(*args, **kwargs)
    else:

        @wraps(call)
        def write(*args: Any, **kwargs: Any) -> Any:
            if current_scope.get() is not None:
                refuse_foreign_write(spec.name, title)
            return call(*args, **kwargs)

    setattr(write, _MARK, spec.name)
    return write

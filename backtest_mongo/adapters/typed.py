"""Adapters whose payloads are objects of a model, for ``persist.signal(..., model=Signal)``.

There is a generic class per slot, such as ``TypedSignalAdapter``; ``typed.pyi`` spells them out. What ``persist``
returns derives from it and from the class that stores the slot.
"""

from __future__ import annotations

from types import new_class
from typing import Any, Final, Generic

from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.adapters.expansion import TYPED
from backtest_mongo.adapters.shapes import Adapter, TypedAdapter
from backtest_mongo.adapters.shapes.typed import M
from backtest_mongo.core.payload_models import PayloadModel
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.errors import InputError

#: What ``backtest_mongo.typed`` offers; the rest is for the registry.
__all__ = ["TYPED_ADAPTERS"]

#: Classes that are kept of one storage and slot. A program has a few models per slot.
_MOST: Final = 64


def _make_generic(adapter: type[Adapter]) -> type[TypedAdapter[Any]]:
    base: Any = TYPED[adapter.spec.shape]
    doc = (
        f"The ``{adapter.spec.name}`` slot with a model: a :class:`~backtest_mongo.{adapter.__name__}` of its objects."
    )
    members = {"__module__": "backtest_mongo.typed", "__doc__": doc}  # where people import it from
    made: Any = new_class(
        f"Typed{adapter.__name__}",
        (base[M], adapter, Generic[M]),  # type: ignore[index]  # which a variable can't say
        exec_body=lambda namespace: namespace.update(members),
    )
    return made  # type: ignore[no-any-return]  # of the first of the bases


#: The generic class of each slot, by the slot's name.
TYPED_ADAPTERS: Final[dict[str, type[TypedAdapter[Any]]]] = {
    name: _make_generic(adapter) for name, adapter in ADAPTERS.items() if adapter.spec.shape in TYPED
}
globals().update({adapter.__name__: adapter for adapter in TYPED_ADAPTERS.values()})

__all__ += [adapter.__name__ for adapter in TYPED_ADAPTERS.values()]


def bind_to_model(implementation: Any, payloads: PayloadModel, spec: SlotSpec) -> type[TypedAdapter[Any]]:
    """Derive from the class that stores a slot one whose payloads are objects of a model.

    Args:
        implementation: the class.
        payloads: the model.
        spec: the slot.

    Raises:
        InputError: it is not of this library's storages.
    """
    if not isinstance(implementation, type) or not issubclass(implementation, Adapter):
        kind = getattr(implementation, "__name__", type(implementation).__name__)
        problem = f"a model needs one of this library's storages, unlike {kind}"
        raise InputError(problem, slot=spec.name, hint="convert payloads in your own implementation")
    known: dict[PayloadModel, Any] | None = vars(implementation).get("_typed_classes")
    if known is None or len(known) >= _MOST:
        known = {}
        implementation._typed_classes = known  # type: ignore[attr-defined]  # kept by the class, and freed with it
    made = known.get(payloads)
    if made is None:
        base: Any = TYPED_ADAPTERS.get(spec.name) or TYPED[spec.shape]
        bases = (implementation,) if issubclass(implementation, TypedAdapter) else (base, implementation)
        members = {
            "__module__": __name__,
            "__doc__": implementation.__doc__,
            "__reduce__": _reduce,
            "_payloads": payloads,
            "_stored_by": implementation,
        }
        made = known[payloads] = type(f"Typed{implementation.__name__}", bases, members)
    return made  # type: ignore[no-any-return]  # of the bases


def _reduce(self: Any) -> tuple[Any, ...]:
    return _restore, (self._stored_by, self._payloads, self._values)


def _restore(implementation: type[Adapter], payloads: PayloadModel, values: tuple[Any, ...]) -> TypedAdapter[Any]:
    return bind_to_model(implementation, payloads, implementation.spec)(*values)

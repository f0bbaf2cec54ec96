"""What an implementation of each slot must have: a ``Protocol`` per slot, made from the adapters.

``contracts.pyi`` spells them out. A class that derives from one can't be instantiated while it lacks a method.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from inspect import Parameter
from types import FunctionType, new_class
from typing import Any, Final, Protocol, runtime_checkable

from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.adapters.expansion import describe_context, expand_contract, is_in_contract, make_signature
from backtest_mongo.adapters.shapes import Adapter
from backtest_mongo.core.payload_models import PayloadModel, make_payload_model
from backtest_mongo.core.slots import SERIES, SLOTS
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.errors import InputError, InputTypeError

#: What ``backtest_mongo.contracts`` offers; the registry's part is for the registry.
__all__ = ["CONTRACTS"]


def list_contract_methods(adapter: type[Adapter]) -> dict[str, Callable[..., Any]]:
    """Return the public methods that every implementation of a slot must have.

    Args:
        adapter: the slot's adapter class.

    Returns:
        Plain functions by name: ``wait_for_init`` and what the expansion added for the slot. Class methods, properties,
        ranges of a bucket and what the shape's base class defines are not part of the contract.
    """
    own = {
        name: value
        for name, value in vars(adapter).items()
        if isinstance(value, FunctionType) and name[0] != "_" and is_in_contract(name)
    }
    return {"wait_for_init": Adapter.wait_for_init, **own}


def make_contract(adapter: type[Adapter]) -> type:
    """Return the contract of a slot.

    Args:
        adapter: the slot's adapter class.

    Returns:
        A ``Protocol`` class that ``isinstance()`` can check, such as ``SignalContract``, with the methods of
        :func:`list_contract_methods` as abstract methods. Their signatures and docstrings are the adapter's, but for
        ``with_version``, ``if_absent``, ``expect``, ``prefix`` and filters, which an implementation need not support.
    """
    spec = adapter.spec
    name = spec.class_name.removesuffix("Adapter") + "Contract"
    module = "backtest_mongo.contracts"  # where people import it from
    methods = {"wait_for_init": Adapter.wait_for_init, **expand_contract(spec, name, module)}
    members: dict[str, Any] = {name: _copy_as_abstract(method) for name, method in methods.items()}
    members["__module__"] = module
    members["__doc__"] = f"What an implementation of the ``{spec.name}`` slot must have."
    return runtime_checkable(new_class(name, (Protocol,), exec_body=lambda namespace: namespace.update(members)))


def _copy_as_abstract(method: Callable[..., Any]) -> Callable[..., Any]:
    assert isinstance(method, FunctionType)  # for the type checker
    copy = FunctionType(method.__code__, method.__globals__, method.__name__, method.__defaults__, method.__closure__)
    copy.__annotations__, copy.__doc__ = dict(method.__annotations__), method.__doc__
    return abstractmethod(copy)


def make_factory(spec: SlotSpec) -> Callable[..., Any]:
    """Return the registry's method for a slot, such as ``persist.signal``.

    Args:
        spec: the slot.

    Returns:
        A function to be set on :class:`SlotFactories` under the slot's name. It takes the arguments of the adapter's
        constructor, and returns the one object of that context.
    """

    takes_model = has_model_arguments(spec)

    def get_instance(self: SlotFactories, *args: Any, **kwargs: Any) -> Any:
        if takes_model and not kwargs.keys().isdisjoint(_MODEL_ARGUMENTS):
            return self._get_instance(spec, args, kwargs, _take_payload_model(spec, kwargs))
        return self._get_instance(spec, args, kwargs)

    get_instance.__name__, get_instance.__qualname__ = spec.name, f"{SlotFactories.__name__}.{spec.name}"
    get_instance.__annotations__ = {"return": spec.class_name}
    get_instance.__doc__ = _describe_factory(spec)
    signature = make_signature(spec, returns=spec.class_name)
    if has_model_arguments(spec):
        parameters = [*signature.parameters.values()]
        for name, annotation in _MODEL_ARGUMENTS.items():
            parameters.append(Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=annotation))
        signature = signature.replace(parameters=parameters)
    get_instance.__signature__ = signature  # type: ignore[attr-defined]
    return get_instance


#: The arguments of the registry's method for a slot that name a model.
_MODEL_ARGUMENTS: Final = {
    "model": "type[Any] | None",
    "upgrade": "Upgrade | None",
    "schema_version": "int | None",
}


def has_model_arguments(spec: SlotSpec) -> bool:
    """Return whether the registry's method of a slot takes a model: series have none, and contexts go first."""
    return spec.shape != "series" and not {*_MODEL_ARGUMENTS} & {*spec.context}


def _take_payload_model(spec: SlotSpec, kwargs: dict[str, Any]) -> PayloadModel | None:
    """Take the arguments that name a model out of those of a call."""
    model, upgrade, schema_version = (kwargs.pop(name, None) for name in _MODEL_ARGUMENTS)
    if model is None and upgrade is None and schema_version is None:
        return None
    if model is None:
        raise InputTypeError("upgrade and schema_version need a model", slot=spec.name, hint="pass model= as well")
    try:
        return make_payload_model(model, upgrade, schema_version)
    except InputError as error:
        error.slot = spec.name
        raise


def _describe_factory(spec: SlotSpec) -> str:
    about = f", {spec.about}" if spec.about else ""
    described = describe_context(spec) + (_ABOUT_MODEL if has_model_arguments(spec) else "")
    arguments = f"        Args:\n{described}\n" if described else ""
    typed = "" if not has_model_arguments(spec) else _TYPED_RESULT.format(class_name=spec.class_name)
    return f"""Return what stores the ``{spec.name}`` slot{about}: one object per context.

{arguments}        Returns:
            A :class:`~backtest_mongo.{spec.class_name}`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.{typed}

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty{_BAD_MODEL if typed else ""}.
        """


_ABOUT_MODEL: Final = """\
            model: the class that payloads are read into and written from: a pydantic model, a dataclass or a
                ``msgspec.Struct``; ``None`` for payloads as they are stored.
            upgrade: what makes payloads of the model's version out of older ones: a function of a payload and its
                version, or a mapping from each older version to a function that returns a payload of the next.
            schema_version: the version of the payloads that the model describes; ``None`` is the one after those that
                ``upgrade`` names, 2 if it is one function, and 1 without it.
"""
_TYPED_RESULT: Final = """
            With ``model`` a ``Typed{class_name}`` of ``backtest_mongo.typed``."""
_BAD_MODEL: Final = """, the model can't be used,
                or the slot has an implementation of your own, which takes no model"""


class SlotFactories:
    """The part of the registry that differs by slot: a method of each slot's name, and ``use()``."""

    def use(self, **implementations: Callable[..., Any]) -> None:
        """Replace the storage of slots by your own: ``persist.use(signal=MySignal)``.

        Objects that were made before are forgotten. Those that an implementation makes are kept, one per context, as
        they may hold state; they need not support weak references.

        Args:
            implementations: by slot, a class or any other callable. It takes the slot's context by position, and
                returns an object with the methods of the slot's contract, such as
                :class:`backtest_mongo.contracts.SignalContract`.

        Raises:
            ConfigError: there is no such slot, or a class lacks a method of the contract. Nothing is changed then.
        """
        self._use(implementations)

    def _use(self, implementations: Mapping[str, Callable[..., Any]]) -> None:
        raise NotImplementedError

    def _get_instance(
        self, spec: SlotSpec, args: tuple[Any, ...], kwargs: dict[str, Any], payloads: PayloadModel | None = None
    ) -> Any:
        raise NotImplementedError


for _spec in (*SLOTS, *SERIES):
    setattr(SlotFactories, _spec.name, make_factory(_spec))

CONTRACTS: dict[str, type] = {
    name: make_contract(adapter) for name, adapter in ADAPTERS.items() if not adapter.spec.columns
}
globals().update({protocol.__name__: protocol for protocol in CONTRACTS.values()})

__all__ += [protocol.__name__ for protocol in CONTRACTS.values()]

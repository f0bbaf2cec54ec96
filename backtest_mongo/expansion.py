"""Expands a row of the slot table into an adapter class.

The methods of a class are the functions below, one line each, under the names that the row gives to them and to their
parameters: a traceback or a debugger shows the lines of this file. The work is done in :mod:`backtest_mongo.shapes`.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence  # noqa: F401  # the last: as text
from types import FunctionType
from typing import Any, Final

from backtest_mongo.shapes import (
    Adapter,
    BucketAdapter,
    CollectionAdapter,
    DocumentAdapter,
    EntryAdapter,
    SeriesAdapter,
)
from backtest_mongo.specs import FLAG, Shape, SlotSpec
from backtest_mongo.types import Candle, Context, Payload, Rows, When

__all__ = ["context_signature", "expand", "with_self"]

_WIDTH: Final = 112

Methods = dict[str, Callable[..., Any]]

_GUARD = """

        With ``when`` (milliseconds since the epoch, or an aware datetime) a row stored for a later simulation time is
        treated as if nothing were stored.
        """
_WRITTEN = """

        One atomic upsert; when it returns, every reader in any process sees it, and the id cache knows the document.
        """


def _document(spec: SlotSpec) -> Methods:
    if spec.when:

        async def read(self: DocumentAdapter, when: When | None = None) -> dict[str, Any] | None:
            return await self._read(when)

        async def write(self: DocumentAdapter, value: Payload, when: When) -> None:
            await self._write(value, when)

    else:

        async def read(self: DocumentAdapter) -> dict[str, Any] | None:  # type: ignore[misc]  # the other signature
            return await self._read()

        async def write(self: DocumentAdapter, value: Payload) -> None:  # type: ignore[misc]  # the other signature
            await self._write(value)

    nothing = "an empty list" if spec.payload == "list" else "``None``"
    read.__doc__ = f"Return what is stored for this context, or {nothing}.{_GUARD if spec.when else ''}"
    clears = " ``None`` clears it." if spec.payload == "object|null" else ""
    write.__doc__ = f"Store ``{spec.value}`` for this context, in place of what was stored.{clears}{_WRITTEN}"
    if spec.payload == "list":
        read.__annotations__["return"] = "list[Any]"
        write.__annotations__["value"] = "Sequence[Any]"
    elif spec.payload == "object|null":
        write.__annotations__["value"] = "Payload | None"
    return {f"read_{spec.noun}_data": read, f"write_{spec.noun}_data": write}


def _many_documents(spec: SlotSpec) -> Methods:
    """Return the class methods of a document's adapter."""
    if spec.when:

        async def read_many(
            cls: type[DocumentAdapter], contexts: Iterable[Context], when: When | None = None
        ) -> list[dict[str, Any] | None]:
            return await cls._read_many(contexts, when)

        async def write_many(cls: type[DocumentAdapter], rows: Iterable[tuple[Context, Payload]], when: When) -> None:
            await cls._write_many(rows, when)

    else:

        async def read_many(  # type: ignore[misc]  # the other signature
            cls: type[DocumentAdapter], contexts: Iterable[Context]
        ) -> list[dict[str, Any] | None]:
            return await cls._read_many(contexts)

        async def write_many(  # type: ignore[misc]  # the other signature
            cls: type[DocumentAdapter], rows: Iterable[tuple[Context, Payload]]
        ) -> None:
            await cls._write_many(rows)

    guard = _GUARD if spec.when else ""
    read_many.__doc__ = f"""Return what is stored for each of ``contexts``, in their order, in one round trip.

        A context is the constructor's arguments: a sequence in their order, or a mapping by name.{guard}
        """
    write_many.__doc__ = f"""Store many ``(context, {spec.value})`` pairs in one round trip.

        All are checked before any is sent. Each is one atomic upsert, and one that the server refuses keeps no other
        from being stored: the first such error is raised at the end.
        """
    if spec.payload == "list":
        read_many.__annotations__["return"] = "list[list[Any]]"
        write_many.__annotations__["rows"] = "Iterable[tuple[Context, Sequence[Any]]]"
    elif spec.payload == "object|null":
        write_many.__annotations__["rows"] = "Iterable[tuple[Context, Payload | None]]"
    return {"read_many": read_many, "write_many": write_many}


def _entry(spec: SlotSpec) -> Methods:
    if spec.when:

        async def read(self: EntryAdapter, entry: str, when: When | None = None) -> dict[str, Any]:
            return await self._read(entry, when)

        async def write(self: EntryAdapter, value: Payload, entry: str, when: When) -> None:
            await self._write(value, entry, when)

    else:

        async def read(self: EntryAdapter, entry: str) -> dict[str, Any]:  # type: ignore[misc]  # the other signature
            return await self._read(entry)

        async def write(self: EntryAdapter, value: Payload, entry: str) -> None:  # type: ignore[misc]  # likewise
            await self._write(value, entry)

    read.__doc__ = f"Return what is stored for ``{spec.argument}``, or an empty dict.{_GUARD if spec.when else ''}"
    write.__doc__ = f"Store ``{spec.value}`` for ``{spec.argument}``, in place of what was stored.{_WRITTEN}"
    return {f"read_{spec.noun}_data": read, f"write_{spec.noun}_data": write}


def _collection(spec: SlotSpec) -> Methods:
    if spec.newest is None:

        async def read(self: CollectionAdapter) -> list[dict[str, Any]]:
            return await self._read_all()

        read.__doc__ = "Return every row, however many there are, in the order of their ids."
    else:

        async def read(self: CollectionAdapter, limit: int = spec.newest) -> list[dict[str, Any]]:  # type: ignore[misc]
            return await self._read_newest(limit)

        read.__doc__ = "Return the ``limit`` rows that were first written last, oldest first."

    async def write(self: CollectionAdapter, value: Rows) -> None:
        await self._write(value)

    write.__doc__ = f"""Store each of ``{spec.value}`` under its own ``id``; rows with other ids stay as they are.

        All are checked before any is sent. Each row is one atomic upsert, and all travel in one batch, in their order.
        """
    return {f"read_{spec.noun}_data": read, f"write_{spec.noun}_data": write}


def _bucket(spec: SlotSpec) -> Methods:
    async def write(self: BucketAdapter, value: Payload, entry: str, when: When | None = None) -> None:
        await self._write(value, entry, when)

    async def remove(self: BucketAdapter, entry: str) -> None:
        await self._remove(entry)

    async def has(self: BucketAdapter, entry: str) -> bool:
        return await self._has(entry)

    if spec.when:

        async def read(self: BucketAdapter, entry: str, when: When | None = None) -> dict[str, Any] | None:
            return await self._read(entry, when)

        async def write(self: BucketAdapter, value: Payload, entry: str, when: When) -> None:  # type: ignore[misc]
            await self._write(value, entry, when)

        def keys(self: BucketAdapter, when: When | None = None) -> AsyncIterator[str]:
            return self._keys(when)

        def items(self: BucketAdapter, when: When | None = None) -> AsyncIterator[tuple[str, dict[str, Any]]]:
            return self._items(when)

    else:

        async def read(self: BucketAdapter, entry: str) -> dict[str, Any] | None:  # type: ignore[misc]
            return await self._read(entry)

        def keys(self: BucketAdapter) -> AsyncIterator[str]:  # type: ignore[misc]  # the other signature
            return self._keys()

        def items(self: BucketAdapter) -> AsyncIterator[tuple[str, dict[str, Any]]]:  # type: ignore[misc]
            return self._items()

    guard = _GUARD if spec.when else ""
    listed = items if spec.items else keys
    what = f"``({spec.argument}, payload)``" if spec.items else f"``{spec.argument}``"
    read.__doc__ = f"Return what is stored for ``{spec.argument}``, or ``None``.{guard}"
    ignored = "" if spec.when else " ``when`` is checked and not stored: answers from outside have no simulation time."
    write.__doc__ = f"Store ``{spec.value}`` for ``{spec.argument}``; a removed row comes back.{ignored}{_WRITTEN}"
    remove.__doc__ = f"Mark ``{spec.argument}`` as removed and keep its document. Removing what is absent does nothing."
    has.__doc__ = f"Tell whether ``{spec.argument}`` was ever written; a removed row counts."
    listed.__doc__ = f"Iterate over the {what} of every row that is not removed, in the order of the keys.{guard}"
    methods: Methods = {
        f"read_{spec.noun}_data": read,
        f"write_{spec.noun}_data": write,
        f"remove_{spec.noun}_data": remove,
        f"list_{spec.noun}_data": listed,
    }
    if spec.items:
        methods[f"has_{spec.noun}_data"] = has
    return methods


def _series(spec: SlotSpec) -> Methods:
    async def read(
        self: SeriesAdapter, limit: int, since_timestamp: When, until_timestamp: When | None = None
    ) -> list[Candle] | None:
        return await self._read(limit, since_timestamp, until_timestamp)

    async def write(self: SeriesAdapter, value: Rows) -> int:
        return await self._write(value)

    read.__doc__ = """Return ``limit`` rows from ``since_timestamp`` on, one an interval, or ``None`` if any is missing.

        One indexed range query. Times are open times, in milliseconds since the epoch or as aware datetimes. The end
        follows from ``limit``; where ``until_timestamp`` comes before the last row, the answer is ``None``.
        """
    write.__doc__ = f"""Store ``{spec.value}`` that are not stored yet, and return how many were new.

        The first write of a row wins for ever: a stored row never changes. Rows whose interval has not ended yet are
        skipped. All are checked before any is sent. ``{spec.value}`` may come in any order.
        """
    return {f"read_{spec.noun}_data": read, f"write_{spec.noun}_data": write}


_SHAPES: Final[Mapping[Shape, tuple[type[Adapter], Callable[[SlotSpec], Methods]]]] = {
    "document": (DocumentAdapter, _document),
    "entry": (EntryAdapter, _entry),
    "collection": (CollectionAdapter, _collection),
    "bucket": (BucketAdapter, _bucket),
    "series": (SeriesAdapter, _series),
}


def expand(spec: SlotSpec, module: str) -> type[Adapter]:
    """Return the adapter class of a slot, as if it were written in ``module``."""
    base, make_methods = _SHAPES[spec.shape]
    methods = make_methods(spec)
    if spec.dispose:

        def dispose(self: Adapter) -> None:
            self._dispose()

        dispose.__doc__ = "Forget the instance that the registry keeps for this context. Nothing stored is touched."
        methods["dispose"] = dispose
    names = {"value": spec.value, "entry": spec.argument}
    namespace: dict[str, Any] = {
        "__module__": module,
        "__qualname__": spec.class_name,
        "__doc__": _class_doc(spec, methods),
        "__init__": _constructor(spec, base, module),
        "spec": spec,
    }
    for name, method in methods.items():
        namespace[name] = _renamed(method, name, names, module, f"{spec.class_name}.{name}")
    if spec.shape == "document":
        for name, method in _many_documents(spec).items():
            namespace[name] = classmethod(_renamed(method, name, {}, module, f"{spec.class_name}.{name}"))
    return type(spec.class_name, (base,), namespace)


def _constructor(spec: SlotSpec, base: type[Adapter], module: str) -> Callable[..., None]:
    def make(self: Adapter, *args: Any, **kwargs: Any) -> None:
        base.__init__(self, *args, **kwargs)

    make.__name__, make.__qualname__, make.__module__ = "__init__", f"{spec.class_name}.__init__", module
    make.__doc__ = "Make an adapter for this context. Opens no connection and needs no event loop."
    make.__signature__ = with_self(context_signature(spec, returns=None))  # type: ignore[attr-defined]
    return make


def with_self(signature: inspect.Signature) -> inspect.Signature:
    this = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return signature.replace(parameters=[this, *signature.parameters.values()])


def context_signature(spec: SlotSpec, returns: Any = inspect.Signature.empty) -> inspect.Signature:
    """Return the signature of a slot's constructor."""

    def parameter(name: str) -> inspect.Parameter:
        kind: type = bool if name == FLAG else str
        default = kind() if name in spec.optional else inspect.Parameter.empty
        # By name, as in the annotations of every module here: Signature prints them alike.
        return inspect.Parameter(
            name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=kind.__name__
        )

    return inspect.Signature([parameter(name) for name in spec.context], return_annotation=returns)


def _class_doc(spec: SlotSpec, methods: Methods) -> str:
    about = f"The ``{spec.name}`` slot: {spec.about}." if spec.about else f"The ``{spec.name}`` slot."
    read, write = f"read_{spec.noun}_data", f"write_{spec.noun}_data"
    example = (
        f"{spec.name} = {spec.class_name}({', '.join(spec.context)})",
        f"await {spec.name}.{write}({_required(spec, methods[write])})",
        f"{spec.value} = await {spec.name}.{read}({_required(spec, methods[read])})",
    )
    rules = (
        f"Rows are in the collection ``{spec.collection}``, unique by {', '.join(f'``{name}``' for name in spec.key)}.",
        "Writes carry ``when``, the simulation time, and reads given one never see a later row." if spec.when else "",
        "Removed rows are marked and kept." if spec.soft_delete else "",
        "The first write of a row wins for ever." if spec.immutable else "",
    )
    paragraph = textwrap.fill(" ".join(filter(None, rules)), _WIDTH, break_on_hyphens=False)
    return textwrap.indent(
        "\n".join((about, "", "::", "", *(f"    {line}" for line in example), "", paragraph, "")), "    "
    ).lstrip()


def _required(spec: SlotSpec, method: Callable[..., Any]) -> str:
    _, *parameters = inspect.signature(method).parameters.values()
    names = {"value": spec.value, "entry": spec.argument}
    return ", ".join(names.get(each.name, each.name) for each in parameters if each.default is each.empty)


def _renamed(
    function: Callable[..., Any], name: str, parameters: Mapping[str, str], module: str, qualname: str
) -> Callable[..., Any]:
    """Return ``function`` under another name, with some of its parameters renamed."""
    assert isinstance(function, FunctionType)  # for the type checker: all of them come from `def` above
    code = function.__code__
    function.__code__ = code.replace(
        co_name=name,
        co_qualname=qualname,
        co_varnames=tuple(parameters.get(variable, variable) for variable in code.co_varnames),
    )
    function.__name__, function.__qualname__, function.__module__ = name, qualname, module
    function.__annotations__ = {
        parameters.get(parameter, parameter): annotation
        for parameter, annotation in function.__annotations__.items()
        if parameter not in ("self", "cls")
    }
    return function

"""Writes the stubs of ``adapters``, with its ``contracts`` and ``typed``, and of ``sync``, for type checkers.

``python tools/stubs.py`` writes them; ``--check`` fails if they are not what it would write.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backtest_mongo.adapters import ADAPTERS, contracts, typed
from backtest_mongo.adapters.contracts import SlotFactories, has_model_arguments, list_contract_methods
from backtest_mongo.adapters.expansion import make_signature, name_model
from backtest_mongo.adapters.shapes import Adapter

if TYPE_CHECKING:
    from tools.sync_stubs import render_sync
else:
    from sync_stubs import render_sync  # the directory of a script is where it imports from

PACKAGE = Path(__file__).resolve().parent.parent / "backtest_mongo"

#: The argument that decides what a read returns.
VERSION_FLAG = "with_version"

#: The model of a generic class.
TYPE_VARIABLE = '_M = TypeVar("_M")\n\n'

HEADER = '''\
"""{title}

Written by tools/stubs.py from the slot table: change the table, not this file.
"""

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, Literal, Protocol, TypeVar, overload

from backtest_mongo.adapters.shapes import (
    Adapter,
    BucketAdapter,
    CollectionAdapter,
    ColumnSeriesAdapter,
    DocumentAdapter,
    EntryAdapter,
    SeriesAdapter,
    TypedAdapter,
    TypedBucketAdapter,
    TypedCollectionAdapter,
    TypedDocumentAdapter,
    TypedEntryAdapter,
)
from backtest_mongo.core.payload_models import PayloadModel, Upgrade
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.types import (
    Candle,
    Context,
    Interval,
    Payload,
    Rows,
    SeriesTime,
    Version,
    Versioned,
    When,
)

'''


def _format_signature(signature: inspect.Signature, first: str = "") -> str:
    parameters = [first] if first else []
    for parameter in signature.parameters.values():
        if parameter.name not in ("self", "cls"):
            if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parameters:
                parameters.append("*")
            default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
            parameters.append(f"{parameter.name}: {parameter.annotation}{default}")
    return f"({', '.join(parameters)}) -> {signature.return_annotation}"


def _format_docstring(value: Any) -> str:
    doc = inspect.getdoc(value) or ""
    return f'"""{doc}\n"""' if "\n" in doc else f'"""{doc}"""'


def _format_method(name: str, method: Any, *, decorator: str = "") -> str:
    keyword = "async def" if inspect.iscoroutinefunction(method) else "def"
    docstring = textwrap.indent(_format_docstring(method), "    ")
    lines = []
    for signature in _list_overloads(inspect.signature(method)):
        formatted = _format_signature(signature, "cls" if decorator == "@classmethod" else "self")
        lines += ["@overload"] if VERSION_FLAG in signature.parameters else []
        lines += [decorator] if decorator else []
        lines += [f"{keyword} {name}{formatted}:", docstring]
    return textwrap.indent("\n".join(lines), "    ")


def _list_overloads(signature: inspect.Signature) -> list[inspect.Signature]:
    """Return what a method returns without a version, with one, and for a flag whose value is not known."""
    flag = signature.parameters.get(VERSION_FLAG)
    if flag is None:
        return [signature]
    both = signature.return_annotation
    found = re.fullmatch(r"(Versioned\[(.+)\]) \| \2", both)
    assert found is not None, both
    versioned, plain = found.groups()
    overloads = []
    for annotation, default, returned in (
        ("Literal[False]", False, plain),
        ("Literal[True]", flag.empty, versioned),
        ("bool", flag.empty, both),
    ):
        parameters = signature.parameters | {VERSION_FLAG: flag.replace(annotation=annotation, default=default)}
        overloads.append(signature.replace(parameters=list(parameters.values()), return_annotation=returned))
    return overloads


def _format_adapter(adapter: type[Adapter]) -> str:
    methods = []
    for name, value in vars(adapter).items():
        if isinstance(value, classmethod):
            methods.append(_format_method(name, getattr(adapter, name), decorator="@classmethod"))
        elif inspect.isfunction(value):
            methods.append(_format_method(name, value))
    base = adapter.__mro__[1].__name__
    doc = textwrap.indent(_format_docstring(adapter), "    ")
    return "\n".join([f"class {adapter.__name__}({base}):", doc, "", *methods])


def _format_typed(adapter: type[Adapter]) -> str:
    """Return the generic class of a slot, whose methods have the model in place of payloads."""
    parts = []
    for name, value in vars(adapter).items():
        method = getattr(adapter, name)
        if name[0] == "_" or not (isinstance(value, classmethod) or inspect.isfunction(value)):
            continue
        decorator = "@classmethod" if isinstance(value, classmethod) else ""
        keyword = "async def" if inspect.iscoroutinefunction(method) else "def"
        summary = (inspect.getdoc(method) or "").partition("\n")[0]
        for signature in _list_overloads(_type_signature(inspect.signature(method))):
            parts += ["@overload"] if VERSION_FLAG in signature.parameters else []
            parts += [decorator] if decorator else []
            formatted = _format_signature(signature, "cls" if decorator else "self")
            parts += [f"{keyword} {name}{formatted}:", f'    """{summary}"""']
    made = typed.TYPED_ADAPTERS[adapter.spec.name]
    base = made.__mro__[1].__name__
    body = textwrap.indent("\n".join(parts), "    ")
    return (
        f"class {made.__name__}({base}[_M], Generic[_M]):\n{textwrap.indent(_format_docstring(made), '    ')}\n\n{body}"
    )


def _type_signature(signature: inspect.Signature) -> inspect.Signature:
    """Return the signature of a method with a model in place of payloads."""
    every = signature.parameters.values()
    parameters = [one.replace(annotation=name_model(str(one.annotation), "_M")) for one in every]
    returned = name_model(str(signature.return_annotation), "_M")
    return signature.replace(parameters=parameters, return_annotation=returned)


def list_factory_overloads(name: str, adapter: type[Adapter]) -> list[inspect.Signature]:
    """Return what the registry's method of a slot returns without a model, and with one."""
    signature = inspect.signature(getattr(SlotFactories, name))
    if not has_model_arguments(adapter.spec):
        return [signature]
    own = [one for one in signature.parameters.values() if one.name not in ("model", "upgrade", "schema_version")]
    model = signature.parameters["model"].replace(annotation="type[_M]", default=inspect.Parameter.empty)
    rest = [signature.parameters[one] for one in ("upgrade", "schema_version")]
    made = f"{typed.TYPED_ADAPTERS[name].__name__}[_M]"
    return [
        signature.replace(parameters=[*own, model.replace(annotation="None", default=None)]),
        signature.replace(parameters=[*own, model, *rest], return_annotation=made),
    ]


def _format_factory(name: str, adapter: type[Adapter]) -> str:
    docstring = textwrap.indent(_format_docstring(getattr(SlotFactories, name)), "    ")
    signatures = list_factory_overloads(name, adapter)
    lines = []
    for signature in signatures:
        lines += ["@overload"] if len(signatures) > 1 else []
        lines += [f"def {name}{_format_signature(signature, 'self')}:", docstring]
    return textwrap.indent("\n".join(lines), "    ")


def _contract_name(adapter: type[Adapter]) -> str:
    return adapter.__name__.removesuffix("Adapter") + "Contract"


def _format_contract(adapter: type[Adapter]) -> str:
    contract = contracts.CONTRACTS[adapter.spec.name]
    parts = [
        _format_method(name, getattr(contract, name), decorator="@abstractmethod")
        for name in list_contract_methods(adapter)
    ]
    doc = f'    """What an implementation of the ``{adapter.spec.name}`` slot must have."""'
    return "\n".join([f"class {_contract_name(adapter)}(Protocol):", doc, "", *parts])


def _format_use(adapters: list[type[Adapter]]) -> str:
    """Name every slot, so that type checkers compare an implementation with the contract of its slot."""
    slots = []
    for adapter in adapters:
        _, *context = make_signature(adapter.spec, returns=None).parameters.values()
        types = ", ".join(str(parameter.annotation) for parameter in context)
        slots.append(f"{adapter.spec.name}: Callable[[{types}], {_contract_name(adapter)}] = ...")
    doc = textwrap.indent(_format_docstring(SlotFactories.use), " " * 8)
    return f"    def use(self, *, {', '.join(slots)}, **own: Callable[..., Any]) -> None:\n{doc}"


def render() -> dict[Path, str]:
    """Return the text of each stub by its path."""
    adapters = list(ADAPTERS.values())
    names = [adapter.__name__ for adapter in adapters]
    typed_names = [adapter.__name__ for adapter in typed.TYPED_ADAPTERS.values()]
    typed_stub = [
        HEADER.format(title="The generic class of each slot, whose payloads are objects of a model."),
        f"__all__ = {typed.__all__!r}\n\n{TYPE_VARIABLE}TYPED_ADAPTERS: dict[str, type[TypedAdapter[Any]]]\n\n",
        f"def bind_to_model{_format_signature(inspect.signature(typed.bind_to_model))}: ...\n\n",
        *(f"{_format_typed(ADAPTERS[name])}\n\n" for name in typed.TYPED_ADAPTERS),
    ]
    adapter_stub = [
        HEADER.format(title="The adapter classes, expanded from the slot table."),
        f"__all__ = {['ADAPTERS', *names]!r}\n\nADAPTERS: dict[str, type[Adapter]]\n\n",
        *(f"{_format_adapter(adapter)}\n\n" for adapter in adapters),
    ]
    contract_stub = [
        HEADER.format(title="What an implementation of each slot must have."),
        f"from backtest_mongo.adapters import {', '.join(names)}\n",
        f"from backtest_mongo.adapters.typed import {', '.join(typed_names)}\n\n",
        f"__all__ = {contracts.__all__!r}\n\n{TYPE_VARIABLE}CONTRACTS: dict[str, type]\n\n",
        *(
            f"def {function.__name__}{_format_signature(inspect.signature(function))}: ...\n"
            for function in (
                list_contract_methods,
                contracts.make_contract,
                contracts.make_factory,
                has_model_arguments,
            )
        ),
        "\n",
        *(f"{_format_contract(adapter)}\n\n" for adapter in adapters if adapter.spec.name in contracts.CONTRACTS),
        f"class SlotFactories:\n    {_format_docstring(SlotFactories)}\n\n",
        f"{_format_use([adapter for adapter in adapters if adapter.spec.name in contracts.CONTRACTS])}\n",
        "    def _use(self, implementations: Mapping[str, Callable[..., Any]]) -> None: ...\n",
        f"    def _get_instance{_format_signature(inspect.signature(SlotFactories._get_instance), 'self')}: ...\n",
        *(f"{_format_factory(name, adapter)}\n" for name, adapter in ADAPTERS.items()),
    ]
    return {
        PACKAGE / "adapters" / "__init__.pyi": _format_source("".join(adapter_stub)),
        PACKAGE / "adapters" / "contracts.pyi": _format_source("".join(contract_stub)),
        PACKAGE / "adapters" / "typed.pyi": _format_source("".join(typed_stub)),
        PACKAGE / "sync" / "__init__.pyi": _format_source(
            render_sync(_list_overloads, list_factory_overloads, _type_signature)
        ),
    }


def _format_source(source: str) -> str:
    """Leave out the imports that are not used; ruff formats the rest."""
    import subprocess

    for arguments in (["check", "--select", "F401,I,RUF022", "--fix", "--exit-zero", "--quiet"], ["format", "--quiet"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *arguments, "--stdin-filename", str(PACKAGE / "adapters" / "stub.pyi"), "-"],
            input=source,
            capture_output=True,
            text=True,
            check=True,
            cwd=PACKAGE.parent,
        )
        source = done.stdout
    return source


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if a stub is out of date; write nothing")
    check = parser.parse_args().check
    outdated = [path for path, text in render().items() if not path.is_file() or path.read_text() != text]
    for path, text in render().items():
        if check and path in outdated:
            print(f"{path.name} is out of date: run python tools/stubs.py", file=sys.stderr)
        elif not check:
            path.write_text(text)
    return int(check and bool(outdated))


if __name__ == "__main__":
    sys.exit(main())

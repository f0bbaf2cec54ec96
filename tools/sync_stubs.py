"""The text of ``sync/__init__.pyi``, made of the asynchronous classes and functions: see ``tools/stubs.py``."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable
from importlib import import_module
from types import FunctionType
from typing import Any, get_overloads

from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.adapters.contracts import SlotFactories
from backtest_mongo.adapters.registry import Registry
from backtest_mongo.adapters.shapes import Adapter
from backtest_mongo.adapters.typed import TYPED_ADAPTERS
from backtest_mongo.sync import names
from backtest_mongo.sync.wrapping import describe

__all__ = ["render_sync"]

HEADER = '''\
"""The whole of ``backtest_mongo`` without ``await``.

Written by tools/stubs.py from the asynchronous API: change that, not this file.
"""

from collections.abc import Callable, Iterator
from typing import Any, Generic, Literal, Self, TypeVar, overload

from backtest_mongo.core.payload_models import Upgrade
from backtest_mongo.sync.wrapping import SyncAdapter, Watch
'''
#: The module of this package that a name is imported from, of those whose signatures are written there.
OWN = {
    "CommitUnknownError": "errors",
    "close": "scopes",
    "get_mongo": "clients",
    "get_redis": "clients",
    "Setup": "scopes",
    "Transaction": "scopes",
    "Lease": "scopes",
}
#: What the functions that open a block return.
BLOCKS = {"as_of": "Past", "lease": "Lease", "setup": "Setup", "transaction": "Transaction"}


def render_sync(
    list_overloads: Callable[..., Any], list_factory_overloads: Callable[..., Any], type_signature: Callable[..., Any]
) -> str:
    """Return the stub, not formatted yet.

    Args:
        list_overloads: returns the signatures of a method that returns a version on demand.
        list_factory_overloads: returns those of the registry's method of a slot.
        type_signature: returns that of a method with a model in place of payloads.
    """
    writer = _Writer(list_overloads, list_factory_overloads, type_signature)
    classes = [writer.format_class(cls) for cls in _list_classes()]
    classes += [writer.format_typed(ADAPTERS[name], cls) for name, cls in TYPED_ADAPTERS.items()]
    functions = [
        writer.format_function(name, getattr(import_module(f"backtest_mongo.{module}"), name))
        for name, module in {**names.FUNCTIONS, **dict.fromkeys(("as_of",), "adapters.past")}.items()
    ]
    for name, module in (("lease", "scopes"), ("transaction", "scopes"), ("setup", "lifecycle")):
        functions.append(
            writer.format_function(name, getattr(import_module(f"backtest_mongo.adapters.{module}"), name))
        )
    imports = [
        *(f"from backtest_mongo.sync.{module} import {name}" for name, module in OWN.items()),
        *(f"from backtest_mongo.{module} import {name}" for name, module in names.SAME.items()),
        *sorted(_list_imports(writer.modules)),
    ]
    parts = [
        HEADER,
        "\n".join(imports),
        f"__all__ = {names.NAMES!r}",
        '_M = TypeVar("_M")',
        *classes,
        writer.format_factories("Past", _read_doc("scopes", "Past")),
        writer.format_registry(),
        "persist: Registry",
        *functions,
    ]
    return "\n\n".join(parts)


def _read_doc(module: str, name: str) -> str:
    return inspect.getdoc(getattr(import_module(f"backtest_mongo.sync.{module}"), name)) or ""


def _list_classes() -> list[type[Adapter]]:
    """Return all adapter classes, each after those that it derives from."""
    found: dict[type[Adapter], None] = {}
    for adapter in ADAPTERS.values():
        for cls in reversed(adapter.__mro__):
            if issubclass(cls, Adapter):
                found[cls] = None
    return list(found)


def _list_imports(modules: Iterable[str]) -> set[str]:
    """Return what some modules import, and define, that signatures may name."""
    found: dict[str, str] = {}
    for module in modules:
        tree = ast.parse(inspect.getsource(import_module(module)))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for name in node.names:
                    found.setdefault(name.asname or name.name, f"from {node.module} import {_spell(name)}")
            elif isinstance(node, ast.Import):
                for name in node.names:
                    found.setdefault(name.asname or name.name, f"import {_spell(name)}")
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, f"from {module} import {node.name}")
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found.setdefault(node.target.id, f"from {module} import {node.target.id}")
    given = (
        "Any",
        "Callable",
        "Generic",
        "Iterator",
        "Literal",
        "_M",
        "TypeVar",
        "Past",
        "Registry",
        "Self",
        "Upgrade",
        "Watch",
        "annotations",
        "overload",
    )
    taken = {*names.NAMES, *OWN, *given, *(cls.__name__ for cls in _list_classes())}
    return {text for name, text in found.items() if name not in taken and name[0] != "_"}


def _spell(name: ast.alias) -> str:
    return f"{name.name} as {name.asname}" if name.asname else name.name


class _Writer:
    """Writes classes and functions.

    Attributes:
        modules: those that define what was written.
    """

    def __init__(
        self, list_overloads: Callable[..., Any], list_factory_overloads: Callable[..., Any], type_signature: Any
    ) -> None:
        self._list_overloads = list_overloads
        self._list_factory_overloads = list_factory_overloads
        self._type_signature = type_signature
        # What is expanded from the table names what this imports.
        self.modules: dict[str, None] = {"backtest_mongo.adapters.expansion": None}

    def format_class(self, cls: type[Adapter]) -> str:
        bases = [base.__name__ for base in cls.__bases__ if issubclass(base, Adapter)] or ["SyncAdapter"]
        members = [
            self._format_member(name, value)
            for name, value in vars(cls).items()
            if name[0] != "_" or (name == "__init__" and cls in ADAPTERS.values())
        ]
        doc = _format_doc(describe(inspect.cleandoc(cls.__doc__ or "")) or "")
        spec = "" if cls is not Adapter else "    spec: ClassVar[SlotSpec]"
        body = "\n".join([textwrap.indent(doc, "    "), spec, *filter(None, members)])
        return f"class {cls.__name__}({', '.join(bases)}):\n{body}"

    def format_typed(self, adapter: type[Adapter], cls: type[Adapter]) -> str:
        base = adapter.__mro__[1].__name__
        lines: list[str] = []
        for name, value in vars(adapter).items():
            function = value.__func__ if isinstance(value, classmethod) else value
            if name[0] == "_" or not isinstance(function, FunctionType):
                continue
            decorator = "@classmethod" if isinstance(value, classmethod) else ""
            summary = (describe(inspect.getdoc(function)) or "").partition("\n")[0]
            signatures = self._list_overloads(self._type_signature(inspect.signature(function)))
            for signature in signatures:
                lines += ["@overload"] if len(signatures) > 1 else []
                lines += [decorator] if decorator else []
                lines += [f"def {name}{self._format(signature, 'cls' if decorator else 'self')}:"]
                lines += [f'    """{summary}"""']
        doc, body = _format_doc(describe(cls.__doc__) or ""), textwrap.indent("\n".join(lines), "    ")
        return f"class {cls.__name__}({base}, Generic[_M]):\n{textwrap.indent(doc, '    ')}\n\n{body}"

    def _format_factory(self, name: str) -> str:
        function = getattr(SlotFactories, name)
        return self._format_method(name, function, signatures=self._list_factory_overloads(name, ADAPTERS[name]))

    def _format_member(self, name: str, value: Any) -> str:
        if isinstance(value, property):
            assert isinstance(value.fget, FunctionType)
            return self._format_method(name, value.fget, "@property")
        if isinstance(value, classmethod):
            return self._format_method(name, value.__func__, "@classmethod")
        return self._format_method(name, value) if isinstance(value, FunctionType) else ""

    def _format_method(self, name: str, function: Any, decorator: str = "", *, signatures: Any = ()) -> str:
        self.modules[function.__module__] = None
        signatures = signatures or [inspect.signature(one) for one in get_overloads(function)]
        signatures = signatures or self._list_overloads(inspect.signature(function))
        lines = []
        doc = textwrap.indent(_format_doc(describe(inspect.getdoc(function)) or ""), "    ")
        for signature in signatures:
            lines += ["@overload"] if len(signatures) > 1 else []
            lines += [decorator] if decorator else []
            first = "cls" if decorator == "@classmethod" else "self"
            lines += [f"def {name}{self._format(signature, first)}:", doc]
        return textwrap.indent("\n".join(lines), "    ")

    def format_function(self, name: str, function: Any) -> str:
        self.modules[function.__module__] = None
        signature = inspect.signature(function)
        if name in BLOCKS:
            signature = signature.replace(return_annotation=BLOCKS[name])
        doc = textwrap.indent(_format_doc(describe(inspect.getdoc(function)) or ""), "    ")
        return f"def {name}{self._format(signature)}:\n{doc}"

    def format_factories(self, name: str, doc: str) -> str:
        methods = [self._format_factory(slot) for slot in ADAPTERS]
        own = [
            "    when: int",
            "    def __enter__(self) -> Self: ...",
            "    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None: ...",
        ]
        return "\n".join([f"class {name}:", textwrap.indent(_format_doc(doc), "    "), *own, *methods])

    def format_registry(self) -> str:
        methods = [
            self._format_method(name, getattr(Registry, name))
            for name in ("use", "use_mongo", "use_files", "use_sqlite", "use_dummy", "register")
        ]
        methods += [self._format_factory(slot) for slot in ADAPTERS]
        doc = textwrap.indent(_format_doc(_read_doc("registry", "Registry")), "    ")
        return "\n".join(["class Registry:", doc, *methods])

    def _format(self, signature: inspect.Signature, first: str = "") -> str:
        parameters = [first] if first else []
        for parameter in signature.parameters.values():
            if parameter.name in ("self", "cls"):
                continue
            if parameter.kind is parameter.KEYWORD_ONLY and not any(one[0] == "*" for one in parameters):
                parameters.append("*")
            stars = "*" * (parameter.kind is parameter.VAR_POSITIONAL) + "**" * (
                parameter.kind is parameter.VAR_KEYWORD
            )
            default = "" if parameter.default is parameter.empty else f" = {_format_default(parameter.default)}"
            parameters.append(f"{stars}{parameter.name}: {parameter.annotation}{default}")
        text = f"({', '.join(parameters)}) -> {signature.return_annotation}"
        return re.sub(r"\bAsync(Iterator|Generator)\b", r"\1", text)


def _format_default(value: object) -> str:
    return repr(value) if isinstance(value, str | int | float | bool | tuple | None) else "..."


def _format_doc(doc: str) -> str:
    return f'"""{doc}\n"""' if "\n" in doc else f'"""{doc}"""'

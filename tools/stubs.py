"""Writes ``adapters.pyi`` and ``contracts.pyi`` from the slot table, for type checkers and editors.

``python tools/stubs.py`` writes them; ``--check`` fails if they are not what it would write.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import textwrap
from pathlib import Path
from typing import Any

from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.contracts import SlotFactories, contract_methods, factory_doc
from backtest_mongo.expansion import context_signature
from backtest_mongo.shapes import Adapter

PACKAGE = Path(__file__).resolve().parent.parent / "backtest_mongo"

HEADER = '''\
"""{title}

Written by tools/stubs.py from the slot table: change the table, not this file.
"""

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from backtest_mongo.shapes import (
    Adapter,
    BucketAdapter,
    CollectionAdapter,
    DocumentAdapter,
    EntryAdapter,
    SeriesAdapter,
)
from backtest_mongo.specs import SlotSpec
from backtest_mongo.types import Candle, Context, Payload, Rows, When

'''


def _signature(function: Any, leading: str = "") -> str:
    signature = inspect.signature(function) if callable(function) else function
    parameters = [leading] if leading else []
    for parameter in signature.parameters.values():
        if parameter.name == "self":
            continue
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        parameters.append(f"{parameter.name}: {parameter.annotation}{default}")
    return f"({', '.join(parameters)}) -> {signature.return_annotation}"


def _method(name: str, method: Any, *, abstract: bool = False) -> str:
    keyword = "async def" if inspect.iscoroutinefunction(method) else "def"
    doc = inspect.getdoc(method) or ""
    lines = [f"{keyword} {name}{_signature(method, 'self')}:"]
    if "\n" in doc:
        lines += textwrap.indent(f'"""{doc}\n"""', "    ").splitlines()
    else:
        lines.append(f'    """{doc}"""')
    if abstract:
        lines.insert(0, "@abstractmethod")
    return textwrap.indent("\n".join(lines), "    ")


def _own_methods(adapter: type[Adapter]) -> dict[str, Any]:
    return {name: method for name, method in contract_methods(adapter).items() if name in vars(adapter)}


def _adapter(adapter: type[Adapter]) -> str:
    init = _method("__init__", adapter.__init__)
    methods = [_method(name, method) for name, method in _own_methods(adapter).items()]
    for name, value in vars(adapter).items():
        if isinstance(value, classmethod) and name[0] != "_":
            methods.append(f"    @classmethod\n{_method(name, getattr(adapter, name)).replace('(self', '(cls', 1)}")
    doc = textwrap.indent(f'"""{inspect.getdoc(adapter)}\n"""', "    ")
    base = adapter.__mro__[1].__name__
    return "\n".join([f"class {adapter.__name__}({base}):", doc, "", init, *methods])


def _contract_name(adapter: type[Adapter]) -> str:
    return adapter.__name__.removesuffix("Adapter") + "Contract"


def _contract(adapter: type[Adapter]) -> str:
    methods = [_method(name, method, abstract=True) for name, method in contract_methods(adapter).items()]
    doc = f'    """What an implementation of the ``{adapter.spec.name}`` slot must have."""'
    return "\n".join([f"class {_contract_name(adapter)}(Protocol):", doc, "", *methods])


def _factory(adapter: type[Adapter]) -> str:
    signature = context_signature(adapter.spec, returns=_contract_name(adapter))
    doc = f'        """{factory_doc(adapter.spec)}"""'
    return f"    def {adapter.spec.name}{_signature(signature, 'self')}:\n{doc}"


def _use(adapters: list[type[Adapter]]) -> str:
    """Name every slot, so that type checkers compare an implementation with the contract of its slot."""
    slots = []
    for adapter in adapters:
        context = ", ".join(
            str(parameter.annotation) for parameter in context_signature(adapter.spec).parameters.values()
        )
        slots.append(f"{adapter.spec.name}: Callable[[{context}], {_contract_name(adapter)}] = ...")
    doc = textwrap.indent(f'"""{inspect.getdoc(SlotFactories.use)}\n"""', " " * 8)
    return f"    def use(self, *, {', '.join(slots)}, **own: Callable[..., Any]) -> None:\n{doc}"


def render() -> dict[Path, str]:
    """Return the text of each stub by its path."""
    adapters = list(ADAPTERS.values())
    adapter_stub = [HEADER.format(title="The adapter classes, as the slot table gives them.")]
    names = [adapter.__name__ for adapter in adapters]
    adapter_stub.append(f"__all__ = {['ADAPTERS', *names]!r}\n\nADAPTERS: dict[str, type[Adapter]]\n\n")
    adapter_stub += [f"{_adapter(adapter)}\n\n" for adapter in adapters]
    contract_stub = [HEADER.format(title="What an implementation of each slot must have.")]
    contract_stub.append(f"__all__ = {_module('__all__')!r}\n\nCONTRACTS: dict[str, type]\n\n")
    contract_stub += [
        f"def contract{_signature(inspect.signature(_module('contract')))}: ...\n",
        f"def contract_methods{_signature(inspect.signature(_module('contract_methods')))}: ...\n",
        f"def factory{_signature(inspect.signature(_module('factory')))}: ...\n",
        f"def factory_doc{_signature(inspect.signature(_module('factory_doc')))}: ...\n\n",
    ]
    contract_stub += [f"{_contract(adapter)}\n\n" for adapter in adapters]
    contract_stub.append(
        f'class SlotFactories:\n    """{inspect.getdoc(SlotFactories)}"""\n\n'
        f"{_use(adapters)}\n"
        "    def _use(self, implementations: Mapping[str, Callable[..., Any]]) -> None: ...\n"
        "    def _get(self, spec: SlotSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...\n"
    )
    contract_stub.append("\n".join(_factory(adapter) for adapter in adapters) + "\n")
    return {
        PACKAGE / "adapters.pyi": _formatted("".join(adapter_stub)),
        PACKAGE / "contracts.pyi": _formatted("".join(contract_stub)),
    }


def _module(name: str) -> Any:
    import backtest_mongo.contracts

    return getattr(backtest_mongo.contracts, name)


def _formatted(source: str) -> str:
    """Leave out the imports that are not used; ruff formats the rest."""
    import subprocess

    for arguments in (["check", "--select", "F401,I,RUF022", "--fix", "--exit-zero", "--quiet"], ["format", "--quiet"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *arguments, "--stdin-filename", str(PACKAGE / "stub.pyi"), "-"],
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

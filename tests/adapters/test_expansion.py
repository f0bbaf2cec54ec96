"""The classes that the slot table is expanded into: what tracebacks, debuggers and editors see of them."""

from __future__ import annotations

import ast
import inspect
import linecache
import re
import traceback
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import InputTypeError, SignalAdapter, SlotSpec, StateAdapter, persist
from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.adapters.contracts import list_contract_methods
from backtest_mongo.adapters.expansion import expand
from backtest_mongo.adapters.registry import Registry
from backtest_mongo.contracts import CONTRACTS, MemoryContract, SignalContract

STUBS = Path(backtest_mongo.__file__).parent / "adapters"
#: Sections of a docstring, which an editor shows.
SECTION = re.compile(r"^ *(Args|Returns|Raises):\n((?: +.+\n?)+)", re.MULTILINE)


def made_by_expansion(cls: type) -> Iterator[tuple[str, FunctionType]]:
    """Yield the methods that are written into a class of the table."""
    for name, value in vars(cls).items():
        function = value.__func__ if isinstance(value, classmethod) else value
        if isinstance(function, FunctionType):
            yield name, function


def sections(doc: str | None) -> dict[str, str]:
    """Return the sections of a docstring by their titles."""
    return dict(SECTION.findall(inspect.cleandoc(doc or "") + "\n"))


def assert_documented(where: str, doc: str | None, parameters: list[str], returns: str) -> None:
    """Check that a docstring has a section for all that can be said of a call."""
    found = sections(doc)
    assert (doc or "").strip(), where
    named = re.findall(r"^    (\w+): ", found.get("Args", ""), re.MULTILINE)
    assert named == parameters, where
    assert ("Returns" in found) == (returns != "None"), where
    assert "{" not in re.sub(r"``.*?``", "", doc or ""), where


def parameters_of(function: Callable[..., Any]) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]


async def test_traceback_and_debugger_show_the_lines_of_the_slot_s_own_method() -> None:
    with pytest.raises(InputTypeError) as caught:
        await StateAdapter("a", "b").write_state_data({}, "today")  # type: ignore[arg-type]  # that is what is tested
    frame = next(entry for entry in traceback.extract_tb(caught.tb) if entry.name == "write_state_data")
    assert frame.filename == "<backtest_mongo expansion of backtest_mongo.adapters.StateAdapter>"
    assert frame.line == "await self._write(data, when, if_absent=if_absent, expect=expect)"
    following = traceback.extract_tb(caught.tb)
    assert following[following.index(frame) + 1].filename.endswith("shapes/documents.py")


def test_source_of_every_method_can_be_shown(spec: SlotSpec) -> None:
    for name, function in made_by_expansion(ADAPTERS[spec.name]):
        source = inspect.getsource(function)
        assert f"def {name}(self" in source or f"def {name}(\n" in source or f"def {name}(cls" in source
        assert linecache.getline(function.__code__.co_filename, function.__code__.co_firstlineno)


def test_class_itself_shows_no_lines_of_another() -> None:
    with pytest.raises(OSError, match=r"."):
        inspect.getsource(SignalAdapter)


def test_methods_are_named_as_if_written_in_the_module(spec: SlotSpec) -> None:
    adapter = ADAPTERS[spec.name]
    assert (adapter.__module__, adapter.__qualname__) == ("backtest_mongo.adapters", spec.class_name)
    for name, function in made_by_expansion(adapter):
        assert (function.__name__, function.__module__) == (name, "backtest_mongo.adapters")
        assert function.__qualname__ == function.__code__.co_qualname == f"{spec.class_name}.{name}"
        typing.get_type_hints(function)  # every name of an annotation is known


def test_only_lists_and_dispose_are_no_coroutine_functions(spec: SlotSpec) -> None:
    adapter = ADAPTERS[spec.name]
    plain = {
        name
        for name, function in made_by_expansion(adapter)
        if name[0] != "_" and not inspect.iscoroutinefunction(function)
    }
    names = (f"list_{spec.noun}_data", f"range_{spec.noun}_data", "dispose")
    assert plain == {name for name in names if name in vars(adapter)}


def test_parameters_have_the_names_of_the_row() -> None:
    written = "data: 'Payload', memory_id: 'str', when: 'When"
    condition = "*, if_absent: 'bool' = False, expect: 'Version | None' = None"
    signature = inspect.signature(backtest_mongo.MemoryAdapter.write_memory_data)
    assert str(signature) == f"(self, {written} | None' = None, {condition}) -> 'None'"
    found = "dict[str, Any] | None"
    signature = inspect.signature(SignalAdapter.read_signal_data)
    assert str(signature) == f"(self, *, with_version: 'bool' = False) -> 'Versioned[{found}] | {found}'"
    # An implementation of one's own needs neither versions nor conditions.
    assert str(inspect.signature(MemoryContract.write_memory_data)) == f"(self, {written}') -> 'None'"
    assert str(inspect.signature(SignalContract.read_signal_data)) == f"(self) -> '{found}'"
    assert str(inspect.signature(backtest_mongo.CandleAdapter)).startswith("(symbol: 'str', interval: 'Interval', ")


# Docstrings


def test_every_method_of_an_adapter_has_its_arguments_result_and_errors_documented(spec: SlotSpec) -> None:
    for name, function in made_by_expansion(ADAPTERS[spec.name]):
        returns = str(inspect.signature(function).return_annotation)
        assert_documented(f"{spec.name}.{name}", function.__doc__, parameters_of(function), returns)
        assert name == "dispose" or "Raises" in sections(function.__doc__)


#: Parameters that an implementation need not have, besides those by which a list is filtered.
BEYOND_CONTRACTS = ("with_version", "if_absent", "expect", "prefix", "since", "until")


def test_every_method_of_a_contract_is_documented_as_the_adapter_s(spec: SlotSpec) -> None:
    methods = {name: method for name, method in made_by_expansion(CONTRACTS[spec.name]) if name[0] != "_"}
    assert {*methods} == {*list_contract_methods(ADAPTERS[spec.name])}
    for name, function in methods.items():
        adapter_s = getattr(ADAPTERS[spec.name], name)
        assert (function.__doc__ or "").splitlines()[0] == (adapter_s.__doc__ or "").splitlines()[0]
        own = [one for one in parameters_of(adapter_s) if one not in (*BEYOND_CONTRACTS, *dict(spec.filters))]
        returns = str(inspect.signature(function).return_annotation)
        assert_documented(f"{spec.name}.{name}", function.__doc__, own, returns)
        assert parameters_of(function) == own
        if own == parameters_of(adapter_s):
            assert function.__doc__ == adapter_s.__doc__


def test_what_all_adapters_have_is_documented() -> None:
    for name in ("wait_for_init", "watch", "watch_all"):
        method = getattr(SignalAdapter, name)
        assert_documented(name, method.__doc__, parameters_of(method), str(inspect.signature(method).return_annotation))
        assert "Raises" in sections(method.__doc__)


def test_every_method_of_the_registry_is_documented() -> None:
    for name, method in inspect.getmembers(Registry, inspect.isfunction):
        if name[0] != "_":
            returns = str(inspect.signature(method).return_annotation)
            assert_documented(name, method.__doc__, parameters_of(method), returns)
            assert "Raises" in sections(method.__doc__)


@pytest.mark.parametrize("stub", ["__init__.pyi", "contracts.pyi"])
def test_editors_read_the_same_docstrings_in_the_stubs(stub: str) -> None:
    module = backtest_mongo.adapters if stub == "__init__.pyi" else backtest_mongo.adapters.contracts
    compared = 0
    for node in ast.parse((STUBS / stub).read_text()).body:
        if isinstance(node, ast.ClassDef):
            cls = getattr(module, node.name)
            assert ast.get_docstring(node) == inspect.getdoc(cls)
            for method in node.body:
                if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef) and method.name.strip("_") in (
                    "init",
                    method.name,
                ):
                    assert ast.get_docstring(method) == inspect.getdoc(getattr(cls, method.name)), method.name
                    compared += 1
    assert compared > 2 * len(ADAPTERS)


# Slots of one's own


def test_registered_slot_s_class_has_source_too() -> None:
    adapter = Registry().register(
        SlotSpec(name="depth_book", shape="document", context=("symbol",), key=("symbol",), redis=("symbol",))
    )
    assert adapter.__module__ == __name__
    assert "async def read_depth_book_data(self, *, " in inspect.getsource(adapter.read_depth_book_data)


@pytest.mark.parametrize("name", ["document", "bucket", "payload", "any"])
def test_slot_may_be_named_as_a_shape_or_a_type(name: str) -> None:
    spec = SlotSpec(name=name, shape="document", context=("symbol",), key=("symbol",), redis=("symbol",), when=True)
    adapter = expand(spec, __name__)
    assert adapter.__name__ == spec.class_name
    assert adapter.spec is spec
    assert isinstance(adapter("x"), ADAPTERS["state"].__mro__[1])
    typing.get_type_hints(getattr(adapter, f"write_{name}_data"))


def test_text_of_a_row_is_never_run() -> None:
    about = '"""\n    raise SystemExit  # {noun} \\'
    spec = SlotSpec(
        name="odd", about=about, shape="entry", context=("symbol",), key=("symbol", "id"), redis=("symbol", "id")
    )
    assert about in (expand(spec, __name__).__doc__ or "")


def test_registry_s_methods_name_the_adapter_as_their_result(spec: SlotSpec) -> None:
    assert inspect.signature(getattr(persist, spec.name)).return_annotation == spec.class_name

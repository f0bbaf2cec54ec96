"""Write ``docs/slots.md`` from the slot table: every slot with its constructor, methods, keys, fields and a document.

``python tools/slots_page.py`` writes it; ``--check`` fails if it is not what it would write. The documents are those
that the Node package wrote, from ``tests/golden/layout.json``.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from pathlib import Path
from typing import Any, Final

from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.adapters.contracts import CONTRACTS, list_contract_methods
from backtest_mongo.adapters.expansion import make_signature
from backtest_mongo.core.slots import SERIES
from backtest_mongo.core.specs import FLAG, SlotSpec
from backtest_mongo.files.layout import get_template

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "slots.md"
#: What is shown of a document without scrolling.
LINE: Final = 84

SHAPES: Final = {
    "document": ("One document per context", "One document for each combination of the constructor's arguments."),
    "entry": ("One document per context and signal", "One document for each context and signal id."),
    "collection": (
        "Lists",
        "Many documents, each keyed by the `id` of its item, read as a list. Reads take [filters](adapters.md#lists).",
    ),
    "bucket": (
        "Keys and values",
        "Values by key, read one by one or as [lists](adapters.md#keys-and-values). Removed rows are marked and kept.",
    ),
    "series": ("Candles", "Immutable rows on a time grid."),
}
SERIES_TEXT: Final = """\
## Series

Five slots that the Node package does not have: rows by time with [columns](series.md), many of which are stored in one
document, in MongoDB and in SQLite. Every column marked with `?` may be null.
"""
#: The ends of the names of a series' collections.
COLLECTIONS: Final = ("items", "blocks", "series")
HEADER: Final = """\
# Slots

What an engine stores in each of the seventeen slots, and where: constructor, methods, collection, keys, file and a
document; and the five [series](#series) of this library. [slots.py](../backtest_mongo/core/slots.py) is the table that
the adapter classes are expanded from; this page is generated from it.

Each slot has its own collection, with a unique index on the key. `when` is the simulation time in milliseconds since
the epoch: a read with a time returns nothing that was stored for a later one. Reads and writes of one row also take the
arguments of [compare and set](adapters.md#compare-and-set). Every document has `createDate` and
`updatedDate` (dates, UTC), and `__v`, which mongoose expects. A Redis key holds the document's `_id` as 24 hex digits;
`{backtest|live}` is the word for the flag `backtest`. With `persist.use_files("dump")`
a row is a file that holds the payload; a bracketed part of its path is omitted if its field is empty. In SQLite the
collection is a table. The documents were stored by the Node package;
their dates are replaced by `"<now>"`.
"""


def page() -> str:
    """Return the page."""
    documents: dict[str, list[dict[str, Any]]] = json.loads((ROOT / "tests/golden/layout.json").read_text())[
        "documents"
    ]
    parts = [HEADER]
    for shape, (title, text) in SHAPES.items():
        parts.append(f"## {title}\n\n{text}\n")
        for adapter in ADAPTERS.values():
            if adapter.spec.shape == shape and not adapter.spec.columns:
                parts.append(_slot(adapter.spec, documents.get(adapter.spec.collection, [])))
    return "\n".join((*parts, SERIES_TEXT, *map(_series, SERIES)))


def _series(spec: SlotSpec) -> str:
    rows = [
        ("constructor", f"`{spec.class_name}{_arguments(make_signature(spec, None))}`"),
        ("collections", ", ".join(f"`{spec.collection.removesuffix('items')}{end}`" for end in COLLECTIONS)),
        ("key", ", ".join(f"`{name}`" for name in spec.key)),
        ("unit of time", spec.unit),
        ("columns", ", ".join(f"`{column.name}` {column.type}{'?' * column.nullable}" for column in spec.columns)),
        ("a second row with the same key", "is ignored" if spec.immutable else "replaces the first"),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return f"### {spec.name}\n\n{_about(spec)}\n\n| | |\n| --- | --- |\n{table}\n"


def _slot(spec: SlotSpec, documents: list[dict[str, Any]]) -> str:
    adapter, contract = ADAPTERS[spec.name], CONTRACTS[spec.name]
    constructor = f"{spec.class_name}{_arguments(make_signature(spec, None))}"
    methods = [
        f"{name}{_arguments(inspect.signature(getattr(contract, name)))}" for name in list_contract_methods(adapter)
    ]
    rows = [
        ("constructor", f"`{constructor}`"),
        ("methods", "<br>".join(f"`{method}`" for method in methods if not method.startswith("wait_for_init"))),
        ("nothing stored", _nothing(spec)),
        ("collection", f"`{spec.collection}`"),
        ("key", ", ".join(f"`{name}`" for name in spec.key)),
        ("other fields", ", ".join(f"`{name}`" for name in _fields(spec))),
        *([("filters", _filters(spec))] if spec.filters or spec.filter_time else []),
        ("Redis key", f"`{_redis_key(spec)}`"),
        ("file", f"`{_file(spec)}`"),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    text = f"### {spec.name}\n\n{_about(spec)}\n\n| | |\n| --- | --- |\n{table}\n"
    if documents:
        shown = {name: value for name, value in documents[0].items() if name != "_id"}
        lines = (f"  {json.dumps(name)}: {_json(value, len(name) + 6)}" for name, value in shown.items())
        text += "\n```json\n{\n" + ",\n".join(lines) + "\n}\n```\n"
    return text


def _json(value: Any, taken: int, depth: int = 1) -> str:
    """Return a value in one line, or where there is no room for that, with a part a line."""
    line = json.dumps(value, ensure_ascii=False)
    if len(line) + taken <= LINE or not isinstance(value, dict | list) or not value:
        return line
    pairs = value.items() if isinstance(value, dict) else [("", part) for part in value]
    indent = "  " * (depth + 1)
    parts = []
    for name, part in pairs:
        label = f"{json.dumps(name)}: " if name else ""
        parts.append(f"{indent}{label}{_json(part, len(indent) + len(label) + 1, depth + 1)}")
    first, last = "{}" if isinstance(value, dict) else "[]"
    return f"{first}\n" + ",\n".join(parts) + f"\n{'  ' * depth}{last}"


def _about(spec: SlotSpec) -> str:
    sentences = [f"{spec.about[0].upper()}{spec.about[1:]}."]
    if spec.payload == "object|null":
        sentences.append("Writing `None` clears it.")
    if spec.newest is not None:
        sentences.append(f"A list returns the newest {spec.newest}, oldest first; `limit=` changes the number.")
    if spec.is_candles:
        sentences.append(
            "Stored rows never change, and candles that have not closed yet are skipped. See [Candles](candles.md)."
        )
    return " ".join(sentences)


def _arguments(signature: inspect.Signature) -> str:
    names = []
    for name, parameter in signature.parameters.items():
        if name != "self":
            default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
            names.append(f"{name}{default}")
    return f"({', '.join(names)})"


def _nothing(spec: SlotSpec) -> str:
    if spec.shape == "series":
        return "`None`, also if any row of the window is missing"
    if spec.shape == "collection" or spec.payload == "list":
        return "`[]`"
    return "`{}`" if spec.shape == "entry" else "`None`"


def _fields(spec: SlotSpec) -> list[str]:
    if spec.shape == "series":
        return ["open", "high", "low", "close", "volume"]
    return [spec.field, *(["when"] if spec.when else []), *(["removed"] if spec.soft_delete else [])]


def _filters(spec: SlotSpec) -> str:
    paths = [*spec.filters, *([("since`, `until", spec.filter_time)] if spec.filter_time else [])]
    return "<br>".join(f"`{name}`: `{spec.field}.{path}`" for name, path in paths)


def _redis_key(spec: SlotSpec) -> str:
    parts = ["{backtest|live}" if name == FLAG else f"{{{name}}}" for name in spec.redis]
    # A bar would end the table's cell.
    return ":".join((spec.prefix, *parts)).replace("|", "\\|")


def _file(spec: SlotSpec) -> str:
    return f"dump/{get_template(spec)}.json".replace("*", "").replace(f"{{{FLAG}}}", "{backtest\\|live}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        if PAGE.read_text() == page():
            return 0
        print("docs/slots.md is not what the slot table says: run python tools/slots_page.py")
        return 1
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Draw the rooms of the package and their imports: ``python tools/rooms.py``.

Writes ``docs/rooms.svg`` and the table of imports in ``docs/architecture.md``; ``--check`` fails if either is out of
date. The imports are read from the code, and the order of the rooms from the layers in ``pyproject.toml``.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grimp

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "architecture.md"
PICTURE: Final = ROOT / "docs" / "rooms.svg"

PACKAGE: Final = "backtest_mongo"
#: The package's own module.
INIT: Final = "__init__"
#: The lowest room that takes from the package's own module.
ABOVE_INIT: Final = "testing"

#: In which column a room is drawn, and what is in it.
ROOMS: Final[Mapping[str, tuple[int, str]]] = {
    "cli": (1, "the command line"),
    INIT: (1, "the public names"),
    "contracts": (0, "protocols of slots"),
    "typed": (4, "adapters of models"),
    "integrations": (2, "other packages"),
    "sync": (3, "all without await"),
    "testing": (4, "the pytest plugin"),
    "forks": (1, "copies as of a time"),
    "dumps": (1, "moves of rows"),
    "market_data": (2, "candle files, plots"),
    "overview": (5, "what strategies do"),
    "adapters": (1, "a class per slot"),
    "history": (5, "the past, by time"),
    "commit": (5, "transactions, leases"),
    "series": (1, "series in blocks"),
    "files": (4, "JSON files"),
    "sqlite": (3, "one SQLite file"),
    "telemetry": (0, "metrics and spans"),
    "embedded": (6, "servers for tests"),
    "mongo": (1, "one collection"),
    "connection": (1, "hub, clients, cache"),
    "columns": (2, "rows as arrays"),
    "core": (1, "specs, slots, config"),
    "models": (7, "Node's payloads"),
    "errors": (1, "the exceptions"),
    "types": (0, "shapes of rows"),
}

WIDTH: Final = 150
HEIGHT: Final = 48
ACROSS: Final = 186
DOWN: Final = 86
EDGE: Final = 24
#: Between the head of an arrow and a room.
HEAD: Final = 3
#: The radius of a turn.
CORNER: Final = 18

FILL: Final = "#dbeafe"
LINE: Final = "#44403c"
WRONG: Final = "#b91c1c"
_FONT: Final = "system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif"
_NAME: Final = 'text-anchor="middle" fill="#1c1917"'
_HINT: Final = 'text-anchor="middle" fill="#57534e" font-size="11.5"'

Imports = Mapping[str, Set[str]]


@dataclass(frozen=True)
class Place:
    """Where a room is drawn."""

    column: int
    row: int

    @property
    def left(self) -> int:
        return EDGE + self.column * ACROSS

    @property
    def top(self) -> int:
        return EDGE + self.row * DOWN

    @property
    def middle(self) -> int:
        return self.left + WIDTH // 2

    @property
    def center(self) -> int:
        return self.top + HEIGHT // 2


def layers() -> list[list[str]]:
    """Return the rooms that there are, from the top layer down."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layered,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    rows = []
    for layer in layered:
        names = [name.strip(" ()") for name in re.split(r"[|:]", layer)]
        present = [name for name in names if _exists(name) and name != "__main__"]
        if present:
            rows.append(present)
        if ABOVE_INIT in present:
            rows.append([INIT])
    return rows


def _exists(room: str) -> bool:
    path = ROOT / PACKAGE / room
    return path.is_dir() or path.with_suffix(".py").is_file()


def read_imports() -> Imports:
    """Return from which other rooms each room takes something."""
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    found: defaultdict[str, set[str]] = defaultdict(set)
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            if _room(module) != _room(imported):
                found[_room(module)].add(_room(imported))
    return found


def _room(module: str) -> str:
    name = module.removeprefix(PACKAGE).strip(".").partition(".")[0]
    return {"": INIT, "__main__": "cli"}.get(name, name)


def _reach(imports: Imports, room: str) -> set[str]:
    """Return all rooms that a room takes from, directly or not."""
    found: set[str] = set()
    waiting = [room]
    while waiting:
        for imported in imports.get(waiting.pop(), ()):
            if imported not in found:
                found.add(imported)
                waiting.append(imported)
    return found


def picture(rows: list[list[str]], imports: Imports) -> str:
    """Return the picture: an arrow leads to each room that is not also reached through another."""
    places = {room: Place(ROOMS[room][0], row) for row, rooms in enumerate(rows) for room in rooms}
    taken = set(places.values())
    down = {
        room: {imported for imported in imported_rooms if places[imported].row > places[room].row}
        for room, imported_rooms in imports.items()
    }
    width = 2 * EDGE + ACROSS * max(place.column for place in places.values()) + WIDTH
    height = 2 * EDGE + DOWN * (len(rows) - 1) + HEIGHT
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="{_FONT}" font-size="14">',
        "<defs>",
        *(_head(name, colour) for name, colour in (("head", LINE), ("wrong", WRONG))),
        "</defs>",
        f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>',
    ]
    for room, place in places.items():
        for imported in sorted(imports.get(room, ())):
            if imported not in down[room]:
                parts.append(_arrow(place, places[imported], taken, "wrong", WRONG))
            elif not any(imported in _reach(down, other) for other in down[room]):
                parts.append(_arrow(place, places[imported], taken, "head", LINE))
    for room, place in places.items():
        shape = f'width="{WIDTH}" height="{HEIGHT}" rx="6" fill="{FILL}" stroke="#78716c"'
        parts += [
            f'<rect x="{place.left}" y="{place.top}" {shape}/>',
            f'<text x="{place.middle}" y="{place.top + 21}" {_NAME}>{room}</text>',
            f'<text x="{place.middle}" y="{place.top + 38}" {_HINT}>{ROOMS[room][1]}</text>',
        ]
    return "\n".join([*parts, "</svg>\n"])


def _head(name: str, colour: str) -> str:
    size = 'viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto"'
    return f'<marker id="{name}" {size}><path d="M0 0 L8 4 L0 8 z" fill="{colour}"/></marker>'


def _arrow(start: Place, end: Place, taken: Set[Place], head: str, colour: str) -> str:
    """Return an arrow that turns once at most, and passes over no other room if it can."""
    style = f'fill="none" stroke="{colour}" marker-end="url(#{head})"'
    if end.row <= start.row:
        # Upwards or sideways, which no import should lead.
        x, y, to_x, to_y = start.left, start.center, end.left, end.center
        path = f"M{x} {y} C{x - 40} {y} {to_x - 40} {to_y} {to_x - HEAD} {to_y}"
        return f'<path d="{path}" stroke-dasharray="5 3" {style}/>'
    if end.column == start.column:
        return f'<path d="M{start.middle} {start.top + HEIGHT} V{end.top - HEAD}" {style}/>'
    aside = 1 if end.column > start.column else -1
    if end.row == start.row + 1:
        x, to_x, bend = start.middle + aside * WIDTH // 4, end.middle - aside * WIDTH // 4, (DOWN - HEIGHT) // 2
        y, to_y = start.top + HEIGHT, end.top - HEAD
        return f'<path d="M{x} {y} C{x} {y + bend} {to_x} {to_y - bend} {to_x} {to_y}" {style}/>'
    if all(Place(start.column, row) not in taken for row in range(start.row + 1, end.row + 1)):
        # Down, and into the side of the other.
        side = end.left - HEAD if aside > 0 else end.left + WIDTH + HEAD
        path = (
            f"V{end.center - CORNER} Q{start.middle} {end.center} {start.middle + aside * CORNER} {end.center} H{side}"
        )
        return f'<path d="M{start.middle} {start.top + HEIGHT} {path}" {style}/>'
    side = start.left + WIDTH if aside > 0 else start.left
    turn = f"H{end.middle - aside * CORNER} Q{end.middle} {start.center} {end.middle} {start.center + CORNER}"
    return f'<path d="M{side} {start.center} {turn} V{end.top - HEAD}" {style}/>'


def table(rows: list[list[str]], imports: Imports) -> str:
    """Return the table of all imports between rooms."""
    order = [room for row in rows for room in row]
    lines = ["| room | takes from |", "| --- | --- |"]
    for room in order:
        taken = [f"`{other}`" for other in order if other in imports.get(room, ())]
        lines.append(f"| `{room}` | {', '.join(taken) or 'none'} |")
    return "\n".join(lines)


_TABLE: Final = re.compile(r"^\| room \| takes from \|\n(?:\|.*\n?)+", re.MULTILINE)


def render() -> Iterator[tuple[Path, str]]:
    """Return what each of the two files should contain."""
    rows, imports = layers(), read_imports()
    unknown = {room for row in rows for room in row} ^ ROOMS.keys()
    if unknown:
        raise SystemExit(f"tools/rooms.py and the package differ in rooms: {', '.join(sorted(unknown))}")
    yield PICTURE, picture(rows, imports)
    page = PAGE.read_text()
    if not _TABLE.search(page):
        raise SystemExit("docs/architecture.md has no table of imports")
    yield PAGE, _TABLE.sub(lambda _: table(rows, imports) + "\n", page)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, and fail if a file is out of date")
    is_check = parser.parse_args().check
    status = 0
    for path, text in render():
        if not is_check:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            print(f"{path.relative_to(ROOT)} is out of date: run python tools/rooms.py")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())

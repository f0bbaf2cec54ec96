"""Draws the diagrams of the documentation: ``python tools/diagrams.py`` writes four SVGs to ``docs``.

They stand on a light ground of their own, so that they can be read on light and on dark pages.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Final, NamedTuple

DOCS: Final = Path(__file__).resolve().parent.parent / "docs"
#: A box, and the distance from one to the next.
WIDTH: Final = 188
HEIGHT: Final = 62
ACROSS: Final = 234
DOWN: Final = 112
EDGE: Final = 24

COLOURS: Final = {
    "your code": "#f1f0ef",
    "this process": "#dbeafe",
    "Redis": "#fee2e2",
    "MongoDB": "#dcfce7",
    "files": "#fef3c7",
}


class Box(NamedTuple):
    """A step on the grid: whose it is, and its words."""

    column: int
    row: int
    where: str
    first: str
    second: str = ""

    @property
    def left(self) -> int:
        return EDGE + self.column * ACROSS

    @property
    def top(self) -> int:
        return EDGE + 30 + self.row * DOWN

    def at(self, across: float, down: float) -> tuple[int, int]:
        """Return a point of it: 0 is left or top, 1 is right or bottom."""
        return round(self.left + across * WIDTH), round(self.top + down * HEIGHT)


class Arrow(NamedTuple):
    """A line through points, with a word at its beginning."""

    points: tuple[tuple[int, int], ...]
    word: str = ""


def overview() -> str:
    """Return the diagram of what there is."""
    strategy = Box(0, 0, "your code", "your strategy", "names no storage")
    registry = Box(1, 0, "this process", "persist", "one instance per context")
    adapters = Box(2, 0, "this process", "17 adapters", "checks, time, batches")
    mongo = Box(3, 0, "MongoDB", "MongoDB", "every row")
    sqlite = Box(2, 1, "files", "SQLite", "instead, before setup()")
    redis = Box(3, 1, "Redis", "Redis", "ids only: may be lost")
    arrows = [
        Arrow((strategy.at(1, 0.5), registry.at(0, 0.5))),
        Arrow((registry.at(1, 0.5), adapters.at(0, 0.5))),
        Arrow((adapters.at(1, 0.5), mongo.at(0, 0.5))),
        Arrow((adapters.at(1, 0.8), redis.at(0, 0.3))),
        Arrow((adapters.at(0.5, 1), sqlite.at(0.5, 0))),
    ]
    return _svg([strategy, registry, adapters, mongo, sqlite, redis], arrows, sqlite.top + HEIGHT)


def read_path() -> str:
    """Return the diagram of a read."""
    call = Box(0, 0, "your code", "read_signal_data()", "symbol, strategy, exchange")
    local = Box(1, 0, "this process", "is the id known here?")
    redis = Box(2, 0, "Redis", "is it known there?", "50 ms at most, or not asked")
    find = Box(3, 0, "MongoDB", "one indexed find", "by the natural key")
    answer = Box(0, 1, "your code", "the payload, or nothing", "as of `when`")
    same = Box(1, 1, "this process", "same natural key?")
    fetch = Box(2, 1, "MongoDB", "fetch by _id")
    fill = Box(3, 1, "this process", "keep the id", "here and in Redis")
    lane = fill.top + HEIGHT + 22
    arrows = [
        Arrow((call.at(1, 0.5), local.at(0, 0.5))),
        Arrow((local.at(1, 0.4), redis.at(0, 0.4)), "no"),
        Arrow((redis.at(1, 0.4), find.at(0, 0.4)), "no"),
        Arrow((local.at(0.8, 1), fetch.at(0.2, 0)), "yes"),
        Arrow((redis.at(0.6, 1), fetch.at(0.6, 0)), "yes"),
        Arrow((find.at(0.5, 1), fill.at(0.5, 0))),
        Arrow((fetch.at(0, 0.5), same.at(1, 0.5))),
        Arrow((same.at(0, 0.5), answer.at(1, 0.5)), "yes"),
        Arrow((fill.at(0.5, 1), (fill.at(0.5, 1)[0], lane), (answer.at(0.5, 1)[0], lane), answer.at(0.5, 1))),
        Arrow(
            (
                same.at(0.75, 1),
                (same.at(0.75, 1)[0], lane + 24),
                (fill.left + WIDTH + 18, lane + 24),
                (fill.left + WIDTH + 18, find.at(1, 0.6)[1]),
                find.at(1, 0.6),
            ),
            "no",
        ),
    ]
    return _svg([call, local, redis, find, answer, same, fetch, fill], arrows, lane + 24)


def write_path() -> str:
    """Return the diagram of a write."""
    call = Box(0, 0, "your code", "write_signal_data(row)")
    check = Box(1, 0, "this process", "check and freeze it", "else an error, nothing sent")
    join = Box(2, 0, "this process", "batch it with", "concurrent calls")
    upsert = Box(3, 0, "MongoDB", "findOneAndUpdate upsert", "unique key, w: majority")
    answer = Box(0, 1, "your code", "acknowledged")
    keep = Box(1, 1, "this process", "keep the id", "here and in Redis")
    look = Box(3, 1, "MongoDB", "was it applied?", "checked if no answer came")
    lane = upsert.top + HEIGHT + (DOWN - HEIGHT) // 2
    arrows = [
        Arrow((call.at(1, 0.5), check.at(0, 0.5))),
        Arrow((check.at(1, 0.5), join.at(0, 0.5))),
        Arrow((join.at(1, 0.5), upsert.at(0, 0.5))),
        Arrow((upsert.at(0.15, 1), (upsert.at(0.15, 1)[0], lane), (keep.at(0.5, 0)[0], lane), keep.at(0.5, 0)), "done"),
        Arrow((upsert.at(0.55, 1), look.at(0.55, 0)), "lost"),
        Arrow((look.at(0.9, 0), upsert.at(0.9, 1)), "no"),
        Arrow((look.at(0, 0.5), keep.at(1, 0.5)), "yes"),
        Arrow((keep.at(0, 0.5), answer.at(1, 0.5))),
    ]
    return _svg([call, check, join, upsert, answer, keep, look], arrows, look.top + HEIGHT)


class Span(NamedTuple):
    """What a row was, from one minute of the picture to another; an end that is open is that of the row itself."""

    value: str
    first: int
    end: int
    is_row: bool = False


#: The rows of the picture of versions, as one run writes them.
_RUN: Final = {
    "state": (Span("n: 1", 0, 2), Span("n: 2", 2, 5), Span("n: 5", 5, 8, is_row=True)),
    "signal": (Span("waits", 1, 3), Span("open", 3, 6), Span("cleared", 6, 8, is_row=True)),
    "memory": (Span("note", 2, 4), Span("removed", 4, 8, is_row=True)),
}
#: The moment that is looked at.
_MOMENT: Final = 3.25
_MINUTE: Final = 90
_LABELS: Final = 110
_LINE: Final = 52


def time_travel() -> str:
    """Return the picture of versions: what each row was over time, and what a read as of a time finds."""
    top, left = 78, EDGE + _LABELS
    width, height = left + 8 * _MINUTE + 70, top + 3 * _LINE + 96
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="{_FONT}" font-size="13">',
        _TIP,
        f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>',
        f'<rect x="{EDGE}" y="18" width="12" height="12" rx="2" fill="#fef3c7" stroke="#78716c"/>',
        f'<text x="{EDGE + 18}" y="29" fill="#44403c" font-size="12">a version</text>',
        f'<rect x="{EDGE + 110}" y="18" width="12" height="12" rx="2" fill="#dcfce7" stroke="#78716c"/>',
        f'<text x="{EDGE + 128}" y="29" fill="#44403c" font-size="12">the latest, which is the row itself</text>',
    ]
    for number, (slot, spans) in enumerate(_RUN.items()):
        y = top + number * _LINE
        parts.append(f'<text x="{EDGE}" y="{y + 22}" fill="#1c1917">{slot}</text>')
        for span in spans:
            x, across = left + span.first * _MINUTE, (span.end - span.first) * _MINUTE - 3
            colour = "#dcfce7" if span.is_row else "#fef3c7"
            parts.append(
                f'<rect x="{x}" y="{y}" width="{across}" height="34" rx="4" fill="{colour}" stroke="#78716c"/>'
            )
            parts.append(f'<text x="{x + across // 2}" y="{y + 22}" {_DARK}>{escape(span.value)}</text>')
    axis = top + 3 * _LINE + 8
    end = left + 8 * _MINUTE + 14
    parts.append(f'<polyline points="{left},{axis} {end},{axis}" fill="none" stroke="#44403c" marker-end="url(#tip)"/>')
    for minute in range(9):
        x = left + minute * _MINUTE
        parts.append(f'<line x1="{x}" y1="{axis - 4}" x2="{x}" y2="{axis + 4}" stroke="#44403c"/>')
        parts.append(f'<text x="{x}" y="{axis + 20}" {_PALE}>10:0{minute}</text>')
    moment = left + round(_MOMENT * _MINUTE)
    parts.append(
        f'<line x1="{moment}" y1="{top - 16}" x2="{moment}" y2="{axis + 34}" stroke="#b91c1c" stroke-dasharray="5 4"/>'
    )
    parts.append(f'<text x="{moment}" y="{top - 22}" text-anchor="middle" fill="#b91c1c">as_of(10:03:15)</text>')
    parts.append(
        f'<text x="{moment}" y="{axis + 52}" text-anchor="middle" fill="#b91c1c">n: 2, the signal is open, the note is '
        "there</text>"
    )
    return "\n".join([*parts, "</svg>\n"])


def _svg(boxes: list[Box], arrows: list[Arrow], bottom: int) -> str:
    width, height = 2 * EDGE + 3 * ACROSS + WIDTH + 20, bottom + EDGE
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="{_FONT}" font-size="13">',
        _TIP,
        f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>',
    ]
    used = {box.where for box in boxes}
    for number, (where, colour) in enumerate((name, colour) for name, colour in COLOURS.items() if name in used):
        left = EDGE + number * 130
        parts.append(f'<rect x="{left}" y="18" width="12" height="12" rx="2" fill="{colour}" stroke="#78716c"/>')
        parts.append(f'<text x="{left + 18}" y="29" fill="#44403c" font-size="12">{where}</text>')
    for arrow in arrows:
        points = " ".join(f"{x},{y}" for x, y in arrow.points)
        parts.append(f'<polyline points="{points}" fill="none" stroke="#44403c" marker-end="url(#tip)"/>')
        parts += _word(arrow)
    for box in boxes:
        parts.append(
            f'<rect x="{box.left}" y="{box.top}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="{COLOURS[box.where]}" '
            'stroke="#78716c"/>'
        )
        middle = box.left + WIDTH // 2
        lift = 0 if box.second else 9
        parts.append(f'<text x="{middle}" y="{box.top + 27 + lift}" {_DARK}>{escape(box.first)}</text>')
        if box.second:
            parts.append(f'<text x="{middle}" y="{box.top + 45}" {_PALE}>{escape(box.second)}</text>')
    return "\n".join([*parts, "</svg>\n"])


_FONT: Final = "system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif"
_TIP: Final = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
    '<path d="M0 0 L8 4 L0 8 z" fill="#44403c"/></marker></defs>'
)
_DARK: Final = 'text-anchor="middle" fill="#1c1917"'
_PALE: Final = 'text-anchor="middle" fill="#57534e" font-size="11.5"'


def _word(arrow: Arrow) -> list[str]:
    if not arrow.word:
        return []
    (x, y), (to_x, to_y) = arrow.points[:2]
    if y == to_y:
        place = (x + 10 if to_x > x else x - 10, y - 6, "start" if to_x > x else "end")
    else:
        # Of a slanting line on the side that it leans away from.
        slants = to_x > x
        place = (x - 2 if slants else x + 8, y + (17 if to_y > y else -9), "end" if slants else "start")
    return [f'<text x="{place[0]}" y="{place[1]}" text-anchor="{place[2]}" fill="#44403c">{arrow.word}</text>']


if __name__ == "__main__":
    (DOCS / "overview.svg").write_text(overview())
    (DOCS / "read-path.svg").write_text(read_path())
    (DOCS / "write-path.svg").write_text(write_path())
    (DOCS / "time-travel.svg").write_text(time_travel())

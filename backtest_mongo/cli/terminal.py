"""What commands print: everything goes through here, and control characters in stored text are escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from backtest_mongo.core.control_characters import escape_controls

__all__ = ["Terminal", "can_redraw", "escape_text", "print_json", "print_line", "print_table"]

#: Names are folded down to this width before the table becomes a list.
_NAME_WIDTH: Final = 14


class Terminal(Console):
    """A console that prints text literally: no markup, no emoji codes, and no character that controls a terminal.

    Line feeds are layout. A name or a message that may contain some goes through :func:`escape_text` before it becomes
    part of a line.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        # Before it is measured: an escape is wider than the character that it replaces.
        return super().render_str(escape_controls(text, keep_lines=True), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            # Controls are Rich's own, such as those that move the cursor of a progress bar. Nearly all other segments
            # have nothing to escape.
            if segment.control or segment.text.replace("\n", "").isprintable():
                yield segment
            else:
                yield segment._replace(text=escape_controls(segment.text, keep_lines=True))


def can_redraw(console: Console) -> bool:
    """Return whether lines can be drawn again, as a progress bar does: whether the console is a terminal.

    ``FORCE_COLOR`` makes Rich take a file for a terminal, but it asks for colours, and not for bars in the file.
    """
    return console.file.isatty() and not console.is_dumb_terminal


def escape_text(text: str, style: str = "") -> Text:
    """Return stored text as a table cell or part of a line: on one line, with its control characters escaped."""
    return Text(escape_controls(text), style)


def print_line(console: Console, text: str, style: str = "") -> None:
    """Print one line, without wrapping it."""
    console.print(escape_text(text, style), highlight=False, soft_wrap=True)


def print_table(
    console: Console,
    headings: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    *,
    title: str = "",
    footer: Sequence[str] = (),
    names: bool = True,
    leading: int = 0,
) -> None:
    """Print a table that fits the terminal, without cutting a number or a time, or breaking one over lines.

    If the columns don't fit side by side, each row is printed as a heading and a list of its values.

    Args:
        headings: the headings of all columns; a line feed in one is layout.
        rows: the first cell names the row; the others are never folded.
        footer: a last row of sums.
        names: whether the first column has names, which may be folded.
        leading: how many empty lines to put between rows.
    """
    footers = footer or ("",) * len(headings)
    first = max(cell_len(line) for row in (headings, footers, *rows) for line in str(row[0]).split("\n"))
    for padding in ((0, 1), (0, 1, 0, 0)):
        table = Table(
            title=title or None,
            title_justify="left",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            padding=padding,
            show_footer=bool(footer),
            leading=leading,
        )
        table.add_column(headings[0], footer=footers[0], overflow="fold", no_wrap=not names)
        for heading, sums in zip(headings[1:], footers[1:], strict=True):
            table.add_column(heading, footer=sums, justify="right", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        whole = console.measure(table, options=console.options.update(max_width=1 << 20)).maximum
        if whole - first + (min(first, _NAME_WIDTH) if names else first) <= console.width:
            console.print(table, highlight=False)
            return
    if title:
        console.print(Text(title), highlight=False)
    for row in (*rows, *([footer] if footer else ())):
        console.print(escape_text(" ".join(str(row[0]).split("\n")), "bold"), highlight=False, overflow="fold")
        _print_values(console, headings[1:], row[1:])


def _print_values(console: Console, headings: Sequence[str], values: Sequence[str | Text]) -> None:
    """Print values after their headings, as many per line as fit."""
    line = ""
    for heading, value in zip(headings, values, strict=True):
        label = " ".join(heading.split())
        for part in str(value).split("\n"):
            piece = f"{label} {part}".strip()
            if cell_len(piece) + 2 > console.width and label:
                _print_indented(console, line)
                _print_indented(console, label)
                line, piece = "", part
            if line and cell_len(line) + cell_len(piece) + 4 > console.width:
                _print_indented(console, line)
                line = ""
            line = f"{line}  {piece}" if line else piece
            label = ""
    _print_indented(console, line)


def _print_indented(console: Console, line: str) -> None:
    if line:
        print_line(console, f"  {line}")


def print_json(text: str) -> None:
    """Print JSON to standard output, escaped without changing its meaning."""
    print(escape_controls(text, keep_lines=True), flush=True)

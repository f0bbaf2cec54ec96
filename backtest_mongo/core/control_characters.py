"""Escaping the characters of stored text, such as names and payloads, that control a terminal or don't show."""

from __future__ import annotations

import unicodedata
from typing import Final

__all__ = ["escape_controls"]

#: Control characters, format characters (bidirectional and zero-width ones among them), surrogates, and separators of
#: lines and paragraphs.
_CONTROL_CATEGORIES: Final = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
_SHORT_ESCAPES: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def escape_controls(text: str, *, keep_lines: bool = False) -> str:
    """Escape every character that controls a terminal or doesn't show, in JSON's notation.

    A terminal acts on such characters: an escape sequence clears the screen or renames the window, and a bidirectional
    control reverses the text that follows. Inside JSON strings the escapes mean the same characters, so JSON stays
    valid.

    Args:
        keep_lines: leave line feeds as they are.
    """
    if keep_lines:
        return "\n".join(map(escape_controls, text.split("\n")))
    if text.isprintable():
        return text
    return "".join([_escape(char) if unicodedata.category(char) in _CONTROL_CATEGORIES else char for char in text])


def _escape(char: str) -> str:
    if char in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[char]
    if ord(char) <= 0xFFFF:
        return f"\\u{ord(char):04x}"
    units = char.encode("utf-16-be")  # JSON escapes UTF-16 code units
    return f"\\u{units[:2].hex()}\\u{units[2:].hex()}"

"""The name of one file or directory: escaped so that any file system holds it, and decoded again.

Ordinary names are kept as they are. In all others the bytes that cause trouble are escaped, as in ``%2F``:

* what some file system refuses: slashes, control characters, ``: * ? " < > |``, and ``%`` itself;
* a dot at the start, a dot or a space at the end, ``.json`` at the end of a directory, and the first letter of names
  such as ``con``, which Windows gives to devices;
* where the file system ignores case: capital letters, but in symbols the small ones, and all letters beyond ASCII.

The empty name is ``%``. A name of more than 240 bytes keeps its first 150 and ends in ``%~`` and its digest.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final, Literal, TypeAlias
from urllib.parse import unquote

__all__ = [
    "OWN_SPELLINGS",
    "Spelling",
    "can_never_be_own",
    "decode_name",
    "escape_field",
    "escape_name",
    "is_cut",
    "is_name_of",
    "may_be_node_name",
    "may_be_own_name",
]

#: ``exact`` where case counts, ``folded`` where the file system ignores case, and ``raw`` as Node writes.
Spelling: TypeAlias = Literal["exact", "folded", "raw"]

#: The forms that this library writes.
OWN_SPELLINGS: Final[tuple[Spelling, Spelling]] = ("exact", "folded")

_MAX_BYTES: Final = 240
_KEPT_BYTES: Final = 150
_CUT: Final = "%~"
_EMPTY: Final = "%"

_REFUSED: Final = r"\x00-\x1f\x7f%/\\:*?\"<>|"
_NO_ESCAPE: Final = re.compile(r"%(?![0-9A-F]{2}|[_~]|$)")
_UNSAFE: Final = re.compile(f"[{_REFUSED}]")
_UNSAFE_FOLDED: Final = re.compile(f"[{_REFUSED}A-Z]|[^\\x00-\\x7f]")
_UNSAFE_FOLDED_SYMBOL: Final = re.compile(f"[{_REFUSED}a-z]|[^\\x00-\\x7f]")
_DEVICE: Final = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9¹²³])[ ]*(\.|$)", re.IGNORECASE)


def escape_field(text: str, *, is_symbol: bool, spelling: Spelling, escape_underscores: bool) -> str:
    """Escape the characters of a field that is a name or a part of one."""
    unsafe = _UNSAFE if spelling == "exact" else _UNSAFE_FOLDED_SYMBOL if is_symbol else _UNSAFE_FOLDED
    text = unsafe.sub(_escape_match, text)
    return text.replace("_", "%5F") if escape_underscores else text


def escape_name(text: str, *, is_directory: bool) -> str:
    """Make a name of escaped fields: escape its first and last characters where that is needed, and cut a long one."""
    text = _escape_edges(text, is_directory=is_directory)
    encoded = text.encode()
    if len(encoded) <= _MAX_BYTES:
        return text
    return f"{encoded[:_KEPT_BYTES].decode(errors='ignore')}{_CUT}{sha256(encoded).hexdigest()}"


def decode_name(name: str) -> str | None:
    """Return the field that a file or directory is named by, or ``None`` if the name has been cut."""
    if _CUT in name:
        return None
    if name == _EMPTY:
        return ""
    try:
        return unquote(name, errors="strict")
    except UnicodeDecodeError:
        return name  # Node's


def is_cut(name: str) -> bool:
    """Return whether a name has been cut, so that it does not tell its field."""
    return _CUT in name


def is_name_of(field: str, name: str) -> bool:
    """Return whether a directory that is named by one field may have this name for this value of the field."""
    texts = (unsafe.sub(_escape_match, field) for unsafe in (_UNSAFE, _UNSAFE_FOLDED, _UNSAFE_FOLDED_SYMBOL))
    return name in {escape_name(text, is_directory=True) for text in texts}


def may_be_own_name(name: str) -> bool:
    """Return whether this library may have given the name: all that it must escape is escaped."""
    return not _UNSAFE.search(name.replace("%", "")) and not _NO_ESCAPE.search(name)


def can_never_be_own(name: str) -> bool:
    """Return whether this library gives the name to no field at all, so that only Node can have given it."""
    return bool(_UNSAFE.search(name.replace("%", ""))) or _escape_edges(name, is_directory=False) != name


def may_be_node_name(name: str) -> bool:
    """Return whether Node can have given the name to an entity or its directory."""
    if name in ("", ".", "..") or any(mark in name for mark in "/\\\0") or len(name.encode()) > _MAX_BYTES:
        return False
    return not name.startswith(".tmp-") and not (name.startswith(".") and name.endswith(".facts"))


def _escape_match(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode())


def _escape_edges(text: str, *, is_directory: bool) -> str:
    if not text:
        return _EMPTY
    if text[0] == "." or _DEVICE.match(text):
        text = f"%{ord(text[0]):02X}{text[1:]}"
    if text[-1] in ". ":
        text = f"{text[:-1]}%{ord(text[-1]):02X}"
    if is_directory and text[-5:].lower() == ".json":
        text = f"{text[:-5]}%2E{text[-4:]}"
    return text

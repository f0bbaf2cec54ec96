"""Where a row's file is: names that any file system holds, which differ whenever the keys do.

Ordinary names stand as they are. In all others the bytes that make trouble are written as ``%2F``:

* what some file system refuses: slashes, control characters, ``: * ? " < > |``, and ``%`` itself;
* a dot at the start, a dot or a blank at the end, ``.json`` at the end of a directory, and the first letter of names
  such as ``con``, which Windows gives to devices;
* ``_`` in all but one of the names that are joined by ``_``. The one is the strategy's as a rule, so ``my_strategy``
  stays. Where a part may be left out, its being there in a live run, or not in a backtest, is marked by ``%_``;
* where the file system takes ``A`` and ``a`` for one letter: capital letters, small ones in symbols, and all letters
  beyond ASCII.

The empty name is ``%``. A name over 240 bytes keeps its first 150 and ends in ``%~`` and its digest.

Node escapes nothing. What it has stored under a name that is no ordinary one is found all the same: if no name of ours
can be equal to it, or else if its payload's own fields say whose it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, Literal, NamedTuple, TypeAlias
from urllib.parse import unquote

from backtest_mongo.files.layout import path_of
from backtest_mongo.specs import FLAG, Key, SlotSpec

__all__ = ["COMPONENTS", "LONGEST", "PART", "Place", "Spelling", "is_node_s", "item_of", "places", "spelled"]

#: ``exact`` where upper and lower case differ, ``folded`` where they don't, and ``raw`` as Node writes it.
Spelling: TypeAlias = Literal["exact", "folded", "raw"]

LONGEST: Final = 240
_KEPT: Final = 150
_CUT: Final = "%~"
_EMPTY: Final = "%"
_UNUSUAL: Final = "%_"

_REFUSED: Final = r"\x00-\x1f\x7f%/\\:*?\"<>|"
_UNSAFE: Final = re.compile(f"[{_REFUSED}]")
_FOLDED: Final = re.compile(f"[{_REFUSED}A-Z]|[^\\x00-\\x7f]")
_FOLDED_SYMBOL: Final = re.compile(f"[{_REFUSED}a-z]|[^\\x00-\\x7f]")
_DEVICE: Final = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9¹²³])[ ]*(\.|$)", re.IGNORECASE)

COMPONENTS: Final = re.compile(r"/(?![^\[]*\])|(?=\[/)")
PART: Final = re.compile(r"\[[_/]\{(?P<optional>\w+)\}\]|\{(?P<field>\w+)(?P<own>\*?)\}|(?P<text>[^\[{]+)")


class Place(NamedTuple):
    """A file that may hold a row."""

    #: Directories below the root, and the file's name without ``.json``.
    path: tuple[str, ...]
    #: Fields that its payload must have, with these values, for the file to be the row's.
    told_by: Mapping[str, Any]


@lru_cache(maxsize=4_096)
def places(spec: SlotSpec, key: Key, folding: bool) -> tuple[Place, ...]:
    """Return where the row of a key may be: first where it is written, on a file system that folds case or doesn't."""
    exact, folded = spelled(spec, key, "exact"), spelled(spec, key, "folded")
    found = {(folded if folding else exact): Place(folded if folding else exact, {})}
    found.setdefault(exact if folding else folded, Place(exact if folding else folded, {}))
    raw = spelled(spec, key, "raw")
    if raw not in found and all(map(is_node_s, raw)):
        own = any(_never_ours(part) for part in raw)
        told_by = {} if own else {name: value for name, value in zip(spec.key, key, strict=True) if name != FLAG}
        found[raw] = Place(raw, told_by)
    return tuple(found.values())


def item_of(name: str) -> str | None:
    """Return the field that a file or directory is named by, or ``None`` where the name has been cut."""
    if _CUT in name:
        return None
    if name == _EMPTY:
        return ""
    try:
        return unquote(name, errors="strict")
    except UnicodeDecodeError:
        return name  # Node's


def spelled(spec: SlotSpec, key: Key, spelling: Spelling) -> tuple[str, ...]:
    """Return a row's directories below the root and the name of its file, in one of the spellings."""
    values = dict(zip(spec.key, key, strict=False))
    *directories, name = COMPONENTS.split(path_of(spec))
    path = [_component(part, values, spelling, directory=True) for part in directories]
    path.append(_component(name, values, spelling, directory=False))
    return tuple(part for part in path if part is not None)


def _component(template: str, values: Mapping[str, Any], spelling: Spelling, *, directory: bool) -> str | None:
    if template.startswith("[/"):
        name = PART.fullmatch(template)
        assert name is not None  # the table's own
        if not values[name["optional"]]:
            return None
        template = f"{{{name['optional']}}}"
    parts = list(PART.finditer(template))
    joined = sum(part["text"] is None for part in parts) > 1
    text = ""
    for part in parts:
        if part["text"] is not None:
            text += part["text"]
        elif part["field"] is not None:
            text += _field(part["field"], values[part["field"]], spelling, joined and not part["own"])
        else:
            value = values[part["optional"]]
            usual = spelling == "raw" or bool(value) == values.get(FLAG, True)
            text += ("_" if value else "") if usual else _UNUSUAL
            text += _field(part["optional"], value, spelling, True)
    if spelling == "raw":
        return text
    return _cut(_edges(text, directory))


def _field(name: str, value: Any, spelling: Spelling, joined: bool) -> str:
    if name == FLAG:
        return "backtest" if value else "live"
    text = str(value)
    if spelling == "raw":
        return text
    unsafe = _UNSAFE if spelling == "exact" else _FOLDED_SYMBOL if name == "symbol" else _FOLDED
    text = unsafe.sub(_escaped, text)
    return text.replace("_", "%5F") if joined else text


def _escaped(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode())


def _edges(text: str, directory: bool) -> str:
    if not text:
        return _EMPTY
    if text[0] == "." or _DEVICE.match(text):
        text = f"%{ord(text[0]):02X}{text[1:]}"
    if text[-1] in ". ":
        text = f"{text[:-1]}%{ord(text[-1]):02X}"
    if directory and text[-5:].lower() == ".json":
        text = f"{text[:-5]}%2E{text[-4:]}"
    return text


def _cut(text: str) -> str:
    encoded = text.encode()
    if len(encoded) <= LONGEST:
        return text
    return f"{encoded[:_KEPT].decode(errors='ignore')}{_CUT}{sha256(encoded).hexdigest()}"


def _never_ours(raw: str) -> bool:
    """Tell whether no name of ours, of any key, is ``raw``."""
    return bool(_UNSAFE.search(raw.replace("%", ""))) or _edges(raw, False) != raw


def is_node_s(raw: str) -> bool:
    """Tell whether Node can have given a file or directory this name, and it is no other thing."""
    if raw in ("", ".", "..") or "/" in raw or "\\" in raw or len(raw.encode()) > LONGEST:
        return False
    return not raw.startswith(".tmp-") and not (raw.startswith(".") and raw.endswith(".facts"))

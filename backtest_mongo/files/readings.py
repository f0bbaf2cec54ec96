"""Whose file it is: the keys that a path below the root may stand for, by our names and by Node's.

Ours are escaped, so that a path stands for one key. Node joins names by ``_`` as they are, and then more than one key
may have the same path. Every reading is checked by spelling its key again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

from backtest_mongo.files.layout import path_of
from backtest_mongo.files.names import COMPONENTS, PART, is_node_s, item_of, spelled
from backtest_mongo.specs import FLAG, Key, SlotSpec

__all__ = ["Readings", "depths", "is_plain", "readings", "top"]

_FLAGS = {"backtest": True, "live": False}


class Readings(NamedTuple):
    """The keys that a path may stand for: by our names at most one, and by Node's any number."""

    ours: tuple[Key, ...]
    node: tuple[Key, ...]

    @property
    def all(self) -> tuple[Key, ...]:
        return tuple(dict.fromkeys((*self.ours, *self.node)))


@lru_cache(maxsize=4_096)
def readings(spec: SlotSpec, path: tuple[str, ...]) -> Readings:
    """Return the keys whose file may be at ``path``: directories below the root, and the name without ``.json``."""
    ours = [
        key
        for key in _keys(spec, path, ours=True)
        if path in (spelled(spec, key, "exact"), spelled(spec, key, "folded"))
    ]
    node = [key for key in _keys(spec, path, ours=False) if path == spelled(spec, key, "raw")]
    return Readings(tuple(dict.fromkeys(ours)), tuple(dict.fromkeys(node)) if all(map(is_node_s, path)) else ())


def is_plain(spec: SlotSpec, path: tuple[str, ...]) -> bool:
    """Tell whether a path says by itself whose it is, whoever has written it."""
    return len(readings(spec, path).all) == 1


def top(spec: SlotSpec) -> tuple[str, ...]:
    """Return the directories below the root that all rows of a slot are in."""
    components = path_of(spec).split("/")
    fixed = next(at for at, part in enumerate(components) if "{" in part or at == len(components) - 1)
    return tuple(components[:fixed])


def depths(spec: SlotSpec) -> tuple[int, ...]:
    """Return how many parts the paths of a slot may have."""
    components = COMPONENTS.split(path_of(spec))
    optional = sum(part.startswith("[/") for part in components)
    return tuple(range(len(components) - optional, len(components) + 1))


def _keys(spec: SlotSpec, path: tuple[str, ...], ours: bool) -> Iterator[Key]:
    for components in _variants(COMPONENTS.split(path_of(spec))):
        if len(components) == len(path):
            assigned = [list(_assigned(part, text, ours)) for part, text in zip(components, path, strict=True)]
            for found in product(*assigned):
                values: dict[str, Any] = {}
                for one in found:
                    if any(values.setdefault(name, value) != value for name, value in one.items()):
                        break
                else:
                    yield from _key(spec, values)


def _variants(components: list[str]) -> Iterator[list[str]]:
    """Yield the components of a path with those that may be left out, and without."""
    yield [part[2:-1] if part.startswith("[/") else part for part in components]
    if any(part.startswith("[/") for part in components):
        yield [part for part in components if not part.startswith("[/")]


def _key(spec: SlotSpec, values: dict[str, Any]) -> Iterator[Key]:
    if spec.shape == "series":
        try:
            values[spec.key[-1]] = int(values[spec.key[-1]])
        except ValueError:
            return
    yield tuple(values.get(name, "") for name in spec.key)


def _assigned(template: str, text: str, ours: bool) -> Iterator[dict[str, Any]]:
    """Yield the values of a component's fields with which it may read ``text``."""
    for found in _split(list(PART.finditer(template)), text, ours):
        values = {name: _value(name, part, ours) for name, part in found.items()}
        if None not in values.values():
            yield values


def _value(name: str, text: str, ours: bool) -> Any:
    return _FLAGS.get(text) if name == FLAG else item_of(text) if ours and text else text


def _split(parts: Sequence[re.Match[str]], text: str, ours: bool) -> Iterator[dict[str, str]]:
    if not parts:
        if not text:
            yield {}
        return
    part, rest = parts[0], parts[1:]
    if part["text"] is not None:
        if text.startswith(part["text"]):
            yield from _split(rest, text.removeprefix(part["text"]), ours)
        return
    if part["field"] is None:
        yield from ({**found, part["optional"]: ""} for found in _split(rest, text, ours))
        marks = [mark for mark in (("_", "%_") if ours else ("_",)) if text.startswith(mark)]
    else:
        marks = [""]
    name = part["field"] or part["optional"]
    for mark in marks:
        body = text.removeprefix(mark)
        for end in (at for at in range(len(body) + 1) if at == len(body) or body[at] in "_%"):
            for found in _split(rest, body[end:], ours):
                yield {name: body[:end], **found}

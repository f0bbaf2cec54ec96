"""Where a row's file is: a slot's path template, which writes the path of a key and reads the keys of a path.

:mod:`~backtest_mongo.files.layout` has the templates, and :mod:`~backtest_mongo.files.names` escapes each name. This
library writes different keys to different paths:

* In symbols and exchanges that are joined with other names by ``_``, each ``_`` is escaped. The names of strategies,
  risks and frames keep theirs, as the engine looks for ``my_strategy`` and ``jan_2024``. Two contexts may get the same
  path by that. The one that is written second then goes to a path of its own: all its ``_`` are escaped, and ``%_``
  precedes its frame.

Node escapes nothing, and a slash in a name makes one more directory, so one of Node's paths may belong to several keys.
A row that Node stored under a name that this library would escape is found if this library gives the path to no key, or
if the row's payload names the key.

Each key that is read from a path is checked by writing its path again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, combinations, islice, pairwise, product
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

from backtest_mongo.core.specs import FLAG, Key, SlotSpec
from backtest_mongo.files.layout import MAX_SLASHES, get_template, may_have_slash
from backtest_mongo.files.names import (
    OWN_SPELLINGS,
    Spelling,
    can_never_be_own,
    decode_name,
    escape_field,
    escape_name,
    may_be_node_name,
    may_be_own_name,
)

__all__ = ["PathTemplate", "Place", "Readings", "RowPath", "compile_paths"]

#: Directories below the root, and the file's name without ``.json``.
RowPath: TypeAlias = tuple[str, ...]

_FLAGS: Final[Mapping[str, bool]] = MappingProxyType({"backtest": True, "live": False})
#: What precedes an optional field in an exclusive path: one that no other key has.
_EXCLUSIVE: Final = "%_"
#: How many keys are read from one path. A path with many ``_`` may have millions.
_MAX_READINGS: Final = 50

_COMPONENTS: Final = re.compile(r"/(?![^\[]*\])|(?=\[/)")
_PARTS: Final = re.compile(r"(?P<bracket>\[[_/])?\{(?P<field>\w+)(?P<star>\*?)\}\]?|(?P<text>[^\[{]+)")

#: The values that fields are known to have. A field that is missing may have any.
Known: TypeAlias = Mapping[str, Collection[Any]]
_NOTHING_KNOWN: Final[Known] = MappingProxyType({})


class Place(NamedTuple):
    """A path where the row of a key may be.

    Attributes:
        path: the path.
        needs_names: whether the row there counts only if its payload names the key, as it may be another key's.
        is_shared: whether another key may have the same path, and its row be there.
    """

    path: RowPath
    needs_names: bool = False
    is_shared: bool = False


class Readings(NamedTuple):
    """The keys that a path may be of: by the names of this library, and by Node's."""

    own: tuple[Key, ...]
    node: tuple[Key, ...]

    @property
    def all(self) -> tuple[Key, ...]:
        return tuple(dict.fromkeys((*self.own, *self.node)))


@dataclass(frozen=True, slots=True)
class _Field:
    """A field of the key in a component; with ``is_optional`` it is left out, with its ``_``, if it is empty."""

    name: str
    index: int
    keeps_underscores: bool = False
    is_optional: bool = False

    def escape(self, value: Any, spelling: Spelling, escape_underscores: bool) -> str:
        if self.name == FLAG:
            return "backtest" if value else "live"
        if spelling == "raw":
            return str(value)
        return escape_field(
            str(value),
            is_symbol=self.name == "symbol",
            spelling=spelling,
            escape_underscores=escape_underscores,
        )

    def decode(self, text: str, is_own: bool) -> Any:
        """Return the value that is written like this, or ``None`` if there is none."""
        if self.name == FLAG:
            return _FLAGS.get(text)
        return decode_name(text) if is_own and text else text


@dataclass(frozen=True, slots=True)
class _Component:
    """One directory of a path, or its file; with ``is_optional`` it is left out if its field is empty."""

    parts: tuple[str | _Field, ...]
    is_directory: bool
    is_optional: bool = False

    @property
    def fields(self) -> tuple[_Field, ...]:
        return tuple(part for part in self.parts if isinstance(part, _Field))

    @property
    def may_be_shared(self) -> bool:
        return sum(field.keeps_underscores for field in self.fields) > 1

    def write(self, key: Key, spelling: Spelling, is_exclusive: bool) -> str | None:
        if self.is_optional and not key[self.fields[0].index]:
            return None
        is_joined = len(self.fields) > 1
        text = ""
        for part in self.parts:
            if isinstance(part, str):
                text += part
                continue
            value = key[part.index]
            if part.is_optional:
                text += _EXCLUSIVE if is_exclusive else "_" if value else ""
                text += part.escape(value, spelling, is_exclusive)
            else:
                text += part.escape(value, spelling, is_joined and (is_exclusive or not part.keeps_underscores))
        return text if spelling == "raw" else escape_name(text, is_directory=self.is_directory)

    def read(self, text: str, is_own: bool, values: Mapping[str, Any], known: Known) -> Iterator[dict[str, Any]]:
        """Yield the values of the fields with which the component may be ``text``, given those of other components."""
        return self._read(self.parts, text, is_own, values, known)

    def _read(
        self, parts: Sequence[str | _Field], text: str, is_own: bool, values: Mapping[str, Any], known: Known
    ) -> Iterator[dict[str, Any]]:
        if not parts:
            if not text:
                yield {}
            return
        part, *rest = parts
        if isinstance(part, str):
            if text.startswith(part):
                yield from self._read(rest, text.removeprefix(part), is_own, values, known)
            return
        for field_text, remaining in _split_off(part, rest, text, is_own):
            value = part.decode(field_text, is_own)
            if _may_have(part, value, values, known):
                for others in self._read(rest, remaining, is_own, values, known):
                    yield {part.name: value, **others}


def _may_have(field: _Field, value: Any, values: Mapping[str, Any], known: Known) -> bool:
    return (
        value is not None
        and "\0" not in str(value)
        and values.get(field.name, value) == value
        and (field.name not in known or value in known[field.name])
    )


def _split_off(field: _Field, rest: Sequence[str | _Field], text: str, is_own: bool) -> Iterator[tuple[str, str]]:
    """Yield how a text may be divided: into its first field and the rest."""
    prefixes: tuple[str, ...] = ("",)
    if field.is_optional:
        yield "", text
        prefixes = ("_", _EXCLUSIVE) if is_own else ("_",)
    for prefix in prefixes:
        if text.startswith(prefix):
            body = text.removeprefix(prefix)
            for end in _find_ends(field, rest, body, is_own):
                yield body[:end], body[end:]


def _find_ends(field: _Field, rest: Sequence[str | _Field], body: str, is_own: bool) -> Iterator[int]:
    """Yield where the first field of ``body`` may end."""
    if all(isinstance(other, str) or other.name == FLAG for other in rest):
        for parts in product(*((other,) if isinstance(other, str) else _FLAGS for other in rest)):
            tail = "".join(parts)
            if body.endswith(tail):
                yield len(body) - len(tail)
        return
    # A field with escaped _ ends at the first _.
    first = body.find("_") if is_own and not field.keeps_underscores and not field.is_optional else -1
    for at in range(len(body) + 1 if first < 0 else first + 1):
        if at == len(body) or body[at] in "_%":
            yield at


class PathTemplate:
    """The paths of one slot: writes the path of a key, and reads the keys of a path. :func:`compile_paths` makes it."""

    def __init__(self, spec: SlotSpec) -> None:
        self.spec = spec
        template = get_template(spec)
        *directories, name = _COMPONENTS.split(template)
        self._components = (
            *(_parse_component(spec, text, is_directory=True) for text in directories),
            _parse_component(spec, name, is_directory=False),
        )
        self._may_be_shared = any(component.may_be_shared for component in self._components)
        required = tuple(component for component in self._components if not component.is_optional)
        variants = (self._components, required) if len(required) < len(self._components) else (self._components,)
        # Components of few parts first: the fields that they determine limit the readings of the others.
        self._variants = tuple(sorted(enumerate(each), key=lambda item: len(item[1].parts)) for each in variants)
        #: How many names a path may have, if none of them has a slash.
        self.depths: tuple[int, ...] = tuple(range(len(required), len(self._components) + 1))
        #: The directory that has all rows of the slot.
        self.top: RowPath = _find_top(template)

    def write(self, key: Key, spelling: Spelling = "exact", *, is_exclusive: bool = False) -> RowPath:
        """Return the path of a key's row; with ``is_exclusive`` each ``_`` is escaped, so no other key has the path."""
        names = [component.write(key, spelling, is_exclusive) for component in self._components]
        if spelling == "raw":
            return tuple(part for name in names if name is not None for part in name.split("/"))
        return tuple(name for name in names if name is not None)

    def is_path_of(self, key: Key, path: RowPath) -> bool:
        """Return whether a path is one that this library gives a key."""
        return any(
            path == self.write(key, spelling, is_exclusive=is_exclusive)
            for spelling in OWN_SPELLINGS
            for is_exclusive in (False, self._may_be_shared)
        )

    def find_places(self, key: Key, folds_case: bool) -> tuple[Place, ...]:
        """Return where a key's row may be, the place where it is written first.

        Args:
            key: the row's key.
            folds_case: whether the file system ignores case.
        """
        return _find_places(self, key, folds_case)

    def _find_places(self, key: Key, folds_case: bool) -> tuple[Place, ...]:
        found: dict[RowPath, Place] = {}
        for spelling in OWN_SPELLINGS[::-1] if folds_case else OWN_SPELLINGS:
            path = self.write(key, spelling)
            found.setdefault(path, Place(path, is_shared=self._may_be_shared))
            if self._may_be_shared:
                path = self.write(key, spelling, is_exclusive=True)
                found.setdefault(path, Place(path))
        raw = self.write(key, "raw")
        if raw not in found and all(map(may_be_node_name, raw)):
            is_node_s = any(map(can_never_be_own, raw)) or len(raw) not in self.depths
            found[raw] = Place(raw, needs_names=not is_node_s)
        return tuple(found.values())

    def read(self, path: RowPath) -> Readings:
        """Return the first keys whose row may be at a path, without those whose names have a slash."""
        return _read(self, path)

    def read_with_slashes(self, path: RowPath) -> tuple[Key, ...]:
        """Return the first keys whose row may be at a path, of those with a slash in a name, written by Node."""
        return _take_first(self._read_slashed(path))

    def read_known(self, path: RowPath, known: Known) -> tuple[Key, ...]:
        """Return the first keys whose row may be at a path, of those whose fields have one of the known values."""
        found = (self._read_own, self._read_node_s, self._read_slashed)
        return _take_first(key for read in found for key in read(path, known))

    def is_unambiguous(self, path: RowPath) -> bool:
        """Return whether a path can be that of one key alone, whoever has written it."""
        return _is_unambiguous(self, path)

    def _read_own(self, path: RowPath, known: Known = _NOTHING_KNOWN) -> Iterator[Key]:
        if all(map(may_be_own_name, path)):
            yield from (key for key in self._read_names(path, True, known) if self.is_path_of(key, path))

    def _read_node_s(self, path: RowPath, known: Known = _NOTHING_KNOWN) -> Iterator[Key]:
        if all(map(may_be_node_name, path)):
            yield from (key for key in self._read_names(path, False, known) if path == self.write(key, "raw"))

    def _read_slashed(self, path: RowPath, known: Known = _NOTHING_KNOWN) -> Iterator[Key]:
        if not min(self.depths) < len(path) <= max(self.depths) + MAX_SLASHES or not all(map(may_be_node_name, path)):
            return
        for count in self.depths:
            for at in combinations(range(1, len(path)), count - 1):
                joined = tuple("/".join(path[start:end]) for start, end in pairwise((0, *at, len(path))))
                if len(joined) < len(path):
                    for key in self._read_names(joined, False, known):
                        if path == self.write(key, "raw") and self._may_have_slashes(key):
                            yield key

    def _may_have_slashes(self, key: Key) -> bool:
        fields = zip(self.spec.key, key, strict=True)
        return all(may_have_slash(name) or "/" not in str(value) for name, value in fields)

    def _read_names(self, path: RowPath, is_own: bool, known: Known) -> Iterator[Key]:
        for components in self._variants:
            if len(components) == len(path):
                for values in _read_components(components, path, is_own, {}, known):
                    key = self._make_key(values)
                    if key is not None:
                        yield key

    def _make_key(self, values: Mapping[str, Any]) -> Key | None:
        key = tuple(values.get(name, "") for name in self.spec.key)
        if not self.spec.is_candles:
            return key
        try:
            return *key[:-1], int(key[-1])
        except ValueError:
            return None


def _read_components(
    components: Sequence[tuple[int, _Component]], path: RowPath, is_own: bool, values: dict[str, Any], known: Known
) -> Iterator[dict[str, Any]]:
    """Yield the values of all fields with which the components, each with its index, make up the path."""
    if not components:
        yield values
        return
    (index, component), *rest = components
    for read in component.read(path[index], is_own, values, known):
        yield from _read_components(rest, path, is_own, values | read, known)


def _parse_component(spec: SlotSpec, text: str, *, is_directory: bool) -> _Component:
    is_optional = text.startswith("[/")
    parts = tuple(_parse_part(spec, found) for found in _PARTS.finditer(text))
    return _Component(parts, is_directory, is_optional)


def _parse_part(spec: SlotSpec, found: re.Match[str]) -> str | _Field:
    name = found["field"]
    if name is None:
        return found["text"]
    return _Field(name, spec.key.index(name), bool(found["star"]), is_optional=found["bracket"] == "[_")


def _find_top(template: str) -> RowPath:
    names = template.split("/")
    return tuple(names[: next(at for at, name in enumerate(names) if "{" in name or at == len(names) - 1)])


# Outside the class, so that the templates of all slots share one bounded cache of each kind.


@lru_cache(maxsize=256)
def compile_paths(spec: SlotSpec) -> PathTemplate:
    """Return the template of a slot's paths."""
    return PathTemplate(spec)


@lru_cache(maxsize=4_096)
def _find_places(template: PathTemplate, key: Key, folds_case: bool) -> tuple[Place, ...]:
    return template._find_places(key, folds_case)


@lru_cache(maxsize=4_096)
def _read(template: PathTemplate, path: RowPath) -> Readings:
    return Readings(_take_first(template._read_own(path)), _take_first(template._read_node_s(path)))


@lru_cache(maxsize=4_096)
def _is_unambiguous(template: PathTemplate, path: RowPath) -> bool:
    found: set[Key] = set()
    for key in chain(template._read_own(path), template._read_node_s(path)):
        found.add(key)
        if len(found) > 1:
            return False
    return bool(found)


def _take_first(keys: Iterable[Key]) -> tuple[Key, ...]:
    return tuple(dict.fromkeys(islice(keys, _MAX_READINGS)))

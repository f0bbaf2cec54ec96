"""Identifying the row of a file: which key it has. It blocks.

As Node joins names by ``_``, a path may be that of several keys. Then the payload's own names decide, or those of its
signal, or all names that the dump has and the caller gives.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Final

from backtest_mongo.core.specs import FLAG, Key, SlotSpec
from backtest_mongo.dumps.parse import FileRefusedError
from backtest_mongo.files.directory import Directory
from backtest_mongo.files.layout import SIGNALS
from backtest_mongo.files.names import decode_name
from backtest_mongo.files.paths import RowPath, compile_paths
from backtest_mongo.files.row_owners import find_names
from backtest_mongo.files.series import NAME_FILE, parse_time, read_name

__all__ = ["NAMING_SLOTS", "KeyFinder", "KnownNames"]

#: Slots whose payloads, or directories, name strategies, exchanges and the like.
NAMING_SLOTS: Final = (
    "signal",
    "schedule",
    "storage",
    "recent",
    "strategy",
    "risk",
    "notification",
    "log",
    "session",
)
#: The fields that decide, and those that are used where they leave several keys.
_DECISIVE: Final = ("strategyName", "exchangeName", "riskName")
_FURTHER: Final = ("symbol", "frameName")
#: The objects in a payload that have names too.
_INNER: Final = (*SIGNALS, "createdSignal", "methodContext", "executionContext")
#: How many possible keys a message names.
_SHOWN: Final = 3


class KnownNames:
    """The names in a dump, and those that the caller gives. The dump is searched when they are first needed."""

    def __init__(self, strategies: Iterable[str] = (), exchanges: Iterable[str] = ()) -> None:
        self._given = {"strategyName": frozenset(strategies), "exchangeName": frozenset(exchanges)}
        #: Yields all payloads that may have names, and the keys of unambiguous paths.
        self.sources: Iterable[Any] = ()

    def decisive(self) -> dict[str, frozenset[str]]:
        """Return the known names of strategies, exchanges and risks, without fields of which none is known."""
        return self._select(_DECISIVE)

    def all(self) -> dict[str, frozenset[str]]:
        """Return all known names, those of symbols and frames too."""
        return self._select((*_DECISIVE, *_FURTHER))

    def of_signal(self, signal_id: str) -> Mapping[str, str]:
        """Return the names in the row of a signal, and none if there is no such row."""
        return self._collected[1].get(signal_id, {})

    def _select(self, fields: Iterable[str]) -> dict[str, frozenset[str]]:
        found = self._collected[0]
        known = {name: found.get(name, frozenset()) | self._given.get(name, frozenset()) for name in fields}
        return {name: names for name, names in known.items() if names}

    @cached_property
    def _collected(self) -> tuple[dict[str, frozenset[str]], dict[str, dict[str, str]]]:
        names: dict[str, set[str]] = {}
        signals: dict[str, dict[str, str]] = {}
        for payload in self.sources:
            for part in _find_parts(payload):
                found = {name: part[name] for name in (*_DECISIVE, *_FURTHER) if isinstance(part.get(name), str)}
                for name, value in found.items():
                    names.setdefault(name, set()).add(value)
                found.pop("frameName", None)
                is_signal = isinstance(part.get("id"), str) and len(found) == 3
                if is_signal and signals.setdefault(part["id"], found) != found:
                    signals[part["id"]] = {}  # two rows contradict each other
        return {name: frozenset(values) for name, values in names.items()}, signals


def _find_parts(payload: Any) -> Iterator[dict[str, Any]]:
    if isinstance(payload, dict):
        yield payload
        yield from (payload[name] for name in _INNER if isinstance(payload.get(name), dict))
    elif isinstance(payload, list):
        for pair in payload:
            yield from (one for one in (pair if isinstance(pair, list) else ()) if isinstance(one, dict))


class KeyFinder:
    """Finds the keys of one slot's files."""

    def __init__(self, root: str, spec: SlotSpec, known: KnownNames) -> None:
        self._root = root
        self._spec = spec
        self._known = known
        self._paths = compile_paths(spec)

    def find(self, path: RowPath, payload: Any) -> Key:
        """Return the key of a file's row.

        Raises:
            FileRefusedError: no key has this path, or several do and nothing decides between them.
        """
        if any(decode_name(name) is None for name in path):
            return self._find_cut(path)
        readings = self._paths.read(path)
        if readings.own and self._has_own_name(path):
            key = self._find_noted(path, payload)
            if key in readings.own:
                return key
            if len(readings.own) == 1:
                return readings.own[0]
        candidates = readings.all
        if self._spec.name == "session":
            possible = (*candidates, *self._paths.read_with_slashes(path))
            named = [key for key in possible if _make_session_id(key) == _get_id(payload)]
            if len(named) == 1:
                return named[0]
        candidates = candidates or self._paths.read_with_slashes(path)
        if not candidates:
            if len(path) not in self._paths.depths:
                raise FileRefusedError("it is not where this slot has files", "move or remove it")
            raise FileRefusedError("it has no name of this slot's files", "rename or remove it")
        return candidates[0] if len(candidates) == 1 else self._decide(path, payload, candidates)

    def _decide(self, path: RowPath, payload: Any, candidates: Sequence[Key]) -> Key:
        """Return the only key that fits the payload's own names, those of its signal, or those of the dump."""
        spec, known = self._spec, self._known
        names: dict[str, Collection[Any]] = {name: (value,) for name, value in find_names(spec, payload).items()}
        left: Sequence[Key] = self._paths.read_known(path, names) if names else candidates
        if "signalId" in spec.key and spec.shape == "entry" and len(left) > 1:
            ids = {key[spec.key.index("signalId")] for key in left}
            signal = {name: (value,) for name, value in known.of_signal(ids.pop()).items()} if len(ids) == 1 else {}
            left = self._paths.read_known(path, names | signal) if signal else left
        for find_known in (known.decisive, known.all):
            if len(left) > 1:
                left = self._paths.read_known(path, find_known() | names)
        if len(left) == 1:
            return left[0]
        shown = "; ".join(self._describe(key) for key in candidates[:_SHOWN])
        more = f"; and {len(candidates) - _SHOWN} more" if len(candidates) > _SHOWN else ""
        raise FileRefusedError(
            f"its key is ambiguous: {shown}{more}", "name the strategies or exchanges: --strategy, --exchange"
        )

    def _find_noted(self, path: RowPath, payload: Any) -> Key | None:
        """Return the key in a row's metadata sidecar."""
        row = self._directory(path).read(path[-1])
        if row is None:
            return None
        return row.key if find_names(self._spec, payload) else row.noted_key

    def _has_own_name(self, path: RowPath) -> bool:
        """Return whether a metadata sidecar, or the name file of each directory, shows that we have named a file."""
        if not self._spec.is_candles:
            return self._directory(path).has_metadata(path[-1])
        last = len(path) - 1
        return all(
            decode_name(path[at]) == path[at] or os.path.exists(os.path.join(self._root, *path[: at + 1], NAME_FILE))
            for at in range(last - (len(self._spec.key) - 1), last)
        )

    def _find_cut(self, path: RowPath) -> Key:
        """Return the key of a file whose name was cut, from the place that keeps the whole name."""
        *directories, name = path
        items = []
        for at, part in enumerate(directories):
            item = decode_name(part)
            if item is None:
                item = read_name(os.path.join(self._root, *directories[: at + 1]))
                if item is None:
                    raise FileRefusedError("its directory's name was cut", "export it again, or rename the directory")
            items.append(item)
        items.append(self._directory(path).find_item(name))
        spec, top = self._spec, self._paths.top
        if len(spec.key) != len(path) - len(top):
            raise FileRefusedError("its name was cut", "export it again, or rename it")
        values: dict[str, Any] = dict(zip(spec.key, items[len(top) :], strict=True))
        if FLAG in values:
            values[FLAG] = values[FLAG] == "backtest"
        if spec.is_candles:
            values[spec.key[-1]] = parse_time(items[-1])
        key = tuple(values.values())
        if None in key or not self._paths.is_path_of(key, path):
            raise FileRefusedError(
                "its name was cut, and the whole name in its sidecar is another file's", "export it again, or rename it"
            )
        return key

    def _directory(self, path: RowPath) -> Directory:
        return Directory(self._spec, os.path.join(self._root, *path[:-1]))

    def _describe(self, key: Key) -> str:
        fields = zip(self._spec.key, key, strict=True)
        return ", ".join(f"{name} {value!r}" for name, value in fields if name != FLAG)


def _make_session_id(key: Key) -> str:
    """Return the id that the engine gives a session's row."""
    strategy, exchange, frame, symbol, backtest = key
    return ":".join(filter(None, (symbol, strategy, exchange, frame, "backtest" if backtest else "live")))


def _get_id(payload: Any) -> Any:
    return payload.get("id") if isinstance(payload, dict) else None

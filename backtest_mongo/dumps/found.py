"""Reading a dump: which files there are, whose they are, and the documents that they stand for. It blocks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final, NamedTuple

import bson
from bson.errors import BSONError

from backtest_mongo.dumps.originals import ORIGINALS, Original, load_originals
from backtest_mongo.dumps.reports import DumpProblem
from backtest_mongo.errors import BacktestMongoError, InputError
from backtest_mongo.files import disk
from backtest_mongo.files.layout import holds_signals
from backtest_mongo.files.names import item_of
from backtest_mongo.files.readings import depths, readings, top
from backtest_mongo.files.rows import SUFFIX, Directory
from backtest_mongo.files.series import NAME
from backtest_mongo.files.text import from_text
from backtest_mongo.payload import CODEC, MAX_DOCUMENT_BYTES, check_payload
from backtest_mongo.specs import FLAG, Key, SlotSpec
from backtest_mongo.types import INTERVAL_MS, PRICES, Document

__all__ = ["FoundRow", "Names", "SlotFiles", "find_root", "others"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: Candidates that are named.
_SHOWN: Final = 3
#: Files that are no rows, of those in one slot's directories, that are reported.
_REPORTED: Final = 1_000
#: What an ``_id`` takes of a document that has none yet.
_ID_BYTES: Final = 17


class FoundRow(NamedTuple):
    """A row of a file: the document as it is to be stored, in so many bytes.

    ``is_exact`` where it is one that was exported.
    """

    path: str
    key: Key
    document: Document
    is_exact: bool
    size: int


@dataclass(frozen=True)
class Names:
    """Names that are known to be there, to tell joined ones apart by. None at all says nothing."""

    strategies: frozenset[str] = frozenset()
    exchanges: frozenset[str] = frozenset()

    def allow(self, fields: Mapping[str, Any]) -> bool:
        pairs = ((self.strategies, "strategyName"), (self.exchanges, "exchangeName"))
        return all(not known or name not in fields or fields[name] in known for known, name in pairs)


def find_root(directory: str, specs: Sequence[SlotSpec]) -> str:
    """Return the dump that a directory is, or has.

    Raises:
        InputError: there is none.
    """
    tops = [os.path.join(*top(spec)) for spec in specs]
    for root in (directory, os.path.join(directory, "dump")):
        if any(os.path.isdir(os.path.join(root, slot)) for slot in tops):
            return root
    if not os.path.isdir(directory):
        raise InputError(f"no dump is in {directory}: it is no directory")
    some = ", ".join(tops[:3])
    raise InputError(f"no dump is in {directory}: neither it nor its dump has a slot's directory, such as {some}")


def others(root: str, specs: Sequence[SlotSpec]) -> Iterator[str]:
    """Yield what of a dump is no slot's, directories without what is in them."""
    tops = {top(spec) for spec in specs}
    above = {path[:length] for path in tops for length in range(len(path))}

    def below(path: tuple[str, ...]) -> Iterator[str]:
        for name in sorted(os.listdir(os.path.join(root, *path))):
            part = (*path, name)
            if part in above and os.path.isdir(os.path.join(root, *part)):
                yield from below(part)
            elif part not in tops and part != (ORIGINALS,) and not name.startswith("."):
                yield _shown(part)

    yield from below(())


class SlotFiles:
    """The files of one slot below a root."""

    def __init__(self, root: str, spec: SlotSpec, known: Names) -> None:
        self._root = root
        self._spec = spec
        self._known = known
        self._signals = holds_signals(spec)
        #: Directories that could not be read, and files that are no rows, once all paths have been asked for.
        self.unread: list[DumpProblem] = []
        self.others: list[str] = []

    @cached_property
    def _originals(self) -> dict[tuple[str, ...], Original]:
        return load_originals(self._root, self._spec)

    def paths(self) -> Iterator[tuple[str, ...]]:
        """Yield each file, directory by directory, candles by time; of a list of the newest the older ones first."""
        if self._spec.newest is None:
            return self._walk()
        return iter(sorted(self._walk(), key=lambda path: self._directory(path).created(path[-1]) or 0))

    def _walk(self) -> Iterator[tuple[str, ...]]:
        first = top(self._spec)
        walk = os.walk(os.path.join(self._root, *first), onerror=self._note_unread, followlinks=True)
        for directory, below, names in walk:
            below[:] = sorted(name for name in below if not _leads_up(directory, name))
            relative = os.path.relpath(directory, self._root).split(os.sep)
            strange = (name for name in sorted(names) if not name.endswith(SUFFIX) and not name.startswith("."))
            self.others += [_shown((*relative, name)) for name in strange][: _REPORTED - len(self.others)]
            entities = [name.removesuffix(SUFFIX) for name in names if _is_entity(name)]
            if self._spec.shape == "series":
                entities.sort(key=lambda name: (len(name), name))
            else:
                entities.sort()
            for name in entities:
                yield (*relative, name)

    def _note_unread(self, error: OSError) -> None:
        path = os.path.relpath(error.filename, self._root)
        if isinstance(error, FileNotFoundError) and not os.path.islink(error.filename):
            return  # the slot has no files, or somebody has just removed them
        self.unread.append(self._problem(_shown((path,)), *_unreadable(error)))

    def read(self, path: tuple[str, ...]) -> FoundRow | DumpProblem:
        """Return the row of a file, or why it is left out."""
        shown = _shown(path) + SUFFIX
        try:
            found = disk.read_with_time(os.path.join(self._root, *path) + SUFFIX)
            if found is None:
                return self._problem(shown, "it has gone meanwhile", "run it again")
            content, written = found
            payload = from_text(content, self._signals)
            original = self._originals.get(path)
            if original is None:
                key = self._key(path, payload)
                document = self._document(path, key, payload, written)
                is_exact = False
            else:
                document, is_exact = original.document(self._spec, content, payload)
                key = tuple(document[name] for name in self._spec.key)
                if not is_exact:
                    fresh = self._document(path, key, payload, written)
                    document = {**fresh, "_id": document["_id"], "createDate": document["createDate"]}
            size = len(bson.encode(document, codec_options=CODEC)) + _ID_BYTES * ("_id" not in document)
            if size > MAX_DOCUMENT_BYTES:
                problem = f"the document would be {size:,} bytes, and MongoDB holds {MAX_DOCUMENT_BYTES:,} at most"
                raise _LeftOut(problem, "split or remove the file")
        except _LeftOut as error:
            return self._problem(shown, *error.args)
        except OSError as error:
            return self._problem(shown, *_unreadable(error))
        except BacktestMongoError as error:
            return self._problem(shown, error.message, error.hint or "mend or remove the file")
        except (BSONError, OverflowError, TypeError, KeyError) as error:
            return self._problem(shown, f"it can't be stored: {error}", "mend or remove the file")
        except (ValueError, RecursionError):
            return self._problem(shown, "it holds no JSON", "mend or remove the file")
        return FoundRow(shown, key, document, is_exact, size)

    def _problem(self, path: str, problem: str, hint: str) -> DumpProblem:
        return DumpProblem(path, self._spec.name, problem, hint)

    def _document(self, path: tuple[str, ...], key: Key, payload: Any, written: int) -> Document:
        """Return the document of a row that was not exported, or not like this."""
        spec = self._spec
        time = _date(written)
        if spec.shape == "series":
            row = _candle(payload, key[-1], INTERVAL_MS.get(str(dict(zip(spec.key, key, strict=True))["interval"])))
            stamps = {"createDate": time, "updatedDate": time, "__v": 0}
            return {**dict(zip(spec.key, key, strict=True)), **row, **stamps}
        for name, value in zip(spec.key, key, strict=True):
            if name != FLAG:
                spec.check_key(name, value)
        directory = self._directory(path)
        row_of_file = directory.read(path[-1])
        created = directory.created(path[-1])
        if row_of_file is None or created is None:
            raise _LeftOut("it has gone meanwhile", "run it again")
        check_payload(payload, spec.field, spec.name)
        if spec.payload == "list" and not isinstance(payload, list):
            raise _LeftOut(f"it holds no list but {_kind(payload)}", "mend or remove the file")
        document: Document = {**dict(zip(spec.key, key, strict=True)), spec.field: payload}
        if spec.when:
            document["when"] = row_of_file.when
        if spec.soft_delete:
            document["removed"] = row_of_file.removed
        return {**document, "createDate": _date(created), "updatedDate": time, "__v": 0}

    def _directory(self, path: tuple[str, ...]) -> Directory:
        return Directory(self._spec, os.path.join(self._root, *path[:-1]))

    def _key(self, path: tuple[str, ...], payload: Any) -> Key:
        """Return whose file it is.

        Raises:
            _LeftOut: nobody's, or it can't be told.
        """
        cut = self._cut_key(path)
        if cut is not None:
            return cut
        if len(path) not in depths(self._spec):
            raise _LeftOut("it is not where this slot has files", "move or remove it")
        ours, node = readings(self._spec, path)
        if ours and self._is_ours(path):
            return ours[0]
        candidates = list(dict.fromkeys((*ours, *node)))
        if len(candidates) > 1:
            candidates = [key for key in candidates if self._may_be(key, payload)]
        if len(candidates) == 1:
            return candidates[0]
        if not candidates:
            raise _LeftOut("its name is none that this slot has", "rename or remove it")
        shown = "; ".join(self._in_words(key) for key in candidates[:_SHOWN])
        more = f"; and {len(candidates) - _SHOWN} more" if len(candidates) > _SHOWN else ""
        raise _LeftOut(
            f"it can't be told whose it is: {shown}{more}", "name the strategies or exchanges: --strategy, --exchange"
        )

    def _is_ours(self, path: tuple[str, ...]) -> bool:
        """Tell whether a mark beside it says that its name is one of ours."""
        if self._spec.shape == "series":
            depth = len(self._spec.key) - 1
            at = len(path) - 1 - depth
            parts = range(at, len(path) - 1)
            return all(
                item_of(path[part]) == path[part] or os.path.exists(os.path.join(self._root, *path[: part + 1], NAME))
                for part in parts
            )
        return self._directory(path).is_marked(path[-1])

    def _cut_key(self, path: tuple[str, ...]) -> Key | None:
        """Return the key of a file whose name, or whose directory's, is too long to say it."""
        if not any(item_of(part) is None for part in path):
            return None
        *directories, name = path
        whole = []
        for at, part in enumerate(directories):
            item = item_of(part)
            if item is None:
                written = disk.read(os.path.join(self._root, *directories[: at + 1], NAME))
                if written is None:
                    raise _LeftOut("its directory's name was cut", "export it again, or rename the directory")
                item = written.decode()
            whole.append(item)
        item = self._directory(path).item(name)
        if len(self._spec.key) != len(path) - len(top(self._spec)):
            raise _LeftOut("its name was cut", "export it again, or rename it")
        values: dict[str, Any] = dict(zip(self._spec.key, [*whole[len(top(self._spec)) :], item], strict=True))
        if FLAG in values:
            values[FLAG] = values[FLAG] == "backtest"
        if self._spec.shape == "series":
            values[self._spec.key[-1]] = int(item)
        return tuple(values.values())

    def _may_be(self, key: Key, payload: Any) -> bool:
        fields = dict(zip(self._spec.key, key, strict=True))
        told = payload if isinstance(payload, dict) else {}
        agrees = all(
            told[name] == value
            for name, value in fields.items()
            if isinstance(told.get(name), bool if name == FLAG else str)
        )
        return agrees and self._known.allow(fields)

    def _in_words(self, key: Key) -> str:
        fields = zip(self._spec.key, key, strict=True)
        return ", ".join(f"{name} {value!r}" for name, value in fields if name != FLAG)


class _LeftOut(Exception):
    """Why a file is left out, and what to do about it."""


def _is_entity(name: str) -> bool:
    """Tell whether Node takes a file for an entity: a key may start with a dot."""
    return name.endswith(SUFFIX) and not name.startswith(".tmp-")


def _leads_up(directory: str, name: str) -> bool:
    """Tell whether a directory is a link to one that it is in, which would be walked for ever."""
    path = os.path.join(directory, name)
    if not os.path.islink(path):
        return False
    above, real = os.path.realpath(directory), os.path.realpath(path)
    return above == real or above.startswith(os.path.join(real, ""))


def _shown(path: Sequence[str]) -> str:
    """Return a path for people. A name that is no text can't be printed as it is."""
    return os.fsencode(os.path.join(*path)).decode(errors="backslashreplace")


def _unreadable(error: OSError) -> tuple[str, str]:
    return f"it can't be read: {error.strerror or type(error).__name__}", "check its permissions, and run it again"


def _date(nanoseconds: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=nanoseconds // 1_000_000)


def _candle(payload: Any, time: int, step: int | None) -> dict[str, float]:
    if step is None:
        raise _LeftOut("its interval is none of the library's", f"it has {', '.join(INTERVAL_MS)}")
    if not isinstance(payload, dict) or any(not _is_number(payload.get(name)) for name in PRICES):
        raise _LeftOut("it holds no candle", "mend or remove the file")
    if payload.get("timestamp", time) != time:
        raise _LeftOut("it is named by another time than its candle's", "mend or remove the file")
    return {name: float(payload[name]) for name in PRICES}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")


def _kind(value: Any) -> str:
    return {dict: "an object", str: "a text", type(None): "null", bool: "true or false"}.get(type(value), "a number")

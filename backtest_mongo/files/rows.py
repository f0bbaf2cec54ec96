"""One directory's rows: each a payload's file and, where the slot needs it, the facts beside it.

Everything here blocks, so the store calls it in threads.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from backtest_mongo.errors import StoreError
from backtest_mongo.files import disk
from backtest_mongo.files.layout import holds_signals
from backtest_mongo.files.names import item_of
from backtest_mongo.files.text import from_text, to_text
from backtest_mongo.specs import SlotSpec

__all__ = ["SUFFIX", "Directory", "Row", "Written", "digest", "names"]

SUFFIX: Final = ".json"
#: Readings of one row while writers replace it again and again.
_TRIES: Final = 1_000

_last_created = 0


class Row(NamedTuple):
    payload: Any
    when: int | None
    removed: bool


class Written(NamedTuple):
    """What is to be written: the file's name, the field that names it, and the row.

    ``created`` is when a row that is new here was first written, in nanoseconds: now, unless it is given. ``marked``
    puts facts beside a payload that needs none, where the path alone doesn't say whose it is.
    """

    name: str
    item: str
    payload: Any
    when: int | None
    removed: bool
    created: int | None = None
    marked: bool = False


@dataclass
class _Facts:
    """What stands beside a payload.

    Attributes:
        created: when the row was first written, in nanoseconds, each later than the one before in this process.
        item: the field that the file is named by, where its name has been cut.
        payloads: the time and the removal of a payload, by its digest.
    """

    created: int
    item: str | None = None
    payloads: dict[str, tuple[int | None, bool]] = field(default_factory=dict)


class Directory:
    """The rows of a slot in one directory."""

    def __init__(self, spec: SlotSpec, path: str) -> None:
        self._spec = spec
        self.path = path

    def read(self, name: str) -> Row | None:
        """Return the row of a file, or ``None`` where there is none.

        Raises:
            StoreError: the file holds no JSON.
        """
        before = None
        for _ in range(_TRIES):
            found = disk.read_with_time(self._file(name))
            if found is None:
                return None
            content, written = found
            payload = self._payload(name, content)
            removed = self._spec.soft_delete and isinstance(payload, dict) and payload.get("removed") is True
            if not self._has_facts(name, payload):
                return Row(payload, None, removed)
            facts = self._facts(name)
            known = facts.payloads.get(digest(content)) if facts else None
            if known is not None:
                return Row(payload, known[0], removed or known[1])
            if content == before:  # else its facts may have been replaced since
                break
            before = content
        return Row(payload, _time(payload, written) if self._spec.when else None, removed)

    def items(self) -> set[str]:
        """Return the fields that the rows' files are named by."""
        return {self.item(name) for name in names(self.path)}

    def item(self, name: str) -> str:
        """Return the field that a row's file is named by."""
        item = item_of(name)
        if item is None:
            facts = self._facts(name)
            item = facts.item if facts and facts.item is not None else name
        return item

    def created(self, name: str) -> int | None:
        """Return when a row was first written, in nanoseconds; of Node's rows, when they were last."""
        facts = self._facts(name)
        if facts is not None:
            return facts.created
        try:
            return os.stat(self._file(name)).st_mtime_ns
        except FileNotFoundError:
            return None

    def is_marked(self, name: str) -> bool:
        """Tell whether facts are beside a row, so that it has a name of ours."""
        return os.path.exists(self._facts_file(name))

    def write(self, rows: Iterable[Written], durable: bool = True) -> None:
        """Replace rows, in their order; the caller has its turn. They are durable when it returns, if asked for."""
        targets: list[str] = []
        contents: list[bytes] = []
        payloads: list[tuple[str, bytes]] = []
        for row in rows:
            content = to_text(row.payload, holds_signals(self._spec))
            if row.marked or self._has_facts(row.name, row.payload):
                targets.append(self._facts_file(row.name))
                contents.append(self._next_facts(row, content))
            payloads.append((self._file(row.name), content))
        targets += [path for path, _ in payloads]
        contents += [content for _, content in payloads]
        staged = disk.stage(self.path, contents, durable)
        try:
            for temporary, target in zip(staged, targets, strict=True):
                os.replace(temporary, target)
        except BaseException:
            disk.drop(staged)
            raise
        if durable:
            disk.sync(self.path)

    def sweep(self) -> None:
        """Remove what writers that were killed have left; the caller has its turn, so none of them is at work."""
        disk.drop(os.path.join(self.path, name) for name in os.listdir(self.path) if name.startswith(disk.TEMPORARY))

    def _has_facts(self, name: str, payload: Any) -> bool:
        spec = self._spec
        if spec.when or spec.newest is not None or item_of(name) is None:
            return True
        return spec.soft_delete and not isinstance(payload, Mapping)

    def _next_facts(self, row: Written, content: bytes) -> bytes:
        """Return the facts that go with a payload, and with the one that it replaces until it has."""
        present = disk.read_with_time(self._file(row.name))
        facts = self._facts(row.name)
        if facts is None:
            facts = _Facts(row.created or _now() if present is None else present[1])
        replaced = None if present is None else digest(present[0])
        facts.payloads = {name: known for name, known in facts.payloads.items() if name == replaced}
        facts.payloads[digest(content)] = (row.when, row.removed)
        facts.item = row.item if item_of(row.name) is None else None
        return json.dumps(vars(facts), separators=(",", ":")).encode()

    def _facts(self, name: str) -> _Facts | None:
        content = disk.read(self._facts_file(name))
        if content is None:
            return None
        try:
            found = json.loads(content)
            payloads = {digest: (when, removed) for digest, (when, removed) in found["payloads"].items()}
            return _Facts(found["created"], found["item"], payloads)
        except (ValueError, TypeError, KeyError, AttributeError):
            return None  # as if Node had written the row

    def _payload(self, name: str, content: bytes) -> Any:
        try:
            return from_text(content, holds_signals(self._spec))
        except (ValueError, RecursionError):
            raise StoreError(
                f"reading failed: {self._file(name)} holds no JSON",
                slot=self._spec.name,
                hint="remove or mend the file",
            ) from None

    def _file(self, name: str) -> str:
        return os.path.join(self.path, name + SUFFIX)

    def _facts_file(self, name: str) -> str:
        return os.path.join(self.path, f".{name}.facts")


def names(directory: str) -> Iterator[str]:
    """Yield the names of the entities in a directory, as Node's readers take them, without what they all end in."""
    try:
        entries = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.endswith(SUFFIX) and not entry.startswith(".tmp-") and _is_text(entry):
            yield entry.removesuffix(SUFFIX)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False  # no key is named so
    return True


def digest(content: bytes) -> str:
    """Return what tells one content from all others."""
    return blake2b(content, digest_size=16).hexdigest()


def _now() -> int:
    global _last_created
    _last_created = max(time.time_ns(), _last_created + 1)
    return _last_created


def _time(payload: Any, written: int) -> int:
    """Return the simulation time of a payload of Node's, in milliseconds."""
    when = payload.get("when") if isinstance(payload, dict) else None
    if isinstance(when, int | float) and not isinstance(when, bool) and when == when // 1:
        return int(when)
    return written // 1_000_000

"""What a deployment should hold, as dicts, and the strategies that draw what is done to it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from hypothesis import strategies as st

from backtest_mongo import SLOTS, SlotSpec, persist
from backtest_mongo.core.specs import Key, camel
from backtest_mongo.types import INTERVAL_MS
from tests.support.uniform import WHEN

# A slot of one's own of each shape, with what no row of the library's table combines.
OWN: Final = (
    SlotSpec(name="model_note", shape="document", context=("backtest", "owner"), key=("owner", "backtest"),
             redis=("backtest", "owner"), payload="object|null", field="note", when=True, dispose=True),
    SlotSpec(name="model_book", shape="entry", context=("owner",), key=("owner", "side"), redis=("side", "owner")),
    SlotSpec(name="model_journal", shape="collection", context=("owner",), key=("owner", "pageId"),
             redis=("pageId", "owner"), newest=3),
    SlotSpec(name="model_shelf", shape="bucket", context=("owner", "backtest"), key=("backtest", "owner", "bookId"),
             redis=("owner", "backtest", "bookId"), items=True, soft_delete=True),
    SlotSpec(name="model_tick", shape="series", context=("interval", "owner"), immutable=True,
             key=("owner", "interval", "timestamp"), redis=("interval", "owner", "timestamp"), noun="ticks"),
)  # fmt: skip
SPECS: Final = {spec.name: spec for spec in (*SLOTS, *OWN)}

#: Parts of keys: separators, what MongoDB or Redis could take for something else, and what looks alike.
TEXTS: Final = (
    *("a", "A", "", " ", "a ", "a:b", ":", "a.b", "$gt", "__proto__", "a/b", "a*", "%s", "{a}", "null", "1"),
    *("ключ", "\u00e9", "e\u0301", "\U0001f4c8", "\ufeffa", "a\nb", "x" * 900, "x" * 899),
)
#: Any two of these in a row share a Redis key with two others: "a:b" and "c" with "a" and "b:c".
COLLIDING: Final = ("a", "a:b", "b:c", "c", "b")
TIMES: Final[tuple[Any, ...]] = (
    *(WHEN - 1, WHEN, WHEN + 1, -1, 0, 2**40),
    datetime.fromtimestamp(WHEN / 1000, UTC),
)
CANDLE_FIELDS: Final = ("open", "high", "low", "close", "volume")
#: The field of a key that names a strategy.
STRATEGY: Final = "strategyName"
#: A time at which no candle has closed yet.
FUTURE: Final = 2**42
#: A day that is long after it, and not after the year 9999.
LAST_DAY: Final = 2_900_000 * 86_400_000


@dataclass(frozen=True)
class Row:
    """One place in a slot: its context in the constructor's order and, but for documents and series, an item."""

    slot: str
    context: Key
    item: str | None = None

    @property
    def spec(self) -> SlotSpec:
        return SPECS[self.slot]

    @property
    def adapter(self) -> Any:
        return getattr(persist, self.slot)(*self.context)

    @property
    def step(self) -> int:
        return INTERVAL_MS[self.adapter.context["interval"]]

    @property
    def prefix(self) -> Key:
        """The context's part of the natural key."""
        values = dict(zip(map(camel, self.spec.context), self.context, strict=True))
        return tuple(values[name] for name in self.spec.key if name in values)

    @property
    def key(self) -> Key:
        return self.prefix if self.item is None else (*self.prefix, self.item)

    @property
    def query(self) -> dict[str, Any]:
        return dict(zip(self.spec.key, self.key, strict=False))


@dataclass
class Stored:
    value: Any
    when: Any
    removed: bool
    #: Its place in the order in which rows came into being.
    born: int
    #: The time from which on it is so, where versions are kept.
    since: Any = None
    #: What tells two writes apart.
    written: int = 0


@dataclass
class Model:
    """The rows of every slot by natural key, and the candles of every series by time."""

    rows: dict[str, dict[Key, Stored]] = field(default_factory=dict)
    series: dict[Row, dict[int, dict[str, Any]]] = field(default_factory=dict)
    #: Whether versions are kept of the slots of the library's table, and those of rows with a time, by their time.
    keeps: bool = False
    versions: dict[tuple[str, Key], dict[int, Stored]] = field(default_factory=dict)
    _births: int = 0
    _writes: int = 0

    def of(self, row: Row) -> dict[Key, Stored]:
        return self.rows.setdefault(row.slot, {})

    def keeps_versions_of(self, row: Row) -> bool:
        return self.keeps and row.spec.when and row.spec not in OWN

    def write(self, row: Row, value: Any, when: Any, *, is_foreign: bool = False) -> None:
        """Write a row; another program writes no version."""
        known = self.of(row).get(row.key)
        if known is None:
            self._births += 1
        removed = row.spec.soft_delete and value.get("removed") is True
        at = millis(when) if row.spec.when else None
        if not is_foreign:
            self._keep_unversioned(row)
        self._writes += 1
        stored = Stored(value, at, removed, known.born if known else self._births, at, self._writes)
        self.of(row)[row.key] = stored
        if not is_foreign:
            self._keep(row, stored)

    def _keep_unversioned(self, row: Row) -> None:
        """Keep a row that another program has written, before it is written over."""
        known = self.of(row).get(row.key)
        versions = self.versions.get((row.slot, row.key), {})
        if known is not None and (not versions or not _is_version(known, versions[max(versions)])):
            self._keep(row, known)

    def _keep(self, row: Row, stored: Stored) -> None:
        if self.keeps_versions_of(row):
            versions = self.versions.setdefault((row.slot, row.key), {})
            for time in [time for time in versions if time > stored.since]:
                del versions[time]
            versions[stored.since] = replace(stored)

    def remove(self, row: Row, at: Any = None) -> None:
        """Remove a row; a removal without a time counts from that of the row."""
        known = self.of(row).get(row.key)
        if known is not None and not known.removed:
            self._keep_unversioned(row)
            known.removed = True
            known.value = {**known.value, "removed": True}
            known.since = known.when if at is None else millis(at)
            self._writes += 1
            known.written = self._writes
            self._keep(row, known)

    def delete(self, row: Row) -> None:
        self.of(row).pop(row.key, None)

    def delete_context(self, row: Row) -> int:
        """Delete the rows of a context with their versions, and return how many rows there were."""
        keys = [key for key, _ in self._in_context(row)]
        for key in keys:
            del self.of(row)[key]
        for slot, key in list(self.versions):
            if slot == row.slot and key[: len(row.prefix)] == row.prefix:
                del self.versions[slot, key]
        return len(keys)

    def rename(self, old: str, new: str) -> bool | None:
        """Give a strategy another name; ``False`` if that would merge contexts, ``None`` if nobody can tell.

        That is where a context has versions and no rows, as another program has deleted these.
        """
        changes: list[tuple[str, Key, Key]] = []
        for slot, rows in self.rows.items():
            spec = SPECS[slot]
            if STRATEGY not in spec.key:
                continue
            at, length = spec.key.index(STRATEGY), len(spec.context)
            stored = {key[:length] for key in rows}
            versions = {key[:length] for name, key in self.versions if name == slot}
            for context in sorted({context for context in stored if context[at] == old}, key=repr):
                target = (*context[:at], new, *context[at + 1 :])
                if target in stored:
                    return False
                if target in versions:
                    return None
                changes.append((slot, context, target))
        for slot, context, target in changes:
            length = len(context)
            rows = self.rows[slot]
            for key in [key for key in rows if key[:length] == context]:
                rows[(*target, *key[length:])] = rows.pop(key)
            for name, key in list(self.versions):
                if name == slot and key[:length] == context:
                    self.versions[slot, (*target, *key[length:])] = self.versions.pop((name, key))
        return True

    def list_strategies(self) -> set[str]:
        """Return the names of the strategies that are stored."""
        return {
            key[SPECS[slot].key.index(STRATEGY)]
            for slot, rows in self.rows.items()
            if STRATEGY in SPECS[slot].key
            for key in rows
        }

    def list_fork(self, slot: str, when: Any) -> dict[Key, Any]:
        """Return what a fork as of a time has of a slot whose rows have a time."""
        found = {}
        for key in self.rows.get(slot, {}):
            row = Row(slot, key)
            then = self._find(row, key, when)
            if then is not None and _visible(then, when):
                found[key] = then.value
        return found

    def has(self, row: Row) -> bool:
        return row.key in self.of(row)

    def read(self, row: Row, when: Any = None) -> Any:
        nothing: Any = [] if row.spec.payload == "list" else {} if row.spec.shape == "entry" else None
        known = self._find(row, row.key, when)
        if known is None or known.value is None or not _visible(known, when):
            return nothing
        return known.value

    def _find(self, row: Row, key: Key, when: Any) -> Stored | None:
        """What a row was at a time, or what it is."""
        known = self.of(row).get(key)
        if when is None or not self.keeps_versions_of(row) or (known is not None and known.since <= millis(when)):
            return known
        versions = self.versions.get((row.slot, key), {})
        latest = max((time for time in versions if time <= millis(when)), default=None)
        # It is visible from its version's time on, which is not that of the row if it was removed.
        return None if latest is None else replace(versions[latest], when=latest)

    def read_row(self, row: Row, when: Any = None) -> Any:
        """What a read of a row finds or, in a collection, a read of its list."""
        return self.collected(row) if row.spec.shape == "collection" else self.read(row, when)

    def list_history(self, row: Row) -> list[tuple[int, Any, bool]]:
        """Time, value and whether it was removed of each version, and of the row where it is not the latest one."""
        versions = sorted(self.versions.get((row.slot, row.key), {}).items())
        known = self.of(row).get(row.key)
        if known is not None and (not versions or not _is_version(known, versions[-1][1])):
            versions = [*((time, stored) for time, stored in versions if time < known.since), (known.since, known)]
        return [(time, None if stored.removed else stored.value, stored.removed) for time, stored in versions]

    def listed(self, row: Row, when: Any = None) -> list[Any]:
        """The keys of a bucket's list, or its pairs; MongoDB orders texts by their bytes in UTF-8."""
        then = [(key, self._find(row, key, when)) for key, _ in self._in_context(row)]
        found = sorted(
            ((key[-1].encode(), known) for key, known in then if known is not None and _visible(known, when)),
            key=lambda pair: pair[0],
        )
        return [(name.decode(), known.value) if row.spec.items else name.decode() for name, known in found]

    def collected(self, row: Row, limit: int | None = None) -> list[Any]:
        """The items of a collection's list: the newest, oldest first, or all in the order of their ids."""
        if row.spec.newest is None:
            return [
                known.value for _, known in sorted((key[-1].encode(), known) for key, known in self._in_context(row))
            ]
        known = sorted((stored for _, stored in self._in_context(row)), key=lambda stored: stored.born)
        return [stored.value for stored in known[-(limit or row.spec.newest) :]]

    def _in_context(self, row: Row) -> list[tuple[Key, Stored]]:
        return [(key, known) for key, known in self.of(row).items() if key[: len(row.prefix)] == row.prefix]

    def write_candles(self, row: Row, batch: list[dict[str, Any]]) -> int:
        """Keep what is not known yet and has closed; return how many those are."""
        stored = self.series.setdefault(row, {})
        before = len(stored)
        for candle in batch:
            if candle["timestamp"] < FUTURE:
                stored.setdefault(candle["timestamp"], candle)
        return len(stored) - before

    def candles_of(self, slot: str) -> dict[Key, dict[str, Any]]:
        return {
            (*row.key, time): candle
            for row, stored in self.series.items()
            if row.slot == slot
            for time, candle in stored.items()
        }

    def drop(self, slot: str) -> None:
        self.rows.pop(slot, None)
        self.series = {row: stored for row, stored in self.series.items() if row.slot != slot}

    def window(self, row: Row, limit: int, first: int, until: int | None) -> list[dict[str, Any]] | None:
        stored = self.series.get(row, {})
        times = [first + index * row.step for index in range(limit)]
        if not stored.keys() >= set(times) or (until is not None and times[-1] > until):
            return None
        return [stored[time] for time in times]


def _is_version(known: Stored, version: Stored) -> bool:
    """Whether a row is its latest version; another program's write of the same has another time of writing."""
    return known.written == version.written


def millis(when: Any) -> int:
    return when if isinstance(when, int) else round(when.timestamp() * 1000)


def _visible(known: Stored, when: Any) -> bool:
    return not known.removed and (when is None or known.when is None or known.when <= millis(when))


times = st.sampled_from(TIMES)
payloads: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"n": st.integers(0, 2**40)},
    optional={
        "removed": st.sampled_from([True, False, 1, None, "yes"]),
        "a.b": st.lists(st.integers(0, 9), max_size=2),
        "$set": st.just({"$inc": {"n": 1}}),
        "": st.none(),
        "text": st.sampled_from(["$n", "$$ROOT", "x" * 2000]),
    },
)


@st.composite
def rows_of(draw: st.DrawFn, shape: str) -> list[Row]:
    """Draw a few places of one slot whose keys are made of a few texts, so that they come back, and collide."""
    slot = draw(st.sampled_from([name for name, spec in SPECS.items() if spec.shape == shape]))
    spec = SPECS[slot]
    drawn = st.lists(st.sampled_from(TEXTS), min_size=1, max_size=3, unique=True)
    some = draw(st.one_of(st.just(list(COLLIDING)), drawn))
    texts, names = st.sampled_from(some), st.sampled_from([text for text in some if text] or ["a"])
    parts: dict[str, st.SearchStrategy[Any]] = dict.fromkeys((*spec.blank, *spec.optional), texts)
    parts |= {"backtest": st.booleans(), "interval": st.sampled_from(["1m", "1d"])}
    contexts = st.tuples(*(parts.get(name, names) for name in spec.context))
    if shape == "collection":
        contexts = st.sampled_from([draw(contexts), draw(contexts)])  # so that lists have many items
    items = texts if spec.item and shape != "series" else st.none()
    return draw(st.lists(st.builds(Row, st.just(slot), contexts, items), min_size=1, max_size=5, unique=True))


#: Where windows of candles start: before the epoch, and over the edge of a block of the candle cache, among others.
STARTS: Final = (0, -5, 1018)
grid_offsets = st.sampled_from([0, 0, 0, 0, 0, 1, 30_000])
prices = st.sampled_from([1.0, 2.5, 1e-9, 3])


@st.composite
def batches(draw: st.DrawFn) -> list[tuple[int, int, float]]:
    """Draw candles as places on the grid, grid offsets in milliseconds, and prices: unordered, and some twice."""
    start, price = draw(st.sampled_from(STARTS)) + draw(st.integers(0, 6)), draw(prices)
    run = [(start + index, 0, price) for index in range(draw(st.integers(0, 8)))]
    near = st.integers(start - 2, start + 9)
    positions = st.one_of(near, near, near, st.sampled_from([2_000_000, 10**9]))  # far away, and not closed yet
    others = draw(st.lists(st.tuples(positions, grid_offsets, prices), max_size=5))
    return draw(st.permutations(run + others))


@dataclass(frozen=True, kw_only=True)
class Window:
    limit: int
    #: Which of the stored candles comes first; if there is none, or None is said, the place on the grid.
    nth: int | None
    position: int = 0
    offset: int = 0
    #: Milliseconds from the last candle's time to ``until_timestamp``.
    spare: int | None = None


windows = st.builds(
    Window,
    limit=st.integers(1, 6),
    nth=st.none() | st.integers(0, 20),
    position=st.tuples(st.sampled_from(STARTS), st.integers(-1, 9)).map(sum),
    offset=st.sampled_from([0, 0, 0, 0, 1]),
    spare=st.sampled_from([None, None, -1, 0, 1]),
)

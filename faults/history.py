"""Check whether some order explains everything that several processes wrote to and read from one atomic register.

Every written value is unique, so each read names the write that it saw, and the algorithm of Gibbons and Korach
(*Testing Shared Memories*, SIAM J. Comput. 26, 1997) decides in O(n log n). A write and the reads of its value form a
*cluster*. If one operation of a cluster ends before another begins, the register held the value from the first end to
the last start: a *forward zone*. Otherwise all of them overlap, and the register needs to have held the value only for
a moment between the last start and the first end: a *backward zone*. An order exists if no read precedes its write, no
two forward zones overlap, and no backward zone lies within a forward one.

All removals write the same value: nothing. In a history with removals, each removal and each read of nothing is checked
as a separate cluster. That never rejects a correct history, but may accept a faulty one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from math import inf
from typing import Final, Literal, TypeAlias

__all__ = ["Op", "Verdict", "check", "check_first_write_wins"]

#: What a register holds; ``None`` is nothing.
Value: TypeAlias = int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One operation on one register, from invocation to return, in nanoseconds of the machine's monotonic clock.

    ``end`` is ``None`` if the outcome is unknown: the write may take effect at any time from ``start`` on, or never. A
    read without an answer is not recorded. A write of ``None`` is a removal.
    """

    kind: Literal["write", "read"]
    value: Value
    start: int
    end: int | None
    who: str = ""
    #: For a row that never changes: the writer was told that a row already exists.
    refused: bool = False

    @property
    def latest(self) -> float:
        return inf if self.end is None else self.end

    @property
    def is_removal(self) -> bool:
        return self.kind == "write" and self.value is None


@dataclass
class Verdict:
    """Counts of what is wrong with the history of a register. ``explanation`` describes the first violation, if any."""

    lost: int = 0
    stale: int = 0
    nowhere: int = 0
    returned: int = 0
    explanation: str = ""

    @property
    def is_linearizable(self) -> bool:
        return not self.explanation

    @property
    def wrong_reads(self) -> int:
        """The number of reads that no order explains: at least one if the history has no order."""
        return self.stale + self.nowhere + self.returned or int(bool(self.explanation) and not self.lost)


@dataclass
class _Cluster:
    """A write and the reads of its value."""

    value: Value
    ops: list[Op] = field(default_factory=list)
    first_end: float = inf
    last_start: float = -inf

    def add(self, op: Op) -> None:
        self.ops.append(op)
        self.first_end = min(self.first_end, op.latest)
        self.last_start = max(self.last_start, op.start)

    @property
    def is_forward(self) -> bool:
        return self.first_end < self.last_start


_BEFORE_ALL: Final = -(2**63)


def check(ops: Iterable[Op]) -> Verdict:
    """Check the history of one register, which held nothing at first."""
    initial = Op(kind="write", value=None, start=_BEFORE_ALL, end=_BEFORE_ALL, who="the beginning")
    history = sorted((initial, *ops), key=lambda op: op.start)
    verdict = Verdict()
    writes: dict[Value, Op] = {op.value: op for op in history if op.kind == "write" and op.value is not None}
    verdict.nowhere, nowhere = _from_nowhere(history, writes)
    seen = {op.value for op in history if op.kind == "read"}
    # A write of unknown outcome that no read saw may never have taken effect.
    history = [op for op in history if op.end is not None or op.value in seen]
    sources = _Sources(history, writes)
    verdict.stale, stale = _stale(history, sources)
    verdict.lost, lost = _lost(history, sources)
    verdict.returned, returned = _returned(history, writes)
    zones = "" if nowhere else _zones(history)
    verdict.explanation = nowhere or lost or stale or returned or zones
    return verdict


def _from_nowhere(history: Sequence[Op], writes: dict[Value, Op]) -> tuple[int, str]:
    """Count reads of values whose write had not begun."""
    found = [
        op
        for op in history
        if op.kind == "read" and op.value is not None and (op.value not in writes or op.latest < writes[op.value].start)
    ]
    return len(found), f"a value from nowhere:\n{_list_ops(found[0], writes.get(found[0].value))}" if found else ""


def _stale(history: Sequence[Op], sources: _Sources) -> tuple[int, str]:
    """Count reads that miss a write acknowledged before they began."""
    newest = _Newest(history)
    missed = [(op, newer) for op in history if op.kind == "read" and (newer := newest.before(op.start)) is not None]
    stale = [(op, newer) for op, newer in missed if sources.are_older(op, newer)]
    if not stale:
        return 0, ""
    op, newer = stale[0]
    text = _list_ops(sources.latest(op), newer, op)
    return len(stale), f"a stale read, for the newer write was acknowledged before it began:\n{text}"


def _lost(history: Sequence[Op], sources: _Sources) -> tuple[int, str]:
    """Count acknowledged writes that are newer than what the last read sees, after all of them."""
    acknowledged = [op for op in history if op.kind == "write" and op.end is not None]
    left = history[-1]
    if left.kind != "read" or any(left.start <= op.latest for op in acknowledged):
        return 0, ""
    lost = [op for op in acknowledged if sources.are_older(left, op)]
    if not lost:
        return 0, ""
    text = _list_ops(sources.latest(left), lost[0], left)
    return len(lost), f"an acknowledged write is lost, for what is left is older:\n{text}"


class _Sources:
    """The writes that a read may have seen, and the latest time at which each took effect."""

    def __init__(self, history: Sequence[Op], writes: dict[Value, Op]) -> None:
        self._writes = writes
        self._removals = [op for op in history if op.is_removal]
        self._done: dict[Value, float] = {}
        for op in history:
            self._done[op.value] = min(op.latest, self._done.get(op.value, inf))

    def are_older(self, read: Op, write: Op) -> bool:
        """Tell whether everything that ``read`` may have seen took effect before ``write`` began."""
        if read.value is None:
            # Any removal that had begun by then explains a read of nothing.
            return all(op.latest < write.start for op in self._removals if op.start <= read.latest)
        return read.value in self._writes and self._done[read.value] < write.start

    def latest(self, read: Op) -> Op:
        """Return one write that the read may have seen, for an explanation."""
        return self._removals[-1] if read.value is None else self._writes[read.value]


def _returned(history: Sequence[Op], writes: dict[Value, Op]) -> tuple[int, str]:
    """Count values that came back after another one was read: each value is written only once."""
    reads = [op for op in history if op.kind == "read"]
    starts = [op.start for op in reads]
    spans: dict[Value, tuple[Op, Op]] = {}
    for op in reads:
        if op.value is not None:
            first, _ = spans.get(op.value, (op, op))
            spans[op.value] = (min(first, op, key=lambda each: each.latest), op)
    count, explanation = 0, ""
    for value, (first, last) in spans.items():
        between = reads[bisect_right(starts, first.latest) : bisect_left(starts, last.start)]
        other = next((op for op in between if op.value != value and op.latest < last.start), None)
        if other is not None:
            count += 1
            text = _list_ops(writes.get(value), writes.get(other.value), first, other, last)
            explanation = explanation or f"a value came back after it had been replaced:\n{text}"
    return count, explanation


def _zones(history: Sequence[Op]) -> str:
    """Explain the first violation of Gibbons and Korach's conditions, if there is one."""
    clusters: list[_Cluster] = []
    by_value: dict[Value, _Cluster] = {}
    has_removals = sum(op.is_removal for op in history) > 1  # besides the initial one
    for op in history:
        cluster = by_value.get(op.value)
        if cluster is None or (op.value is None and has_removals):
            cluster = by_value[op.value] = _Cluster(op.value)
            clusters.append(cluster)
        cluster.add(op)
    forward = sorted((each for each in clusters if each.is_forward), key=lambda each: each.first_end)
    for earlier, later in pairwise(forward):
        if later.first_end < earlier.last_start:
            return f"two values would have to be held at once:\n{_list_ops(*_witnesses(earlier), *_witnesses(later))}"
    begins = [each.first_end for each in forward]
    for cluster in clusters:
        # Forward zones don't overlap, as checked above, so only one can contain it.
        at = bisect_right(begins, cluster.last_start) - 1
        if cluster.is_forward or at < 0:
            continue
        holder = forward[at]
        if holder.first_end < cluster.last_start and cluster.first_end < holder.last_start:
            text = _list_ops(*_witnesses(holder), *_witnesses(cluster))
            return f"a value was seen while another one was there throughout:\n{text}"
    return ""


class _Newest:
    """Finds the write that began last among those acknowledged before a time."""

    def __init__(self, history: Sequence[Op]) -> None:
        done = sorted((op for op in history if op.kind == "write" and op.end is not None), key=lambda op: op.latest)
        self._ends = [op.latest for op in done]
        self._newest = list(accumulate(done, _later))

    def before(self, time: int) -> Op | None:
        at = bisect_left(self._ends, time)
        return self._newest[at - 1] if at else None


def _later(one: Op, other: Op) -> Op:
    return max(one, other, key=lambda op: op.start)


def check_first_write_wins(ops: Iterable[Op]) -> Verdict:
    """Check the history of a row that never changes once it exists: all reads must see the same written value."""
    history = sorted(ops, key=lambda op: op.start)
    writes = {op.value: op for op in history if op.kind == "write"}
    verdict = Verdict()
    verdict.nowhere, nowhere = _from_nowhere(history, writes)
    there = min((op for op in history if op.value is not None), key=lambda op: op.latest, default=None)
    reads = [op for op in history if op.kind == "read"]
    missed = [op for op in reads if op.value is None and there is not None and there.latest < op.start]
    seen = [op for op in reads if op.value is not None]
    changed = [op for op in seen if op.value != seen[0].value]
    accepted = [op for op in writes.values() if op.end is not None and not op.refused]
    kept = seen[0] if seen else accepted[0] if accepted else None
    replaced = [op for op in accepted if kept is not None and op.value != kept.value]
    gone = bool(missed) and missed[-1] is reads[-1]
    verdict.returned, verdict.stale = len(changed), len(missed) - gone
    verdict.lost = len(replaced) + gone
    if changed:
        text = f"a row that never changes was read twice, differently:\n{_list_ops(seen[0], changed[0])}"
    elif missed:
        text = f"a row is missing that was there:\n{_list_ops(there, missed[0])}"
    elif replaced:
        text = f"a writer was told that its row is the first, and another is there:\n{_list_ops(replaced[0], kept)}"
    else:
        text = ""
    verdict.explanation = nowhere or text
    return verdict


def _witnesses(cluster: _Cluster) -> tuple[Op, Op]:
    return min(cluster.ops, key=lambda op: op.latest), max(cluster.ops, key=lambda op: op.start)


def _list_ops(*ops: Op | None) -> str:
    """Return one line per operation, ordered by start, in milliseconds since the first start."""
    known = sorted({op for op in ops if op is not None}, key=lambda op: op.start)
    zero = next((op.start for op in known if op.start != _BEFORE_ALL), 0)
    lines = []
    for op in known:
        what = f"{op.kind} {op.value}" if not op.is_removal else "removal"
        start = "before all" if op.start == _BEFORE_ALL else f"{(op.start - zero) / 1e6:.3f} ms"
        end = "unknown" if op.end is None else "" if op.end == _BEFORE_ALL else f"{(op.end - zero) / 1e6:.3f} ms"
        lines.append(f"  {op.who or 'somebody'}: {what}, {start} to {end}".removesuffix(" to "))
    return "\n".join(lines)

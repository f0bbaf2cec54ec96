"""Checks what several processes wrote and read against one atomic register: was there an order that explains it all?

Every written value is unique, so each read names the write that it saw, and the test of Gibbons and Korach (*Testing
Shared Memories*, SIAM J. Comput. 26, 1997) decides in O(n log n). A write and the reads of its value are a *cluster*.
Where one of its operations ends before another begins, the register held the value from the first end to the last
start: a *forward zone*. Else all overlap, and the value needs to be there for one moment only, between the last start
and the first end: a *backward zone*. An order exists if no read comes before its write, no two forward zones overlap,
and no backward zone lies within a forward one.

A removal writes nothing, which is no unique value. In a history with removals, they and the reads of nothing are each
checked as a cluster of their own. That never accuses a correct history, but a faulty one can escape by it.
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
    """One operation on one register, from its invocation to its return, in nanoseconds of the machine's clock.

    ``end`` is ``None`` where the outcome is unknown: the write may take effect at any time from ``start`` on, or never.
    A read without an answer is no operation. A write of ``None`` is a removal.
    """

    kind: Literal["write", "read"]
    value: Value
    start: int
    end: int | None
    who: str = ""
    #: Of a row that never changes: the writer was told that one is there already.
    refused: bool = False

    @property
    def latest(self) -> float:
        return inf if self.end is None else self.end

    @property
    def is_removal(self) -> bool:
        return self.kind == "write" and self.value is None


@dataclass
class Verdict:
    """What is wrong with the history of a register, counted. ``explanation`` tells the first violation, if any."""

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
        """Reads that no order explains: one at least where the history has no order."""
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
    # What nobody has seen may never have taken effect.
    history = [op for op in history if op.end is not None or op.value in seen]
    sources = _Sources(history, writes)
    verdict.stale, stale = _stale(history, sources)
    verdict.lost, lost = _lost(history, sources)
    verdict.returned, returned = _returned(history, writes)
    zones = "" if nowhere else _zones(history)
    verdict.explanation = nowhere or lost or stale or returned or zones
    return verdict


def _from_nowhere(history: Sequence[Op], writes: dict[Value, Op]) -> tuple[int, str]:
    """Count reads of what nobody had begun to write."""
    found = [
        op
        for op in history
        if op.kind == "read" and op.value is not None and (op.value not in writes or op.latest < writes[op.value].start)
    ]
    return len(found), f"a value from nowhere:\n{_told(found[0], writes.get(found[0].value))}" if found else ""


def _stale(history: Sequence[Op], sources: _Sources) -> tuple[int, str]:
    """Count reads that miss a write which was acknowledged before they began."""
    newest = _Newest(history)
    missed = [(op, newer) for op in history if op.kind == "read" and (newer := newest.before(op.start)) is not None]
    stale = [(op, newer) for op, newer in missed if sources.are_older(op, newer)]
    if not stale:
        return 0, ""
    op, newer = stale[0]
    told = _told(sources.latest(op), newer, op)
    return len(stale), f"a stale read, for the newer write was acknowledged before it began:\n{told}"


def _lost(history: Sequence[Op], sources: _Sources) -> tuple[int, str]:
    """Count acknowledged writes that are newer than what is left: what the last read sees, after all of them."""
    acknowledged = [op for op in history if op.kind == "write" and op.end is not None]
    left = history[-1]
    if left.kind != "read" or any(left.start <= op.latest for op in acknowledged):
        return 0, ""
    lost = [op for op in acknowledged if sources.are_older(left, op)]
    if not lost:
        return 0, ""
    told = _told(sources.latest(left), lost[0], left)
    return len(lost), f"an acknowledged write is lost, for what is left is older:\n{told}"


class _Sources:
    """The writes that a read can have seen, and when each of them had taken effect at the latest."""

    def __init__(self, history: Sequence[Op], writes: dict[Value, Op]) -> None:
        self._writes = writes
        self._removals = [op for op in history if op.is_removal]
        self._done: dict[Value, float] = {}
        for op in history:
            self._done[op.value] = min(op.latest, self._done.get(op.value, inf))

    def are_older(self, read: Op, write: Op) -> bool:
        """Tell whether whatever ``read`` can have seen had taken effect before ``write`` began."""
        if read.value is None:
            # Nothing can be what any removal left that had begun by then.
            return all(op.latest < write.start for op in self._removals if op.start <= read.latest)
        return read.value in self._writes and self._done[read.value] < write.start

    def latest(self, read: Op) -> Op:
        """Return one of them, for an explanation."""
        return self._removals[-1] if read.value is None else self._writes[read.value]


def _returned(history: Sequence[Op], writes: dict[Value, Op]) -> tuple[int, str]:
    """Count values that are read, then something else is, then the first again: each is written only once."""
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
            told = _told(writes.get(value), writes.get(other.value), first, other, last)
            explanation = explanation or f"a value came back after it had been replaced:\n{told}"
    return count, explanation


def _zones(history: Sequence[Op]) -> str:
    """Explain the first violation of Gibbons and Korach's conditions, if there is one."""
    clusters: list[_Cluster] = []
    by_value: dict[Value, _Cluster] = {}
    has_removals = sum(op.is_removal for op in history) > 1  # beside the beginning
    for op in history:
        cluster = by_value.get(op.value)
        if cluster is None or (op.value is None and has_removals):
            cluster = by_value[op.value] = _Cluster(op.value)
            clusters.append(cluster)
        cluster.add(op)
    forward = sorted((each for each in clusters if each.is_forward), key=lambda each: each.first_end)
    for earlier, later in pairwise(forward):
        if later.first_end < earlier.last_start:
            return f"two values would have to be held at once:\n{_told(*_witnesses(earlier), *_witnesses(later))}"
    begins = [each.first_end for each in forward]
    for cluster in clusters:
        # Forward zones don't overlap by now, so only one can hold it.
        at = bisect_right(begins, cluster.last_start) - 1
        if cluster.is_forward or at < 0:
            continue
        holder = forward[at]
        if holder.first_end < cluster.last_start and cluster.first_end < holder.last_start:
            text = _told(*_witnesses(holder), *_witnesses(cluster))
            return f"a value was seen while another one was there throughout:\n{text}"
    return ""


class _Newest:
    """Of the writes acknowledged before a time, the one that began last."""

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
    """Check the history of a row that never changes once it is there: all reads see one value, which was written."""
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
        told = f"a row that never changes was read twice, differently:\n{_told(seen[0], changed[0])}"
    elif missed:
        told = f"a row is missing that was there:\n{_told(there, missed[0])}"
    elif replaced:
        told = f"a writer was told that its row is the first, and another is there:\n{_told(replaced[0], kept)}"
    else:
        told = ""
    verdict.explanation = nowhere or told
    return verdict


def _witnesses(cluster: _Cluster) -> tuple[Op, Op]:
    return min(cluster.ops, key=lambda op: op.latest), max(cluster.ops, key=lambda op: op.start)


def _told(*ops: Op | None) -> str:
    """Return one line an operation, in the order of their starts, in milliseconds since the first of them."""
    known = sorted({op for op in ops if op is not None}, key=lambda op: op.start)
    zero = next((op.start for op in known if op.start != _BEFORE_ALL), 0)
    lines = []
    for op in known:
        what = f"{op.kind} {op.value}" if not op.is_removal else "removal"
        start = "before all" if op.start == _BEFORE_ALL else f"{(op.start - zero) / 1e6:.3f} ms"
        end = "unknown" if op.end is None else "" if op.end == _BEFORE_ALL else f"{(op.end - zero) / 1e6:.3f} ms"
        lines.append(f"  {op.who or 'somebody'}: {what}, {start} to {end}".removesuffix(" to "))
    return "\n".join(lines)

"""The checker of histories: it must accept every history of an atomic register, and accuse what no order explains."""

from __future__ import annotations

import random
from itertools import permutations, product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faults.history import Op, Verdict, check, check_first_write_wins
from faults.ownership import Findings, Hold, check_bars, find_overlap, list_holds

pytestmark = pytest.mark.heavy


def write(value: int, start: int, end: int | None) -> Op:
    return Op(kind="write", value=value, start=start, end=end, who="writer")


def read(value: int | None, start: int, end: int, who: str = "reader") -> Op:
    return Op(kind="read", value=value, start=start, end=end, who=who)


def removal(start: int, end: int | None) -> Op:
    return Op(kind="write", value=None, start=start, end=end, who="remover")


GOOD: dict[str, list[Op]] = {
    "nothing happened": [],
    "nothing was written": [read(None, 1, 2), read(None, 2, 3)],
    "one after another": [write(1, 1, 2), read(1, 3, 4), write(2, 5, 6), read(2, 7, 8)],
    "a read that overlaps a write sees the old value": [write(1, 1, 2), write(2, 3, 9), read(1, 4, 5), read(2, 6, 7)],
    "two writers at once, in either order": [write(1, 1, 9), write(2, 2, 8), read(1, 10, 11)],
    "an unknown write that took effect at once": [write(1, 1, None), read(1, 2, 3)],
    "an unknown write that took effect late": [write(1, 1, None), write(2, 2, 3), read(2, 4, 5), read(1, 6, 7)],
    "an unknown write that was never carried out": [write(1, 1, None), write(2, 2, 3), read(2, 4, 5)],
    "removed": [write(1, 1, 2), removal(3, 4), read(None, 5, 6), write(2, 7, 8), read(2, 9, 10)],
    "removed twice": [write(1, 1, 2), removal(3, 4), read(None, 5, 6), removal(7, 8), read(None, 9, 10)],
    "an unknown removal that was carried out": [write(1, 1, 2), removal(3, None), read(1, 4, 5), read(None, 6, 7)],
    "a removal that overlaps a write": [write(1, 1, 9), removal(2, 8), read(None, 10, 11)],
}


@pytest.mark.parametrize("name", GOOD)
def test_history_without_anomalies_passes(name: str) -> None:
    verdict = check(GOOD[name])
    assert verdict == Verdict()
    assert verdict.is_linearizable
    assert verdict.wrong_reads == 0


BAD: dict[str, tuple[list[Op], dict[str, int], str]] = {
    "stale read": (
        [write(1, 1, 2), write(2, 3, 4), read(1, 5, 6), read(2, 7, 8)],
        {"stale": 1},
        "stale read",
    ),
    "read of nothing after an acknowledged write": (
        [write(1, 1, 2), read(None, 3, 4), read(1, 5, 6)],
        {"stale": 1},
        "stale read",
    ),
    "lost write": (
        [write(1, 1, 2), read(1, 3, 4), write(2, 5, 6), write(3, 7, 8), read(1, 9, 10)],
        {"lost": 2, "stale": 1},
        "is lost",
    ),
    "lost first write": ([write(1, 1, 2), read(None, 3, 4)], {"lost": 1, "stale": 1}, "is lost"),
    "a value that returns": (
        [write(1, 1, None), write(2, 2, 3), read(1, 4, 5), read(2, 6, 7), read(1, 8, 9)],
        {"returned": 1},
        "came back",
    ),
    "a value that returns after a removal": (
        [write(1, 1, None), read(1, 2, 3), removal(4, 5), read(None, 6, 7), read(1, 8, 9)],
        {"returned": 1, "lost": 1, "stale": 1},
        "is lost",
    ),
    "a value from nowhere": ([write(1, 1, 2), read(7, 3, 4)], {"nowhere": 1}, "from nowhere"),
    "a value from the future": ([read(1, 1, 2), write(1, 3, 4)], {"nowhere": 1}, "from nowhere"),
    "new, then old, seen by two readers while a write is under way": (
        [write(1, 1, 2), write(2, 3, 20), read(2, 4, 5, "first"), read(1, 6, 7, "second"), read(2, 21, 22)],
        {"returned": 1},
        "came back",
    ),
    "new, then old, and never new again": (
        [write(1, 1, 2), write(2, 3, None), read(2, 4, 5, "first"), read(1, 6, 7, "second")],
        {},
        "there throughout",
    ),
    "a lost removal": ([write(1, 1, 2), removal(3, 4), read(1, 5, 6)], {"lost": 1, "stale": 1}, "is lost"),
    "nothing seen in the midst of a value": (
        [write(1, 1, 2), removal(1, None), read(1, 3, 4), read(None, 5, 6), read(1, 7, 8)],
        {"returned": 1},
        "came back",
    ),
    "two values at once, distinguished by their readers": (
        [write(1, 1, 9), write(2, 1, 9), read(1, 2, 3), read(2, 4, 5), read(1, 6, 7)],
        {"returned": 1},
        "came back",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_history_is_detected_counted_and_explained(name: str) -> None:
    history, counts, explanation = BAD[name]
    verdict = check(history)
    assert not verdict.is_linearizable
    found = {what: getattr(verdict, what) for what in ("lost", "stale", "nowhere", "returned")}
    assert found == {"lost": 0, "stale": 0, "nowhere": 0, "returned": 0} | counts
    assert verdict.lost + verdict.wrong_reads > 0
    assert explanation in verdict.explanation


def test_explanation_says_who_did_what_and_when() -> None:
    verdict = check([write(1, 1_000_000, 2_000_000), write(2, 3_000_000, 4_000_000), read(1, 5_000_000, 6_500_000)])
    assert verdict.explanation.splitlines()[1:] == [
        "  writer: write 1, 0.000 ms to 1.000 ms",
        "  writer: write 2, 2.000 ms to 3.000 ms",
        "  reader: read 1, 4.000 ms to 5.500 ms",
    ]


FIRST_WINS: dict[str, tuple[list[Op], dict[str, int]]] = {
    "the first of two": ([write(1, 1, 5), write(2, 2, 6), read(1, 7, 8), read(1, 9, 10)], {}),
    "not there yet": ([read(None, 1, 2), write(1, 3, 9), read(None, 4, 5), read(1, 6, 7)], {}),
    "an unknown write": ([write(1, 1, None), read(None, 2, 3), read(1, 4, 5)], {}),
    "changed": ([write(1, 1, 5), write(2, 2, 6), read(1, 7, 8), read(2, 9, 10)], {"returned": 1, "lost": 1}),
    "gone for good": ([write(1, 1, 2), read(1, 3, 4), read(None, 5, 6)], {"lost": 1}),
    "gone for a while": ([write(1, 1, 2), read(None, 3, 4), read(1, 5, 6)], {"stale": 1}),
    "never written": ([write(1, 1, None), read(2, 3, 4)], {"nowhere": 1}),
}


@pytest.mark.parametrize("name", FIRST_WINS)
def test_row_that_never_changes(name: str) -> None:
    history, counts = FIRST_WINS[name]
    # The second writer is told that a row is there already, except where both must have been accepted.
    history = [
        Op(
            kind=op.kind,
            value=op.value,
            start=op.start,
            end=op.end,
            refused=op.value == 2 and name == "the first of two",
        )
        for op in history
    ]
    verdict = check_first_write_wins(history)
    found = {what: getattr(verdict, what) for what in ("lost", "stale", "nowhere", "returned")}
    assert found == {"lost": 0, "stale": 0, "nowhere": 0, "returned": 0} | counts
    assert verdict.is_linearizable is not bool(counts)


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), clients=st.integers(1, 6), steps=st.integers(1, 200), removes=st.booleans())
def test_history_of_an_atomic_register_passes(seed: int, clients: int, steps: int, removes: bool) -> None:
    verdict = check(simulated(random.Random(seed), clients, steps, removes))
    assert verdict == Verdict(), verdict.explanation


def simulated(dice: random.Random, clients: int, steps: int, removes: bool) -> list[Op]:
    """Play clients against a register that takes each operation at one moment between its start and its end."""
    value: int | None = None
    history: list[Op] = []
    under_way: dict[int, tuple[str, int | None, int, bool]] = {}
    for now in range(1, steps + 1):
        client = dice.randrange(clients)
        if client not in under_way:
            kind = "write" if dice.random() < 0.5 else "read"
            number = None if removes and dice.random() < 0.2 else now
            under_way[client] = (kind, number if kind == "write" else None, now, False)
            continue
        kind, number, start, is_done = under_way[client]
        if not is_done:
            if kind == "write":
                if dice.random() < 0.1:
                    history.append(Op(kind="write", value=number, start=start, end=None))
                    del under_way[client]
                    value = number if dice.random() < 0.5 else value
                    continue
                value = number
            under_way[client] = (kind, value if kind == "read" else number, start, True)
        else:
            assert kind in ("read", "write")
            history.append(write_or_read(kind, number, start, now))
            del under_way[client]
    for kind, number, start, _ in under_way.values():
        if kind == "write":
            history.append(Op(kind="write", value=number, start=start, end=None))
    return history


def write_or_read(kind: str, value: int | None, start: int, end: int) -> Op:
    return Op(kind="write" if kind == "write" else "read", value=value, start=start, end=end)


@st.composite
def small_histories(draw: st.DrawFn) -> list[Op]:
    """Draw a few operations with any overlaps; most have no order that explains them."""
    times = st.integers(0, 12)
    history = []
    writes = draw(st.integers(0, 3))
    for value in range(1, writes + 1):
        start = draw(times)
        end = draw(st.none() | st.integers(start, 13))
        history.append(write(value, start, end))
    for _ in range(draw(st.integers(0, 5 - writes + 1))):
        start = draw(times)
        value = draw(st.sampled_from([None, *range(1, writes + 1)]))
        history.append(read(value, start, draw(st.integers(start, 13))))
    return history


@settings(max_examples=1500, deadline=None)
@given(history=small_histories())
def test_verdict_is_that_of_trying_every_order(history: list[Op]) -> None:
    assert check(history).is_linearizable is has_order(history)


@settings(max_examples=800, deadline=None)
@given(history=small_histories(), removals=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 5)), max_size=2))
def test_history_with_removals_has_no_false_positives(history: list[Op], removals: list[tuple[int, int]]) -> None:
    history = [*history, *(removal(start, start + length) for start, length in removals)]
    if has_order(history):
        assert check(history) == Verdict()


def has_order(history: list[Op]) -> bool:
    """Try every order of every choice of the unknown writes that took effect."""
    known = [op for op in history if op.end is not None]
    unknown = [op for op in history if op.end is None]
    return any(
        _explains(order)
        for chosen in product((False, True), repeat=len(unknown))
        for order in permutations([*known, *(op for op, taken in zip(unknown, chosen, strict=True) if taken)])
    )


def _explains(order: tuple[Op, ...]) -> bool:
    value: int | None = None
    for index, op in enumerate(order):
        if any(later.end is not None and later.end < op.start for later in order[index + 1 :]):
            return False
        if op.kind == "write":
            value = op.value
        elif op.value != value:
            return False
    return True


# Transactions: to the checker all registers of a group are one.


def test_rows_that_change_together_pass_whichever_of_them_is_read() -> None:
    one, other = read(1, 3, 4, "reader of one"), read(1, 3, 5, "reader of the other")
    assert check([write(1, 1, 2), one, other, write(2, 6, 9), read(1, 7, 8), read(2, 10, 11)]).is_linearizable


@pytest.mark.parametrize(
    "history",
    [
        # Half of a transaction is seen, and then the other half is not.
        [write(1, 1, 2), write(2, 3, 12), read(2, 4, 5, "one"), read(1, 6, 7, "the other"), read(2, 8, 9, "one")],
        # Half of it is left.
        [write(1, 1, 2), write(2, 3, None), read(2, 20, 21, "one"), read(1, 20, 21, "the other")],
        [write(1, 1, None), read(1, 20, 21, "one"), read(None, 22, 23, "the other"), read(1, 24, 25, "one")],
    ],
)
def test_rows_that_do_not_change_together_are_accused(history: list[Op]) -> None:
    # Reads at the same moment have some order, so what is left is read twice, as the load does.
    last = [read(op.value, op.start + 10, (op.end or op.start) + 10, op.who) for op in history[-2:]]
    assert not check([*history, *last]).is_linearizable


# Leases and bars.

BARS: list[list[Any]] = [
    [1, "held"],
    [2, "resumed", 0, []],
    [3, "begin", 1, 11],
    [4, "ok", 1, 11],
    [5, "begin", 2, 12],
    [6, "ok", 2, 12],
]
SUCCESSOR: list[list[Any]] = [
    [7, "held"],
    [8, "resumed", 2, []],
    [9, "begin", 3, 21],
    [10, "ok", 3, 21],
]
STORED = {1: 11, 2: 12, 3: 21}


def test_bars_of_owners_one_after_another_pass() -> None:
    found = check_bars([BARS, SUCCESSOR], STORED, [])
    assert found == Findings(bars=3, acknowledged=3)


def test_bar_whose_outcome_nobody_was_told_may_be_stored_or_not() -> None:
    open_bar = [*SUCCESSOR, [11, "begin", 4, 22]]
    for stored in (STORED, {**STORED, 4: 22}):
        assert check_bars([BARS, open_bar], stored, []) == Findings(bars=4, acknowledged=3)


@pytest.mark.parametrize(
    ("records", "stored", "counts", "explanation"),
    [
        ([BARS, SUCCESSOR], {1: 11, 2: 12}, {"lost": 1}, "bar 3 was acknowledged as {21}, and None is stored"),
        ([BARS, SUCCESSOR], {**STORED, 2: 99}, {"lost": 1}, "bar 2 was acknowledged as {12}, and 99 is stored"),
        (
            [BARS, [*SUCCESSOR, [11, "begin", 2, 22], [12, "ok", 2, 22]]],
            {**STORED, 2: 22},
            {"twice": 1},
            "bar 2 was acknowledged to two owners",
        ),
        (
            [BARS, [*SUCCESSOR, [11, "begin", 4, 22], [12, "refused", 4, 22]]],
            {**STORED, 4: 22},
            {"twice": 1},
            "bar 4 is stored, and its writer was told that it is not",
        ),
        ([BARS, [[7, "held"], [8, "resumed", 2, ["no signal"]]]], {1: 11, 2: 12}, {"half": 1}, "resumed at half a bar"),
        # The late owner begins a bar, and is told that it is stored, while the other one has the lease.
        (
            [[*BARS, [11, "begin", 4, 13], [12, "ok", 4, 13]], SUCCESSOR],
            {**STORED, 4: 13},
            {"twice": 1},
            "two owners at the same time",
        ),
    ],
)
def test_what_owners_must_not_do_is_accused(
    records: list[list[list[Any]]], stored: dict[int, int], counts: dict[str, int], explanation: str
) -> None:
    found = check_bars(records, stored, [])
    assert {name: getattr(found, name) for name in ("lost", "half", "twice")} == {
        **dict.fromkeys(("lost", "half", "twice"), 0),
        **counts,
    }
    assert explanation in found.explanation


def test_what_is_left_in_halves_is_accused() -> None:
    found = check_bars([BARS], {1: 11, 2: 12}, ["the signal is None"])
    assert (found.half, found.explanation) == (1, "what is left is not whole: the signal is None")


@pytest.mark.parametrize(
    ("spans", "overlaps"),
    [
        ([], False),
        ([(1, 5), (5, 9)], False),
        ([(1, 5), (6, 9), (2, 3)], True),
        ([(1, 20), (3, 4), (5, 6)], True),
        ([(1, 5), (4, 9)], True),
    ],
)
def test_owners_at_the_same_time_are_found(spans: list[tuple[int, int]], overlaps: bool) -> None:
    holds = [Hold(start=start, end=end) for start, end in spans]
    assert (find_overlap(holds) is not None) == overlaps


def test_hold_ends_with_the_last_commit_that_was_acknowledged() -> None:
    record = [*BARS, [20, "lost", "why"], [30, "begin", 3, 13], *([at + 40, *words] for at, *words in SUCCESSOR)]
    assert list_holds(record) == [Hold(start=1, end=5), Hold(start=47, end=49)]

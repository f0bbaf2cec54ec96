"""The counts of a slot."""

from __future__ import annotations

from typing import Any

from backtest_mongo.core.counters import RoundTrips, SlotCounts


def numbers(counts: SlotCounts) -> dict[str, Any]:
    return {
        **{name: getattr(counts, name) for name in ("hits", "misses", "blocks")},
        **{
            name: (trips.trips, trips.rows)
            for name in ("reads", "lists", "writes")
            for trips in [getattr(counts, name)]
        },
    }


def test_nothing_is_counted_at_first() -> None:
    nothing = {"hits": 0, "misses": 0, "blocks": 0, "reads": (0, 0), "lists": (0, 0), "writes": (0, 0)}
    assert numbers(SlotCounts()) == nothing


def test_round_trip_carries_one_or_more_rows() -> None:
    trips = RoundTrips()
    trips.add(3)
    trips.add(0)
    trips.add(5, 2)
    assert (trips.trips, trips.rows) == (4, 8)


def test_counts_add_up_kind_by_kind() -> None:
    one, other = SlotCounts(), SlotCounts()
    for counts, factor in ((one, 1), (other, 100)):
        counts.hits, counts.misses, counts.blocks = factor, 2 * factor, 3 * factor
        for number, name in enumerate(("reads", "lists", "writes"), 4):
            getattr(counts, name).add(number * factor, number)
    one.add(other)
    one.add(other)
    assert numbers(one) == {
        "hits": 201,
        "misses": 402,
        "blocks": 603,
        "reads": (12, 804),
        "lists": (15, 1005),
        "writes": (18, 1206),
    }
    assert one.count_rows() == {"read": 804, "list": 1005, "write": 1206}
    assert other.count_rows() == {"read": 400, "list": 500, "write": 600}

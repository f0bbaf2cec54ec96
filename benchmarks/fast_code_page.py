"""Render the page about fast code from the figures of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill
from typing import Any, Final

__all__ = ["make_page"]

_DRIVERS: Final = {"motor": "Motor", "pymongo": "PyMongo"}
_SETTINGS: Final = {
    "default": "as Python starts",
    "freeze": "after `gc.freeze()`",
    "threshold": "with `gc.set_threshold(50_000, 20, 100)`",
    "disabled": "with `gc.disable()`, for comparison",
    "read_many": "as Python starts, by one `read_many()`",
}

TEXT = """\
# Fast code with this library

How to write a strategy that spends less time waiting for its storage. The figures are from the run that
[Performance](performance.md) describes. The ways of one table were measured in turn, with the servers on the same
machine; don't compare times between tables. With remote servers a round trip takes longer, so sharing it saves more.
Ratios are multiples of the time of the first way.

## Gather what is independent

Calls that are made at the same time are sent as one batch. Await one after another only where the second needs the
result of the first:

```python
import asyncio

from backtest_mongo import SignalAdapter, StateAdapter


async def on_bar(symbol, when):
    signal = SignalAdapter(symbol, "my_strategy", "binance")
    counters = [StateAdapter(f"{{symbol}}-signal", name) for name in ("bars", "fills")]
    last, *counts = await asyncio.gather(
        signal.read_signal_data(), *(counter.read_state_data(when) for counter in counters)
    )
    await asyncio.gather(
        signal.write_signal_data({{"id": "s-1", "bar": when}}),
        *(counter.write_state_data({{"count": 1}}, when) for counter in counters),
    )
    return last, counts
```

A bar with ten reads and then four writes:

{bar}

Writes of one key keep their order, so two writes of the same context may be gathered too: the last call wins.

## Many contexts: read_many and write_many

If you have a list of contexts and nothing else to do meanwhile, `read_many()` and `write_many()` need no task for each
of them:

```python
from backtest_mongo import SignalAdapter


async def example():
    contexts = [(f"SYMBOL{{number}}", "my_strategy", "binance") for number in range(500)]
    await SignalAdapter.write_many((context, {{"id": context[0]}}) for context in contexts)
    return await SignalAdapter.read_many(contexts)
```

500 rows, in microseconds per row:

{many}

## A frame instead of windows in a loop

`read_candles_data()` makes a dict per candle, so a loop over overlapping windows makes each candle many times. If the
code knows the range in advance, as a backtest or an indicator does, read it once as columns:

```python
from backtest_mongo import CandleAdapter


async def example():
    candles = CandleAdapter("BTCUSDT", "1m", "binance")
    closes = (await candles.read_frame("2024-01-01", "2024-01-02", as_="numpy"))["close"]
    return [closes[end - 100 : end].mean() for end in range(100, len(closes) + 1)]
```

The mean of the last 100 closing prices at 2,000 minutes, all in milliseconds:

{means}

Use windows where code must not see the future: a frame holds later candles too, so with frames it is up to you not to
look ahead.

## Driver and event loop

`CC_MONGO_DRIVER` chooses between Motor, which works in threads, and PyMongo's asyncio client, which works in the event
loop. uvloop replaces asyncio's event loop, and needs one line: `uvloop.run(main())` in place of `asyncio.run(main())`.
The same code on each combination, each in a process of its own, in turn; microseconds per operation, and multiples of
the first column:

{foundations}

{advice}

## Thousands of tasks

Each time that enough objects have been allocated, Python's garbage collector traverses those that may refer to others,
every waiting task among them. With thousands of tasks at once, in a program that holds many objects, that is a large
part of the time. 5,000 reads gathered, in a program that holds 100,000 candles as dicts, in microseconds per read:

{collector}

- `gc.freeze()` tells the collector to leave alone what exists at that moment. Call it once, after `setup()` and after
  loading data that the process keeps.
- A higher threshold makes the collector look less often; cycles that are no longer used stay in memory for longer.
- This library changes no setting of the collector.
- `read_many()` and `write_many()` make no task per row, so the collector has less to walk.
"""


def make_page(figures: Mapping[str, Any]) -> str:
    """Return the page in Markdown."""
    codes = figures["codes"]
    return TEXT.format(
        bar=_ways(codes, "bar", {"one by one": "one after another", "gather": "gathered"}, 1.0, "µs per bar"),
        many="\n\n".join(
            (
                _ways(codes, "reads", _labels("read_many"), 1.0, "reading"),
                _ways(codes, "writes", _labels("write_many"), 1.0, "writing"),
            )
        ),
        means=_ways(codes, "means", {"windows in a loop": "windows in a loop", "one frame": "one frame"}, 1e-3, ""),
        foundations=_foundations(figures["foundations"]),
        advice=_advise(figures["foundations"]),
        collector=_ways(codes, "collector", _SETTINGS, 1.0, ""),
    )


def _labels(many: str) -> dict[str, str]:
    return {"one by one": "one after another", "gather": "`asyncio.gather`", many: f"`{many}`"}


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _ways(codes: Mapping[str, Any], name: str, labels: Mapping[str, str], factor: float, what: str) -> str:
    """Return a row per way to write a code, with the time and its ratio for each driver."""
    head = [what, *(cell for driver in codes for cell in (_DRIVERS[driver], "ratio"))]
    lines = []
    for way, label in labels.items():
        rows = [codes[driver][name][way] for driver in codes]
        cells = [cell for row in rows for cell in (f"{row['median_us'] * factor:,.1f}", f"**{row['ratio']:.2f}**")]
        lines.append([label, *cells])
    return _table(head, lines)


def _foundations(figures: Mapping[str, Any]) -> str:
    names = list(next(iter(figures.values())))
    lines = [
        [case, *(f"{row['median_us']:,.0f}, **{row['ratio']:.2f}**" for row in found.values())]
        for case, found in figures.items()
    ]
    return _table(["", *names], lines)


def _advise(figures: Mapping[str, Any]) -> str:
    """Say what was fastest for each case."""
    best = {case: min(found, key=lambda name: found[name]["median_us"]) for case, found in figures.items()}
    by_name: dict[str, list[str]] = {}
    for case, name in best.items():
        by_name.setdefault(name, []).append(case)
    told = [f"{_name(name)} for {' and '.join(cases)}" for name, cases in by_name.items()]
    measure = "Measure your own code on each: the driver is a setting, and uvloop is one line."
    text = f"Fastest here: {'; '.join(told)}. {measure}"
    return fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _name(foundation: str) -> str:
    driver, loop = foundation.split(", ")
    return f"{_DRIVERS[driver]} on {loop}"

"""Plots of series with columns: the trades of a market, and the equity of a strategy. Needs the extra ``plot``."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from backtest_mongo.adapters.shapes import ColumnSeriesAdapter
from backtest_mongo.core.columns import UNITS_PER_MS
from backtest_mongo.core.control_characters import escape_controls
from backtest_mongo.core.specs import FLAG, SlotSpec
from backtest_mongo.core.wording import format_count
from backtest_mongo.errors import InputError
from backtest_mongo.market_data.exact_times import format_exact_time
from backtest_mongo.market_data.plot import check_plot
from backtest_mongo.market_data.series_importer import check_series
from backtest_mongo.market_data.series_parts import find_range, read_parts
from backtest_mongo.market_data.series_steps import Floats, Points, Steps, find_step
from backtest_mongo.types import SeriesTime

if TYPE_CHECKING:
    from backtest_mongo.columns.arrays import ColumnArrays

__all__ = ["SIDES", "SeriesPlotReport", "plot_series"]

#: The sides of trades, in the order in which their amounts are stacked.
SIDES: Final = ("buy", "sell", "unknown")
_BUYS: Final = frozenset(("buy", "b", "bid", "long"))
_SELLS: Final = frozenset(("sell", "s", "ask", "short"))


@dataclass(frozen=True)
class SeriesPlotReport:
    """What a plot shows.

    Attributes:
        path: the file.
        rows: how many rows it is made of.
        points: how many points are drawn.
        step: the step of time that each of them stands for, such as ``30 s``; ``None`` if each is a row.
        left_out: how many rows are not drawn, because their price or equity is no finite number.
    """

    path: Path
    rows: int
    points: int
    step: str | None
    left_out: int


async def plot_series(
    adapter: ColumnSeriesAdapter,
    path: str | Path,
    *,
    start: SeriesTime | None = None,
    end: SeriesTime | None = None,
    title: str | None = None,
    width: int = 1200,
    height: int = 640,
    max_points: int = 4000,
) -> SeriesPlotReport:
    """Draw a series as a PNG or an HTML page: trades if the slot has a ``price``, the equity if it has that.

    Trades are drawn with their prices, and below with their amounts, where ``amount`` is a column; buys and sells
    differ in colour and shape, where ``side`` is one. Equity is drawn with its drawdown, the distance below the
    previous high of the range, below it. More rows than ``max_points`` are merged into steps of time, which the
    subtitle names: for each, the lowest, the highest and the last price or equity are drawn, the sum of the amounts,
    and the deepest drawdown, so nothing is lost but the order within a step.

    The page needs no network: it zooms, pans, and shows the numbers under the pointer. Times are UTC. An existing file
    is replaced.

    Args:
        adapter: of the series.
        path: the file to write; its ending, ``.png`` or ``.html``, chooses the format.
        start: the first time: an integer in the slot's unit, an aware datetime or ISO 8601 text; ``None`` for the first
            that is stored.
        end: the time before which the last row is; ``None`` for the last that is stored.
        title: the title; ``None`` for the name of the series and its range.
        width: the width of the plotting area; a PNG has two pixels per unit.
        height: the height of the plotting area.
        max_points: how many points to draw at most.

    Returns:
        What the plot shows.

    Raises:
        InputError: no row with a number is stored in the range, the slot has neither a price nor an equity, an argument
            is wrong, or the extra is not installed.
        InputTypeError: the adapter is not one of a series with columns.
        StoreUnavailableError: MongoDB can't be reached.
        StoreError: MongoDB answers with an error, or what is stored is damaged.
        OSError: ``path`` can't be written to.
    """
    check_series(adapter, "plot_series")
    target, spec = Path(path), adapter.spec
    check_plot("plot_series", target, width=width, height=height, max_points=max_points)
    columns = {column.name: column.type for column in spec.columns}
    name = next((one for one in ("equity", "price") if columns.get(one) == "float64"), None)
    if name is None:
        raise InputError("there is no chart of it: it has neither a price nor an equity", slot=spec.name)
    within = await find_range(adapter, start, end)
    is_equity = name == "equity"
    has_amount = not is_equity and columns.get("amount") == "float64"
    has_side = has_amount and columns.get("side") in ("category", "str")
    used = [name, *(["amount"] if has_amount else []), *(["side"] if has_side else [])]
    step = find_step(within.end - within.first, max_points, spec.unit)
    steps = Steps(len(SIDES) if has_amount else 0, step, max_points)
    drawdown = _Drawdown()
    left_out = 0
    async for _, part in read_parts(adapter, within, used):
        value = part.values[name].data
        known = np.isfinite(value)
        nulls = part.values[name].valid
        known = known if nulls is None else known & nulls
        left_out += int(np.count_nonzero(~known))
        rows = part if known.all() else part.take(known)
        if not len(rows):
            continue
        value = rows.values[name].data
        amount = _take_amounts(rows) if has_amount else np.zeros(len(rows))
        sides = _find_sides(spec, rows) if has_side else np.full(len(rows), SIDES.index("unknown"))
        steps.add(rows.time, value, sides, amount, drawdown.follow(value))
    points = steps.take()
    if points is None:
        raise InputError(f"no row with a finite {name} is stored in that range", slot=spec.name)
    first, last = (format_exact_time(time, spec.unit) for time in (steps.first, int(points.time[-1])))
    heading = title or f"{spec.name}, {_name_context(adapter)}, {first} to {last} UTC"
    subtitle = _write_subtitle(spec, name, points, steps, step.name, left_out)
    if is_equity:
        subtitle.append(_write_drawdown(points))

    def draw() -> None:
        from backtest_mongo.market_data.plot_chart import save_chart
        from backtest_mongo.market_data.plot_series_chart import ChartText, build_series_chart

        text = ChartText(escape_controls(heading), [escape_controls(line) for line in subtitle], name)
        live = target.suffix.lower() == ".html"
        chart = build_series_chart(
            points,
            UNITS_PER_MS[spec.unit],
            text,
            width,
            height,
            is_merged=steps.is_merged,
            has_sides=has_side,
            live=live,
        )
        save_chart(chart, target)

    # Drawing takes seconds, and other tasks of this loop must not wait.
    await asyncio.to_thread(draw)
    return SeriesPlotReport(target, steps.rows, len(points), step.name if steps.is_merged else None, left_out)


def _name_context(adapter: ColumnSeriesAdapter) -> str:
    values = adapter.context.items()
    words = [("backtest" if value else "live") if name == FLAG else str(value) for name, value in values]
    return ", ".join(word for word in words if word)


def _take_amounts(rows: ColumnArrays) -> Floats:
    amounts: Floats = np.where(np.isfinite(rows.values["amount"].data), rows.values["amount"].data, 0.0)
    return amounts


def _find_sides(spec: SlotSpec, rows: ColumnArrays) -> npt.NDArray[np.intp]:
    """Return the place of each trade's side in :data:`SIDES`."""
    column = next(column for column in spec.columns if column.name == "side")
    values = rows.values["side"]
    if column.type == "category":
        places = np.array([*map(_find_side, values.categories), SIDES.index("unknown")], np.intp)
        found: npt.NDArray[np.intp] = places[values.data]
        return found
    return np.array([_find_side(side or "") for side in values.to_list(column)], np.intp)


def _find_side(name: str) -> int:
    plain = name.strip().lower()
    return 0 if plain in _BUYS else 1 if plain in _SELLS else 2


class _Drawdown:
    """Follows how far values are below the highest one before."""

    def __init__(self) -> None:
        self._peak = -np.inf

    def follow(self, values: Floats) -> Floats:
        peaks = np.maximum(np.maximum.accumulate(values), self._peak)
        self._peak = float(peaks[-1])
        below: Floats = values - peaks
        return below


def _write_subtitle(spec: SlotSpec, name: str, points: Points, steps: Steps, step: str, left_out: int) -> list[str]:
    rows = format_count(steps.rows, spec.name if spec.name == "trade" else "row")
    if steps.is_merged:
        rows += f" in {len(points):,} steps of {step}, of each the lowest, the highest and the last {name}"
    if left_out:
        rows += f"; left out: {left_out:,} without a finite {name}"
    return [rows]


def _write_drawdown(points: Points) -> str:
    deepest = int(points.extreme.argmin())
    return f"from {points.last[0]:,.2f} to {points.last[-1]:,.2f}; deepest drawdown {points.extreme[deepest]:,.2f}"

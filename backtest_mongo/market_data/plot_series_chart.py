"""Building a chart of trades or of equity with Altair."""

from __future__ import annotations

from functools import partial
from typing import Any, Final, NamedTuple

import altair as alt
import numpy as np

from backtest_mongo.market_data.plot_bars import count_digits
from backtest_mongo.market_data.series_steps import Points

__all__ = ["ChartText", "build_series_chart"]

# Colour-blind readers can tell each pair apart; shapes differ too.
_SIDES: Final = {
    "buy": ("#4a90c2", "triangle-up"),
    "sell": ("#e1862c", "triangle-down"),
    "unknown": ("#777777", "circle"),
}
_LINE: Final = "#333333"
_BAND: Final = "#9fb6c9"
_EQUITY: Final = "#08519c"
_DRAWDOWN: Final = "#c2002f"
#: The share of the height of the lower part.
_LOWER: Final = 0.25
#: The least distance of two ticks.
_TICK_PIXELS: Final = 70
#: The smallest and the largest area of a mark in pixels, and up to how many marks have the largest.
_SIZES: Final = (20, 70)
_FEW: Final = 100
#: The label of a tick: what tells it from the one before. At midnight that is the day, in January the year.
_LABEL: Final = (
    "utcFormat(datum.value, utcmilliseconds(datum.value) ? '%H:%M:%S.%L' : utcseconds(datum.value) ? '%H:%M:%S' : "
    "utchours(datum.value) || utcminutes(datum.value) ? '%H:%M' : utcdate(datum.value) > 1 ? '%d %b' : "
    "utcmonth(datum.value) ? '%b' : '%Y')"
)


class ChartText(NamedTuple):
    """The words of a chart: the title, the lines below it, and what is drawn."""

    title: str
    subtitle: list[str]
    name: str


def build_series_chart(
    points: Points,
    factor: int,
    text: ChartText,
    width: int,
    height: int,
    *,
    is_merged: bool,
    has_sides: bool,
    live: bool,
) -> alt.VConcatChart:
    """Build a chart; one that is ``live`` zooms and shows tooltips.

    Args:
        points: what to draw.
        factor: how many units of their times a millisecond has.
        text: the words.
        width: of the plotting area.
        height: of the plotting area.
        is_merged: whether each point is a step of time, and not a row.
        has_sides: whether trades have sides.
        live: whether it is a page.
    """
    is_equity = text.name == "equity"
    has_lower = is_equity or points.sums.shape[1] > 0
    lower_height = round(height * _LOWER) if has_lower else 0
    upper = (
        _build_equity(points, factor, width, is_merged)
        if is_equity
        else _build_prices(points, factor, width, is_merged, has_sides)
    )
    upper = upper.properties(width=width, height=height - lower_height)
    zoom = alt.selection_interval(name="zoom", bind="scales", encodings=["x"])
    parts = [upper.add_params(zoom) if live else upper]
    if has_lower:
        # Marks of single trades have a legend of their own.
        has_legend = has_sides and is_merged
        lower = (
            _build_drawdown(points, factor, width) if is_equity else _build_amounts(points, factor, width, has_legend)
        )
        parts.append(lower.properties(width=width, height=lower_height))
    drawn: alt.VConcatChart = (
        alt.vconcat(*parts, spacing=8)
        .resolve_scale(x="shared", color="independent")
        .properties(title=alt.TitleParams(text.title, subtitle=text.subtitle, anchor="start", offset=8))
        .configure_legend(orient="top", direction="horizontal", title=None, labelLimit=0)
    )
    return drawn


def _layer(rows: list[dict[str, Any]]) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=rows))


def _x(width: int, *, labels: bool) -> alt.X:
    title = "UTC" if labels else None
    axis = alt.Axis(
        title=title,
        labels=labels,
        ticks=labels,
        tickCount=max(width // _TICK_PIXELS, 2),
        labelOverlap="greedy",
        labelSeparation=6,
        labelExpr=_LABEL,
    )
    return alt.X("time:T", scale=alt.Scale(type="utc", nice=False), axis=axis)


def _rows(points: Points, factor: int, **columns: Any) -> list[dict[str, Any]]:
    values = {
        "time": (points.time / factor).tolist(),
        **{name: np.asarray(column).tolist() for name, column in columns.items()},
    }
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


_scale_value: Final = partial(alt.Scale, zero=False, nice=False, padding=8)


def _tooltips(format_: str, *names: str) -> list[alt.Tooltip]:
    when = alt.Tooltip("time:T", title="UTC", format="%Y-%m-%d %H:%M:%S.%L", formatType="utc")
    return [when, *(alt.Tooltip(f"{name}:Q", format=format_) for name in names)]


def _build_prices(points: Points, factor: int, width: int, is_merged: bool, has_sides: bool) -> Any:
    digits = f",.{count_digits(points.last)}f"
    axis = alt.Axis(title="price", orient="right", tickCount=8, format=digits)
    price = alt.Y("last:Q", scale=_scale_value(), axis=axis)
    if is_merged:
        base = _layer(_rows(points, factor, last=points.last, low=points.low, high=points.high, trades=points.rows))
        band = base.mark_rule(clip=True, color=_BAND, strokeWidth=1.5).encode(
            x=_x(width, labels=False),
            y=alt.Y("low:Q", scale=_scale_value(), axis=axis),
            y2="high:Q",
            tooltip=[*_tooltips(digits, "low", "high", "last"), alt.Tooltip("trades:Q", format=",d")],
        )
        # Until the next trade, the last price is the price.
        line = base.mark_line(clip=True, color=_LINE, strokeWidth=0.8, interpolate="step-after").encode(
            x=_x(width, labels=False), y=price
        )
        return alt.layer(band, line)
    names = [*_SIDES]
    kinds = [names[kind] for kind in points.kind.tolist()]
    rows = _rows(points, factor, last=points.last, side=kinds, amount=points.sums.sum(axis=1))
    base = _layer(rows)
    line = base.mark_line(clip=True, color="#bbbbbb", strokeWidth=0.8, interpolate="step-after").encode(
        x=_x(width, labels=False), y=price
    )
    size = max(_SIZES[0], min(_SIZES[1], _SIZES[1] * _FEW / max(len(points), 1)))
    used = [side for side in _SIDES if side in {*kinds}]
    colours = alt.Scale(domain=used, range=[_SIDES[side][0] for side in used])
    shapes = alt.Scale(domain=used, range=[_SIDES[side][1] for side in used])
    legend = alt.Legend(symbolSize=_SIZES[1]) if has_sides else None
    marks = base.mark_point(clip=True, filled=True, opacity=0.9, size=size).encode(
        x=_x(width, labels=False),
        y=price,
        fill=alt.Fill("side:N", scale=colours, legend=legend),
        shape=alt.Shape("side:N", scale=shapes, legend=legend),
        tooltip=[*_tooltips(digits, "last"), alt.Tooltip("amount:Q", format=",.8~f"), alt.Tooltip("side:N")],
    )
    return alt.layer(line, marks)


def _build_amounts(points: Points, factor: int, width: int, has_legend: bool) -> Any:
    rows = []
    for place, side in enumerate(_SIDES):
        sums = points.sums[:, place]
        used = np.flatnonzero(sums)
        base = points.sums[used, :place].sum(axis=1)
        part = points.take(used)
        rows += _rows(part, factor, side=[side] * len(used), below=base, above=base + sums[used], amount=sums[used])
    known = {row["side"] for row in rows}
    used_sides = [side for side in _SIDES if side in known]
    colours = alt.Scale(domain=used_sides, range=[_SIDES[side][0] for side in used_sides])
    bars = (
        _layer(rows)
        .mark_rule(clip=True, strokeWidth=1.2)
        .encode(
            x=_x(width, labels=True),
            y=alt.Y("below:Q", axis=alt.Axis(title="amount", orient="right", tickCount=3)),
            y2="above:Q",
            color=alt.Color("side:N", scale=colours, legend=alt.Legend(symbolType="square") if has_legend else None),
            tooltip=[*_tooltips(",.8~f", "amount"), alt.Tooltip("side:N")],
        )
    )
    return alt.layer(bars)


def _build_equity(points: Points, factor: int, width: int, is_merged: bool) -> Any:
    axis = alt.Axis(title="equity", orient="right", tickCount=8, format=",.2~f")
    base = _layer(_rows(points, factor, equity=points.last, low=points.low, high=points.high))
    line = base.mark_line(clip=True, color=_EQUITY, strokeWidth=1.4).encode(
        x=_x(width, labels=False),
        y=alt.Y("equity:Q", scale=_scale_value(), axis=axis),
        tooltip=_tooltips(",.2f", "equity"),
    )
    if not is_merged:
        return alt.layer(line)
    band = base.mark_rule(clip=True, color=_BAND, strokeWidth=1.5).encode(
        x=_x(width, labels=False), y=alt.Y("low:Q", scale=_scale_value(), axis=axis), y2="high:Q"
    )
    return alt.layer(band, line)


def _build_drawdown(points: Points, factor: int, width: int) -> Any:
    base = _layer(_rows(points, factor, drawdown=points.extreme))
    axis = alt.Axis(title="drawdown", orient="right", tickCount=4, format=",.2~f")
    area = base.mark_area(clip=True, color=_DRAWDOWN, opacity=0.35, line={"color": _DRAWDOWN, "strokeWidth": 1}).encode(
        x=_x(width, labels=True), y=alt.Y("drawdown:Q", axis=axis), tooltip=_tooltips(",.2f", "drawdown")
    )
    return alt.layer(area)

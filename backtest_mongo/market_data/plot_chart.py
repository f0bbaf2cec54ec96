"""Building a chart of candles, volume, marks and lines with Altair, and saving it."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import altair as alt

from backtest_mongo.market_data.plot_bars import Bars, make_range_expressions, make_tick_expressions
from backtest_mongo.market_data.plot_trades import EVEN, LOSS, PROFIT, Line, Mark, Overlay

__all__ = ["build_chart", "save_chart"]

#: Altair changes settings of the whole process while it saves.
_SAVING: Final = threading.Lock()
#: Pixels of a PNG per pixel of the chart.
_SHARPNESS: Final = 2.0
#: The volume's share of the height.
_VOLUME: Final = 0.18
#: The smallest and the largest area of a mark in pixels, and up to how many marks have the largest.
_SIZES: Final = (45, 140)
_FEW: Final = 50
#: More lines would hide the candles: the longest breaks are marked.
_MOST_BREAKS: Final = 60

# Colour-blind readers can tell each pair apart; shapes and dashes differ too.
_CANDLES: Final = {"up": "#4a90c2", "down": "#e1862c"}
_LINES: Final = {"stop": ("#c2002f", [4, 3]), "target": ("#00a884", [9, 3]), "entry to exit": ("#333333", [1, 2])}
_CROSS: Final = "M-.7,-1L0,-.35L.7,-1L1,-.7L.35,0L1,.7L.7,1L0,.35L-.7,1L-1,.7L-.35,0L-1,-.7Z"
#: The name, colour and shape of each kind of mark.
_MARKS: Final = {
    "long": ("long entry", "#0b3c8c", "triangle-up"),
    "short": ("short entry", "#a64dff", "triangle-down"),
    PROFIT: ("exit with profit", "#00a884", "circle"),
    LOSS: ("exit with loss", "#c2002f", _CROSS),
    EVEN: ("exit at break-even", "#555555", "square"),
}


def build_chart(
    bars: Bars, over: Overlay, title: str, subtitle: list[str], width: int, height: int, *, live: bool
) -> alt.VConcatChart:
    """Build a chart; one that is ``live`` zooms and shows tooltips."""
    lower, prices = round(height * _VOLUME), f",.{bars.digits()}f"
    choice, text = make_tick_expressions(bars, width)
    params = [alt.param(name=name, value=values) for name, values in bars.arrays().items()]
    params.append(alt.param(name="choice", expr=choice))
    ticks = alt.Axis(title="UTC", values=alt.ExprRef("ticks[choice]"), labelExpr=text, labelOverlap="greedy")
    bare = alt.Axis(title=None, values=alt.ExprRef("ticks[choice]"), labels=False, ticks=False)
    along = alt.Scale(domain=[-1, len(bars)], nice=False, zero=False)
    upper_x, lower_x = (partial(alt.X, type="quantitative", axis=axis, scale=along) for axis in (bare, ticks))
    low = alt.Y("low:Q", scale=_visible("lows", "highs"), axis=alt.Axis(title=None, orient="right", tickCount=8))
    amount = alt.Y("volume:Q", scale=_visible(None, "volumes"), axis=alt.Axis(orient="right", tickCount=3))
    way = alt.Color("way:N", scale=_scale(_CANDLES), legend=alt.Legend(symbolType="square"))
    base = alt.Chart().transform_calculate(
        left="datum.bar - 0.36", right="datum.bar + 0.36", before="datum.bar - 0.5", after="datum.bar + 0.5"
    )
    hover = alt.selection_point(name="hover", on="pointerover", clear="pointerout", fields=["bar"], empty=False)
    zoom = alt.selection_interval(name="zoom", bind="scales", encodings=["x"])
    tooltips = [alt.Tooltip("time:N", title="UTC")]
    tooltips += [alt.Tooltip(f"{name}:Q", format=prices) for name in ("open", "high", "low", "close")]
    tooltips.append(alt.Tooltip("volume:Q", format=",.8~f"))
    column = base.mark_rect(clip=True, color="#555555").encode(
        x2="after:Q", opacity=alt.when(hover).then(alt.value(0.12)).otherwise(alt.value(0)), tooltip=tooltips
    )
    wick = base.mark_rule(clip=True).encode(x=upper_x("bar"), y=low, y2="high:Q", color=way)
    # Without an outline a candle that closed at its open would have no body.
    outline = alt.when("datum.way == 'up'").then(alt.value(_CANDLES["up"])).otherwise(alt.value(_CANDLES["down"]))
    body = base.mark_rect(clip=True).encode(
        x=upper_x("left"), x2="right:Q", y="open:Q", y2="close:Q", color=way, stroke=outline
    )
    volume = base.mark_rect(clip=True, opacity=0.75, strokeWidth=0.5).encode(
        x=lower_x("left"), x2="right:Q", y=amount, y2=alt.datum(0), color=way, stroke=outline
    )
    breaks = _layer({"bar": bar - 0.5} for bar in bars.breaks()[:_MOST_BREAKS].tolist()).mark_rule(
        clip=True, color="#bbbbbb", strokeDash=[2, 3]
    )
    above = [breaks.encode(x=upper_x("bar")), wick, body, _lines(over.lines, upper_x("bar"))]
    below = [breaks.encode(x=lower_x("bar")), volume]
    if live:  # rendering transparent marks to a picture is slow
        above.append(column.encode(x=upper_x("before")))
        below.append(column.encode(x=lower_x("before")))
    above.append(_marks(over.marks, upper_x("bar"), bars.digits()))
    upper = alt.layer(*above).properties(width=width, height=height - lower)
    whole: alt.VConcatChart = (
        alt.vconcat(
            upper.add_params(zoom, hover) if live else upper,
            alt.layer(*below).properties(width=width, height=lower),
            data=alt.InlineData(values=bars.rows()),
            spacing=8,
        )
        .resolve_scale(x="shared")
        .add_params(*params)
        .properties(title=alt.TitleParams(title, subtitle=subtitle, anchor="start", offset=8))
        .configure_legend(orient="top", direction="horizontal", title=None, labelLimit=0)
    )
    return whole


def _scale(colours: Mapping[str, str]) -> alt.Scale:
    return alt.Scale(domain=list(colours), range=list(colours.values()))


def _visible(lows: str | None, highs: str) -> alt.Scale:
    low, high = make_range_expressions(lows, highs)
    return alt.Scale(zero=False, nice=False, domainMin=alt.ExprRef(low), domainMax=alt.ExprRef(high))


def _layer(rows: Iterable[dict[str, Any]]) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=list(rows)))


def _lines(lines: Sequence[Line], x: alt.X) -> alt.Chart:
    used = {line.kind for line in lines}
    kinds = {kind: style for kind, style in _LINES.items() if kind in used}
    colours = _scale({kind: colour for kind, (colour, _) in kinds.items()})
    dashes = alt.Scale(domain=list(kinds), range=[dash for _, dash in kinds.values()])
    legend = alt.Legend(symbolType="stroke") if kinds else None
    drawn: alt.Chart = (
        _layer(vars(line) for line in lines)
        .mark_rule(clip=True, strokeWidth=1.4)
        .encode(
            x=x,
            x2="last_bar:Q",
            y="price:Q",
            y2="last_price:Q",
            stroke=alt.Stroke("kind:N", scale=colours, legend=legend),
            strokeDash=alt.StrokeDash("kind:N", scale=dashes, legend=legend),
        )
    )
    return drawn


def _marks(marks: Sequence[Mark], x: alt.X, digits: int) -> alt.Chart:
    used = {mark.kind for mark in marks}
    styles = [style for kind, style in _MARKS.items() if kind in used]
    colours = _scale({name: colour for name, colour, _ in styles})
    shapes = alt.Scale(domain=[name for name, _, _ in styles], range=[shape for _, _, shape in styles])
    legend = alt.Legend(symbolSize=_SIZES[1]) if styles else None
    size = max(_SIZES[0], min(_SIZES[1], _SIZES[1] * _FEW / max(len(marks), 1)))
    # The tip of an arrow is at its price, so that the candle stays visible.
    tip = alt.ExprRef(f"datum.tip * {size**0.5 / 2}")
    tooltips = [alt.Tooltip("time:N", title="UTC"), alt.Tooltip("price:Q", format=f",.{digits}f")]
    tooltips += [alt.Tooltip(f"{name}:N") for name in ("kind", "signal", "side", "stop", "target", "result", "reason")]
    drawn: alt.Chart = (
        _layer({**mark.row(digits), "kind": _MARKS[mark.kind][0]} for mark in marks)
        .mark_point(clip=True, filled=True, opacity=1, size=size, stroke="white", strokeWidth=0.8, yOffset=tip)
        .encode(
            x=x,
            y="price:Q",
            fill=alt.Fill("kind:N", scale=colours, legend=legend),
            shape=alt.Shape("kind:N", scale=shapes, legend=legend),
            tooltip=tooltips,
        )
    )
    return drawn


class _InScript(json.JSONEncoder):
    """Encodes JSON for a script element, which a name with ``</script>`` in it must not end."""

    def encode(self, o: Any) -> str:
        return super().encode(o).replace("<", "\\u003c")


def save_chart(drawing: alt.VConcatChart, path: Path) -> None:
    with _SAVING:
        if path.suffix.lower() == ".png":
            image = io.BytesIO()
            drawing.save(image, format="png", scale_factor=_SHARPNESS)
            content = image.getvalue()
        else:
            page = io.StringIO()
            actions = {"export": True, "source": False, "compiled": False, "editor": False}
            options = {"actions": actions, "renderer": "canvas"}
            drawing.save(page, format="html", inline=True, embed_options=options, json_kwds={"cls": _InScript})
            content = page.getvalue().encode()
    path.write_bytes(content)

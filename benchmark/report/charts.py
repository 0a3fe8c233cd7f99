"""Charts as inline SVG that takes the page's colour, so that it is legible in the dark as well."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup, escape
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from benchmark.figure_parts import COLOURS
from benchmark.stats import Band, Mean

WIDTH, HEIGHT = 360, 250  # units of a chart; a phone shows about one pixel for each
LEFT, RIGHT, TOP, BOTTOM = 38, 352, 10, 214  # where its axes are
ROW = 17  # units between the lines of the rank plot
NAMES = 150  # units for the names in it
ABOVE, BELOW = "#0072B2", "#D55E00"  # of correlations; told apart by the colour-blind
_LETTERS = 24  # that fit into them
_DASHES = ("", "6 3", "2 2")


class Look(NamedTuple):
    """How a method is drawn, the same in all charts of a group."""

    colour: str
    dashes: str  # empty: a whole line


def look(number: int) -> Look:
    """Choose the look of a method by its place: colours first, then dashes."""
    colour = COLOURS[number % len(COLOURS)]
    dashes = _DASHES[number // len(COLOURS) % len(_DASHES)]
    return Look("currentColor" if colour == "#000000" else colour, dashes)


def bar(mean: Mean, low: float, high: float) -> Markup:
    """Draw a mean with its interval on a scale from low to high; nothing where there is none."""
    if math.isnan(mean.value):
        return Markup()
    spread = high - low or 1.0
    begin, at, end = (
        3 + 74 * ((mean.value if math.isnan(each) else each) - low) / spread
        for each in (mean.low, mean.value, mean.high)
    )
    return Markup(
        f'<svg class="bar" viewBox="0 0 80 10" aria-hidden="true"><path class="axis" d="M3 5H77"/>'
        f'<path class="interval" d="M{begin:.1f} 5H{end:.1f}"/>'
        f'<circle cx="{at:.1f}" cy="5" r="3"/></svg>'
    )


def swatch(number: int) -> Markup:
    """Draw a method's line for a legend."""
    return Markup(
        f'<svg class="swatch" viewBox="0 0 28 8" aria-hidden="true">'
        f"{_path('M0 4H28', look(number))}</svg>"
    )


def curves(bands: Sequence[Band | None], fractions: NDArray[np.float32], title: str) -> Markup:
    """Draw mean curves [points] of a score in [0, 1] over fractions [points], with their bands."""
    across = [LEFT + (RIGHT - LEFT) * float(each) for each in fractions]
    drawn = []
    for number, band in enumerate(bands):
        if band is None:
            continue
        style = look(number)
        if not np.isnan(band.low).any():
            edge = [*_points(across, band.low), *reversed(_points(across, band.high))]
            drawn.append(
                f'<polygon points="{" ".join(edge)}" fill="{style.colour}" opacity=".13"/>'
            )
        drawn.append(_path("M" + "L".join(_points(across, band.value)), style))
    axes = _axes([(each, f"{each:.0%}") for each in (0, 0.5, 1)])
    return _chart(axes + "".join(drawn), title, "share of the cells", "score of the target")


def _points(across: Sequence[float], values: NDArray[np.float64]) -> list[str]:
    return [f"{x:.1f},{_height(float(y)):.1f}" for x, y in zip(across, values, strict=True)]


def _height(share: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * share


def _path(line: str, style: Look) -> str:
    dashes = f' stroke-dasharray="{style.dashes}"' if style.dashes else ""
    return f'<path class="line" d="{line}" stroke="{style.colour}"{dashes}/>'


def against_passes(
    passes: Sequence[float], means: Sequence[Mean], metric: str, title: str
) -> Markup:
    """Draw each method's mean over its passes per image, whose axis is logarithmic.

    What needs no pass stands left of 1. Points carry their methods' numbers.
    """
    known = [each for each in means if not math.isnan(each.value)]
    if not known:
        return Markup()
    ends = [end for each in known for end in (each.low, each.value, each.high)]
    low, high = np.nanmin(ends), np.nanmax(ends)
    low, spread = low - 0.05 * (high - low), 1.1 * (high - low) or 1.0
    decades = max(1, math.ceil(math.log10(max(*passes, 10))))

    def place(count: float) -> float:
        return (math.log10(max(count, 1)) + 0.5) / (decades + 0.5) if count else 0.0

    ticks = [(place(0), "0")] if 0 in passes else []
    step = max(1, decades // 4)
    ticks += [(place(10**each), f"{10**each:,}") for each in range(0, decades + 1, step)]
    round_ones = MaxNLocator(4).tick_values(low, high)
    heights = [((each - low) / spread, f"{each:g}") for each in round_ones if low <= each <= high]
    drawn = []
    for number, (count, mean) in enumerate(zip(passes, means, strict=True)):
        if math.isnan(mean.value):
            continue
        x = LEFT + (RIGHT - LEFT) * place(count)
        bottom, y, top = (
            _height(((mean.value if math.isnan(each) else each) - low) / spread)
            for each in (mean.low, mean.value, mean.high)
        )
        drawn.append(
            _path(f"M{x:.1f} {bottom:.1f}V{top:.1f}", Look(look(number).colour, ""))
            + f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{look(number).colour}"/>'
            f'<text x="{x + (6 if x < RIGHT - 20 else -6):.1f}" y="{y + 4:.1f}"'
            f' text-anchor="{"start" if x < RIGHT - 20 else "end"}">{number + 1}</text>'
        )
    return _chart(_axes(ticks, heights) + "".join(drawn), title, "passes per image", metric)


def rank_plot(labels: Sequence[str], places: Mapping[int, Mean], title: str) -> Markup:
    """Draw each method's rank with its interval, a line each, the best on top.

    Args:
        labels: of all methods.
        places: by the method's number; those that compete.
        title: what the chart is called.
    """
    order = sorted(places, key=lambda each: places[each].value)
    last = max(len(places), 2)

    def across(rank: float) -> float:
        return NAMES + 14 + (WIDTH - NAMES - 28) * (rank - 1) / (last - 1)

    drawn = []
    bottom = ROW * (len(places) + 1)
    for tick in sorted({1, (last + 1) // 2, last}):
        drawn.append(f'<path class="grid" d="M{across(tick):.1f} {ROW // 2}V{bottom - ROW // 2}"/>')
        drawn.append(f'<text x="{across(tick):.1f}" y="{bottom + 5}" {_MIDDLE}>{tick}</text>')
    for line, number in enumerate(order, start=1):
        y, mean, style = ROW * line, places[number], Look(look(number).colour, "")
        label = labels[number]
        name = label if len(label) <= _LETTERS else label[: _LETTERS - 1] + "…"
        drawn.append(
            f'<text x="{NAMES}" y="{y + 4}" text-anchor="end">{escape(name)}'
            f"<title>{escape(label)}</title></text>"
            + _path(f"M{across(mean.low):.1f} {y}H{across(mean.high):.1f}", style)
            + f'<circle cx="{across(mean.value):.1f}" cy="{y}" r="3.5" fill="{style.colour}"/>'
        )
    return _framed("".join(drawn), title, bottom + 12)


def matrix(names: Sequence[str], values: NDArray[np.float64], title: str) -> Markup:
    """Draw correlations [n, n] in [-1, 1] as squares, blue above 0, red below, full at 1."""
    side = (WIDTH - NAMES) / max(len(names), 4)
    drawn = []
    for row, name in enumerate(names):
        y = side * row
        drawn.append(
            f'<text x="{NAMES - 4}" y="{y + side / 2 + 3:.1f}" text-anchor="end">{row + 1} '
            f"{escape(name)}</text>"
        )
        for column, value in enumerate(values[row]):
            x, middle = NAMES + side * column, y + side / 2 + 3
            known = not math.isnan(value)
            drawn.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{side:.1f}" height="{side:.1f}" '
                f'fill="{ABOVE if value > 0 else BELOW}" '
                f'fill-opacity="{0.8 * abs(value) if known else 0:.2f}">'
                f"<title>{escape(name)}, {escape(names[column])}: "
                f"{f'{value:+.2f}' if known else '–'}</title></rect>"
            )
            if side > 20:
                text = f"{value:.2f}".replace("0.", ".") if known else "–"
                drawn.append(
                    f'<text x="{x + side / 2:.1f}" y="{middle:.1f}" {_MIDDLE}>{text}</text>'
                )
    for column in range(len(names)):
        x = NAMES + side * (column + 0.5)
        drawn.append(
            f'<text x="{x:.1f}" y="{side * len(names) + 14:.1f}" {_MIDDLE}>{column + 1}</text>'
        )
    return _framed("".join(drawn), title, int(side * len(names)) + 20)


_SHARES = ((0, "0"), (0.25, ".25"), (0.5, ".5"), (0.75, ".75"), (1, "1"))
_MIDDLE = 'text-anchor="middle"'


def _axes(
    across: Sequence[tuple[float, str]],
    up: Sequence[tuple[float, str]] = _SHARES,
) -> str:
    """Draw axes with ticks, each the share of the axis at which it is, and its text."""
    drawn = [f'<path class="axis" d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}"/>']
    for share, text in across:
        x = LEFT + (RIGHT - LEFT) * share
        anchor = "end" if share > 0.95 else "middle"
        drawn.append(f'<text x="{x:.1f}" y="{BOTTOM + 14}" text-anchor="{anchor}">{text}</text>')
    for share, text in up:
        y = _height(share)
        drawn.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{RIGHT}"/>')
        drawn.append(f'<text x="{LEFT - 4}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    return "".join(drawn)


def _chart(drawn: str, title: str, across: str, up: str) -> Markup:
    middle = (LEFT + RIGHT) / 2
    axis = f'<text x="{middle}" y="{HEIGHT - 6}" {_MIDDLE}>{escape(across)}</text>'
    return _framed(drawn + axis, f"{title}: {up} over {across}", HEIGHT)


def _framed(drawn: str, title: str, height: int) -> Markup:
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(title)}">{drawn}</svg>'
    )

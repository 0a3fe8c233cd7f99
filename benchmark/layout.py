"""An experiment's cells laid out as a paper's table, the published values beside ours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from benchmark.collect import COSTS, Collected, State
from benchmark.comparisons import alike
from benchmark.experiment import Experiment, Layout, Shown
from benchmark.published import Published, published
from benchmark.stats import Mean

NOTHING = "–"
ALIKE = "≈ "


class Entry(NamedTuple):
    """One value of one cell, with what was published for it."""

    row: str
    column: str
    metric: str
    shown: Shown
    cell: Collected
    value: float  # as shown, that is scaled; NaN where there is none
    low: float
    high: float
    n: int
    published: Published | None
    best: bool  # of its column
    alike: bool = False  # but not best: not told apart from the best of its column

    @property
    def difference(self) -> float | None:
        """Ours minus the published value, where there are both."""
        known = self.published.value if self.published else None
        return None if known is None or math.isnan(self.value) else self.value - known


class Style(NamedTuple):
    """How one format writes the lines of a cell."""

    bold: Callable[[str], str]
    small: Callable[[str], str]
    lines: Callable[[Sequence[str]], str]
    text: Callable[[str], str]  # escapes


def entries(experiment: Experiment, cells: Sequence[Collected]) -> list[Entry]:
    """Take every cell apart into its metrics, scaled as shown, beside the published values.

    Raises:
        BadInput: the published file does not have what the experiment asks of it.
    """
    found = [
        _entry(experiment, cell, metric, shown)
        for cell in cells
        for metric, shown in experiment.metrics.items()
    ]
    return _marked(experiment, [each._replace(best=_is_best(each, found)) for each in found])


def _marked(experiment: Experiment, found: list[Entry]) -> list[Entry]:
    """Mark the entries that are not told apart from the best of their column."""
    same: set[tuple[str, str, str]] = set()
    for column, metric in dict.fromkeys((each.column, each.metric) for each in found):
        own = [
            (each.row, each.cell.images)
            for each in sorted(found, key=lambda each: not each.best)
            if (each.column, each.metric) == (column, metric)
            and metric not in COSTS
            and not math.isnan(each.value)
            and each.cell.images is not None
        ]
        answers = alike([images for _, images in own], metric, experiment.mean) if own else []
        same |= {
            (row, column, metric)
            for (row, _), answer in zip(own[1:], answers, strict=True)
            if answer
        }
    return [
        each._replace(alike=not each.best and (each.row, each.column, each.metric) in same)
        for each in found
    ]


def _entry(experiment: Experiment, cell: Collected, metric: str, shown: Shown) -> Entry:
    row, column = experiment.rows[cell.row], experiment.columns[cell.column]
    under = {**experiment.published, **column.published, **row.published}
    known, reference = None, row.reference or experiment.reference
    if reference and shown.published and row.published:
        known = published(reference, under, shown.published)
    mean = cell.means.get(metric, Mean(math.nan, math.nan, math.nan, 0))
    return Entry(
        cell.row,
        cell.column,
        metric,
        shown,
        cell,
        value=mean.value * shown.scale,
        low=mean.low * shown.scale,
        high=mean.high * shown.scale,
        n=mean.n,
        published=known,
        best=False,
    )


def _is_best(entry: Entry, among: Sequence[Entry]) -> bool:
    rivals = [
        each.value
        for each in among
        if (each.column, each.metric) == (entry.column, entry.metric) and not math.isnan(each.value)
    ]
    if math.isnan(entry.value) or len(rivals) < 2:
        return False
    higher = entry.cell.higher_is_better.get(entry.metric, True)
    return entry.value == (max(rivals) if higher else min(rivals))


def parts(entry: Entry) -> list[str]:
    """Say an entry in up to three lines: ours, its interval, what was published and how far off."""
    if entry.cell.state in (State.failed, State.missing, State.partial):
        ours = [entry.cell.state.name]
    elif math.isnan(entry.value):
        ours = [NOTHING]
    else:
        digits = entry.shown.digits
        ours = [f"{ALIKE if entry.alike else ''}{entry.value:.{digits}f}"]
        if not math.isnan(entry.low):
            ours.append(f"[{entry.low:.{digits}f}, {entry.high:.{digits}f}]")
    if entry.published is None:
        return ours
    if entry.cell.state is State.none:
        return [f"paper {entry.published.text}"]
    difference = entry.difference
    off = "" if difference is None else f" ({difference:+.{entry.shown.digits}f})"
    return [*ours, f"paper {entry.published.text}{off}"]


def grid(experiment: Experiment, found: Sequence[Entry], style: Style) -> pd.DataFrame:
    """Lay entries out as texts in the style of a format: rows by columns and metrics.

    In the long layout there is a line for each cell instead, and a column for each metric.
    """
    text, metrics = style.text, list(experiment.metrics)
    names = [text(heading(metric, shown, found)) for metric, shown in experiment.metrics.items()]
    places = [(row, column) for row in experiment.rows for column in experiment.columns]
    long = experiment.layout is Layout.long
    if long:
        worth = {(e.row, e.column) for e in found if e.published or e.cell.state is not State.none}
        places = [place for place in places if place in worth]
        table = pd.DataFrame(index=[text(f"{row}, {column}") for row, column in places])
        table[names] = ""
    else:
        columns = [(text(column), name) for column in experiment.columns for name in names]
        table = pd.DataFrame(
            "", index=list(map(text, experiment.rows)), columns=pd.MultiIndex.from_tuples(columns)
        )
    rows, groups = list(experiment.rows), list(experiment.columns)
    for entry in found:
        if long and (entry.row, entry.column) not in places:
            continue
        first, *rest = map(text, parts(entry))
        lines = [style.bold(first) if entry.best else first, *map(style.small, rest)]
        at = metrics.index(entry.metric)
        if long:
            table.iloc[places.index((entry.row, entry.column)), at] = style.lines(lines)
        else:
            beside = groups.index(entry.column) * len(metrics) + at
            table.iloc[rows.index(entry.row), beside] = style.lines(lines)
    return table


def headings_of(table: pd.DataFrame) -> list[list[str]]:
    """Return the lines of the heading of each column of a grid."""
    return [
        list(map(str, each)) if isinstance(each, tuple) else [str(each)] for each in table.columns
    ]


def heading(metric: str, shown: Shown, found: Sequence[Entry]) -> str:
    """Name a metric, with an arrow to its better end where that is known."""
    name = shown.name or metric
    for entry in found:
        if entry.metric == metric and metric in entry.cell.higher_is_better:
            return f"{name} {'↑' if entry.cell.higher_is_better[metric] else '↓'}"
    return name


def order(found: Sequence[Entry]) -> list[str]:
    """Say, for each column, how far our order of the rows agrees with the published one."""
    lines = []
    for column, metric in dict.fromkeys((each.column, each.metric) for each in found):
        both = [
            (each.value, each.published.value)
            for each in found
            if (each.column, each.metric) == (column, metric)
            and each.published
            and each.published.value is not None
            and not math.isnan(each.value)
        ]
        if len(both) > 2 and all(np.ptp(side) > 0 for side in zip(*both, strict=True)):
            tau = kendalltau(*zip(*both, strict=True)).statistic
            lines.append(f"{column}, {metric}: Kendall's tau {tau:+.2f} over {len(both)} rows")
    return lines

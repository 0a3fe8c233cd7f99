"""One group's results: its table and its charts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from benchmark.comparisons import values_of
from benchmark.contenders import Contender
from benchmark.figure_parts import CURVES
from benchmark.layout import NOTHING
from benchmark.paired import ranks
from benchmark.rankings import correlations
from benchmark.report import charts
from benchmark.report.sources import Contestant, Group
from benchmark.stats import Band, Mean, mean_band

POINTS = 51  # of a drawn mean curve
_NONE = Mean(math.nan, math.nan, math.nan, 0)


class Entry(NamedTuple):
    """What stands in one cell of a table that can be sorted."""

    text: str
    value: float | str  # to sort by; empty where there is none
    small: str = ""
    bar: Markup = Markup()


def rows(group: Group) -> list[dict[str, Any]]:
    """Lay out the table: for each run its cells, each a text, a number to sort by, and a bar."""
    columns = {
        name: [each.means.get(name, _NONE) for each in group.contestants] for name in group.metrics
    }
    cells = [_column(means) for means in columns.values()]
    seconds = [each.means["seconds"].value for each in group.contestants]
    cells.append([Entry(f"{value:.3g}", _number(value)) for value in seconds])
    cells.append([_passes(each) for each in group.contestants])
    counts = [each.means["forward_passes"].n for each in group.contestants]
    cells.append([Entry(str(count), count) for count in counts])
    return [
        {"label": each.run.label, "about": each.run.outcome.about, "cells": line}
        for each, *line in zip(group.contestants, *cells, strict=True)
    ]


def _column(means: Sequence[Mean]) -> list[Entry]:
    ends = [end for mean in means for end in mean[:3] if not math.isnan(end)] or [0.0]
    most = max(mean.n for mean in means)
    cells = []
    for mean in means:
        known = not math.isnan(mean.value)
        interval = "" if math.isnan(mean.low) else f"[{mean.low:.4f}, {mean.high:.4f}]"
        few = f" n = {mean.n}" if known and mean.n != most else ""
        text = f"{mean.value:.4f}" if known else NOTHING
        bar = charts.bar(mean, min(ends), max(ends))
        cells.append(Entry(text, _number(mean.value), f"{interval}{few}".strip(), bar))
    return cells


def _passes(contestant: Contestant) -> Entry:
    forward, backward = (contestant.means[f"{way}_passes"].value for way in ("forward", "backward"))
    return Entry(f"{forward:.0f} + {backward:.0f}", _number(forward + backward))


def _number(value: float) -> float | str:
    return "" if math.isnan(value) else value


def heading(group: Group, metric: str) -> str:
    """Name a metric, with an arrow to its better end."""
    return f"{metric} {'↑' if group.metrics[metric] else '↓'}"


def mean_curves(group: Group) -> Iterator[tuple[str, Markup]]:
    """Draw the mean curves of each metric that has any, with its name."""
    for metric in CURVES:
        bands, fractions = _bands(group, metric)
        if fractions is not None:
            yield heading(group, metric), charts.curves(bands, fractions, metric)


def _bands(group: Group, metric: str) -> tuple[list[Band | None], NDArray[np.float32] | None]:
    """Average each run's curves at up to ``POINTS`` of their points."""
    found: list[Band | None] = []
    fractions = None
    for each in group.contestants:
        if not has_curves(each, metric, group):
            found.append(None)
            continue
        scores, every = each.run.curve(metric, group.shared.ids)
        chosen = np.unique(np.linspace(0, len(every) - 1, POINTS).round().astype(int))
        fractions = every[chosen]
        found.append(mean_band(scores[:, chosen]))
    return found, fractions


def has_curves(contestant: Contestant, metric: str, group: Group) -> bool:
    """Whether a run has stored curves of a metric."""
    if metric not in contestant.run.outcome.stages:
        return False
    arrays = contestant.run.rows(metric)[group.shared.ids[0]]["arrays"]
    return {"scores", "fractions"} <= set(arrays)


def against_passes(group: Group) -> Iterator[tuple[str, Markup]]:
    """Draw each metric's means over passes per image, with its name."""
    passes = [each.passes for each in group.contestants]
    for metric in group.metrics:
        means = [each.means.get(metric, _NONE) for each in group.contestants]
        title = heading(group, metric)
        yield title, charts.against_passes(passes, means, metric, title)


def rank_plots(group: Group) -> Iterator[tuple[str, Markup]]:
    """Draw the runs' ranks in each metric, with its name."""
    labels = [each.run.label for each in group.contestants]
    for metric, higher in group.metrics.items():
        own = [at for at, each in enumerate(group.contestants) if metric in each.images]
        tables = [group.contestants[at].images for at in own]
        values, classes = values_of(tables, metric, group.contestants[0].mean)
        found = ranks(values, higher_is_better=higher, classes=classes)
        places = {at: rank for at, rank in zip(own, found, strict=True) if rank.n}
        if places:
            n = next(iter(places.values())).n
            yield f"{metric}, n = {n}", charts.rank_plot(labels, places, f"rank by {metric}")


def contenders(group: Group) -> list[Contender]:
    """Take the runs of a group as those that may be compared, under its facts."""
    facts = " · ".join(f"{key} {value}" for key, value in group.facts.items())
    found = []
    for each in group.contestants:
        metrics = {name: up for name, up in group.metrics.items() if name in each.images}
        found.append(Contender(facts, each.run.label, each.images, metrics, each.run.label, 0))
    return found


def correlation_chart(group: Group) -> Iterator[tuple[str, Markup]]:
    """Draw how the metrics correlate over image x method, all turned so that higher is better."""
    for found in correlations(contenders(group)).values():
        names = [str(each) for each in found.columns]
        yield "Spearman over image × method", charts.matrix(names, found.to_numpy(), "correlations")

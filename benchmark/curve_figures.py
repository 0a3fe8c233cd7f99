"""Deletion and insertion curves of several runs, averaged over the images that they share."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from benchmark.figure_parts import (
    COLOUR_OF,
    COLOURS,
    CURVES,
    Run,
    Shared,
    caption,
    draw_axes,
)
from benchmark.print_layout import Width, in_print, is_narrow, legend_below, two_panels
from benchmark.stats import Mean, mean_band, mean_interval


def curve_figure(common: Shared, width: Width | None = None) -> Figure:
    """Draw each run's mean curves with pointwise 95 % bootstrap bands, and the areas in the legend.

    Raises:
        BadInput: a run has no curves.
    """
    figure, panels = two_panels(width, 3.1)
    styles = [(colour, line) for line in ("-", "--", ":") for colour in COLOURS]
    labels = [run.label for run in common.runs]
    for panel, metric, across in zip(panels, CURVES, ("removed", "shown"), strict=True):
        for number, run in enumerate(common.runs):
            colour, line = styles[number % len(styles)]
            scores, fractions = run.curve(metric, common.ids)
            band = mean_band(scores)
            panel.plot(fractions, band.value, line, color=colour, linewidth=1.3)
            panel.fill_between(fractions, band.low, band.high, color=colour, alpha=0.18, lw=0)
            rows = run.rows(metric)
            area = mean_interval([_number(rows[each]["value"]) for each in common.ids])
            labels[number] += f" · {metric} {_with_interval(area)}"
        draw_axes(panel, f"cells {across}, most important first")
        arrow = "↑" if common.runs[0].outcome.higher_is_better[metric] else "↓"
        panel.set_title(f"{metric} {arrow}", fontsize=8)
    legend_below(figure, panels[0].lines, labels)
    for panel in panels if is_narrow(width) else panels[:1]:
        panel.set_ylabel("score of the target", fontsize=7)
    notes = f"n = {len(common.ids)} images · mean, 95 % bootstrap band at each point; area [95 %]"
    caption(figure, f"{common.facts} · {notes}{common.mixed}")
    return in_print(figure, width, 2.8)


def image_curves(run: Run, image_id: str) -> Figure:
    """Draw one image's deletion and insertion curves into one small panel.

    Raises:
        BadInput: the run has no curves.
    """
    figure = Figure(figsize=(2.8, 2.2), layout="constrained")
    panel = figure.subplots()
    for metric in CURVES:
        scores, fractions = run.curve(metric, [image_id])
        area = _number(run.rows(metric)[image_id]["value"])
        panel.plot(fractions, scores[0], color=COLOUR_OF[metric], label=f"{metric} {area:.3f}")
    draw_axes(panel, "cells removed or shown, most important first")
    panel.legend(fontsize=6.5)
    return figure


def _with_interval(mean: Mean) -> str:
    interval = "" if np.isnan(mean.low) else f" [{mean.low:.3f}, {mean.high:.3f}]"
    return f"{mean.value:.3f}{interval}"


def _number(value: float | None) -> float:
    return np.nan if value is None else value

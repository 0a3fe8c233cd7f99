"""The objective of an optimiser of masks, over its iterations and over its passes."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from benchmark.figure_parts import COLOURS, caption
from benchmark.stats import mean_band


def convergence_figure(table: pd.DataFrame, curves: pd.DataFrame, title: str) -> Figure:
    """Draw the mean objective with its pointwise 95 % bootstrap band.

    Args:
        table: a line per image and iteration, as ``benchmark.convergence.trace`` makes it.
        curves: its objectives, a line per image and a column per iteration.
        title: what they are of.
    """
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    band = mean_band(curves.to_numpy())
    costs = table.groupby("iteration")[["forward_passes", "backward_passes"]].mean().sum(axis=1)
    for panel, across, name in zip(
        panels,
        (curves.columns, costs),
        ("iterations", "passes per image, forward + backward"),
        strict=True,
    ):
        mark = "o" if len(curves.columns) < 60 else ""
        panel.plot(across, band.value, color=COLOURS[0], marker=mark, markersize=3, linewidth=1.3)
        panel.fill_between(across, band.low, band.high, color=COLOURS[0], alpha=0.18, lw=0)
        panel.set_xlabel(name, fontsize=7)
        panel.tick_params(labelsize=7)
        panel.grid(alpha=0.3, linewidth=0.5)
    panels[0].set_ylabel("objective ↓", fontsize=7)
    notes = f"n = {len(curves)} images · mean, 95 % bootstrap band at each point"
    caption(figure, f"{title} · {notes}")
    return figure

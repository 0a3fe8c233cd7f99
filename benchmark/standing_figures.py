"""A leaderboard as a figure: each metric over passes, with the Pareto front."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmark.cost_figures import scale_costs
from benchmark.figure_parts import COLOURS, caption
from benchmark.label_places import place_labels
from benchmark.standings import Board, Standing

KINDS = {"on the Pareto front": COLOURS[0], "not on the front": "0.35", "control": COLOURS[1]}


def standing_figure(boards: Sequence[Board]) -> Figure:
    """Draw boards, the panels of one after those of the other: a metric each, over passes.

    The line is the best mean that so many passes have come to; what needs none stands at 0.
    """
    panels = [(board, metric) for board in boards for metric in board.metrics]
    wide = 1 if len(panels) == 1 else 2
    high = math.ceil(len(panels) / wide)
    most = max(len(board.standings) for board in boards)
    size = (6.4 * wide, high * (3.6 + 0.05 * most) + 0.6)
    figure = Figure(figsize=size, dpi=110, layout="constrained")
    axes = figure.subplots(high, wide, squeeze=False).flatten()
    for panel in axes[len(panels) :]:
        panel.set_axis_off()
    for panel, (board, metric) in zip(axes, panels, strict=False):
        _draw(panel, board, metric)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=7, ncols=4, loc="outside lower center", frameon=False)
    caption(figure, " | ".join(f"{each.title}: {'; '.join(each.facts)}" for each in boards))
    figure.draw_without_rendering()
    for panel, (board, metric) in zip(axes, panels, strict=False):
        _name(panel, board, metric)
    return figure


def _shown(board: Board, metric: str) -> list[Standing]:
    """Take the runs that have a mean, those on the front first: they are named first."""
    known = [each for each in board.standings if metric in each.means and each.means[metric].n]
    return sorted(known, key=lambda each: (metric not in each.front, each.passes))


def _kind(each: Standing, metric: str) -> str:
    leads, others, control = KINDS
    return control if each.control else leads if metric in each.front else others


def _draw(panel: Axes, board: Board, metric: str) -> None:
    shown = _shown(board, metric)
    for kind, colour in KINDS.items():
        own = [each for each in shown if _kind(each, metric) == kind]
        means = np.array([each.means[metric][:3] for each in own]).reshape(-1, 3)
        panel.errorbar(
            [each.passes for each in own],
            means[:, 0],
            yerr=np.abs(means[:, 1:] - means[:, :1]).T,
            fmt="s" if kind == "control" else "o",
            color=colour,
            markersize=4,
            elinewidth=0.7,
            capsize=1.5,
            label=kind,
        )
    panel.margins(y=0.08)
    scale_costs(panel, [each.passes for each in shown] or [0.0])
    right = panel.get_xlim()[1]
    corners = _front(shown, metric, right)
    panel.plot(*corners.T, color=COLOURS[0], linewidth=1, alpha=0.6, label="the front")
    panel.set_xlim(right=right)
    panel.set_ylabel(f"{metric} {'↑' if board.metrics[metric] else '↓'}", fontsize=8)
    panel.set_xlabel("passes per image, forward + backward", fontsize=7)
    panel.set_title(f"{board.title}, mean and 95 % interval", fontsize=8)
    panel.tick_params(labelsize=7)
    panel.grid(alpha=0.3, linewidth=0.5)


def _front(shown: Sequence[Standing], metric: str, right: float) -> NDArray[np.float64]:
    """Return the corners [C, 2] of the best mean that so many passes have come to."""
    ahead = [(each.passes, each.means[metric].value) for each in shown if metric in each.front]
    if not ahead:
        return np.empty((0, 2))
    across, up = np.array([*ahead, (right, ahead[-1][1])]).T
    corners: NDArray[np.float64] = np.c_[np.repeat(across, 2)[1:-1], np.repeat(up, 2)[:-2]]
    return corners


def _name(panel: Axes, board: Board, metric: str) -> None:
    shown = _shown(board, metric)
    means = np.array([each.means[metric][:3] for each in shown]).reshape(-1, 3)
    passes = np.array([each.passes for each in shown])
    bars = np.stack([np.c_[passes, means[:, 1]], np.c_[passes, means[:, 2]]], axis=1)
    corners = _front(shown, metric, panel.get_xlim()[1])
    steps = np.stack([corners[:-1], corners[1:]], axis=1)
    points, lines = np.c_[passes, means[:, 0]], np.concatenate([bars, steps])
    place_labels(panel, _labels(board, shown), points, lines, 7 if len(shown) <= 20 else 5.5)


def _labels(board: Board, shown: Sequence[Standing]) -> list[str]:
    """Leave out of names the resolution, which the title has, and how it was come by."""
    names = [each.name.replace(f" at {board.title}", "", 1) for each in shown]
    short = [re.sub(r" \(resize=\w+\)", "", name) for name in names]
    return [
        brief if short.count(brief) == 1 else name for brief, name in zip(short, names, strict=True)
    ]

"""Names beside points: each where it covers as little as can be of what is there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

DISTANCES = (5, 9, 15, 22, 30, 40, 52, 66, 82, 100)  # of a name from its point, in typographic pts
DIRECTIONS = 16
POINT = 4.0  # half the side of what a point takes, likewise
FAR = 12  # from here on a line leads from the point to its name
# What it costs, per square pt, to cover a name, a point, and a line; and a pt of distance.
NAME, MARK, LINE, AWAY = 10.0, 4.0, 0.6, 0.5


def place_labels(
    panel: Axes,
    labels: Sequence[str],
    points: NDArray[np.float64],
    segments: NDArray[np.float64],
    size: float,
) -> None:
    """Write a name beside each point of a panel, in the order given: the first choose first.

    The panel has to have its final limits, and its figure its final layout but for the names.

    Args:
        panel: where the points are.
        labels: [K].
        points: [K, 2] in the panel's data.
        segments: [S, 2, 2], both ends of lines that are upright or level; NaN is none.
        size: of the letters.
    """
    unit = panel.figure.dpi / 72  # pixels of a pt
    centres = panel.transData.transform(points) / unit  # [K, 2]
    inside = np.array(panel.get_window_extent().extents) / unit  # left, bottom, right, top
    taken = [np.array([*(each - POINT), *(each + POINT)]) for each in centres]
    weights = [MARK] * len(taken)
    for ends in segments[~np.isnan(segments).any((1, 2))]:
        first, last = panel.transData.transform(ends) / unit
        taken.append(np.array([*np.minimum(first, last) - 1, *np.maximum(first, last) + 1]))
        weights.append(LINE)
    for label, centre, point in zip(labels, centres, points, strict=True):
        text = panel.annotate(label, point, (0, 0), textcoords="offset points", fontsize=size)
        extent = text.get_window_extent()
        span = np.array([extent.width, extent.height]) / unit
        boxes, away = _candidates(centre, span)
        cost = _overlap(boxes, np.stack(taken)) @ np.array(weights) + AWAY * away
        outside = (boxes[:, :2] < inside[:2]).any(1) | (boxes[:, 2:] > inside[2:]).any(1)
        best = int(np.argmin(np.where(outside, cost + 1e6, cost)))
        box = boxes[best]
        text.set_position(tuple(box[:2] - centre))
        text.set_in_layout(False)
        taken.append(box)
        weights.append(NAME)
        if away[best] >= FAR:
            nearest = np.clip(centre, box[:2], box[2:])
            panel.annotate(
                "",
                point,
                xytext=tuple(nearest - centre),
                textcoords="offset points",
                arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": "0.4", "shrinkB": 2},
            ).set_in_layout(False)


def _candidates(
    centre: NDArray[np.float64], span: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return boxes [C, 4] of a name around its point, and how far off each is [C]."""
    angles = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS  # the first is to the right
    way = np.c_[np.cos(angles), np.sin(angles)]
    distances = np.repeat(DISTANCES, DIRECTIONS)
    middle = np.tile(way, (len(DISTANCES), 1)) * (distances[:, None] + span / 2) + centre
    return np.c_[middle - span / 2, middle + span / 2], distances.astype(float)


def _overlap(boxes: NDArray[np.float64], taken: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the areas [C, T] that boxes [C, 4] share with others [T, 4]."""
    low = np.maximum(boxes[:, None, :2], taken[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], taken[None, :, 2:])
    areas: NDArray[np.float64] = np.clip(high - low, 0, None).prod(-1)
    return areas

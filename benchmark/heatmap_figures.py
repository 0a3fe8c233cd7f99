"""Heatmaps of several runs over the same images: as a grid, or as a contact sheet."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmark.composites import composites
from benchmark.errors import BadInput
from benchmark.figure_parts import (
    CURVES,
    INCHES,
    Run,
    Shared,
    caption,
    heading,
    overlay,
    without_ticks,
)


def heatmap_grid(common: Shared, images: int, deleted: float | None = None) -> Figure:
    """Draw images x runs: the image, then each run's heatmap over it.

    Each heatmap is scaled on its own; below it stand its deletion and insertion scores where the
    run has them. With ``deleted``, a percentage, each has below it the image without the cells
    that it puts first, and the score that is left.

    Raises:
        BadInput: the data has changed or is no longer where it was; a run has no deletion curve.
    """
    ids = common.ids[:images]
    lines = 1 if deleted is None else 2
    width, height = len(common.runs) + 1, len(ids) * lines
    figure = Figure(figsize=(INCHES * width, (INCHES + 0.25) * height + 0.3), layout="constrained")
    panels = figure.subplots(height, width, squeeze=False)
    for number, image_id in enumerate(ids):
        first = panels[number * lines]
        picture = common.picture(image_id)
        _draw_image(first[0], common, image_id, picture)
        for panel, run in zip(first[1:], common.runs, strict=True):
            _draw_heatmap(panel, common, run, image_id, picture)
        if deleted is not None:
            second = panels[number * lines + 1]
            second[0].set_axis_off()
            for panel, run in zip(second[1:], common.runs, strict=True):
                _draw_deleted(panel, common, run, image_id, deleted / 100)
    for panel, title in zip(panels[0], ["image", *(run.label for run in common.runs)], strict=True):
        panel.set_title(heading(title), fontsize=7)
    caption(figure, f"{common.facts} · {len(ids)} of {len(common.ids)} images")
    without_ticks(panels)
    return figure


def contact_sheet(common: Shared, images: int, blocks: int) -> Figure:
    """Draw runs x images, the runs one below the other in so many blocks side by side.

    Raises:
        BadInput: the data has changed or is no longer where it was.
    """
    pictures = {image_id: common.picture(image_id) for image_id in common.ids[:images]}
    columns, height = len(pictures), 1 + -(-len(common.runs) // blocks)
    room = 0.2 if columns > 1 else 0.7  # inches for what stands below and above a panel
    size = (INCHES * 0.75 * columns * blocks, (INCHES * 0.75 + room) * height + 0.3)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(height, columns * blocks, squeeze=False)
    for block in range(blocks):
        own = panels[:, block * columns : (block + 1) * columns]
        for panel, (image_id, picture) in zip(own[0], pictures.items(), strict=True):
            _draw_image(panel, common, image_id, picture)
        runs = common.runs[block * (height - 1) : (block + 1) * (height - 1)]
        for line, run in zip(own[1:], runs, strict=False):
            for panel, (image_id, picture) in zip(line, pictures.items(), strict=True):
                _draw_heatmap(panel, common, run, image_id, picture)
            if columns > 1:
                line[0].set_ylabel(heading(run.label), fontsize=7)
            else:  # a label beside a single panel would be longer than it
                line[0].set_title(heading(run.label), fontsize=5.5)
        for line in own[1 + len(runs) :]:
            for panel in line:
                panel.set_axis_off()
    caption(figure, f"{common.facts} · {columns} of {len(common.ids)} images")
    without_ticks(panels)
    return figure


def _draw_image(panel: Axes, common: Shared, image_id: str, picture: NDArray[np.float32]) -> None:
    panel.imshow(picture)
    if common.same_targets:
        panel.set_xlabel(_target(common, common.runs[0], image_id), fontsize=7)


def _draw_heatmap(
    panel: Axes, common: Shared, run: Run, image_id: str, picture: NDArray[np.float32]
) -> None:
    heatmap = run.heatmap(image_id)
    panel.imshow(overlay(picture, heatmap))
    scores = "  ".join(
        f"{metric[:3]} {run.rows(metric)[image_id]['value']:.3f}"
        for metric in CURVES
        if metric in run.outcome.stages
    )
    text = scores if common.same_targets else f"{_target(common, run, image_id)}\n{scores}"
    panel.set_xlabel(text, fontsize=6.5)


def _draw_deleted(panel: Axes, common: Shared, run: Run, image_id: str, fraction: float) -> None:
    if "deletion" not in run.outcome.stages:
        raise BadInput(f"{run.folder.path} has no deletion curve to show an image of")
    made = composites(common, run, "deletion", image_id)
    point = made.nearest(fraction)
    panel.imshow(made.picture(point))
    text = f"{made.fractions[point]:.1%} removed: {made.scores[point]:.3f}"
    panel.set_xlabel(text, fontsize=6.5)


def _target(common: Shared, run: Run, image_id: str) -> str:
    row = run.rows()[image_id]
    return f"{common.class_name(row['target'])} {row['score_on_image']:.2f}"

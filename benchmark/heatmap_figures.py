"""Heatmaps of several runs over the same images: as a grid, or as a contact sheet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmark.composites import composites
from benchmark.errors import BadInput
from benchmark.figure_parts import (
    COLOUR_OF,
    CURVES,
    INCHES,
    UNCHANGED,
    Run,
    Shared,
    caption,
    draw_axes,
    heading,
    overlay,
    without_ticks,
)
from benchmark.print_layout import Width, in_print, side_of

LABEL = 0.35  # inches that a run's name beside its heatmaps takes in print


def heatmap_grid(
    common: Shared,
    images: int,
    deleted: float | None = None,
    curves: bool = False,
    width: Width | None = None,
) -> Figure:
    """Draw images x runs: the image, then each run's heatmap over it.

    Where runs saw different versions of an image, as under an attack, each version stands before
    the runs that saw it. Each heatmap is scaled on its own; below it stand its deletion and
    insertion scores where the run has them. With ``deleted``, a percentage, each has below it the
    image without the cells that it puts first, and the score that is left; with ``curves`` its
    deletion and insertion curves.

    Raises:
        BadInput: the data has changed or is no longer where it was; a run has no such curve.
    """
    ids = common.ids[:images]
    lines = 2 if curves or deleted is not None else 1
    places = _places(common.runs)
    columns, height = len(places), len(ids) * lines
    least = 1.0 if curves else 0.6
    fewer = f"draw fewer runs than {len(common.runs)}, or a --sheet"
    side = side_of(width, columns, INCHES, least, fewer)
    room = 0.25 if side > 1.1 else 0.5  # inches for what stands below a panel
    above = 0.3 if width is None else 0.8  # and for the headings, which are broken in print
    figure = Figure(
        figsize=(
            INCHES * columns if width is None else width.value,
            (side + room) * height + above,
        ),
        layout="constrained",
    )
    panels = figure.subplots(height, columns, squeeze=False)
    for number, image_id in enumerate(ids):
        own = panels[number * lines : (number + 1) * lines]
        for column, (run, is_image) in zip(own.T, places, strict=True):
            picture = common.picture(run, image_id)
            without_ticks(column[:1])
            if is_image:
                _draw_image(column[0], common, run, image_id, picture)
                for panel in column[1:]:
                    panel.set_axis_off()
                continue
            _draw_heatmap(column[0], common, run, image_id, picture)
            if deleted is not None:
                without_ticks(column[1:])
                _draw_deleted(column[1], common, run, image_id, deleted / 100)
            elif curves:
                _draw_curves(column[1], run, image_id)
    for panel, (run, is_image) in zip(panels[0], places, strict=True):
        panel.set_title(heading(_image_title(common, run) if is_image else run.label), fontsize=7)
    caption(figure, f"{common.facts} · {len(ids)} of {len(common.ids)} images")
    return in_print(figure, width, side)


def _places(runs: Sequence[Run]) -> list[tuple[Run, bool]]:
    """Give each run a column, and before it one for the image unless it is the last one's."""
    places: list[tuple[Run, bool]] = []
    for run in runs:
        if not places or places[-1][0].images != run.images:
            places.append((run, True))
        places.append((run, False))
    return places


def _image_title(common: Shared, run: Run) -> str:
    several = len({each.images for each in common.runs}) > 1
    return f"image · {run.outcome.caption.get('attack', UNCHANGED)}" if several else "image"


def contact_sheet(common: Shared, images: int, blocks: int, width: Width | None = None) -> Figure:
    """Draw runs x images, the runs one below the other in so many blocks side by side.

    Raises:
        BadInput: the data has changed or is no longer where it was; the runs saw different
            versions of the images.
    """
    if len({run.images for run in common.runs}) > 1:
        raise BadInput("some of the runs saw attacked images: draw these on a sheet of their own")
    seen_by = common.runs[0]
    pictures = {each: common.picture(seen_by, each) for each in common.ids[:images]}
    columns, height = len(pictures), 1 + -(-len(common.runs) // blocks)
    room = 0.2 if columns > 1 else 0.7  # inches for what stands below and above a panel
    across = columns * blocks
    side = side_of(width, across, INCHES * 0.75, 0.6, "ask for fewer --images or blocks")
    if width is not None and columns > 1:
        side -= LABEL / columns  # beside the images stand the runs
        room = 0.4
    size = (side * across if width is None else width.value, (side + room) * height + 0.3)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(height, columns * blocks, squeeze=False)
    for block in range(blocks):
        own = panels[:, block * columns : (block + 1) * columns]
        for panel, (image_id, picture) in zip(own[0], pictures.items(), strict=True):
            _draw_image(panel, common, seen_by, image_id, picture)
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
    return in_print(figure, width, side)


def _draw_image(
    panel: Axes, common: Shared, run: Run, image_id: str, picture: NDArray[np.float32]
) -> None:
    panel.imshow(picture)
    if common.same_targets:
        panel.set_xlabel(_target(common, run, image_id), fontsize=7)


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


def _draw_curves(panel: Axes, run: Run, image_id: str) -> None:
    for metric in CURVES:
        if metric not in run.outcome.stages:
            raise BadInput(f"{run.folder.path} has no {metric} curve")
        scores, fractions = run.curve(metric, [image_id])
        panel.plot(fractions, scores[0], color=COLOUR_OF[metric], label=metric, linewidth=1.2)
    draw_axes(panel, "removed or shown")
    panel.legend(fontsize=6, loc="best", framealpha=0.7, handlelength=1)


def _target(common: Shared, run: Run, image_id: str) -> str:
    row = run.rows()[image_id]
    return f"{common.class_name(row['target'])} {row['score_on_image']:.2f}"

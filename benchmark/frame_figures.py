"""How deletion and insertion go on one image: a strip of composites, or a film of all of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmark.composites import composites
from benchmark.errors import BadInput
from benchmark.figure_parts import (
    COLOUR_OF,
    CURVES,
    INCHES,
    Run,
    Shared,
    caption,
    draw_axes,
    overlay,
    without_ticks,
)
from benchmark.print_layout import MARGIN, Width, in_print, is_narrow, side_of

LEAST = 0.7  # inches of the smallest composite whose texts can be read
DONE = {"deletion": "removed", "insertion": "shown"}


def frame_strip(common: Shared, image_id: str, frames: int, width: Width | None = None) -> Figure:
    """Draw composites of an image in two rows, deletion and insertion, with the scores below.

    Before them stand the image and its heatmap, after them the two curves. The composites lie
    closer together at the start, where most happens.

    Raises:
        BadInput: the image has changed or is no longer where it was, or is not in the run.
    """
    run = _run_with(common, image_id)
    narrow = is_narrow(width)
    beside = 1.0 if narrow else 2.6  # panels' widths that image, heatmap and curves take
    fewer = f"give --frames {int((width.value - MARGIN) / LEAST - beside)}" if width else ""
    side = side_of(width, frames + beside, INCHES * 0.65, LEAST, fewer)
    inches = width.value if width else side * (frames + beside)
    tall = side * 2 + (1.1 if width is None else 3.0 if narrow else 1.4)
    figure = Figure(figsize=(inches, tall), layout="constrained")
    if narrow:
        grid = figure.add_gridspec(3, frames + 1, height_ratios=[1, 1, 1.8 / side])
    else:
        grid = figure.add_gridspec(2, frames + 2, width_ratios=[1] * (frames + 1) + [1.6])
    panels = np.array(
        [[figure.add_subplot(grid[row, column]) for column in range(frames + 1)] for row in (0, 1)]
    )
    picture = common.picture(run, image_id)
    heatmap = run.heatmap(image_id)
    for panel, shown, name in zip(
        panels[:, 0], (picture, overlay(picture, heatmap)), ("image", "heatmap"), strict=True
    ):
        panel.imshow(shown)
        panel.set_title(name, fontsize=7)
    curves = figure.add_subplot(grid[2, :] if narrow else grid[:, -1])
    for line, metric in zip(panels, CURVES, strict=True):
        made = composites(common, run, metric, image_id)
        points = chosen_points(made.fractions, frames)
        for panel, point in zip(line[1:], points, strict=False):
            panel.imshow(made.picture(point))
            panel.set_title(f"{made.fractions[point]:.1%} {DONE[metric]}", fontsize=7)
            panel.set_xlabel(f"{made.scores[point]:.3f}", fontsize=7)
        for panel in line[1 + len(points) :]:
            panel.set_axis_off()
        line[1].set_ylabel(metric, fontsize=7, color=COLOUR_OF[metric])
        curves.plot(
            made.fractions,
            made.scores,
            color=COLOUR_OF[metric],
            label=_name(run, metric, image_id),
            marker="o",
            markersize=3,
            markevery=points,
        )
    _finish(curves)
    caption(figure, _facts(common, run, image_id))
    without_ticks(panels)
    return in_print(figure, width, side - 0.15, panels.ravel().tolist())


def film(common: Shared, image_id: str) -> Iterator[NDArray[np.uint8]]:
    """Yield a picture [H, W, 3] for every stored step, its composites beside the growing curves.

    H and W are even, as video files ask for. The shorter of the two curves waits at its end.

    Raises:
        BadInput: as ``frame_strip``.
    """
    run = _run_with(common, image_id)
    figure = Figure(figsize=(9.0, 3.4), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3, width_ratios=[1, 1, 1.1])
    made = {metric: composites(common, run, metric, image_id) for metric in CURVES}
    shown, drawn = [], []
    for panel, metric in zip(panels, CURVES, strict=False):
        shown.append(panel.imshow(made[metric].picture(0)))
        panel.set_title(f"100.0% {DONE[metric]}", fontsize=8)
        panel.set_xlabel("score 0.000", fontsize=8)
        label = _name(run, metric, image_id)
        drawn += panels[2].plot([], [], "o-", color=COLOUR_OF[metric], label=label, ms=4)
        drawn[-1].set_markevery([-1])
    _finish(panels[2])
    caption(figure, _facts(common, run, image_id))
    without_ticks(panels[:2])
    canvas.draw()  # type: ignore[no-untyped-call]  # matplotlib's
    figure.set_layout_engine("none")  # or the panels would wander with their texts
    for step in range(max(len(each.scores) for each in made.values())):
        for panel, picture, line, metric in zip(panels, shown, drawn, CURVES, strict=False):
            steps = made[metric]
            point = min(step, len(steps.scores) - 1)
            picture.set_data(steps.picture(point))
            panel.set_title(f"{steps.fractions[point]:.1%} {DONE[metric]}", fontsize=8)
            panel.set_xlabel(f"score {steps.scores[point]:.3f}", fontsize=8)
            line.set_data(steps.fractions[: point + 1], steps.scores[: point + 1])
        canvas.draw()  # type: ignore[no-untyped-call]  # matplotlib's
        pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]  # matplotlib's
        yield pixels[..., :3].copy()


def chosen_points(fractions: NDArray[np.float32], frames: int) -> list[int]:
    """Choose so many points of a curve, or all if there are fewer: both ends, denser at the start.

    The fractions wanted are the squares of evenly spaced numbers.
    """
    if len(fractions) <= frames:
        return list(range(len(fractions)))
    wanted = np.linspace(0, 1, frames) ** 2
    points: list[int] = []
    for number, fraction in enumerate(wanted):
        first = points[-1] + 1 if points else 0
        last = len(fractions) - (frames - number)  # leaves a point for each that follows
        nearest = int(np.abs(fractions - fraction).argmin())
        points.append(min(max(nearest, first), last))
    return points


def _run_with(common: Shared, image_id: str) -> Run:
    (run,) = common.runs
    if image_id not in common.ids:
        first = ", ".join(common.ids[:3])
        raise BadInput(f"{run.folder.path} has no image {image_id}: it has {first}, ...")
    return run


def _name(run: Run, metric: str, image_id: str) -> str:
    return f"{metric} {run.rows(metric)[image_id]['value']:.3f}"


def _finish(curves: Axes) -> None:
    draw_axes(curves, "cells removed or shown")
    curves.set_ylabel("score of the target", fontsize=7)
    curves.legend(fontsize=6.5, loc="center right", handlelength=1)


def _facts(common: Shared, run: Run, image_id: str) -> str:
    target = common.class_name(run.rows()[image_id]["target"])
    return f"{run.label}: {image_id}, class {target} · {common.facts} · n = 1 image"

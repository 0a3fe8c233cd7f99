"""The images on which a run does worst, with what the network itself made of them."""

from __future__ import annotations

import textwrap
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from benchmark.figure_parts import (
    COLOUR_OF,
    COLOURS,
    CURVES,
    Run,
    Shared,
    caption,
    draw_axes,
    overlay,
    without_ticks,
)
from benchmark.print_layout import Width, in_print
from benchmark.summary import per_image

SIDE = 1.5  # inches of one panel
COLUMNS = 6  # images side by side; more go below
LETTERS = 26  # in a line below an image


def failure_figure(common: Shared, images: int, width: Width | None = None) -> Figure:
    """Draw the worst images of a run, worst first by insertion minus deletion.

    Below each image stand the class that was explained with its score, the predicted class where it
    is another, the label, and whether the prediction is correct: explanations are known to fail on
    images that the network is unsure or wrong about. The caption says how sure and how often right
    it is here, and on all images.

    Raises:
        BadInput: the data has changed or is no longer where it was, or there are no curves.
    """
    (run,) = common.runs
    table = worst_first(run)
    worst = table.head(images)
    across = COLUMNS if width is None else int(width.value / SIDE)
    columns, blocks = min(across, len(worst)), -(-len(worst) // across)
    figure = Figure(
        figsize=(
            SIDE * max(columns, 3) + 0.3 if width is None else width.value,
            (SIDE * 2.8 + 1.0) * blocks + (0.4 if width is None else 0.6),
        ),
        layout="constrained",
    )
    panels = figure.subplots(3 * blocks, columns, squeeze=False)
    for panel in panels.flat:
        panel.set_axis_off()
    for place, row in enumerate(worst.to_dict("records")):
        top = place // across * 3
        image, heatmap, curves = panels[top : top + 3, place % across]
        for panel in (image, heatmap, curves):
            panel.set_axis_on()
        picture = common.picture(run, row["id"])
        image.imshow(picture)
        image.set_title(f"{place + 1}. ins − del {row['difference']:.3f}", fontsize=7)
        right = row["correct"] or row["label"] < 0
        image.set_xlabel(
            _verdict(common, row), fontsize=6.5, color="black" if right else COLOURS[1]
        )
        own = run.heatmap(row["id"])
        heatmap.imshow(overlay(picture, own))
        for metric in CURVES:
            scores, fractions = run.curve(metric, [row["id"]])
            label = f"{metric[:3]} {row[metric]:.3f}"
            curves.plot(fractions, scores[0], color=COLOUR_OF[metric], label=label, linewidth=1.2)
        draw_axes(curves, "removed or shown")
        curves.set_xticks([0, 0.5, 1])
        curves.set_box_aspect(0.8)
        curves.tick_params(labelleft=place % across == 0)
        curves.legend(fontsize=6.5, loc="best", framealpha=0.7, handlelength=1)
        without_ticks(panels[top : top + 2, place % across])
    caption(figure, f"{run.label} · {common.facts} · {_how_sure(worst, table)}")
    return in_print(figure, width, SIDE)


def worst_first(run: Run) -> pd.DataFrame:
    """Sort a run's images as ``per_image`` has them by insertion minus deletion, lowest first.

    The column ``difference`` is added; where it is equal, the run's own order stays.
    """
    table = per_image(run.folder, run.outcome)
    table["difference"] = table["insertion"] - table["deletion"]
    return table.sort_values("difference", kind="stable")


def _verdict(common: Shared, row: Mapping[Hashable, Any]) -> str:
    """Say what was explained, what was predicted and what is right."""
    target, predicted, label = (row[key] for key in ("target", "predicted", "label"))
    explained = "predicted" if target == predicted else "explained"
    lines = [f"{explained} {common.class_name(target)} {row['score_on_image']:.2f}"]
    if target != predicted:
        lines.append(f"predicted {common.class_name(predicted)}")
    if label < 0:
        lines.append("no label")
    else:
        lines += [f"label {common.class_name(label)}", "correct" if row["correct"] else "wrong"]
    return "\n".join(textwrap.fill(line, LETTERS) for line in lines)


def _how_sure(worst: pd.DataFrame, table: pd.DataFrame) -> str:
    """Compare the network's confidence and correctness on the worst images with all of them."""
    parts = []
    for name, some in ((f"these {len(worst)}", worst), (f"all n = {len(table)}", table)):
        labelled = some[some["label"] >= 0]
        right = f", {labelled['correct'].sum()} of {len(labelled)} correct" if len(labelled) else ""
        parts.append(f"{name}: mean score on the image {some['score_on_image'].mean():.2f}{right}")
    return " · ".join(parts)

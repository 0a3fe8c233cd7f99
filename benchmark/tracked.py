"""What stands on Weights & Biases: one cell's results, and an experiment's table."""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np
import pandas as pd
import wandb
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from wandb.plot.custom_chart import CustomChart

from benchmark.claims import CLAIMS
from benchmark.collect import State, runtime_means
from benchmark.curve_figures import curve_figure, image_curves
from benchmark.errors import BadInput, UnreadableImage
from benchmark.experiment import Composed
from benchmark.experiment_table import Table
from benchmark.figure_parts import CURVES, Run, Shared, overlay
from benchmark.formats import TERMINAL, csv, html
from benchmark.heatmap_figures import heatmap_grid
from benchmark.layout import grid, headings_of
from benchmark.records import Outcome, RunFolder
from benchmark.report.sources import Group, of_experiment
from benchmark.stages import Row
from benchmark.stats import mean_band
from benchmark.summary import per_image, summary

LARGE = ("heatmaps", "attacked")  # stages whose numbers are not logged
PICTURES = 4  # images of an experiment's heatmap figure


def log_cell(run: wandb.Run, folder: RunFolder, outcome: Outcome, images: int) -> None:
    """Log the means with intervals, a line per image, some images with heatmaps, and the records.

    The heatmaps' numbers and attacked images stay where they are: they may be gigabytes.
    """
    table = per_image(folder, outcome)
    for name, mean in summary(table, list(outcome.stages)).items():
        run.summary[name] = {"mean": mean.value, "low": mean.low, "high": mean.high, "n": mean.n}
    peaks = [line.get("peak_memory_bytes") for line in folder.timings()]
    if known := [peak for peak in peaks if peak]:
        run.summary["peak_memory_mib"] = max(known) / 2**20
    run.summary["warnings"] = outcome.warnings
    run.log({"per_image": wandb.Table(dataframe=table.drop(columns=["warm_up"]))})
    facts = " · ".join(f"{key} {value}" for key, value in outcome.caption.items())
    one = Run(folder, outcome, outcome.title)
    common = Shared([one], folder.ids(outcome.manifest), facts, same_targets=True)
    curved = [metric for metric in CURVES if metric in outcome.stages]
    for metric in curved:
        run.log({f"{metric}_curve": _mean_curve(common, metric)})
    if images:
        run.log({"examples": _examples(common, table, images, curves=len(curved) == len(CURVES))})
    artifact = wandb.Artifact(f"records-{folder.path.name}", "records", metadata=folder.identity())
    for file in sorted(folder.path.rglob("*")):
        name = str(file.relative_to(folder.path))
        large = file.name.startswith(LARGE) and file.suffix == ".f32"
        if file.is_file() and not large and not name.startswith((".", CLAIMS)):
            artifact.add_file(str(file), name)
    run.log_artifact(artifact)


def log_timing(run: wandb.Run, measured: Row) -> None:
    """Log what a run with ``runtime`` has measured."""
    for name, mean in runtime_means(measured).items():
        run.summary[name] = {"median": mean.value, "fastest": mean.low, "slowest": mean.high}
    table = pd.DataFrame(measured["measured"]).explode("seconds")
    run.log({"measured": wandb.Table(dataframe=table)})


def _mean_curve(common: Shared, metric: str) -> CustomChart:
    scores, fractions = common.runs[0].curve(metric, common.ids)
    band = mean_band(scores)
    lines = [band.value.tolist(), band.low.tolist(), band.high.tolist()]
    return wandb.plot.line_series(
        fractions.tolist(),
        lines,
        keys=["mean", "low", "high"],
        title=f"{metric}: {common.runs[0].label}, n = {len(common.ids)}",
        xname="share of the cells",
    )


def _examples(common: Shared, table: pd.DataFrame, images: int, *, curves: bool) -> wandb.Table:
    """Show the first images with their heatmaps and curves, and their numbers beside them."""
    run = common.runs[0]
    numbers = table.set_index("id").drop(columns=["warm_up", "protocol"])
    pictured = ["image", "heatmap", *(["curves"] if curves else [])]
    lines: list[Iterable[object]] = []
    for image_id in common.ids[:images]:
        picture = common.picture(run, image_id)
        heatmap = run.heatmap(image_id)
        shown = [_image(picture), _image(overlay(picture, heatmap))]
        if curves:
            shown.append(_drawn(image_curves(run, image_id)))
        line = numbers.loc[[image_id]].to_dict("records")[0]
        lines.append([image_id, common.class_name(line["target"]), *shown, *line.values()])
    return wandb.Table(columns=["id", "class", *pictured, *map(str, numbers)], data=lines)


def _image(pixels: NDArray[np.float32]) -> wandb.Image:
    return wandb.Image(Image.fromarray((pixels * 255).round().astype(np.uint8)))


def _drawn(figure: Figure) -> wandb.Image:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return wandb.Image(Image.open(file))


def log_experiment(run: wandb.Run, composed: Composed, table: Table) -> None:
    """Log the table as the paper lays it out, every number of it in a line, and figures."""
    experiment, (cells, found, notes) = composed.experiment, table
    laid = grid(experiment, found, TERMINAL)
    laid.columns = pd.Index([" · ".join(each) for each in headings_of(laid)])
    run.log(
        {
            "table": wandb.Table(dataframe=laid.reset_index(names="row")),
            "cells": wandb.Table(dataframe=pd.read_csv(io.StringIO(csv(experiment, found, notes)))),
            "page": wandb.Html(html(experiment, found, notes)),
        }
    )
    run.summary["caption"] = notes
    left_out = []
    done = any(cell.state is State.done for cell in cells)
    for group in of_experiment(composed, cells).groups if done else []:
        try:
            run.log(_figures(group))
        except (BadInput, UnreadableImage, OSError) as error:  # the table is there without
            left_out.append(f"{group.title}: {error}")
    run.summary["figures_left_out"] = left_out


def _figures(group: Group) -> dict[str, wandb.Image]:
    figures = {f"heatmaps, {group.title}": heatmap_grid(group.shared, PICTURES)}
    if set(CURVES) <= {*group.metrics} and all(
        set(CURVES) <= {*each.run.outcome.stages} for each in group.contestants
    ):
        figures[f"curves, {group.title}"] = curve_figure(group.shared)
    return {name: _drawn(figure) for name, figure in figures.items()}

"""What the cells of an experiment that are not done will cost, in passes and in time."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from rich.table import Table

from benchmark.building import build
from benchmark.cell import Cell
from benchmark.collect import Collected, collect, undone
from benchmark.config import Settings, load
from benchmark.experiment import Composed
from benchmark.interfaces import BadInput, Batch
from benchmark.known_curves import score_all
from benchmark.loading import batch_of
from benchmark.models import ImageClassifier
from benchmark.pass_sizes import load_model
from benchmark.pass_times import PassTime, of_classifier
from benchmark.stage_bars import stage
from benchmark.wording import number_of


class Cost(NamedTuple):
    """What one image of a cell takes: passes to explain it and to score it."""

    forward: float
    backward: float
    scoring: dict[str, float]  # forward passes, by metric
    attack: float  # passes forward and backward, to change the image before


class Left(NamedTuple):
    """How many images a cell has still to explain, and to score by each metric."""

    explain: int
    score: dict[str, int]


def plan(composed: Composed) -> Table:
    """List the cells that are not done with what they will cost; images that are done are free.

    Passes are counted on one of the embedded scenes and its small network, as the method asks for
    them there: those of a line search, and of a method that takes one pass for each channel, depend
    on the network. Times are these passes times the time of one on this device.

    Raises:
        BadInput: a cell cannot be composed, or a model cannot be loaded.
    """
    shown = Table(title=composed.experiment.title, title_justify="left")
    for heading in ("cell", "state", "images", "explain", "score", "hours"):
        shown.add_column(heading, justify="left" if heading in ("cell", "state") else "right")
    missing, wanted = undone(collect(composed))
    rows = list(dict.fromkeys(each.row for each in missing))
    small, batch = scene()
    speeds: dict[str, PassTime] = {}
    total, images = 0.0, 0
    heading = f"counting the passes of {number_of(len(missing), 'cell')}"
    with stage(heading, len(missing)) as progress:
        for number, cell in enumerate(missing):
            if number == 0 or cell.row != missing[number - 1].row:
                progress.say(f"row {rows.index(cell.row) + 1} of {len(rows)}: {cell.row}")
            line, seconds, count = _planned(composed, cell, small, batch, speeds)
            shown.add_row(_name(cell), cell.state.name, *line)
            total, images = total + seconds, images + count
            progress.move(1)
    shown.add_section()
    shown.add_row("all", "", str(images), "", "", f"{total / 3600:.2f}")
    shown.caption = (
        "explain: forward + backward passes per image; score: forward passes per image"
        if missing
        else f"nothing is left to do: {number_of(wanted, 'cell')} done"
    )
    return shown


def _planned(
    composed: Composed,
    cell: Collected,
    small: ImageClassifier,
    batch: Batch,
    speeds: dict[str, PassTime],
) -> tuple[tuple[str, ...], float, int]:
    """Return what a cell's line says, and its seconds and images for the sum.

    ``speeds`` holds what passes of each model take; a model that it lacks is timed and added.
    """
    settings = composed.settings(cell.row, cell.column)
    left = _left(settings)
    count = max(left.explain, *left.score.values(), 0)
    name = str(settings.model)
    if name not in speeds:
        speeds[name] = speed(load_model(settings))
    try:
        cost = count_passes(settings, small, batch)
    except BadInput as error:
        return (str(count), f"not known: {error}", "", ""), 0.0, 0
    forward = left.explain * (cost.forward + cost.attack)
    forward += sum(number * cost.scoring[metric] for metric, number in left.score.items())
    backward = left.explain * (cost.backward + cost.attack)
    seconds = forward * speeds[name].forward + backward * speeds[name].backward
    passes = f"{cost.forward:.0f} + {cost.backward:.0f}"
    scoring = f"{sum(cost.scoring.values()):.0f}"
    return (str(count), passes, scoring, f"{seconds / 3600:.2f}"), seconds, count


def count_passes(settings: Settings, model: ImageClassifier, batch: Batch) -> Cost:
    """Count what a cell's method and metrics ask of a model for a batch of one image.

    Raises:
        BadInput: they cannot work on this model, or a setting is wrong.
    """
    attack = 0.0
    if settings.attack:
        model.begin_count(1)
        build(settings.attack, "attack")(model, batch.images, batch.targets)
        attack = float(model.backward_passes[0])
    explained = explaining(settings, model, batch)
    scored = scoring(settings, model, batch) if settings.runtime is None else {}
    passes = {name: each.passes for name, each in scored.items()}
    return Cost(explained.forward, explained.backward, passes, attack)


class Explained(NamedTuple):
    """What explaining one image takes and leaves."""

    forward: float  # passes
    backward: float
    cells: int  # along a side of the heatmap


class Scored(NamedTuple):
    """What scoring one heatmap by one metric takes and leaves."""

    passes: float  # forward
    numbers: int  # that are kept of its curves


def explaining(settings: Settings, model: ImageClassifier, batch: Batch) -> Explained:
    """Count what a cell's method asks of a model for a batch of one image.

    Raises:
        BadInput: it cannot work on this model, or a setting is wrong.
    """
    model.begin_count(1)
    heatmaps = build(settings.method, "method")(model, batch)
    forward, backward = float(model.forward_passes[0]), float(model.backward_passes[0])
    return Explained(forward, backward, heatmaps.shape[-1])


def scoring(settings: Settings, model: ImageClassifier, batch: Batch) -> dict[str, Scored]:
    """Count what each of a cell's metrics asks of a model for a batch of one image.

    Raises:
        BadInput: one cannot work on this model, or a setting is wrong.
    """
    flat = batch.images.new_zeros(1, settings.res, settings.res)
    names = map(str, settings.metric)
    metrics = {name: build(settings.metric[name], f"metric.{name}") for name in names}
    found = {}
    model.begin_count(1)
    for name, scores in score_all(metrics, model, batch, flat):
        numbers = sum(curve[0].numel() for curve in scores.curves.values())
        found[name] = Scored(float(model.forward_passes[0]), numbers)
        model.begin_count(1)
    return found


def speed(model: ImageClassifier) -> PassTime:
    """Time passes of noise that are as large as the settings allow."""
    shape = (model.pass_batch, 3, model.input_size, model.input_size)
    return of_classifier(model, torch.rand(shape, device=model.device), repeats=2)


def scene() -> tuple[ImageClassifier, Batch]:
    """Load the embedded network and its first scene, explained for the class it shows."""
    settings = load("model=scenes_vgg", "dataset=scenes", "dataset.limit=1")
    model: ImageClassifier = build(settings.model, "model").load(torch.device("cpu"))
    dataset = build(settings.dataset, "dataset")
    item = dataset.load(dataset.ids()[0], model.input_size)
    return model, batch_of([item], torch.tensor([item.label]), 0, model.device)


def _left(settings: Settings) -> Left:
    """Count the images that a start of these settings would find undone.

    A runtime protocol times anew, those of its warm-up included.
    """
    if settings.runtime is not None:
        single, repeats = settings.runtime.images, settings.runtime.repeats
        sizes = settings.runtime.batches
        return Left(sum(size * (1 + (single if size == 1 else repeats)) for size in sizes), {})
    ids = build(settings.dataset, "dataset").ids()
    everything = Left(len(ids), dict.fromkeys(map(str, settings.metric), len(ids)))
    kept = f"*/*/{settings.choices['method']}-*/settings.json"
    if not any(Path(settings.results).glob(kept)):  # a cell loads its model to know its folder
        return everything
    try:
        cell = Cell.open(settings)
    except BadInput:  # the run will say why
        return everything
    explained = cell.folder.stage("heatmaps").rows
    scored = {name: cell.folder.stage(stage).rows for name, stage in cell.stages.items()}
    return Left(
        explain=sum(each not in explained for each in ids),
        score={name: sum(each not in rows for each in ids) for name, rows in scored.items()},
    )


def _name(cell: Collected) -> str:
    return f"{cell.row}, {cell.column}"

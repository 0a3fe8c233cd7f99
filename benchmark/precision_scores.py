"""Score the same heatmaps at several precisions, and keep the scores in the heatmaps' folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from benchmark.cell import Cell
from benchmark.devices import clock
from benchmark.interfaces import Batch
from benchmark.known_curves import score_all, stacked
from benchmark.loading import grouped, items
from benchmark.precision_tables import passes_of
from benchmark.stages import Stage

PLACE = "rescored"  # in the folder of the run whose heatmaps they are

Stages = Mapping[str, Stage]  # by metric


def rescored(
    reference: Cell, ids: Sequence[str], cells: Mapping[str, Cell]
) -> dict[str, pd.DataFrame]:
    """Score a run's stored heatmaps by the metrics of cells that differ in their precision.

    Batch by batch the precisions take turns, the reference's among them, so that they share
    whatever else the machine does meanwhile. What is in the records already is not scored again.

    Args:
        reference: the run's cell.
        ids: images that it has explained.
        cells: precision -> the same cell at that precision.

    Returns:
        For each precision a table as of ``benchmark.precision_tables.Compared``; ``warm_up`` where
        it was the first batch of a process.

    Raises:
        BadInput: a classifier returned NaN or infinity.
    """
    folder = reference.folder
    with folder.lock():  # before the files are opened, whose ends are appended to
        stages = {
            precision: {
                metric: folder.stage(f"{PLACE}/{cell.folder.path.name}/{name}")
                for metric, name in cell.stages.items()
            }
            for precision, cell in cells.items()
        }
        explained, heatmaps = folder.stage("heatmaps"), folder.stage(reference.heatmaps)
        every = [stage for own in stages.values() for stage in own.values()]
        todo = [each for each in ids if any(each not in stage.rows for stage in every)]
        size, begun = reference.settings.batch_size, set[str]()
        stream = items(
            reference.dataset, todo, reference.model.input_size, 2 * size, lambda *_: None
        )
        for group in grouped(stream, size):
            targets = {item.id: int(explained.rows[item.id]["target"]) for item in group}
            batch = reference.batch_of(group, targets)
            for precision, cell in cells.items():
                own = stages[precision]
                lacking = [
                    row
                    for row, image_id in enumerate(batch.ids)
                    if any(image_id not in stage.rows for stage in own.values())
                ]
                if lacking:
                    part = batch.select(lacking)
                    _score(cell, part, heatmaps, own, warm_up=precision not in begun)
                    begun.add(precision)
    targets = {image_id: int(explained.rows[image_id]["target"]) for image_id in ids}
    return {each: _table(own, targets) for each, own in stages.items()}


def _score(cell: Cell, batch: Batch, heatmaps: Stage, stages: Stages, *, warm_up: bool) -> None:
    """Score a batch by all metrics, and keep of each image what it has not."""
    model, shown = cell.model, stacked(heatmaps, batch.ids, "heatmap").to(cell.model.device)
    model.begin_count(len(batch.ids))
    started = clock(model)
    for name, found in score_all(cell.metrics, model, batch, shown):
        seconds = (clock(model) - started) / len(batch.ids)
        passes = (model.forward_passes + model.backward_passes).tolist()
        rows = [
            {"id": image_id, "value": value, "seconds": seconds}
            | {"passes": count, "warm_up": warm_up}
            for image_id, value, count in zip(batch.ids, found.values.tolist(), passes, strict=True)
            if image_id not in stages[name].rows
        ]
        stages[name].append(rows, [{}] * len(rows))
        model.begin_count(len(batch.ids))
        started = clock(model)


def _table(stages: Stages, targets: Mapping[str, int]) -> pd.DataFrame:
    table = pd.DataFrame({"target": targets})
    table[["seconds", "passes", "warm_up"]] = 0.0, 0.0, False
    for metric, stage in stages.items():
        rows = [stage.rows[image_id] for image_id in table.index]
        table[metric] = [np.nan if row["value"] is None else row["value"] for row in rows]
        table[passes_of(metric)] = [row["passes"] for row in rows]
        table["passes"] += table[passes_of(metric)]
        table["seconds"] += [row["seconds"] for row in rows]
        table["warm_up"] |= np.array([row["warm_up"] for row in rows])
    return table

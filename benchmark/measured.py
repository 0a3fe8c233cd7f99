"""What runs came to on each image, with all that has to agree before two are compared.

Needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from benchmark.collect import State, collect
from benchmark.errors import BadInput
from benchmark.experiment import Composed
from benchmark.records import RunFolder, finished
from benchmark.summary import per_image

# Of what identifies a run, this may differ between two that are compared: it is what is on trial.
ON_TRIAL = ("method", "seed", "method_data", "packages", "code", "device", "pass_batch")
PASSES = ("forward_passes", "backward_passes")


class Measured(NamedTuple):
    """One method on one model and data set at one resolution."""

    name: str  # of an experiment's cell, or the run's title
    run: str  # its folder; empty of a baseline
    method: str  # the file chosen in conf/method
    facts: dict[str, Any]  # dotted name -> plain value; what has to agree
    made: dict[str, Any]  # dotted name -> plain value; what may differ, and is told
    higher_is_better: dict[str, bool]  # by metric
    images: pd.DataFrame  # by id: digest, target, each metric, forward_passes, backward_passes


def of_experiment(composed: Composed) -> list[Measured]:
    """Take all cells of an experiment.

    Raises:
        BadInput: a cell is not done, or was timed and so has no values per image.
    """
    found = []
    for cell in collect(composed):
        if cell.state is State.none:
            continue
        name = f"{cell.row}, {cell.column}"
        if cell.state is not State.done:
            raise BadInput(f"{composed.name}: {name} is {cell.state.name}: {cell.note or 'run it'}")
        if cell.images is None:
            raise BadInput(f"{composed.name} times its cells: there is nothing to compare by image")
        found.append(
            _measured(
                name,
                Path(cell.run),
                cell.start,
                metrics=cell.start["settings"]["metric"],
                better=cell.higher_is_better,
                images=cell.images,
            )
        )
    return found


def below(root: Path) -> list[Measured]:
    """Take every finished run in a folder or below it.

    Raises:
        BadInput: there is none.
    """
    found = []
    for folder, outcome in finished(root):
        starts = {metric: folder.started(stage) for metric, stage in outcome.stages.items()}
        nodes = {metric: start["settings"]["metric"][metric] for metric, start in starts.items()}
        if len({start["git"].get("commit") for start in starts.values()}) > 1:
            raise BadInput(
                f"{folder.path}: its metrics were scored by several commits: give its command again"
            )
        start = folder.started() | {"stages": outcome.stages}
        images = per_image(folder, outcome).set_index("id")
        found.append(
            _measured(
                outcome.title,
                folder.path,
                start,
                metrics=nodes,
                better=outcome.higher_is_better,
                images=images,
            )
        )
        found[-1].facts["res"] = outcome.res
    return found


def _measured(
    name: str,
    path: Path,
    start: Mapping[str, Any],
    *,
    metrics: Mapping[str, Any],
    better: Mapping[str, bool],
    images: pd.DataFrame,
) -> Measured:
    """Read the rest of what has to agree from a run's folder; metrics are as in the settings."""
    folder = RunFolder(path)
    if folder.starts()[-1][1] is None:
        raise BadInput(f"{path}: its last start has not ended: give its command again")
    identity = folder.identity()
    agreed = {key: value for key, value in identity.items() if key not in ON_TRIAL}
    agreed |= {"res": start["settings"]["res"], "metric": dict(metrics)}
    made = {key: identity[key] for key in ON_TRIAL if key in identity}
    made |= {key: start[key] for key in ("git", "processor", "time")}
    made["resize"] = start["settings"]["resize"]
    made["stages"] = {metric: start["stages"][metric] for metric in metrics}
    rows = folder.stage("heatmaps").rows
    kept = images[["target", *metrics, *PASSES]].copy()
    kept.insert(0, "digest", [rows[each]["digest"][:16] for each in kept.index])
    return Measured(
        name,
        str(path),
        str(start["settings"]["choices"]["method"]),
        dict(_flat(agreed)),
        dict(_flat(made)),
        {metric: better[metric] for metric in metrics},
        kept,
    )


def _flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Name the leaves of a tree by their places: ``model.precision``."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value

"""What methods came to on each image, where it may be compared. Needs no torch."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from benchmark.collect import collect
from benchmark.errors import BadInput
from benchmark.experiment import Composed
from benchmark.records import RunFolder, finished
from benchmark.summary import per_image


class Contender(NamedTuple):
    """What one method came to on each image."""

    group: str  # contenders of one group may be compared
    name: str
    images: pd.DataFrame  # a line for each, by id: metrics and the target's class
    higher_is_better: Mapping[str, bool]  # by metric
    twin: str  # what it was made of, but for the seed
    seed: int


def of_experiment(composed: Composed) -> list[Contender]:
    """Take the cells of an experiment that are done; those of a column may be compared.

    Raises:
        BadInput: a cell cannot be composed, or none is done.
    """
    found = []
    for cell in collect(composed):
        if cell.images is None:
            continue
        shown = {
            metric: cell.higher_is_better[metric]
            for metric in composed.experiment.metrics
            if metric in cell.start["settings"]["metric"]
        }
        twin = _twin(Path(cell.run), cell.start["stages"], cell.manifest)
        found.append(Contender(cell.column, cell.row, cell.images, shown, *twin))
    if not found:
        raise BadInput(
            "no cell with values per image is done: "
            + composed.command("benchmark", "--multirun", *composed.given)
        )
    return found


def below(root: Path) -> list[Contender]:
    """Take every finished run below a folder; those alike but for the method may be compared.

    What a folder holds twice under other titles counts once. Runs of one title, as of older code,
    have their keys beside it.

    Raises:
        BadInput: there is none.
    """
    held = {
        json.dumps(
            [str(folder.path), outcome.manifest, sorted(outcome.stages.values()), outcome.caption]
        ): (folder, outcome)
        for folder, outcome in finished(root)
    }
    found: list[Contender] = []
    keys: list[str] = []
    for folder, outcome in held.values():
        facts = [f"{key} {value}" for key, value in outcome.caption.items()]
        images = outcome.manifest.removesuffix(".txt")
        group = " · ".join([f"{outcome.res} x {outcome.res}", *facts, f"images {images}"])
        table = per_image(folder, outcome).set_index("id")
        twin = _twin(folder.path, outcome.stages, outcome.manifest)
        better = outcome.higher_is_better
        found.append(Contender(group, outcome.title, table, better, *twin))
        keys.append(folder.path.name.rpartition("-")[2])
    often = Counter((each.group, each.name) for each in found)
    return [
        each._replace(name=f"{each.name} ({key})") if often[each.group, each.name] > 1 else each
        for each, key in zip(found, keys, strict=True)
    ]


def _twin(run: Path, stages: Mapping[str, str], manifest: str) -> tuple[str, int]:
    """Return what a run's results stand for, but for the seed, and the seed."""
    identity = RunFolder(run).identity()
    made = {key: value for key, value in identity.items() if key != "seed"}
    return json.dumps([made, sorted(stages.values()), manifest]), int(identity["seed"])

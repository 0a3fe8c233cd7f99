"""What methods came to on each image, where it may be compared. Needs no torch."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from benchmark.collect import Collected, collect
from benchmark.errors import BadInput
from benchmark.experiment import Composed
from benchmark.records import RunFolder, finished
from benchmark.resolvers import ABOUT
from benchmark.summary import per_image


class Contender(NamedTuple):
    """What one method came to on each image."""

    group: str  # contenders of one group may be compared
    name: str
    images: pd.DataFrame  # a line for each, by id: metrics and the target's class
    higher_is_better: Mapping[str, bool]  # by metric
    twin: str  # what it was made of, but for the seed
    seed: int
    heading: str = ""  # what its group is called in short
    facts: Mapping[str, str] = {}  # what its values depend on, in words
    control: bool = False  # whether its method says of itself that it is one


def of_experiment(composed: Composed) -> list[Contender]:
    """Look up the cells of an experiment and take those that are done, as ``of_cells``.

    Raises:
        BadInput: a cell cannot be composed, or none is done.
    """
    return of_cells(composed, collect(composed))


def of_cells(composed: Composed, cells: Sequence[Collected]) -> list[Contender]:
    """Take the cells of an experiment that are done; those of a column may be compared.

    Raises:
        BadInput: none is done.
    """
    found = []
    for cell in cells:
        if cell.images is None:
            continue
        shown = {
            metric: cell.higher_is_better[metric]
            for metric in composed.experiment.metrics
            if metric in cell.start["settings"]["metric"]
        }
        twin = _twin(Path(cell.run), cell.start["stages"], cell.manifest)
        told = cell.column, facts_of(cell.caption, cell.manifest, cell.start)
        control = _is_control(cell.start)
        found.append(
            Contender(cell.column, cell.row, cell.images, shown, *twin, *told, control=control)
        )
    if not found:
        raise BadInput(f"no cell with values per image is done: {composed.sweep()}")
    return found


def of_folders(names: Sequence[str]) -> list[Contender]:
    """Take every finished run below folders, as ``below``.

    Raises:
        BadInput: one is no folder, or there is no run.
    """
    if lost := [each for each in names if not Path(each).is_dir()]:
        raise BadInput(f"{lost[0]} is no folder of results, and these take no settings")
    return below(*map(Path, names))


def below(*roots: Path) -> list[Contender]:
    """Take every finished run below folders; those alike but for the method may be compared.

    What is held twice, under other titles or in other folders, counts once where it came to the
    same on every image. Runs of one title, as of older code, have their keys beside it, and their
    folders where these are the same, as of another machine.

    Raises:
        BadInput: there is none.
    """
    held = {}
    for folder, outcome in (each for root in roots for each in finished(root)):
        table = per_image(folder, outcome).set_index("id")
        stages = sorted(outcome.stages.values())
        values = table[["target", *outcome.stages]].to_json(double_precision=15)
        what = [folder.path.name, outcome.manifest, stages, outcome.caption, values]
        held[json.dumps(what)] = folder, outcome, table
    found: list[Contender] = []
    places: list[Path] = []
    for folder, outcome, table in held.values():
        facts = [f"{key} {value}" for key, value in outcome.caption.items()]
        images = outcome.manifest.removesuffix(".txt")
        heading = f"{outcome.res} x {outcome.res}"
        group = " · ".join([heading, *facts, f"images {images}"])
        twin = _twin(folder.path, outcome.stages, outcome.manifest)
        better = outcome.higher_is_better
        start = folder.started()
        told = heading, facts_of(outcome.caption, outcome.manifest, start)
        control = _is_control(start)
        found.append(Contender(group, outcome.title, table, better, *twin, *told, control=control))
        places.append(folder.path)
    keys = [place.name.rpartition("-")[2] for place in places]
    return _told_apart(_told_apart(found, keys), list(map(str, places)))


def _told_apart(found: Sequence[Contender], by: Sequence[str]) -> list[Contender]:
    """Put beside a name that is not the only one of its group what tells it apart."""
    often = Counter((each.group, each.name) for each in found)
    return [
        each._replace(name=f"{each.name} ({more})") if often[each.group, each.name] > 1 else each
        for each, more in zip(found, by, strict=True)
    ]


def facts_of(caption: Mapping[str, str], manifest: str, start: Mapping[str, Any]) -> dict[str, str]:
    """Say what a run's values depend on: its caption, its images, and the commit of the code."""
    git = start.get("git", {})
    changed = " with changes" if git.get("changed") else ""
    images = {"images": manifest.removesuffix(".txt")} if manifest else {}
    return dict(caption) | images | {"code": str(git.get("commit") or "unknown")[:10] + changed}


def depends_on(several: Sequence[Mapping[str, str]]) -> list[str]:
    """Say what all runs' facts share in a line, and where they differ, in what."""
    shared: list[str] = []
    differing: list[str] = []
    for key in dict.fromkeys(key for each in several for key in each):
        values = list(dict.fromkeys(each.get(key, "none") for each in several))
        (shared if len(values) == 1 else differing).append(f"{key} {' / '.join(values)}")
    lines = [" · ".join(shared)] if shared else []
    return lines + ([f"They differ in: {' · '.join(differing)}"] if differing else [])


def _is_control(start: Mapping[str, Any]) -> bool:
    about = start["settings"]["method"].get(ABOUT) or {}
    return about.get("paper") == "control"


def _twin(run: Path, stages: Mapping[str, str], manifest: str) -> tuple[str, int]:
    """Return what a run's results stand for, but for the seed, and the seed."""
    identity = RunFolder(run).identity()
    made = {key: value for key, value in identity.items() if key != "seed"}
    return json.dumps([made, sorted(stages.values()), manifest]), int(identity["seed"])

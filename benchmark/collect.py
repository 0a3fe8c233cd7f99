"""Find in the records what an experiment's cells have come to. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmark.config import Settings, plain
from benchmark.errors import BadInput
from benchmark.experiment import Average, Composed, Experiment
from benchmark.files import file_digest
from benchmark.progress import progress
from benchmark.records import RunFolder, failures, folders, outcome_of
from benchmark.resolvers import ABOUT
from benchmark.stages import Row
from benchmark.stats import Mean
from benchmark.summary import class_means, per_image, summary

# none: the method cannot do the column, or the row is of published values only.
State = Enum("State", "done partial failed missing none")
# Settings that say where things lie, or are compared in another way, or only said to people.
FILES = {
    "results",
    "choices",
    "overrides",
    "again",
    "metric",
    "wandb",
    "report",
    "root",
    "weights_root",
    "manifest",
    ABOUT,
}
# Among which processes a cell is divided, and how long they may take.
SHARING = {"shard", "shards", "claims", "timeout"}
# And where, and how fast, it is computed.
PLACES = FILES | SHARING | {"device", "deterministic", "batch_size", "pass_batch"}
# What every cell has, and after it what timed cells have.
COSTS = ("seconds", "forward_passes", "backward_passes", "throughput", "memory")


class Collected(NamedTuple):
    """One cell of a table: how far it is, and what it came to."""

    row: str
    column: str
    state: State
    note: str = ""  # how far it is, why it failed, or what its outcome warns of
    means: Mapping[str, Mean] = {}  # by metric; this and what follows: empty unless done
    higher_is_better: Mapping[str, bool] = {}
    run: str = ""  # its folder
    start: Mapping[str, Any] = {}  # what the records say of the start that completed it
    manifest: str = ""  # the file with its images
    caption: Mapping[str, str] = {}  # what the means depend on
    images: pd.DataFrame | None = None  # a line for each, by id; of ``per_image``, unless timed


class _Run(NamedTuple):
    """One start in the records, and how it ended, if it did."""

    folder: RunFolder
    start: Row
    end: Row | None


def collect(composed: Composed) -> list[Collected]:
    """Look up every cell of an experiment, row by row.

    Where the records have several runs of the same settings (of older code, or on another
    device), the newest counts.

    Raises:
        BadInput: a cell cannot be composed.
    """
    experiment = composed.experiment
    known: dict[str, list[_Run]] = {}
    cells = []
    for row, line in experiment.rows.items():
        for column in experiment.columns:
            if not line.set or not experiment.has(row, column):
                cells.append(Collected(row, column, State.none))
                continue
            settings = composed.settings(row, column)
            if settings.results not in known:
                known[settings.results] = list(_runs(Path(settings.results)))
            _check_metrics(experiment, settings)
            cells.append(_look_up(experiment.mean, settings, row, column, known[settings.results]))
    return cells


def undone(cells: Sequence[Collected]) -> tuple[list[Collected], int]:
    """Return the cells that are to be computed and are not done, and how many are to be."""
    wanted = [cell for cell in cells if cell.state is not State.none]
    return [cell for cell in wanted if cell.state is not State.done], len(wanted)


def _check_metrics(experiment: Experiment, settings: Settings) -> None:
    """Refuse a table of a metric that its cells do not have."""
    known = {*COSTS} if settings.runtime is not None else {*map(str, settings.metric), *COSTS[:3]}
    if unknown := [each for each in experiment.metrics if each not in known]:
        raise BadInput(
            f"experiment.metrics names {unknown[0]}: the cells have {', '.join(sorted(known))}"
        )


def runtime_means(end: Row) -> dict[str, Mean]:
    """Sum up the measurements that a run with ``runtime`` has logged.

    Returns:
        ``seconds`` per image, one image at a time, and ``throughput``, seconds per image in
        batches of the size that was fastest: medians, with the fastest and the slowest as their
        interval. ``memory`` in bytes at batch 1; ``forward_passes`` and ``backward_passes`` per
        image.
    """
    single = next(each for each in end["measured"] if each["batch"] == 1)
    best = min(end["measured"], key=lambda each: float(np.median(each["seconds"])))
    exact = {
        name: _median([float(single[name])] * len(single["seconds"]))
        for name in ("forward_passes", "backward_passes", "memory")
    }
    return {"seconds": _median(single["seconds"]), "throughput": _median(best["seconds"])} | exact


def _median(values: list[float]) -> Mean:
    return Mean(float(np.median(values)), min(values), max(values), len(values))


def _runs(results: Path) -> Iterator[_Run]:
    for folder in folders(results):
        yield from (_Run(folder, start, end) for start, end in folder.starts())


def _look_up(
    mean: Average, settings: Settings, row: str, column: str, runs: list[_Run]
) -> Collected:
    wanted = plain(settings)
    digest = _digest(settings.dataset.get("manifest"))
    same = [run for run in runs if _covers(run, wanted, digest)]
    same.sort(key=lambda run: str(run.start["time"]))
    if ended := [run for run in same if run.end]:
        return _done(mean, row, column, ended[-1])
    nothing = Collected(row, column, State.missing)
    known = failures(Path(settings.results))
    failed = [each for each in known if _same(each["settings"], wanted, ())]
    if failed and (not same or failed[-1]["time"] >= same[-1].start["time"]):
        return nothing._replace(state=State.failed, note=failed[-1]["error"])
    if same:
        far = progress(same[-1].folder, same[-1].start)
        return nothing._replace(state=State.partial, note=far)
    return nothing


def _done(mean: Average, row: str, column: str, run: _Run) -> Collected:
    end = run.end or {}
    cell = Collected(
        row,
        column,
        State.done,
        run=str(run.folder.path),
        start=run.start,
        caption=end["caption"],
        manifest=end.get("manifest", ""),
        note="; ".join(end.get("warnings", ())),
        higher_is_better=dict.fromkeys(COSTS, False) | end.get("higher_is_better", {}),
    )
    if end["event"] == "timed":
        return cell._replace(means=runtime_means(end))
    outcome = outcome_of(end)
    metrics, table = list(outcome.stages), per_image(run.folder, outcome)
    means = summary(table, metrics)
    if mean is Average.classes:
        means |= class_means(table, metrics)
    return cell._replace(means=means, images=table.set_index("id"))


def _covers(run: _Run, wanted: Row, digest: str) -> bool:
    """Whether a start had the settings that are wanted, and at least their metrics."""
    own = run.start["settings"]
    if run.end and (run.end["event"] == "timed") != (wanted["runtime"] is not None):
        return False
    if run.start.get("manifest_sha256", "") != digest:
        return False
    native = run.end is not None and run.end.get("heatmaps") == "heatmaps"  # nothing was resized
    return _same(own, wanted, ("resize",) if native else ())


def _same(own: Row, wanted: Row, without: Sequence[str]) -> bool:
    metrics = own.get("metric", {})
    where = PLACES if wanted["runtime"] is None else FILES | SHARING
    return _essence(own, {*where, *without}) == _essence(wanted, {*where, *without}) and all(
        metrics.get(name) == node for name, node in wanted["metric"].items()
    )


def _essence(settings: Any, without: Set[str]) -> Any:
    """Leave out of settings what changes no number, at any depth, and the metrics."""
    if not isinstance(settings, dict):
        return settings
    return {
        key: _essence(value, without)
        for key, value in settings.items()
        if key not in without and value is not None
    }


def _digest(manifest: str | None) -> str:
    """Hash a manifest as a start does; empty where there is none."""
    return file_digest(Path(manifest)) if manifest else ""

"""One run's records as a pandas table, a line per image, and as means. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pandas as pd

from benchmark.errors import BadInput
from benchmark.records import Outcome, RunFolder
from benchmark.stages import Stage
from benchmark.stats import Mean, class_mean_interval, mean_intervals
from benchmark.survival import ENDS

AUDITED = [f"{what}_{end}" for end in ENDS.values() for what in ("score", "entropy")]


def per_image(
    folder: RunFolder, outcome: Outcome, stage: Callable[[str], Stage] | None = None
) -> pd.DataFrame:
    """Collect one line per image, in the order of the manifest.

    Columns: id, target, label (-1 is none), predicted, correct (None without a label),
    score_on_image, score_on_baseline, every metric, forward_passes, backward_passes, seconds,
    protocol, and warm_up where the time includes the start of a process; under an attack also
    clean, the class that was seen before, and fooled; where metrics have curves also the audit,
    score and entropy where all is deleted and where nothing is inserted yet.

    Args:
        folder: the run's.
        outcome: which of its results.
        stage: opens a stage, where the caller keeps what it has opened; else the folder does.

    Raises:
        BadInput: results that were complete are not there any more.
    """
    stage = stage or folder.stage
    ids = folder.ids(outcome.manifest)
    results = ["heatmaps", *outcome.stages.values(), *([outcome.audit] if outcome.audit else [])]
    found = {name: stage(name).rows for name in dict.fromkeys(results)}  # each is read once
    explained = found["heatmaps"]
    if lost := [each for each in ids if any(each not in rows for rows in found.values())]:
        raise BadInput(
            f"{folder.path} has lost {len(lost)} of {len(ids)} images, such as {lost[0]}: give the "
            "command that made it again"
        )
    table = pd.DataFrame([explained[image_id] for image_id in ids])
    table = table.drop(columns=["digest", "arrays", "arrays_crc"])
    table = table.drop(columns="constant", errors="ignore")  # older results lack it
    if (unlabelled := table["label"] < 0).any():
        table["correct"] = table["correct"].astype(object).mask(unlabelled, None)
    for metric, name in outcome.stages.items():
        values = [found[name][image_id]["value"] for image_id in ids]
        place = list(table.columns).index("forward_passes")
        table.insert(place, metric, [math.nan if each is None else each for each in values])
    if outcome.audit:
        left = found[outcome.audit]
        place = list(table.columns).index("score_on_baseline") + 1
        for number, name in enumerate(AUDITED):
            table.insert(place + number, name, [left[each][name] for each in ids])
    times = {image_id: line for line in folder.timings() for image_id in line["ids"]}
    table["seconds"] = [times.get(each, {}).get("seconds_per_image", math.nan) for each in ids]
    table["protocol"] = outcome.caption["protocol"]
    table["warm_up"] = [times.get(each, {}).get("warm_up", True) for each in ids]
    return table


def summary(table: pd.DataFrame, metrics: Sequence[str]) -> dict[str, Mean]:
    """Average each metric, the seconds and the passes over the images of ``per_image``.

    Seconds leave out the batches that warmed a process up, unless there are no others.
    """
    timed = table.loc[~table["warm_up"], "seconds"]
    columns = {metric: table[metric] for metric in metrics}
    columns["seconds"] = timed if len(timed) else table["seconds"]
    columns |= {name: table[name] for name in ("forward_passes", "backward_passes")}
    return mean_intervals(columns)


def class_means(table: pd.DataFrame, metrics: Sequence[str]) -> dict[str, Mean]:
    """Average each metric over the targets' classes, as the pointing game on VOC and COCO is.

    Takes the table of ``per_image``; each class's mean over its images counts alike.
    """
    return {metric: class_mean_interval(table[metric], table["target"]) for metric in metrics}

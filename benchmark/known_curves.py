"""Metrics of curves that another metric has kept, computed without scoring anything again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.curves import Curve, Walk, of_curves
from benchmark.errors import BadInput
from benchmark.interfaces import Batch, Classifier, Scores
from benchmark.stages import Stage


def in_order(metrics: Mapping[str, Any]) -> list[str]:
    """Name metrics, those first that keep a curve."""
    return sorted(metrics, key=lambda name: not _keeps_curve(metrics[name]))


def keepers_of(name: str, metrics: Mapping[str, Any]) -> dict[Walk, list[str]]:
    """Name for each curve that a metric needs the other ones that keep it."""
    others = [each for each in metrics if each != name and _keeps_curve(metrics[each])]
    return {
        walk: [each for each in others if walk in metrics[each].walks]
        for walk in getattr(metrics[name], "walks", ())
    }


def score(
    name: str,
    metrics: Mapping[str, Any],
    model: Classifier,
    batch: Batch,
    heatmaps: Tensor,
    *,
    kept: Callable[[str], Mapping[str, Tensor]],
) -> Scores:
    """Score heatmaps [B, r, r] by one of several metrics.

    Args:
        name: of the metric.
        metrics: all of the run, by name.
        model: the classifier.
        batch: the images.
        heatmaps: theirs.
        kept: returns the arrays of this batch that a metric of this name has kept; none where it
            has not scored all of it.

    Raises:
        BadInput: the classifier returned NaN or infinity.
    """
    metric = metrics[name]
    if hasattr(metric, "from_curves"):
        known = {}
        for walk, keepers in keepers_of(name, metrics).items():
            for arrays in filter(None, map(kept, keepers)):
                known[walk] = Curve(arrays["scores"], arrays["fractions"][0])
                break
        scores = of_curves(metric, model, batch, heatmaps, known)
    else:
        scores = metric(model, batch, heatmaps)
    if not all(curve.isfinite().all() for curve in scores.curves.values()):
        raise BadInput(f"{name}: the model returned NaN or infinity for one of {batch.ids}")
    return scores


def score_all(
    metrics: Mapping[str, Any], model: Classifier, batch: Batch, heatmaps: Tensor
) -> Iterator[tuple[str, Scores]]:
    """Score heatmaps [B, r, r] by every metric, each curve made once; yield each metric's when due.

    Raises:
        BadInput: the classifier returned NaN or infinity.
    """
    made: dict[str, Mapping[str, Tensor]] = {}
    for name in in_order(metrics):
        found = score(name, metrics, model, batch, heatmaps, kept=lambda each: made.get(each, {}))
        made[name] = found.curves
        yield name, found


def values_of(
    metrics: Mapping[str, Any], model: Classifier, batch: Batch, heatmaps: Tensor
) -> dict[str, list[float]]:
    """Score heatmaps [B, r, r] by several metrics, as ``score_all`` does: name -> [B]."""
    found = dict(score_all(metrics, model, batch, heatmaps))
    return {name: found[name].values.tolist() for name in metrics}


def stacked(stage: Stage, ids: Sequence[str], name: str) -> Tensor:
    """Read the arrays of images as a tensor [B, ...]."""
    return torch.from_numpy(np.stack([stage.array(image_id, name) for image_id in ids]))


def _keeps_curve(metric: object) -> bool:
    return bool(getattr(metric, "keeps_curve", False))

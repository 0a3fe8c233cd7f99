"""Metrics of curves that another metric has kept, computed without scoring anything again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.curves import Curve, Walk, of_curves
from benchmark.interfaces import Batch, Classifier, Scores
from benchmark.stages import Stage


def in_order(metrics: Mapping[str, Any]) -> list[str]:
    """Name metrics, those first that keep a curve."""
    return sorted(metrics, key=lambda name: not _keeps_curve(metrics[name]))


def sources_of(name: str, metrics: Mapping[str, Any]) -> dict[Walk, str]:
    """Name for each curve that a metric needs the one that has kept it by then, if one has."""
    order = in_order(metrics)
    walks = getattr(metrics[name], "walks", ())
    earlier = [each for each in order[: order.index(name)] if _keeps_curve(metrics[each])]
    return {
        walk: each for each in reversed(earlier) for walk in walks if walk in metrics[each].walks
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
        kept: returns the curves of this batch that a metric of this name has kept.

    Raises:
        BadInput: the classifier returned NaN or infinity.
    """
    metric = metrics[name]
    if not hasattr(metric, "from_curves"):
        scores: Scores = metric(model, batch, heatmaps)
        return scores
    known = {}
    for walk, source in sources_of(name, metrics).items():
        arrays = kept(source)
        known[walk] = Curve(arrays["scores"], arrays["fractions"][0])
    return of_curves(metric, model, batch, heatmaps, known)


def stacked(stage: Stage, ids: Sequence[str], name: str) -> Tensor:
    """Read the arrays of images as a tensor [B, ...]."""
    return torch.from_numpy(np.stack([stage.array(image_id, name) for image_id in ids]))


def _keeps_curve(metric: object) -> bool:
    return bool(getattr(metric, "keeps_curve", False))

"""Metrics that can be read off the stored curves of another one, without scoring anything again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from benchmark.interfaces import Metric, Scores
from benchmark.stages import Stage


@runtime_checkable
class ReadsCurves(Protocol):
    """A metric of the very curves that another one stores, if both have the same protocol."""

    @property
    def protocol(self) -> object:
        """What makes curves comparable."""
        ...

    @property
    def curves_of(self) -> str:
        """The other metric's name."""
        ...

    def from_curves(self, curves: Mapping[str, Tensor]) -> Scores:
        """Score curves, by name [B, points]."""
        ...


def in_order(metrics: Mapping[str, Metric]) -> list[str]:
    """Name metrics, those last that may be read off another's curves."""
    return sorted(metrics, key=lambda name: isinstance(metrics[name], ReadsCurves))


def source_of(name: str, metrics: Mapping[str, Any]) -> str:
    """Name the metric whose stored curves this one can be read off; empty where there is none."""
    metric = metrics[name]
    if not isinstance(metric, ReadsCurves) or metric.curves_of not in metrics:
        return ""
    return metric.curves_of if metrics[metric.curves_of].protocol == metric.protocol else ""


def read_off(
    name: str, metrics: Mapping[str, Any], stages: Mapping[str, Stage], ids: Sequence[str]
) -> Scores | None:
    """Score images by a metric out of the curves that another has stored, if one has."""
    if not (source := source_of(name, metrics)):
        return None
    curves = {each: stacked(stages[source], ids, each) for each in ("scores", "fractions")}
    scores: Scores = metrics[name].from_curves(curves)
    return scores


def stacked(stage: Stage, ids: Sequence[str], name: str) -> Tensor:
    """Read the arrays of images as a tensor [B, ...]."""
    return torch.from_numpy(np.stack([stage.array(image_id, name) for image_id in ids]))

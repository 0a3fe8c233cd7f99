"""Metrics of curves under a stand-in for the network whose score is always the same."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.cell import Cell
from benchmark.curves import Area, Curve, Walk, curve
from benchmark.interfaces import BadInput, Batch
from benchmark.models import Activation

SCORE = (
    0.25  # of the stand-in, whatever it is shown; 1 where there is one class among which to choose
)
STEPS = 4  # of the curves: the area under a constant is the same for any number
EXACT = 1e-6  # by which an area under float32 scores may differ from them


class Constant(nn.Module):
    """Gives class 0 the same score whatever it is shown."""

    def __init__(self, classes: int, activation: Activation) -> None:
        super().__init__()
        others = 1 if activation is Activation.sigmoid else max(1, classes - 1)
        self.logits = torch.zeros(classes)
        self.logits[0] = math.log(SCORE / (1 - SCORE) * others)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, K]."""
        return self.logits.to(images.device).expand(len(images), -1)


def constant_scores(cell: Cell, batch: Batch) -> Iterator[str]:
    """Score two opposite heatmaps of one image by every metric of curves, under the stand-in.

    Both have to get the same value, and a metric that is a curve's area has to get the score.

    Args:
        cell: whose metrics, resolution and protocol are meant.
        batch: one image.

    Yields:
        The names of the metrics that hold it.

    Raises:
        BadInput: one does not.
    """
    model = cell.model.with_network(Constant(len(cell.model.class_names), cell.model.activation))
    batch = batch._replace(targets=torch.zeros_like(batch.targets))
    score = float(model.scores(batch.images, batch.targets))
    res = cell.settings.res
    ramp = torch.arange(res * res, dtype=torch.float32, device=model.device).view(1, res, res)
    made: dict[tuple[Walk, bool], Curve] = {}
    curved: dict[str, Any] = {
        name: each for name, each in cell.metrics.items() if hasattr(each, "from_curves")
    }
    for name, metric in curved.items():
        values: list[float] = []
        widths = [0.0]
        for turned, heatmap in ((False, ramp), (True, -ramp)):
            for walk in metric.walks:
                if (walk, turned) not in made:
                    short = replace(walk, steps=min(STEPS, walk.steps))
                    made[walk, turned] = curve(model, batch, heatmap, short)
            curves = [made[walk, turned] for walk in metric.walks]
            values.append(float(metric.from_curves(*curves).values))
            widths = curves[0].fractions.flatten().diff()[[0, -1]].tolist()
        wanted = values[0]
        if getattr(metric, "keeps_curve", False):  # its value is the area
            rule = metric.protocol.area
            # Of the last of the area, which is the first of a curve that is read backwards.
            ends = [score * (1 - each) + each for each in widths]
            allowed = [score] if rule is Area.trapezoid else ends
            wanted = min(allowed, key=lambda each: abs(each - values[0]))
        if not all(_same(value, wanted) for value in values):
            raise BadInput(
                f"metric={name}: a network whose score is always {score:.2f} gets {values[0]:.6g}, "
                f"and {values[1]:.6g} for the opposite heatmap; {wanted:.6g} is right for both, so "
                "the metric or its protocol is wrong"
            )
        yield name


def _same(value: float, wanted: float) -> bool:
    return abs(value - wanted) <= EXACT or (math.isnan(value) and math.isnan(wanted))

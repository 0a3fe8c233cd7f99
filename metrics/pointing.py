"""The pointing game (Zhang et al. 2016): does the heatmap's maximum lie on the object?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.images import upsample
from benchmark.interfaces import BadInput, Batch, Classifier, Scores, Truth


@dataclass(frozen=True)
class Pointing:
    """1 where the first maximum lies in a box of the target class, 0 where it does not."""

    tolerance: float  # pixels of the original image; how far outside a box still hits, exclusive
    higher_is_better = True

    def __post_init__(self) -> None:
        if self.tolerance < 0:
            raise BadInput(f"pointing needs a tolerance of at least 0, got {self.tolerance}")

    def __call__(self, model: Classifier, batch: Batch, heatmaps: Tensor) -> Scores:
        """Score heatmaps [B, r, r]; NaN where the target has no box in the image."""
        del model
        size = batch.images.shape[-1]
        maxima = upsample(heatmaps[:, None], size).flatten(1).argmax(1).tolist()
        hits = [
            self._hit(truth, int(target), maximum % size, maximum // size)
            for truth, target, maximum in zip(batch.truths, batch.targets, maxima, strict=True)
        ]
        return Scores(torch.tensor(hits, dtype=torch.float64), {})

    def _hit(self, truth: Truth, target: int, column: int, row: int) -> float:
        boxes = truth.boxes[truth.classes == target].tolist()
        if not boxes:
            return math.nan
        x, y = (math.floor(place + 0.5) for place in truth.to_original(column, row))
        distance = min(_distance(x, y, box) for box in boxes)
        return float(distance == 0 or distance < self.tolerance)


def _distance(x: int, y: int, box: list[float]) -> float:
    """Pixels from (x, y) to the nearest pixel of a box, its borders included."""
    xmin, ymin, xmax, ymax = box
    return math.hypot(max(xmin - x, 0, x - xmax), max(ymin - y, 0, y - ymax))

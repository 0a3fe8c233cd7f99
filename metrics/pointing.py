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
    """1 where the first maximum lies on an object of the target class, 0 where it does not.

    Objects are boxes, or where a data set has none, the mask of the label's exact pixels.
    """

    tolerance: float  # pixels of the original image; how far outside still hits, exclusive
    difficult: bool  # only images whose target is small and not the only class
    higher_is_better = True

    def __post_init__(self) -> None:
        if self.tolerance < 0:
            raise BadInput(f"pointing needs a tolerance of at least 0, got {self.tolerance}")

    def __call__(self, model: Classifier, batch: Batch, heatmaps: Tensor) -> Scores:
        """Score heatmaps [B, r, r]; NaN where it is not known where the target is."""
        del model
        size = batch.images.shape[-1]
        maxima = upsample(heatmaps[:, None], size).flatten(1).argmax(1).tolist()
        labels, targets = batch.labels.tolist(), batch.targets.tolist()
        hits = [
            self._hit(truth, target, target == label, maximum % size, maximum // size)
            for truth, target, label, maximum in zip(
                batch.truths, targets, labels, maxima, strict=True
            )
        ]
        return Scores(torch.tensor(hits, dtype=torch.float64), {})

    def _hit(self, truth: Truth, target: int, is_label: bool, column: int, row: int) -> float:
        if self.difficult and not truth.difficult:
            return math.nan
        x, y = (math.floor(place + 0.5) for place in truth.to_original(column, row))
        if boxes := truth.boxes[truth.classes == target].tolist():
            distance = min(_distance_to_box(x, y, box) for box in boxes)
        elif truth.mask is not None and is_label and not len(truth.boxes):
            distance = _distance_to_mask(x, y, truth.mask)
        else:
            return math.nan
        return float(distance == 0 or distance < self.tolerance)


def _distance_to_box(x: int, y: int, box: list[float]) -> float:
    """Pixels from (x, y) to the nearest pixel of a box, its borders included."""
    xmin, ymin, xmax, ymax = box
    return math.hypot(max(xmin - x, 0, x - xmax), max(ymin - y, 0, y - ymax))


def _distance_to_mask(x: int, y: int, mask: Tensor) -> float:
    """Pixels from (x, y) to the nearest pixel of a mask [h, w]; infinite where it has none."""
    rows, columns = mask.nonzero(as_tuple=True)
    squares = (columns - x).square() + (rows - y).square()
    return math.sqrt(int(squares.min())) if len(squares) else math.inf

"""The pointing game (Zhang et al. 2016): does the heatmap's maximum lie on the object?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree
from torch import Tensor

from benchmark.images import upsample
from benchmark.interfaces import BadInput, Batch, Classifier, Scores, Truth

Places = NDArray[np.int64]  # one coordinate of each point, in pixels of the original image
# Maxima are equal that differ by less than this share of the largest magnitude: enlarging moves
# those of flat heatmaps of 2 to 112 cells apart by up to 3.9e-7 of it.
EQUAL = 1e-6


class Ties(Enum):
    """Which of equal maxima count."""

    first = "first"  # row by row, as in the published results
    mean = "mean"  # all of them: the chance that one drawn at random hits


@dataclass(frozen=True)
class Pointing:
    """1 where the maximum lies on an object of the target class, 0 where it does not.

    Objects are boxes, or where a data set has none, the mask of the label's exact pixels. Of equal
    maxima the first favours objects above and on the left; the mean over them favours none, and may
    lie between 0 and 1.
    """

    tolerance: float  # pixels of the original image; how far outside still hits, exclusive
    difficult: bool  # only images whose target is small and not the only class
    ties: Ties = Ties.first
    higher_is_better = True

    def __post_init__(self) -> None:
        if self.tolerance < 0:
            raise BadInput(f"pointing needs a tolerance of at least 0, got {self.tolerance}")

    def __call__(self, model: Classifier, batch: Batch, heatmaps: Tensor) -> Scores:
        """Score heatmaps [B, r, r], in [0, 1]; NaN where it is not known where the target is."""
        del model
        if not heatmaps.isfinite().all():
            raise BadInput("pointing needs heatmaps without NaN and infinity")
        size = batch.images.shape[-1]
        large = upsample(heatmaps[:, None], size).flatten(1)
        labels, targets = batch.labels.tolist(), batch.targets.tolist()
        hits = [
            self._hit(truth, target, target == label, *np.divmod(self._maxima(values), size))
            for truth, target, label, values in zip(
                batch.truths, targets, labels, large, strict=True
            )
        ]
        return Scores(torch.tensor(hits, dtype=torch.float64), {})

    def _maxima(self, values: Tensor) -> NDArray[np.int64]:
        """Places in an enlarged heatmap [H * W]."""
        if self.ties is Ties.first:
            return np.array([int(values.argmax())])
        # Enlarging rounds, also between cells that are equal.
        rounding = EQUAL * values.abs().max()
        return (values >= values.max() - rounding).nonzero()[:, 0].cpu().numpy()

    def _hit(
        self,
        truth: Truth,
        target: int,
        is_label: bool,
        rows: NDArray[np.int64],
        columns: NDArray[np.int64],
    ) -> float:
        if self.difficult and not truth.difficult:
            return math.nan
        places = truth.to_original(columns.astype(np.float64), rows.astype(np.float64))
        x, y = (np.floor(each + 0.5).astype(np.int64) for each in places)
        if boxes := truth.boxes[truth.classes == target].tolist():
            distances = np.min([_distances_to_box(x, y, box) for box in boxes], axis=0)
        elif truth.mask is not None and is_label and not len(truth.boxes):
            distances = _distances_to_mask(x, y, truth.mask)
        else:
            return math.nan
        return float(((distances == 0) | (distances < self.tolerance)).mean())


def _distances_to_box(x: Places, y: Places, box: list[float]) -> NDArray[np.float64]:
    """Pixels from each (x, y) to the nearest pixel of a box, its borders included."""
    xmin, ymin, xmax, ymax = box
    across = np.maximum(np.maximum(xmin - x, x - xmax), 0.0)
    down = np.maximum(np.maximum(ymin - y, y - ymax), 0.0)
    distances: NDArray[np.float64] = np.hypot(across, down)
    return distances


def _distances_to_mask(x: Places, y: Places, mask: Tensor) -> NDArray[np.float64]:
    """Pixels from each (x, y) to the nearest pixel of a mask [h, w]; infinite where it has none."""
    pixels = mask.nonzero().cpu().numpy()
    if not len(pixels):
        return np.full(len(x), math.inf)
    if len(x) == 1:  # faster than a tree
        squares = np.square(pixels - [y[0], x[0]]).sum(axis=1)
        return np.full(1, math.sqrt(squares.min()))
    distances: NDArray[np.float64] = KDTree(pixels).query(np.stack([y, x], axis=1))[0]
    return distances

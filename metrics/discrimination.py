"""Does the heatmap of a class lie on its own object, or on that of another class?

The class-discriminative localisation that Selvaraju et al. (2017, Grad-CAM) ask people about, as
numbers. Each image is asked about every class that it shows; a heatmap that does not depend on the
class has values that sum to 1 over two classes, and so a mean of one half, whatever it looks like.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.interfaces import Batch, Classifier, Scores
from benchmark.regions import Region, enlarged, region_of

CHANCE = 0.5  # also where a heatmap says nothing about either object


@dataclass(frozen=True)
class Discrimination:
    """relevance on own / (on own + on others), in the boxes of the target's class and of others.

    Of the enlarged heatmap; negative relevance counts as none, and what two boxes share for
    neither.
    """

    higher_is_better = True

    def __call__(self, model: Classifier, batch: Batch, heatmaps: Tensor) -> Scores:
        """Score heatmaps [B, r, r]: in [0, 1]; NaN where boxes show no two classes."""
        del model
        return _compared(batch, heatmaps, _share)


@dataclass(frozen=True)
class PointingDiscrimination:
    """1 where the heatmap is highest on an own object, 0 where on one of another class.

    Of the enlarged heatmap, in the boxes of the target's class and of others; where both are as
    high, one half. What lies outside all boxes does not count, nor what two boxes share.
    """

    higher_is_better = True

    def __call__(self, model: Classifier, batch: Batch, heatmaps: Tensor) -> Scores:
        """Score heatmaps [B, r, r]; NaN where boxes show no two classes."""
        del model
        return _compared(batch, heatmaps, _higher)


def _compared(batch: Batch, heatmaps: Tensor, compare: Callable[[Tensor, Tensor], float]) -> Scores:
    """Compare the pixels of the target's objects with those of others, in enlarged heatmaps."""
    large = enlarged(heatmaps, batch.images.shape[-1])
    regions = [_own_and_others(batch, row) for row in range(len(large))]
    values = [
        math.nan if region is None else compare(*(heatmap[each] for each in region))
        for heatmap, region in zip(large, regions, strict=True)
    ]
    return Scores(torch.tensor(values, dtype=torch.float64), {})


def _share(own: Tensor, others: Tensor) -> float:
    mass, other = (float(each.double().clamp(min=0).sum()) for each in (own, others))
    return mass / (mass + other) if mass + other > 0 else CHANCE


def _higher(own: Tensor, others: Tensor) -> float:
    highest, other = float(own.max()), float(others.max())
    return CHANCE if highest == other else float(highest > other)


def _own_and_others(batch: Batch, row: int) -> tuple[Tensor, Tensor] | None:
    """Pixels [H, W] of the target's boxes, and of those of other classes, without shared ones."""
    target = int(batch.targets[row])
    own = region_of(batch, row, Region.boxes)
    others = torch.zeros_like(batch.images[row, 0], dtype=torch.bool)
    for label in set(batch.truths[row].classes.tolist()) - {target}:
        found = region_of(_asking(batch, label), row, Region.boxes)
        if found is not None:
            others |= found
    if own is None:
        return None
    alone = own & ~others, others & ~own
    return alone if all(region.any() for region in alone) else None


def _asking(batch: Batch, label: int) -> Batch:
    """Return the same images, asked about another class."""
    return batch._replace(targets=torch.full_like(batch.targets, label))

"""Does the heatmap of a class lie on its own object, or on that of another class?

The class-discriminative localisation that Selvaraju et al. (2017, Grad-CAM) ask people about, as
numbers. Each image is asked about every class that it shows; a heatmap that does not depend on the
class has values that sum to 1 over two classes, and so a mean of one half, whatever it looks like.
"""

from __future__ import annotations

import math
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
        large = enlarged(heatmaps, batch.images.shape[-1]).double().clamp(min=0)
        values = []
        for row, heatmap in enumerate(large):
            regions = _own_and_others(batch, row)
            if regions is None:
                values.append(math.nan)
                continue
            own, others = (float(heatmap[region].sum()) for region in regions)
            values.append(own / (own + others) if own + others > 0 else CHANCE)
        return Scores(torch.tensor(values, dtype=torch.float64), {})


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
        large = enlarged(heatmaps, batch.images.shape[-1])
        values = []
        for row, heatmap in enumerate(large):
            regions = _own_and_others(batch, row)
            if regions is None:
                values.append(math.nan)
                continue
            own, others = (float(heatmap[region].max()) for region in regions)
            values.append(CHANCE if own == others else float(own > others))
        return Scores(torch.tensor(values, dtype=torch.float64), {})


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

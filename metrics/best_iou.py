"""How well a heatmap can be cut out to the object's shape: IoU at its best threshold."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.interfaces import Batch, Classifier, Scores
from benchmark.regions import Region, scored


@dataclass(frozen=True)
class BestIoU:
    """max over t of |{heatmap >= t} and object| / |{heatmap >= t} or object|, enlarged heatmap.

    A threshold of one's own choosing decides for a method or against it (Choe et al. 2020), so each
    heatmap has its best: an upper bound, the same for all methods, and of the order of the pixels
    alone. One that is the same everywhere has the object's share of the image.
    """

    region: Region  # boxes: of the target class; mask: the exact pixels, where there are some
    higher_is_better = True

    def __call__(self, model: Classifier, batch: Batch, heatmaps: Tensor) -> Scores:
        """Score heatmaps [B, r, r]: in [0, 1]; NaN where it is not known where the target is."""
        del model
        return scored(batch, heatmaps, self.region, _best)


def _best(heatmap: Tensor, region: Tensor) -> float:
    """Score one heatmap [H, W] against the object's pixels [H, W]."""
    values, order = heatmap.flatten().sort(descending=True)
    on = region.flatten()[order].cumsum(0)  # [H*W], of the pixels down to each
    marked = torch.arange(1, len(on) + 1, device=on.device)
    overlaps = on.double() / (marked + int(region.sum()) - on)
    # A threshold takes all equal pixels or none.
    last = torch.cat([values[1:] < values[:-1], values.new_ones(1, dtype=torch.bool)])
    return float(overlaps[last].max())

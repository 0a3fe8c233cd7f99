"""Relevance rank accuracy (Arras, Osman and Samek 2022, CLEVR-XAI)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from benchmark.interfaces import Batch, Classifier, Scores
from benchmark.regions import Region, scored


@dataclass(frozen=True)
class RelevanceRank:
    """|K highest pixels on the object| / K, where the object has K pixels; of the enlarged heatmap.

    Only the order of the pixels matters. Those that are equal to the lowest of the K count by the
    share of them that has room, so that a heatmap that is the same everywhere has the object's
    share of the image.
    """

    region: Region  # boxes: of the target class; mask: the exact pixels, where there are some
    higher_is_better = True

    def __call__(self, model: Classifier, batch: Batch, heatmaps: Tensor) -> Scores:
        """Score heatmaps [B, r, r]: in [0, 1]; NaN where it is not known where the target is."""
        del model
        return scored(batch, heatmaps, self.region, _share)


def _share(heatmap: Tensor, region: Tensor) -> float:
    """Score one heatmap [H, W] against the object's pixels [H, W]."""
    room = int(region.sum())
    lowest = heatmap.flatten().sort(descending=True).values[room - 1]
    above, equal = heatmap > lowest, heatmap == lowest
    left = (room - int(above.sum())) / int(equal.sum())
    return (int((above & region).sum()) + left * int((equal & region).sum())) / room

"""How much of a heatmap lies on the object: energy-based pointing game and mass accuracy."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from benchmark.interfaces import Batch, Classifier, Scores
from benchmark.regions import Region, scored


@dataclass(frozen=True)
class RelevanceMass:
    """sum of the relevance on the object / sum of the relevance, of the enlarged heatmap.

    On boxes it is the energy-based pointing game (Wang et al. 2020, Score-CAM), on pixel masks the
    relevance mass accuracy (Arras et al. 2022, CLEVR-XAI). Both are for positive relevance: what is
    negative counts as none. A heatmap without any has 0, so that none gains by being empty. One
    that is the same everywhere has the object's share of the image.
    """

    region: Region  # boxes: of the target class; mask: the exact pixels, where there are some
    higher_is_better = True

    def __call__(self, model: Classifier, batch: Batch, heatmaps: Tensor) -> Scores:
        """Score heatmaps [B, r, r]: in [0, 1]; NaN where it is not known where the target is."""
        del model
        return scored(batch, heatmaps, self.region, _share)


def _share(heatmap: Tensor, region: Tensor) -> float:
    """Score one heatmap [H, W] against the object's pixels [H, W]."""
    positive = heatmap.double().clamp(min=0)
    total = float(positive.sum())
    return float(positive[region].sum()) / total if total > 0 else 0.0

"""Sparseness (Chalasani et al., ICML 2020): the Gini index of a heatmap."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.interfaces import Batch, Classifier, Scores


@dataclass(frozen=True)
class Sparseness:
    """1 - 2 sum over k of (v_k / sum v) (d - k + 1/2) / d, of the d magnitudes v_1 <= ... <= v_d.

    0 is the same everywhere, 1 - 1/d all of it in one cell. It says how easily a heatmap is read,
    nothing of whether it is true, and depends on the resolution.
    """

    higher_is_better = True

    def __call__(self, model: Classifier, batch: Batch, heatmaps: Tensor) -> Scores:
        """Score heatmaps [B, r, r] by their own cells: in [0, 1); 0 where all are 0."""
        del model, batch
        rising = heatmaps.double().abs().flatten(1).sort(1).values  # [B, d]
        count = rising.shape[1]
        weights = torch.arange(count, 0, -1, device=rising.device).double() - 0.5
        total = rising.sum(1)
        index = 1 - 2 * (rising * weights).sum(1) / (total * count)
        return Scores(torch.where(total > 0, index, 0.0).cpu(), {})

"""Complexity (Bhatt, Weller and Moura, IJCAI 2020): the entropy of a heatmap."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.interfaces import Batch, Classifier, Scores


@dataclass(frozen=True)
class Complexity:
    """- sum over cells of p ln p, of the magnitudes' shares p = |h| / sum |h|.

    0 is all of it in one cell, ln d the same in all d cells. It says how easily a heatmap is read,
    nothing of whether it is true, and depends on the resolution.
    """

    higher_is_better = False

    def __call__(self, model: Classifier, batch: Batch, heatmaps: Tensor) -> Scores:
        """Score heatmaps [B, r, r] by their own cells: in nats; ln d where all are 0."""
        del model, batch
        sizes = heatmaps.double().abs().flatten(1)  # [B, d]
        total = sizes.sum(1, keepdim=True)
        shares = torch.where(total > 0, sizes / total, 1 / sizes.shape[1])
        return Scores(torch.special.entr(shares).sum(1).cpu(), {})

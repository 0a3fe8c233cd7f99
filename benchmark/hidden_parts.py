"""What metrics share that hide parts of an image and compare the score with the heatmap's sums."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.stats import pearsonr, spearmanr
from torch import Tensor

from benchmark.images import upsample

SAME_SCORE = 1e-6  # scores that differ by less differ by rounding
APART = 0x6D65747269  # keeps a metric's draws from being those of a method with the same seed


def relevance_of_parts(heatmaps: Tensor, parts: Tensor) -> Tensor:
    """Sum enlarged heatmaps over parts of the image.

    Args:
        heatmaps: [B, r, r].
        parts: [H, W], each pixel's part, in 0 to P - 1.

    Returns:
        Sums [B, P] float64.
    """
    large = upsample(heatmaps[:, None].double(), parts.shape[-1])[:, 0].flatten(1)
    sums = large.new_zeros(len(large), int(parts.max()) + 1)
    return sums.index_add_(1, parts.flatten(), large)


def random_subsets(parts: int, hidden: int, samples: int, seed: int) -> Tensor:
    """Draw which of the parts are kept when a number of them is hidden: [samples, parts], 0 or 1.

    The draw depends on the seed alone, so that all methods are asked about the same subsets.
    """
    source = torch.Generator().manual_seed(seed ^ APART)
    places = torch.rand(samples, parts, generator=source).argsort(1)[:, :hidden]
    return torch.ones(samples, parts).scatter_(1, places, 0.0)


def correlation(relevance: Tensor, effects: Tensor, *, ranks: bool = False) -> float:
    """Correlate relevance [N] with effects on the score [N]: Pearson's, or Spearman's of ranks.

    NaN where the score does not change, whatever is hidden: no heatmap could say more. 0 where the
    relevance is the same throughout, which says nothing of a score that does.
    """
    said, seen = (each.double().cpu().numpy() for each in (relevance, effects))
    if np.ptp(seen) <= SAME_SCORE:
        return math.nan
    if np.ptp(said) <= 1e-6 * np.abs(said).max():  # the rounding of float32 heatmaps
        return 0.0
    return float((spearmanr if ranks else pearsonr)(said, seen).statistic)

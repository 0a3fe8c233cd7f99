"""How alike two heatmaps of one image are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from skimage.metrics import structural_similarity

WINDOW = 7  # cells along a side of SSIM's window, or as many as the heatmap has


class Similarity(NamedTuple):
    """How alike a heatmap is to the first one; NaN where either holds NaN or infinity."""

    rank: float  # Spearman's correlation, in [-1, 1]; 1 is the same order of cells
    magnitude: float  # Spearman's correlation of the absolute values, in [-1, 1]
    ssim: float  # structural similarity, in [-1, 1]
    change: float  # norm of the difference over the first one's, at least 0


def similarity(first: NDArray[np.float32], other: NDArray[np.float32]) -> Similarity:
    """Compare heatmaps [r, r] of any range.

    A heatmap whose cells are all equal orders nothing: to another such one its correlation is 1,
    to any other 0. For SSIM (Wang et al. 2004) both are brought to [0, 1], their smallest and
    largest cell; one of equal cells is 0 throughout. Norms are Euclidean; where the first one's is
    0 it is taken for 1, as captum does in ``sensitivity_max``.
    """
    one, two = first.astype(np.float64), other.astype(np.float64)
    if not (np.isfinite(one).all() and np.isfinite(two).all()):
        return Similarity(np.nan, np.nan, np.nan, np.nan)
    side = min(WINDOW, one.shape[0])
    window = side - 1 + side % 2  # odd
    ssim = np.nan  # where there is no window
    if window >= 3:
        ssim = structural_similarity(  # type: ignore[no-untyped-call]  # scikit-image's
            _spread(one), _spread(two), win_size=window, data_range=1.0
        )
    length = np.linalg.norm(one)
    return Similarity(
        rank=_spearman(one, two),
        magnitude=_spearman(np.abs(one), np.abs(two)),
        ssim=float(ssim),
        change=float(np.linalg.norm(two - one) / (length if length > 0 else 1.0)),
    )


def _spearman(one: NDArray[np.float64], two: NDArray[np.float64]) -> float:
    """Correlate ranks; equal values share the mean of theirs."""
    flat = np.ptp(one) == 0, np.ptp(two) == 0
    if any(flat):
        return float(all(flat))
    ranks = np.stack([rankdata(each) for each in (one, two)])
    if np.array_equal(ranks[0], ranks[1]):
        return 1.0  # to the last bit
    return float(np.corrcoef(ranks)[0, 1])


def _spread(heatmap: NDArray[np.float64]) -> NDArray[np.float64]:
    low, extent = heatmap.min(), np.ptp(heatmap)
    spread: NDArray[np.float64] = (heatmap - low) / (extent if extent > 0 else 1.0)
    return spread

"""HSIC attribution: Making Sense of Dependence (Novello, Fel & Vigouroux 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import qmc
from torch import Tensor

from benchmark.attribution import Score
from benchmark.interfaces import BadInput, Batch, Classifier
from benchmark.perturbation import scores_on_grid
from benchmark.substrates import Substrate


@dataclass(frozen=True)
class HSIC:
    """How far the score depends on whether a cell is kept or hidden, in whatever way it does.

    The measure is the Hilbert-Schmidt independence criterion of a cell's mask and the score; it
    is 0 only where the two are independent.
    """

    grid: int  # d = grid * grid cells of the masks, and of the heatmap
    samples: int  # n, masks
    baseline: Substrate
    score: Score

    def __post_init__(self) -> None:
        if self.grid < 2 or self.samples < 2:
            raise BadInput(
                "hsic needs a grid and samples of at least 2, got "
                f"grid={self.grid} samples={self.samples}"
            )

    def native(self, model: Classifier) -> int:
        """One cell of the heatmap for each cell of the masks."""
        del model
        return self.grid

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return each cell's criterion as heatmaps [B, grid, grid] of at least 0."""
        explained = scores_on_grid(
            model, batch, self.grid, baseline=self.baseline, score=self.score, draw=self._masks
        )
        heatmaps = [dependence(masks, scores) for masks, scores in explained]
        return torch.stack(heatmaps).view(-1, self.grid, self.grid).float()

    def _masks(self, seed: int) -> Tensor:
        """Draw the masks [n, d] of an image."""
        return binary_masks(self.samples, self.grid**2, seed)


def binary_masks(samples: int, cells: int, seed: int) -> Tensor:
    """Draw masks [n, d] of 0 and 1 by Latin hypercube: each cell is kept in half of them."""
    cube = qmc.LatinHypercube(cells, rng=np.random.default_rng(seed)).random(samples)
    return torch.from_numpy(cube < 0.5).float()


def dependence(masks: Tensor, scores: Tensor) -> Tensor:
    """Estimate the criterion tr(K H L H) / (n - 1)^2 of each cell and the score.

    H takes the mean away from rows and columns. The kernel of a cell is K = [m = m'] - 1/2, which
    is 2 z z' with z = m - 1/2: the trace is then 2 z^T (H L H) z, for all cells at once.

    Args:
        masks: [n, d] of 0 and 1.
        scores: [n].

    Returns:
        The criterion [d], at least 0 up to rounding.
    """
    kernel = score_kernel(scores.double())
    centred = kernel - kernel.mean(0) - kernel.mean(1, keepdim=True) + kernel.mean()
    signs = masks.double() - 0.5
    traces = 2 * (signs * (centred @ signs)).sum(0)
    return traces.clamp(min=0) / (len(scores) - 1) ** 2


def score_kernel(scores: Tensor) -> Tensor:
    """Return the Gaussian kernel L [n, n] of scores [n], as wide as their median distance.

    Distances of 0 do not count for the median, or a score of few values would have no width
    (Gretton et al. 2008, the public code); all-equal scores give all ones. The authors' own code
    takes the median of the scores themselves, which says where they lie and not how they vary.
    """
    distances = (scores[:, None] - scores).abs()
    apart = distances[distances > 0]
    if len(apart) == 0:
        return torch.ones_like(distances)
    return torch.exp(-0.5 * (distances / apart.median()).square())

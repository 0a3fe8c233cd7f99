"""Sobol attribution: Look at the Variance! (Fel et al. 2021)."""

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
class Sobol:
    """How much of the score's variance goes when a cell of a random mask is known to the rest.

    A cell's total index is the share of the variance in which the cell takes part, alone or
    together with others. A cell covers its own pixels only, so that indices are those of regions.
    """

    grid: int  # d = grid * grid cells of the masks, and of the heatmap
    samples: int  # N, a power of two; the score is computed N * (d + 1) times
    baseline: Substrate
    score: Score

    def __post_init__(self) -> None:
        if self.grid < 2:
            raise BadInput(f"sobol needs a grid of at least 2, got {self.grid}")
        if self.samples < 2 or self.samples & (self.samples - 1):
            raise BadInput(
                "sobol needs samples to be a power of two (2, 4, 8, 16, 32, ...), which Sobol "
                f"sequences are balanced for, got {self.samples}"
            )

    def native(self, model: Classifier) -> int:
        """One cell of the heatmap for each cell of the masks."""
        del model
        return self.grid

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return total indices as heatmaps [B, grid, grid] of at least 0."""
        explained = scores_on_grid(
            model, batch, self.grid, baseline=self.baseline, score=self.score, draw=self._masks
        )
        heatmaps = [total_indices(scores.view(-1, self.samples)) for _, scores in explained]
        return torch.stack(heatmaps).view(-1, self.grid, self.grid).float()

    def _masks(self, seed: int) -> Tensor:
        """Draw the masks [(d + 1) * N, d] of an image."""
        return replicated(*designs(self.samples, self.grid**2, seed)).float().flatten(0, 1)


def designs(samples: int, cells: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw A and B [N, d] in [0, 1), the two halves of one scrambled Sobol sequence."""
    sequence = qmc.Sobol(2 * cells, scramble=True, rng=np.random.default_rng(seed))
    points = torch.from_numpy(sequence.random_base2(samples.bit_length() - 1))
    return points[:, :cells], points[:, cells:]


def replicated(first: Tensor, second: Tensor) -> Tensor:
    """Return A, C_1, ..., C_d [d + 1, N, d]: C_i is A [N, d] with column i from B [N, d].

    B itself is left out: Jansen's estimator never reads the score there.
    """
    cells = first.shape[1]
    masks = first.repeat(cells + 1, 1, 1)
    each = torch.arange(cells)
    masks[each + 1, :, each] = second.T
    return masks


def total_indices(scores: Tensor) -> Tensor:
    """Estimate total indices [d] as Jansen (1999) does from scores [d + 1, N] of A, C_1, ..., C_d.

    S_i = sum (f(A) - f(C_i))^2 / (2 N V), V the variance of f(A); all 0 where that is 0.
    """
    first, others = scores[0].double(), scores[1:].double()
    variance = first.var()
    changed = (first - others).square().mean(1) / 2
    return torch.where(variance > 0, changed / variance, torch.zeros_like(changed))

"""Infidelity (Yeh et al., NeurIPS 2019), computed by captum."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from captum.metrics import infidelity
from torch import Tensor

from benchmark.attribution import Score
from benchmark.hidden_parts import random_subsets, relevance_of_parts
from benchmark.interfaces import BadInput, Batch, Classifier, Scores
from benchmark.perturbation import scores_with
from benchmark.segments import Grid
from benchmark.substrates import Substrate


@dataclass(frozen=True)
class Infidelity:
    """E over I of (b * sum(I * relevance) - (f(x) - f(x without I)))^2, with the best factor b.

    I marks random squares of a grid, a fixed number of them, the same for all methods; the
    relevance of a square is the sum over its pixels. b is the paper's scale of the relevance,
    without which a heatmap that is no attribution to the score's own units could not be measured.
    0 is a heatmap whose sums are the score's changes up to a factor, be it negative: one that marks
    the opposite is as good. One of zeros has the mean squared change, one that is the same
    everywhere the changes' variance.
    """

    grid: int  # squares along a side
    hidden: int  # squares hidden at once
    samples: int  # draws of I; as many passes and one more
    substrate: Substrate  # what is shown where a square is hidden
    higher_is_better = False

    def __post_init__(self) -> None:
        if self.grid < 1 or not 0 < self.hidden <= self.grid**2 or self.samples < 1:
            raise BadInput(
                "infidelity needs grid and samples of at least 1, and hidden between 1 and all "
                f"squares, got grid={self.grid} hidden={self.hidden} samples={self.samples}"
            )

    def __call__(self, model: Classifier, batch: Batch, heatmaps: Tensor) -> Scores:
        """Score heatmaps [B, r, r]: at least 0, in squared units of the score."""
        parts = Grid(self.grid)(batch.images[0])
        relevance = relevance_of_parts(heatmaps, parts)
        hidden = self.substrate(model, batch)
        values = []
        for row, seed in enumerate(batch.seeds.tolist()):
            kept = random_subsets(self.grid**2, self.hidden, self.samples, seed)
            kept = kept.to(relevance)

            def score(shown: Tensor, row: int = row) -> Tensor:
                return scores_with(
                    model, batch, row, hidden[row], parts, kept=shown, score=Score.softmax
                ).double()

            def hide(_: Tensor, kept: Tensor = kept) -> tuple[Tensor, Tensor]:
                return 1 - kept, kept

            value = infidelity(
                score,
                hide,
                torch.ones_like(kept[:1]),
                relevance[row : row + 1],
                n_perturb_samples=self.samples,
                normalize=True,
            )
            values.append(max(float(value), 0.0))  # a difference of sums, or -1e-17
        return Scores(torch.tensor(values, dtype=torch.float64), {})

"""Monotonicity as a rank correlation (Nguyen and Rodríguez Martínez 2020)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.attribution import Score
from benchmark.hidden_parts import correlation, relevance_of_parts
from benchmark.interfaces import BadInput, Batch, Classifier, Scores
from benchmark.perturbation import scores_on_grid
from benchmark.segments import Grid
from benchmark.substrates import Substrate


@dataclass(frozen=True)
class MonotonicityCorrelation:
    """Spearman's correlation over features i of |relevance i| and E (f(x) - f(x without i))^2.

    The features are the squares of one grid whatever the heatmap's resolution, each hidden alone.
    The paper's expectation over values of a feature is the one value that the substrate has there.
    """

    grid: int  # squares along a side; as many passes as squares, and one more
    substrate: Substrate  # what is shown where a square is hidden
    higher_is_better = True

    def __post_init__(self) -> None:
        if self.grid < 2:
            raise BadInput(f"monotonicity_correlation needs a grid of at least 2, got {self.grid}")

    def __call__(self, model: Classifier, batch: Batch, heatmaps: Tensor) -> Scores:
        """Score heatmaps [B, r, r]: in [-1, 1]; NaN where hiding never changes the score."""
        relevance = relevance_of_parts(heatmaps, Grid(self.grid)(batch.images[0]))
        count = self.grid**2
        kept = torch.cat([torch.ones(1, count), 1 - torch.eye(count)])
        scored = scores_on_grid(
            model,
            batch,
            self.grid,
            baseline=self.substrate,
            score=Score.softmax,
            draw=lambda _: kept,
        )
        values = [
            correlation(relevance[row].abs(), (scores[0] - scores[1:]).abs(), ranks=True)
            for row, (_, scores) in enumerate(scored)
        ]
        return Scores(torch.tensor(values, dtype=torch.float64), {})

"""Faithfulness correlation (Bhatt, Weller and Moura, IJCAI 2020)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.attribution import Score
from benchmark.hidden_parts import correlation, random_subsets, relevance_of_parts
from benchmark.interfaces import BadInput, Batch, Classifier, Scores
from benchmark.perturbation import scores_on_grid
from benchmark.segments import Grid
from benchmark.substrates import Substrate


@dataclass(frozen=True)
class FaithfulnessCorrelation:
    """corr over random S of: sum over i in S of the relevance i; f(x) - f(x without S).

    The features i are the squares of one grid whatever the heatmap's resolution, and each image has
    the same subsets S for all methods. Their size is fixed, as in the paper.
    """

    grid: int  # squares along a side
    hidden: int  # squares in a subset
    samples: int  # subsets; as many passes
    substrate: Substrate  # what is shown where a square is hidden
    higher_is_better = True

    def __post_init__(self) -> None:
        if self.grid < 2 or not 0 < self.hidden < self.grid**2 or self.samples < 3:
            raise BadInput(
                "faithfulness_correlation needs a grid of at least 2, hidden between 1 and all "
                f"squares but one, and samples of at least 3, got grid={self.grid} "
                f"hidden={self.hidden} samples={self.samples}"
            )

    def __call__(self, model: Classifier, batch: Batch, heatmaps: Tensor) -> Scores:
        """Score heatmaps [B, r, r]: in [-1, 1]; NaN where hiding never changes the score."""
        relevance = relevance_of_parts(heatmaps, Grid(self.grid)(batch.images[0]))
        drawn = scores_on_grid(
            model,
            batch,
            self.grid,
            baseline=self.substrate,
            score=Score.softmax,
            draw=lambda seed: random_subsets(self.grid**2, self.hidden, self.samples, seed),
        )
        values = [
            correlation((1 - kept.double()) @ relevance[row], -scores)
            for row, (kept, scores) in enumerate(drawn)
        ]
        return Scores(torch.tensor(values, dtype=torch.float64), {})

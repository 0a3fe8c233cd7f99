"""IROF, iterative removal of features (Rieger and Hansen 2020)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.attribution import Score
from benchmark.hidden_parts import relevance_of_parts
from benchmark.interfaces import BadInput, Batch, Classifier, Scores
from benchmark.perturbation import scores_with
from benchmark.segments import Segmenter
from benchmark.substrates import Substrate


@dataclass(frozen=True)
class IROF:
    """The area over f(x without the l first of L superpixels) / f(x), by their mean relevance.

    The mean over l = 0 to L by the trapezoid rule. Superpixels follow the image, so that methods of
    all resolutions remove the same parts; a random order is the control.
    """

    segmenter: Segmenter
    substrate: Substrate  # what is left where a superpixel is removed
    least: float  # f(x) that an image needs to have a value, above 0
    higher_is_better = True

    def __post_init__(self) -> None:
        if not 0 < self.least < 1:
            raise BadInput(f"irof needs least between 0 and 1, got {self.least}")

    def __call__(self, model: Classifier, batch: Batch, heatmaps: Tensor) -> Scores:
        """Score heatmaps [B, r, r]: at most 1; NaN where f(x) is below ``least``."""
        hidden = self.substrate(model, batch)
        values = [
            self._area(model, batch, row, heatmap, hidden[row])
            for row, heatmap in enumerate(heatmaps)
        ]
        return Scores(torch.tensor(values, dtype=torch.float64), {})

    def _area(
        self, model: Classifier, batch: Batch, row: int, heatmap: Tensor, hidden: Tensor
    ) -> float:
        parts = self.segmenter(batch.images[row])
        relevance = relevance_of_parts(heatmap[None], parts)[0] / parts.flatten().bincount()
        ranks = relevance.argsort(descending=True, stable=True).argsort()
        gone = torch.arange(len(ranks) + 1, device=ranks.device)
        kept = ranks >= gone[:, None]  # [L + 1, L]
        scores = scores_with(model, batch, row, hidden, parts, kept=kept, score=Score.softmax)
        shares = scores.double() / scores[0].double()
        area = (shares[1:] + shares[:-1]).mean() / 2
        return 1 - float(area) if scores[0] >= self.least else math.nan

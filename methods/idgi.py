"""IDGI: A Framework to Eliminate Explanation Noise from Integrated Gradients (Yang et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.attribution import PixelAttribution, Score
from benchmark.interfaces import BadInput, Batch, Classifier
from benchmark.paths import Weighting, along_path
from benchmark.substrates import Substrate


@dataclass(frozen=True)
class IDGI(PixelAttribution):
    """The score's change on each step from a baseline to the image, by squared gradients."""

    baseline: Substrate
    steps: int
    score: Score

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise BadInput(f"idgi needs steps of at least 1, got {self.steps}")

    def attribute(self, model: Classifier, batch: Batch) -> Tensor:
        """Return attributions [B, 3, H, W]; they sum to score on image minus on baseline."""
        baselines = self.baseline(model, batch)
        way = torch.linspace(0, 1, self.steps + 1, device=model.device).view(-1, 1, 1, 1)

        def path(part: slice) -> Tensor:
            return torch.lerp(baselines[part, None], batch.images[part, None], way)

        return along_path(
            model, batch, path, points=self.steps + 1, weighting=Weighting.idgi, score=self.score
        )

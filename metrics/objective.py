"""What the mask optimisers minimise (Qi et al. 2020, Eq. 3), measured on finished heatmaps."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from benchmark.images import composite, upsample
from benchmark.interfaces import BadInput, Batch, Classifier, Scores
from benchmark.masking import total_variation
from benchmark.substrates import Substrate

Part = Enum("Part", "total score size roughness")


@dataclass(frozen=True)
class MaskObjective:
    """F(M) = f(M) + l1 * mean|1 - M| + tv * TV(M) of the mask M = 1 - heatmap, or one summand.

    f(M) is the target's softmax score on the image composed with the baseline under M, without
    noise.
    """

    part: Part  # total: F; score: f; size: the summand of l1; roughness: that of tv
    l1: float
    tv: float
    tv_exponent: float  # of the difference between neighbours
    baseline: Substrate
    higher_is_better = False

    def __post_init__(self) -> None:
        if min(self.l1, self.tv) < 0 or self.tv_exponent < 1:
            raise BadInput(
                "objective needs l1 and tv of at least 0 and tv_exponent of at least 1, got "
                f"l1={self.l1} tv={self.tv} tv_exponent={self.tv_exponent}"
            )

    def __call__(self, model: Classifier, batch: Batch, heatmaps: Tensor) -> Scores:
        """Score heatmaps [B, r, r] in [0, 1].

        Raises:
            BadInput: a heatmap leaves [0, 1] and so is no mask's.
        """
        if heatmaps.min() < 0 or heatmaps.max() > 1:
            raise BadInput("objective needs heatmaps in [0, 1], as igos and mask make them")
        masks = 1 - heatmaps[:, None]  # [B, 1, r, r]
        values = torch.zeros(len(masks), dtype=torch.float64, device=masks.device)
        if self.part in (Part.total, Part.score):
            shown = upsample(masks, batch.images.shape[-1])
            images = composite(batch.images, self.baseline(model, batch), shown)
            with torch.no_grad():
                values += model.scores(images, batch.targets)
        if self.part in (Part.total, Part.size):
            values += self.l1 * heatmaps.double().mean(dim=(1, 2))
        if self.part in (Part.total, Part.roughness):
            values += self.tv * total_variation(masks.double(), self.tv_exponent)
        return Scores(values.cpu(), {})

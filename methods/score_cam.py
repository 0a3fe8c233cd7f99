"""Score-CAM (Wang et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor
from torch.nn import functional

from benchmark.attribution import Score
from benchmark.cam_layer import cam_activations, cam_resolution
from benchmark.images import chunks
from benchmark.interfaces import Batch, Classifier
from benchmark.perturbation import scores_under
from benchmark.substrates import Substrate

Weights = Enum("Weights", "softmax increase")


@dataclass(frozen=True)
class ScoreCAM:
    """The last convolutional map, each channel weighted by the score of the image it lets through.

    The weights are the increase over the score of the baseline, or the softmax of that over the
    channels, where the baseline's score cancels and is not asked for.
    """

    baseline: Substrate
    score: Score
    weights: Weights

    def native(self, model: Classifier) -> int:
        """Return the resolution of the classifier's CAM layer."""
        return cam_resolution(model)

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return heatmaps [B, h, h], at least 0; takes a pass for each channel.

        Raises:
            BadInput: the classifier has no convolutional map before its output.
        """
        hidden = self.baseline(model, batch)
        maps = cam_activations(model, batch)
        return torch.stack(
            [self._explain(model, batch, row, hidden[row], maps[row]) for row in range(len(maps))]
        )

    def _explain(
        self, model: Classifier, batch: Batch, row: int, hidden: Tensor, maps: Tensor
    ) -> Tensor:
        """Return the heatmap [h, h] of one image from its maps [C, h, h]."""

        def scores_of(masks: Tensor) -> Tensor:
            return scores_under(model, batch, row, hidden, masks, score=self.score)

        size = batch.images.shape[-1]
        parts = chunks(len(maps), model.pass_batch)  # of enlarged masks, which are large
        scores = torch.cat([scores_of(_masks(maps[part], size)) for part in parts])  # [C]
        if self.weights is Weights.softmax:
            weights = scores.softmax(0)
        else:
            weights = scores - scores_of(maps.new_zeros(1, 1, size, size))
        return (weights[:, None, None] * maps).sum(0).clamp(min=0)


def _masks(maps: Tensor, size: int) -> Tensor:
    """Enlarge maps [C, h, h] to masks [C, 1, size, size] from 0 to 1; a flat map hides all."""
    flat = maps.amax((1, 2)) == maps.amin((1, 2))  # [C], as enlarged maps are only to rounding
    large = functional.interpolate(maps[:, None], size=(size, size), mode="bilinear")
    low, high = large.amin((2, 3), keepdim=True), large.amax((2, 3), keepdim=True)
    return torch.where(flat.view(-1, 1, 1, 1), 0, (large - low) / (high - low))

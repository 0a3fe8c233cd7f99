"""Average drop and increase in confidence (Chattopadhay et al. 2018, Grad-CAM++)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from benchmark.hidden_parts import SAME_SCORE
from benchmark.images import composite, upsample
from benchmark.interfaces import Batch, Classifier, Scores
from benchmark.substrates import Substrate

Change = Enum("Change", "drop increase")


@dataclass(frozen=True)
class Confidence:
    """How the score Y of the image compares with the score O of the image times its heatmap.

    drop: max(0, Y - O) / Y, in [0, 1], the paper's percentage by 100; increase: 1 where O > Y, else
    0. The heatmap is scaled to [0, 1] and enlarged; over black, the image under it is their
    product. One that is the same everywhere marks nothing: O is the substrate's score. Both reward
    heatmaps that show almost everything (Poppi et al. 2021), so that they say little alone.
    """

    change: Change
    substrate: Substrate  # what is shown where the heatmap is lowest

    @property
    def higher_is_better(self) -> bool:
        """Whether it is the increase."""
        return self.change is Change.increase

    def __call__(self, model: Classifier, batch: Batch, heatmaps: Tensor) -> Scores:
        """Score heatmaps [B, r, r] by two passes for each image."""
        low, high = heatmaps.amin((1, 2), keepdim=True), heatmaps.amax((1, 2), keepdim=True)
        scaled = torch.where(high > low, (heatmaps - low) / (high - low), 0.0)
        shown = upsample(scaled[:, None], batch.images.shape[-1])
        with torch.no_grad():
            whole = model.scores(batch.images, batch.targets).double()
            images = composite(batch.images, self.substrate(model, batch), shown)
            explained = model.scores(images, batch.targets).double()
        if self.change is Change.increase:
            return Scores((explained > whole + SAME_SCORE).double().cpu(), {})
        tiny = torch.finfo(torch.float64).tiny
        return Scores(((whole - explained).clamp(min=0) / whole.clamp(min=tiny)).cpu(), {})

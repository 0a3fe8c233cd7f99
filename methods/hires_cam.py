"""HiResCAM (Draelos & Carin 2020)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from benchmark.cam_layer import cam_maps, cam_resolution
from benchmark.interfaces import Batch, Classifier


@dataclass(frozen=True)
class HiResCAM:
    """The last convolutional map, each cell weighted by its own gradient.

    Negative values stay: what a cell takes from the logit is part of what the paper proves.
    """

    def native(self, model: Classifier) -> int:
        """Return the resolution of the classifier's CAM layer."""
        return cam_resolution(model)

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return heatmaps [B, h, h]; they sum to the logit less its bias before a linear layer.

        Raises:
            BadInput: the classifier has no convolutional map before its output.
        """
        maps, gradients, _ = cam_maps(model, batch)
        return (gradients * maps).sum(1)

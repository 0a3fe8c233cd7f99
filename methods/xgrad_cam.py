"""XGrad-CAM: Axiom-based Grad-CAM (Fu et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.cam_layer import cam_maps, cam_resolution
from benchmark.interfaces import Batch, Classifier


@dataclass(frozen=True)
class XGradCAM:
    """The last convolutional map, weighted by its gradients averaged in proportion to itself."""

    def native(self, model: Classifier) -> int:
        """Return the resolution of the classifier's CAM layer."""
        return cam_resolution(model)

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return heatmaps [B, h, h], at least 0.

        Raises:
            BadInput: the classifier has no convolutional map before its output.
        """
        maps, gradients, _ = cam_maps(model, batch)
        total = maps.sum((2, 3), keepdim=True)
        moment = (gradients * maps).sum((2, 3), keepdim=True)
        weights = torch.where(total != 0, moment / total, 0)
        return (weights * maps).sum(1).clamp(min=0)

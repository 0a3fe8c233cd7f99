"""XGrad-CAM: Axiom-based Grad-CAM (Fu et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.cam_layer import GradientCAM


@dataclass(frozen=True)
class XGradCAM(GradientCAM):
    """The last convolutional map, weighted by its gradients averaged in proportion to itself."""

    def combine(self, maps: Tensor, gradients: Tensor) -> Tensor:
        """Return heatmaps of at least 0."""
        total = maps.sum((2, 3), keepdim=True)
        moment = (gradients * maps).sum((2, 3), keepdim=True)
        weights = torch.where(total != 0, moment / total, 0)
        return (weights * maps).sum(1).clamp(min=0)

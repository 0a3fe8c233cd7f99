"""Grad-CAM++ (Chattopadhay et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.cam_layer import GradientCAM


@dataclass(frozen=True)
class GradCAMPlusPlus(GradientCAM):
    """Grad-CAM with every cell's positive gradient weighted by its share in the score.

    As in the paper the score is the exponential of the logit, whose second and third derivatives
    are powers of the logit's gradient where the network is piecewise linear. Their common factor,
    the score itself, cancels in the shares and would only scale the heatmap: it is left out.
    """

    def combine(self, maps: Tensor, gradients: Tensor) -> Tensor:
        """Return heatmaps of at least 0."""
        # Multiplied by the gradient where the paper divides by its square: no underflow.
        below = 2 + gradients * maps.sum((2, 3), keepdim=True)
        shares = torch.where(below != 0, 1 / below, 0)  # alpha
        weights = (shares * gradients.clamp(min=0)).sum((2, 3), keepdim=True)
        return (weights * maps).sum(1).clamp(min=0)

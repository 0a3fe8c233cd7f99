"""HiResCAM (Draelos & Carin 2020)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from benchmark.cam_layer import GradientCAM


@dataclass(frozen=True)
class HiResCAM(GradientCAM):
    """The last convolutional map, each cell weighted by its own gradient.

    Negative values stay: what a cell takes from the logit is part of what the paper proves.
    """

    def combine(self, maps: Tensor, gradients: Tensor) -> Tensor:
        """Return heatmaps; they sum to the logit less its bias before a linear layer."""
        return (gradients * maps).sum(1)

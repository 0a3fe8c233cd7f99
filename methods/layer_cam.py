"""LayerCAM (Jiang et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from benchmark.cam_layer import GradientCAM


@dataclass(frozen=True)
class LayerCAM(GradientCAM):
    """The last convolutional map, each cell weighted by its own positive gradient."""

    def combine(self, maps: Tensor, gradients: Tensor) -> Tensor:
        """Return heatmaps of at least 0."""
        return (gradients.clamp(min=0) * maps).sum(1).clamp(min=0)

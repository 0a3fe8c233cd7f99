"""LayerCAM (Jiang et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from benchmark.cam_layer import cam_maps, cam_resolution
from benchmark.interfaces import Batch, Classifier


@dataclass(frozen=True)
class LayerCAM:
    """The last convolutional map, each cell weighted by its own positive gradient."""

    def native(self, model: Classifier) -> int:
        """Return the resolution of the classifier's CAM layer."""
        return cam_resolution(model)

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return heatmaps [B, h, h], at least 0.

        Raises:
            BadInput: the classifier has no convolutional map before its output.
        """
        maps, gradients, _ = cam_maps(model, batch)
        return (gradients.clamp(min=0) * maps).sum(1).clamp(min=0)

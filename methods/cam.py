"""Class activation maps (Zhou et al. 2016)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from benchmark.cam_layer import averaged_layer, cam_maps, layer_resolution
from benchmark.interfaces import Batch, Classifier


@dataclass(frozen=True)
class CAM:
    """The last maps, weighted as the target's logit weights their averages."""

    def native(self, model: Classifier) -> int:
        """Return the resolution of the maps that are averaged."""
        return layer_resolution(model, averaged_layer(model))

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return heatmaps [B, h, h] whose mean is the target's logit less its bias.

        Raises:
            BadInput: the logits are not linear in averaged maps, as where dense layers follow.
        """
        maps, gradients, _ = cam_maps(model, batch, averaged_layer(model))
        # A logit moves by weight / (h * h) with each cell of an averaged map.
        weights = gradients.sum((2, 3), keepdim=True)
        return (weights * maps).sum(1)

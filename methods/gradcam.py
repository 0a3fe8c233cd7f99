"""Grad-CAM (Selvaraju et al. 2017), computed by captum."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from captum.attr import LayerGradCam
from torch import Tensor

from benchmark.cam_layer import cam_resolution
from benchmark.images import chunks
from benchmark.interfaces import Batch, Classifier


@dataclass(frozen=True)
class GradCAM:
    """The last convolutional map, weighted by the target logit's mean gradient, positive part."""

    def native(self, model: Classifier) -> int:
        """Return the resolution of the classifier's CAM layer."""
        return cam_resolution(model)

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return heatmaps [B, h, h] at the resolution of the classifier's CAM layer, at least 0.

        Raises:
            BadInput: the classifier has no convolutional map before its output.
        """
        explainer = LayerGradCam(model, model.cam_layer)
        parts = []
        for part in chunks(len(batch.ids), model.pass_batch):
            rows = torch.arange(part.start, part.stop)
            with model.passes_of(rows):
                maps: Tensor = explainer.attribute(
                    batch.images[part].clone(), target=batch.targets[part], relu_attributions=True
                )
            # The classifier may pad its batch, and the layer has seen the padding.
            parts.append(maps[: len(rows), 0].detach().float())
        return torch.cat(parts)

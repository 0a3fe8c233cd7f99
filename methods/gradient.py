"""The gradient (Simonyan et al. 2013), and the gradient times the input (Shrikumar et al. 2016)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from benchmark.attribution import PixelAttribution, Score, gradients
from benchmark.interfaces import Batch, Classifier


@dataclass(frozen=True)
class Gradient(PixelAttribution):
    """How fast the target's logit changes with each colour of each pixel."""

    times_input: bool  # times what the network sees, the normalised image

    def attribute(self, model: Classifier, batch: Batch) -> Tensor:
        """Return attributions [B, 3, H, W] by images in [0, 1], or shares of a linear logit.

        The normalised image is (image - mean) / std and the gradient by it is std times that by
        the image: std cancels in their product.
        """
        slopes, _ = gradients(model, batch.images, batch.targets, Score.logit)
        if not self.times_input:
            return slopes
        return slopes * (batch.images - model.mean.view(1, 3, 1, 1))

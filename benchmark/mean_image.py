"""The mean image of a data set as a substrate."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from benchmark.background import Background
from benchmark.interfaces import Batch, Classifier


@dataclass(frozen=True)
class MeanImage:
    """The mean of images drawn from the data set, as the network sees them.

    No stored constant: it depends on the data set, its preprocessing and the input size. A
    result's key holds which images these were (``Background.fingerprint``).
    """

    background: Background

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return the same image [B, 3, H, W] for all.

        Raises:
            BadInput: the data set has too few images, or one of them cannot be read.
        """
        del model
        mean = self.background.images(batch.images.shape[-1]).mean(0)
        return mean.to(batch.images).expand_as(batch.images).contiguous()

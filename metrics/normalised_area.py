"""Deletion or insertion AUC between the scores of the image and of the substrate.

Such degradation curves are in Schulz et al. (ICLR 2020), who scale them by the means over all
images; here each image is scaled by its own two scores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.curves import Area, Curve, Protocol, Walk, area, of_curves
from benchmark.interfaces import BadInput, Batch, Classifier, Scores


@dataclass(frozen=True)
class NormalisedArea:
    """The area under (f - f(substrate)) / (f(image) - f(substrate)), both ends of the curve.

    0 is a score that stays the substrate's, 1 one that stays the image's; a curve may leave both.
    NaN where the two scores differ by less than ``least`` or the substrate's is the higher, for
    then there is nothing to be removed or to come back. That depends on the image and the
    substrate alone, so no method loses other images by it than another.
    """

    protocol: Protocol
    insertion: bool  # of the insertion curve instead of the deletion curve
    least: float  # f(image) - f(substrate) that an image needs to have a value, above 0

    def __post_init__(self) -> None:
        if not 0 < self.least < 1:
            raise BadInput(f"a normalised area needs least between 0 and 1, got {self.least}")
        if self.protocol.area is not Area.trapezoid:
            raise BadInput(
                f"a normalised area cannot be protocol.area={self.protocol.area.name}, whose last "
                "step is no score: use protocol.area=trapezoid or another protocol"
            )

    @property
    def higher_is_better(self) -> bool:
        """As for the area that is normalised."""
        return self.insertion

    @property
    def walks(self) -> tuple[Walk, ...]:
        """The deletion or the insertion curve."""
        return (self.protocol.walk(self.insertion),)

    def __call__(self, model: Classifier, batch: Batch, heatmaps: Tensor) -> Scores:
        """Return the area of each image; NaN where its two ends are too close."""
        return of_curves(self, model, batch, heatmaps)

    def from_curves(self, *curves: Curve) -> Scores:
        """Do the same with the curve."""
        (curve,) = curves
        scores = curve.scores.double().cpu()
        image, substrate = (scores[:, -1], scores[:, 0])[:: 1 if self.insertion else -1]
        values = (area(*curve) - substrate) / (image - substrate)
        return Scores(torch.where(image - substrate >= self.least, values, math.nan), {})

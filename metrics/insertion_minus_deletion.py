"""Insertion minus deletion, the two areas of Petsiuk et al. (2018) in one number."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from benchmark.curves import Curve, Protocol, Walk, area, of_curves
from benchmark.interfaces import Batch, Classifier, Scores


@dataclass(frozen=True)
class InsertionMinusDeletion:
    """area(insertion) - area(deletion), each over the substrate that the protocol has for it.

    What all scores of an image have in common, such as a high confidence, cancels.
    """

    protocol: Protocol
    higher_is_better = True

    @property
    def walks(self) -> tuple[Walk, ...]:
        """The insertion and the deletion curve."""
        return (self.protocol.walk(insertion=True), self.protocol.walk(insertion=False))

    def __call__(self, model: Classifier, batch: Batch, heatmaps: Tensor) -> Scores:
        """Return the difference of each image, in [-1, 1]."""
        return of_curves(self, model, batch, heatmaps)

    def from_curves(self, *curves: Curve) -> Scores:
        """Do the same with the curves."""
        inserted, deleted = (area(*each, self.protocol.area) for each in curves)
        return Scores(inserted - deleted, {})

"""Monotonicity (Arya et al. 2019, One Explanation Does Not Fit All)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from benchmark.curves import Curve, Protocol, Walk, of_curves
from benchmark.hidden_parts import SAME_SCORE
from benchmark.interfaces import Batch, Classifier, Scores


@dataclass(frozen=True)
class Monotonicity:
    """The share of steps at which the score does not fall as cells are added, the least first.

    The paper asks whether it is all of them. Cells added to the substrate from the least important
    on are the deletion curve backwards, so no pass is needed beside deletion's. How far the score
    moves does not count, and so a random order has about half of the steps.
    """

    protocol: Protocol
    higher_is_better = True

    @property
    def walks(self) -> tuple[Walk, ...]:
        """The deletion curve."""
        return (self.protocol.walk(insertion=False),)

    def __call__(self, model: Classifier, batch: Batch, heatmaps: Tensor) -> Scores:
        """Return the share of each image, in [0, 1]."""
        return of_curves(self, model, batch, heatmaps)

    def from_curves(self, *curves: Curve) -> Scores:
        """Do the same with the curve."""
        (curve,) = curves
        return Scores((curve.scores.diff() <= SAME_SCORE).double().mean(1).cpu(), {})

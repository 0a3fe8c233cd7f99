"""Symmetric relevance gain (Blücher, Vielhaben and Strodthoff, TMLR 2024)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from benchmark.curves import Curve, Protocol, Walk, area, of_curves
from benchmark.interfaces import Batch, Classifier, Scores


@dataclass(frozen=True)
class RelevanceGain:
    """SRG = area(least relevant first) - area(most relevant first), over one substrate.

    What one order owes to the substrate the other owes to it too, so that methods rank alike
    under many substrates. 0 is what a random order has on average. Under the trapezoid rule, where
    a protocol has one substrate for both, it is insertion minus deletion.
    """

    protocol: Protocol
    higher_is_better = True

    @property
    def walks(self) -> tuple[Walk, ...]:
        """The deletion curve, and the one in the reverse order, backwards."""
        return (self.protocol.walk(insertion=False), self.protocol.least_relevant_first())

    def __call__(self, model: Classifier, batch: Batch, heatmaps: Tensor) -> Scores:
        """Return the gain of each image, in [-1, 1]."""
        return of_curves(self, model, batch, heatmaps)

    def from_curves(self, *curves: Curve) -> Scores:
        """Do the same with the curves."""
        most, least = curves
        rule = self.protocol.area
        return Scores(area(*least.backwards(), rule) - area(*most, rule), {})

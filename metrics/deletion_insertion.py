"""Deletion and insertion AUC (Petsiuk et al. 2018), under the protocol of the run.

Deletion is the perturbation curve of Samek et al. (2017), most relevant first.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from benchmark.curves import Curve, Protocol, Walk, area, of_curves
from benchmark.interfaces import Batch, Classifier, Scores


@dataclass(frozen=True)
class Deletion:
    """Remove the most important cells first; a faithful heatmap makes the score fall fast."""

    protocol: Protocol
    higher_is_better = False
    keeps_curve = True

    @property
    def walks(self) -> tuple[Walk, ...]:
        """The deletion curve."""
        return (self.protocol.walk(insertion=False),)

    def __call__(self, model: Classifier, batch: Batch, heatmaps: Tensor) -> Scores:
        """Return the area under each deletion curve, in [0, 1], and the curve."""
        return of_curves(self, model, batch, heatmaps)

    def from_curves(self, *curves: Curve) -> Scores:
        """Do the same with the curve."""
        return _scored(self.protocol, *curves)


@dataclass(frozen=True)
class Insertion:
    """Show the most important cells first; a faithful heatmap makes the score rise fast."""

    protocol: Protocol
    higher_is_better = True
    keeps_curve = True

    @property
    def walks(self) -> tuple[Walk, ...]:
        """The insertion curve."""
        return (self.protocol.walk(insertion=True),)

    def __call__(self, model: Classifier, batch: Batch, heatmaps: Tensor) -> Scores:
        """Return the area under each insertion curve, in [0, 1], and the curve."""
        return of_curves(self, model, batch, heatmaps)

    def from_curves(self, *curves: Curve) -> Scores:
        """Do the same with the curve."""
        return _scored(self.protocol, *curves)


def _scored(protocol: Protocol, curve: Curve) -> Scores:
    return Scores(area(*curve, protocol.area), curve.kept())

"""Deletion and insertion AUC (Petsiuk et al. 2018), under the protocol of the run."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from benchmark.curves import Protocol, area, curve
from benchmark.interfaces import Batch, Classifier, Scores


@dataclass(frozen=True)
class Deletion:
    """Remove the most important cells first; a faithful heatmap makes the score fall fast."""

    protocol: Protocol
    higher_is_better = False

    def __call__(self, model: Classifier, batch: Batch, heatmaps: Tensor) -> Scores:
        """Return the area under each deletion curve, in [0, 1], and the curve."""
        return _scored(model, batch, heatmaps, self.protocol, insertion=False)


@dataclass(frozen=True)
class Insertion:
    """Show the most important cells first; a faithful heatmap makes the score rise fast."""

    protocol: Protocol
    higher_is_better = True

    def __call__(self, model: Classifier, batch: Batch, heatmaps: Tensor) -> Scores:
        """Return the area under each insertion curve, in [0, 1], and the curve."""
        return _scored(model, batch, heatmaps, self.protocol, insertion=True)


def _scored(
    model: Classifier, batch: Batch, heatmaps: Tensor, protocol: Protocol, insertion: bool
) -> Scores:
    scores, fractions = curve(model, batch, heatmaps, protocol, insertion)
    values = area(scores, fractions, protocol.area)
    return Scores(values, {"scores": scores, "fractions": fractions.expand_as(scores)})

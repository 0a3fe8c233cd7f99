"""Deletion, least relevant cells first (LeRF; Samek et al. 2017), under the protocol of the run."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from benchmark.curves import Curve, Protocol, Walk, area, of_curves
from benchmark.interfaces import Batch, Classifier, Scores


@dataclass(frozen=True)
class LeastRelevantFirst:
    """Remove the least important cells first; a faithful heatmap keeps the score up for long.

    With k of N cells left, the image is what insertion over the deletion's substrate shows at k
    cells. So the curve is made as that insertion, kept as it, by the fraction shown, and read
    backwards for the area. Where a protocol has one substrate for both, as ``igos``, no pass is
    needed beside insertion's, and under the trapezoid rule the value is insertion's, whether cells
    tie or not. Deletion of the negated heatmap is the same only where no cells tie, for ties go by
    index either way, and where the groups of cells fill the grid.
    """

    protocol: Protocol
    higher_is_better = True
    keeps_curve = True

    @property
    def walks(self) -> tuple[Walk, ...]:
        """The insertion over the deletion's substrate."""
        return (self.protocol.least_relevant_first(),)

    def __call__(self, model: Classifier, batch: Batch, heatmaps: Tensor) -> Scores:
        """Return the area under each curve over the fraction removed, in [0, 1]."""
        return of_curves(self, model, batch, heatmaps)

    def from_curves(self, *curves: Curve) -> Scores:
        """Do the same with the curve."""
        (shown,) = curves
        return Scores(area(*shown.backwards(), self.protocol.area), shown.kept())

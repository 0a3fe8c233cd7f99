"""How much of an image has to be inserted until its class is back (as Qi et al. 2020, Fig. 8)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.curves import Curve, Protocol, Walk, of_curves
from benchmark.interfaces import BadInput, Batch, Classifier, Scores


@dataclass(frozen=True)
class InsertionNeeded:
    """Where the insertion curve first reaches a share of the score on the whole image.

    Between two points of the curve it is taken to be straight. 0 is a score that the substrate has
    already, 1 one that only the whole image has.
    """

    protocol: Protocol
    share: float  # of the score on the whole image, above 0 and up to 1
    higher_is_better = False

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise BadInput(f"insertion_needed has a share above 0 and up to 1, got {self.share}")

    @property
    def walks(self) -> tuple[Walk, ...]:
        """The insertion curve."""
        return (self.protocol.walk(insertion=True),)

    def __call__(self, model: Classifier, batch: Batch, heatmaps: Tensor) -> Scores:
        """Return for each image the fraction of its cells that is needed, in [0, 1]."""
        return of_curves(self, model, batch, heatmaps)

    def from_curves(self, *curves: Curve) -> Scores:
        """Do the same with the curve."""
        (curve,) = curves
        scores = curve.scores.double().cpu()
        fractions = curve.fractions.double().cpu().expand_as(scores)
        wanted = self.share * scores[:, -1:]
        after = (scores >= wanted).int().argmax(1, keepdim=True)  # the first; the last one has it
        before = (after - 1).clamp(min=0)
        low, high = scores.gather(1, before), scores.gather(1, after)
        way = torch.where(after > 0, (wanted - low) / (high - low), 0.0)  # 0 to 1 between the two
        return Scores(fractions.gather(1, before).lerp(fractions.gather(1, after), way)[:, 0], {})

"""iGOS+, the simpler of the two methods of the iGOS++ paper (Khorram et al. 2021)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from benchmark.interfaces import BadInput, Batch, Classifier
from benchmark.iterates import Iterate, last
from benchmark.mask_descent import MaskDescent
from benchmark.masking import BilateralVariation, Term


@dataclass(frozen=True)
class IGOSPlus(MaskDescent):
    """One mask that lowers the score where it removes, and keeps it where only that is shown.

    Minimises f(M) - insertion * f(1 - M) + l1 * mean|1 - M| + tv * BTV(M) over masks M in [0, 1],
    where f(M) is the score of the image composed with the baseline under M.
    """

    name: ClassVar[str] = "igos_plus"

    insertion: float  # weight of the insertion term, where deletion has 1; 0 leaves it out
    sigma: float  # of the bilateral weights, in squared normalised colour units

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.insertion < 0 or self.sigma <= 0:
            raise BadInput(
                "igos_plus needs insertion of at least 0 and sigma above 0, got "
                f"{self.insertion} and {self.sigma}"
            )

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return 1 - M as heatmaps [B, r, r] in [0, 1]."""
        return 1 - last(self.descend(model, batch))[:, 0]

    def descend(self, model: Classifier, batch: Batch) -> Iterator[Iterate]:
        """Yield masks M [B, 1, r, r]: of ones, and after each iteration."""
        terms = [Term(masks=(0,), insertion=False, weight=1.0)]
        if self.insertion:
            terms.append(Term(masks=(0,), insertion=True, weight=self.insertion))
        smoothness = BilateralVariation(batch.images, model.std, self.sigma)
        objective = self.objective(model, batch, terms, smoothness)
        masks, losses = self.start(objective)  # [B, 1, r, r] and [B]
        yield Iterate(objective, masks)
        search = None
        for _ in range(self.iterations):
            masks, losses, search = self.step(objective, masks, losses, search)
            yield Iterate(objective, masks, search)

"""iGOS++: Optimized Saliency by Bilateral Perturbations (Khorram et al. 2021)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from benchmark.interfaces import BadInput, Batch, Classifier
from benchmark.iterates import Iterate, last
from benchmark.mask_descent import MaskDescent
from benchmark.masking import BilateralVariation, Term

DELETING, INSERTING = 0, 1  # the places of the two masks


@dataclass(frozen=True)
class IGOSPlusPlus(MaskDescent):
    """A mask to delete by and a mask to insert by, each good alone and both good together.

    With f(M) the score of the image composed with the baseline under M, and P = D * I, minimises

        weight * [f(D) - f(1 - I) + f(P) - f(1 - P)] + l1 * mean|1 - P| + tv * BTV(P)

    over masks D and I in [0, 1].
    """

    name: ClassVar[str] = "igos_plus_plus"

    weight: float  # of each of the four scores
    sigma: float  # of the bilateral weights, in squared normalised colour units

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weight <= 0 or self.sigma <= 0:
            raise BadInput(
                f"igos_plus_plus needs weight and sigma above 0, got {self.weight} and {self.sigma}"
            )

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return 1 - D * I as heatmaps [B, r, r] in [0, 1]."""
        masks = last(self.descend(model, batch))
        return 1 - masks[:, DELETING] * masks[:, INSERTING]

    def descend(self, model: Classifier, batch: Batch) -> Iterator[Iterate]:
        """Yield masks D and I as [B, 2, r, r]: of ones, and after each iteration."""
        both = (DELETING, INSERTING)
        terms = [
            Term(masks=(DELETING,), insertion=False, weight=self.weight),
            Term(masks=(INSERTING,), insertion=True, weight=self.weight),
            Term(masks=both, insertion=False, weight=self.weight),
            Term(masks=both, insertion=True, weight=self.weight),
        ]
        smoothness = BilateralVariation(batch.images, model.std, self.sigma)
        objective = self.objective(model, batch, terms, smoothness)
        masks, losses = self.start(objective, count=2)  # [B, 2, r, r] and [B]
        yield Iterate(objective, masks)
        search = None
        for _ in range(self.iterations):
            masks, losses, search = self.step(objective, masks, losses, search)
            yield Iterate(objective, masks, search)

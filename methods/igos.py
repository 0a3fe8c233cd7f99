"""I-GOS: Visualizing Deep Networks by Optimizing with Integrated Gradients (Qi et al. 2020)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from benchmark.interfaces import BadInput, Batch, Classifier
from benchmark.iterates import Iterate, last
from benchmark.mask_descent import LineSearch, MaskDescent
from benchmark.masking import Term, total_variation


@dataclass(frozen=True)
class IGOS(MaskDescent):
    """A mask that lowers the class score when it removes pixels, found along integrated gradients.

    Minimises F(M) = f(M) + l1 * mean|1 - M| + tv * TV(M) over masks M in [0, 1] (Eq. 3), where
    f(M) is the score of the image composed with the baseline under M.
    """

    name: ClassVar[str] = "igos"

    adaptive_l1: bool  # the 2019 code's reduction of l1 at iterations 7 and 12

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.adaptive_l1 and self.line_search is LineSearch.path:
            raise BadInput("igos needs line_search=clean or fixed for adaptive_l1")

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return 1 - M as heatmaps [B, r, r] in [0, 1]."""
        return 1 - last(self.descend(model, batch))[:, 0]

    def descend(self, model: Classifier, batch: Batch) -> Iterator[Iterate]:
        """Yield masks M [B, 1, r, r]: of ones, and after each iteration."""
        deletion = Term(masks=(0,), insertion=False, weight=1.0)
        objective = self.objective(
            model, batch, [deletion], lambda masks, _: total_variation(masks)
        )
        masks, losses = self.start(objective)  # [B, 1, r, r] and [B]
        yield Iterate(objective, masks)
        untouched, search = losses, None
        for iteration in range(self.iterations):
            if self.adaptive_l1:
                moved = (untouched - losses).abs()
                objective.l1 = relaxed_l1(objective.l1, iteration, moved)
            masks, losses, search = self.step(objective, masks, losses, search)
            if self.adaptive_l1 and self.line_search is LineSearch.fixed:
                losses = objective.losses(masks, objective.all_rows)
            yield Iterate(objective, masks, search)


def relaxed_l1(l1: Tensor, iteration: int, moved: Tensor) -> Tensor:
    """Weaken l1 [B] where the score has hardly moved, as the authors' 2019 code does.

    Args:
        l1: each image's weight.
        iteration: counted from 0.
        moved: how far each score is from the untouched image's [B].
    """
    for when, hardly, divisor in ((7, 0.001, 10), (12, 0.01, 5)):
        if iteration == when:
            l1 = torch.where(moved <= hardly, l1 / divisor, l1)
    return l1

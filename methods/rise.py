"""RISE: Randomized Input Sampling for Explanation of Black-box Models (Petsiuk et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from benchmark.attribution import Score
from benchmark.images import chunks, generators
from benchmark.interfaces import BadInput, Batch, Classifier
from benchmark.perturbation import scores_under
from benchmark.substrates import Substrate


@dataclass(frozen=True)
class RISE:
    """The mean of random masks, each weighted by the target's softmax score under it."""

    samples: int  # N, masks
    cells: int  # along a side of the grid a mask is made of
    keep: float  # p, probability that a cell shows the image; in (0, 1]
    baseline: Substrate  # what a mask hides the image with

    def __post_init__(self) -> None:
        if self.samples < 1 or self.cells < 1 or not 0 < self.keep <= 1:
            raise BadInput(
                "rise needs samples and cells of at least 1 and keep above 0, at most 1, got "
                f"samples={self.samples} cells={self.cells} keep={self.keep}"
            )

    def native(self, model: Classifier) -> int:
        """One cell for each pixel."""
        return model.input_size

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return sum_i f(image under mask_i) mask_i / (N p), [B, H, W]."""
        side = batch.images.shape[-1]
        step = -(-side // self.cells)  # pixels, of a cell, rounded up
        hidden = self.baseline(model, batch)
        heatmaps = []
        for row, source in enumerate(generators(batch.seeds, model.device)):
            # All drawn at once, so that the masks do not depend on how many pass at once.
            size = (self.samples, 1, self.cells, self.cells)
            draws = torch.rand(size, generator=source, device=model.device)
            shifts = torch.randint(step, (self.samples, 2), generator=source, device=model.device)
            total = batch.images.new_zeros(side, side)
            for part in chunks(self.samples, model.pass_batch):
                grids = (draws[part] < self.keep).float()
                masks = shifted(grids, shifts[part], side, step)  # [n, 1, H, W]
                scores = scores_under(model, batch, row, hidden[row], masks, score=Score.softmax)
                total += (scores.view(-1, 1, 1) * masks[:, 0]).sum(0)
            heatmaps.append(total / (self.samples * self.keep))
        return torch.stack(heatmaps)


def shifted(grids: Tensor, shifts: Tensor, side: int, step: int) -> Tensor:
    """Enlarge grids to one ``step`` more than they need, and cut the image's size out of each.

    Args:
        grids: [n, 1, c, c].
        shifts: [n, 2], where each cut begins, down and across, in 0 to ``step`` - 1 pixels.
        side: H = W, pixels.
        step: pixels; c * step >= side.

    Returns:
        Masks [n, 1, H, W].
    """
    size = (grids.shape[-1] + 1) * step
    large = functional.interpolate(grids, (size, size), mode="bilinear", align_corners=False)
    cuts = [
        mask[:, down : down + side, across : across + side]
        for mask, (down, across) in zip(large, shifts.tolist(), strict=True)
    ]
    return torch.stack(cuts)

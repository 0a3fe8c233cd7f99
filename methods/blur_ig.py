"""Blur Integrated Gradients: Attribution in Scale and Space (Xu et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from benchmark.attribution import PixelAttribution, Score
from benchmark.interfaces import BadInput, Batch, Classifier
from benchmark.paths import Weighting, along_path

Spacing = Enum("Spacing", "linear sqrt")


@dataclass(frozen=True)
class BlurIG(PixelAttribution):
    """The gradient of the target's score, integrated while a Gaussian blur is taken away.

    The integral over the width sigma of the gradient times the image's change with sigma (Eq. 5);
    the change is the difference between neighbouring widths.
    """

    max_sigma: float  # pixels, of the blur the path starts from
    steps: int
    spacing: Spacing  # of the widths; linear: equal in sigma; sqrt: equal in sigma squared
    weighting: Weighting
    score: Score

    def __post_init__(self) -> None:
        if self.max_sigma <= 0 or self.steps < 1:
            raise BadInput(
                "blur_ig needs max_sigma above 0 and steps of at least 1, got "
                f"max_sigma={self.max_sigma} steps={self.steps}"
            )

    def attribute(self, model: Classifier, batch: Batch) -> Tensor:
        """Return attributions [B, 3, H, W]; they sum to score on image minus on its blur."""
        left = torch.linspace(1, 0, self.steps + 1, dtype=torch.float64)
        sigmas = self.max_sigma * (left.sqrt() if self.spacing is Spacing.sqrt else left)
        size = batch.images.shape[-1]
        blurs = torch.stack([blur_matrix(size, float(sigma)) for sigma in sigmas])
        blurs = blurs.to(batch.images.device)[:, None]  # [P, 1, H, H] float64

        def path(part: slice) -> Tensor:
            # In float64: neighbouring blurs differ by little, and a GPU may round products.
            return (blurs @ batch.images[part, None].double() @ blurs.mT).to(batch.images)

        return along_path(
            model, batch, path, points=self.steps + 1, weighting=self.weighting, score=self.score
        )


def blur_matrix(size: int, sigma: float) -> Tensor:
    """Weights [size, size] float64 that blur a line of pixels, which goes on mirrored at its ends.

    The kernel ends at 4 sigma, as SciPy's does. A blur of 0 is the line itself, exactly.
    """
    reach = int(4 * sigma + 0.5)
    offsets = torch.arange(-reach, reach + 1)
    weights = torch.exp(-0.5 * (offsets.double() / max(sigma, 1e-3)) ** 2)
    places = (torch.arange(size)[:, None] + offsets) % (2 * size)
    places = torch.minimum(places, 2 * size - 1 - places)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    return matrix.scatter_add_(1, places, (weights / weights.sum()).expand(size, -1))

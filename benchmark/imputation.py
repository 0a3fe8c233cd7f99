"""Substrates that fill removed pixels from the pixels that are left.

A flat or blurred patch shows its own outline, and so where the removed object was; what is made of
the surroundings shows less of it (Rong et al., ICML 2022). Both are ``benchmark.curves.Imputer``:
``fill`` makes the image under a mask, and the call what stands where no pixel is left.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor

from benchmark.images import generators, normal
from benchmark.interfaces import BadInput, Batch, Classifier
from benchmark.substrates import MeanColour

Pixels = NDArray[np.float64]
# A pixel's neighbours to the right and below, with their weights; the other four mirror them.
NEIGHBOURS = (((0, 1), 1 / 6), ((1, 0), 1 / 6), ((1, 1), 1 / 12), ((1, -1), 1 / 12))


@dataclass(frozen=True)
class Telea:
    """In-painting inwards from the border of what is left (Telea 2004), by OpenCV.

    OpenCV knows 256 levels: what is filled in is rounded to them, what is left stays as it is.
    """

    radius: float  # pixels, of the neighbourhood that a filled pixel is made of

    def __post_init__(self) -> None:
        if self.radius < 1:
            raise BadInput(f"in-painting needs a radius of at least 1 pixel, got {self.radius}")

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return the classifier's mean colour [B, 3, H, W], which says nothing of the image."""
        return MeanColour()(model, batch)

    def fill(self, model: Classifier, batch: Batch, rows: Tensor, kept: Tensor) -> Tensor:
        """Return images [M, 3, H, W], filled where ``kept`` [M, 1, H, W] is false."""
        empty = self(model, batch)
        return torch.stack(
            [
                self._filled(batch.images[row], left[0]) if left.any() else empty[row]
                for row, left in zip(rows.tolist(), kept, strict=True)
            ]
        )

    def _filled(self, image: Tensor, kept: Tensor) -> Tensor:
        levels = (image.permute(1, 2, 0) * 255).round().clamp(0, 255).byte().cpu().numpy()
        hole = (~kept).cpu().numpy()
        # At the image's border OpenCV looks at what was removed, which has to stay unknown.
        levels[hole] = levels[~hole].mean(axis=0).round()
        painted = cv2.inpaint(levels, hole.astype(np.uint8), self.radius, cv2.INPAINT_TELEA)
        new = torch.from_numpy(painted).to(image).permute(2, 0, 1) / 255
        return torch.where(kept, image, new)


@dataclass(frozen=True)
class NoisyLinear:
    """ROAD's noisy linear imputation (Rong et al., ICML 2022, Sec. 5).

    Each removed pixel is the weighted mean of its neighbours, of the four beside it with 1/6 and of
    the four across with 1/12 each, removed ones too: a sparse system of linear equations, solved
    exactly. At the image's border the weights of the neighbours there are scaled up to 1. Then
    noise hides that these pixels are smoother than others.
    """

    noise_sd: float  # RGB in [0, 1]; one draw for an image, from its seed, whatever is removed

    def __post_init__(self) -> None:
        if self.noise_sd < 0:
            raise BadInput(f"noise_sd must be at least 0, got {self.noise_sd}")

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return the classifier's mean colour [B, 3, H, W] under noise, in [0, 1]."""
        return (MeanColour()(model, batch) + self._noise(batch)).clamp(0, 1)

    def fill(self, model: Classifier, batch: Batch, rows: Tensor, kept: Tensor) -> Tensor:
        """Return images [M, 3, H, W] in [0, 1], filled where ``kept`` [M, 1, H, W] is false."""
        noise, empty = self._noise(batch), self(model, batch)
        filled = []
        for row, left in zip(rows.tolist(), kept, strict=True):
            image = batch.images[row]
            if not left.any():
                filled.append(empty[row])
                continue
            smooth = interpolated(
                image.permute(1, 2, 0).double().cpu().numpy(), left[0].cpu().numpy()
            )
            new = torch.from_numpy(smooth).to(image).permute(2, 0, 1) + noise[row]
            filled.append(torch.where(left, image, new.clamp(0, 1)))
        return torch.stack(filled)

    def _noise(self, batch: Batch) -> Tensor:
        sources = generators(batch.seeds, batch.images.device)
        return self.noise_sd * normal(sources, *batch.images.shape[1:])


def interpolated(image: Pixels, kept: NDArray[np.bool_]) -> Pixels:
    """Make every pixel of an image [H, W, 3] that is not kept the mean of its neighbours.

    Args:
        image: [H, W, 3].
        kept: [H, W]; at least one pixel is.
    """
    height, width = kept.shape
    places = np.arange(height * width).reshape(height, width)
    first, second, weights = [], [], []
    for (down, right), weight in NEIGHBOURS:
        above, below = places[: height - down], places[down:]
        if right:
            sides = (slice(None, -1), slice(1, None))[::right]
            above, below = above[:, sides[0]], below[:, sides[1]]
        first.append(above.ravel())
        second.append(below.ravel())
        weights.append(np.full(above.size, weight))
    pairs = (np.concatenate(weights), (np.concatenate(first), np.concatenate(second)))
    half = sparse.coo_array(pairs, shape=(places.size, places.size)).tocsr()
    beside = half + half.T  # [H*W, H*W], symmetric
    system = sparse.diags_array(beside.sum(1)).tocsr() - beside
    hole, left = np.nonzero(~kept.ravel())[0], np.nonzero(kept.ravel())[0]
    colours = image.reshape(-1, 3).copy()
    if len(hole):
        rows = system[hole]
        # Symmetric and diagonally dominant: it needs no pivots, and this order fills in least.
        factors = splu(
            rows[:, hole].tocsc(),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
        colours[hole] = factors.solve(-(rows[:, left] @ colours[left]))
    return colours.reshape(image.shape)

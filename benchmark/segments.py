"""Cut an image into parts that a method hides as wholes: squares, or superpixels.

Every cutter maps one image [3, H, W] to a number [H, W] for each pixel, its part's, from 0 on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.segmentation import quickshift, slic
from torch import Tensor

from benchmark.interfaces import BadInput


class Segmenter(Protocol):
    """Cuts an image into parts."""

    def __call__(self, image: Tensor) -> Tensor:
        """Return part numbers [H, W] int64 of an image [3, H, W], every number from 0 on used."""
        ...


@dataclass(frozen=True)
class Grid:
    """Equal squares, as far as the side can be divided."""

    cells: int  # along a side

    def __post_init__(self) -> None:
        if self.cells < 1:
            raise BadInput(f"a grid needs cells of at least 1, got {self.cells}")

    def __call__(self, image: Tensor) -> Tensor:
        """Number the squares row by row."""
        height, width = image.shape[-2:]
        if self.cells > min(height, width):
            raise BadInput(f"a grid of {self.cells} cells is finer than the image: {height}")
        down = torch.arange(height, device=image.device) * self.cells // height
        across = torch.arange(width, device=image.device) * self.cells // width
        return down[:, None] * self.cells + across


@dataclass(frozen=True)
class Slic:
    """Superpixels of about equal size (Achanta et al. 2012), computed by scikit-image."""

    count: int  # how many to aim at
    compactness: float  # higher = squarer, lower = closer to the colours' edges
    sigma: float  # pixels, of a blur before

    def __post_init__(self) -> None:
        if self.count < 1 or self.compactness <= 0 or self.sigma < 0:
            raise BadInput(
                "slic needs count of at least 1, compactness above 0 and sigma of at least 0, got "
                f"count={self.count} compactness={self.compactness} sigma={self.sigma}"
            )

    def __call__(self, image: Tensor) -> Tensor:
        """Number the superpixels."""
        found = slic(
            _pixels(image),
            self.count,
            compactness=self.compactness,
            sigma=self.sigma,
            start_label=0,
        )
        return _numbered(found, image)


@dataclass(frozen=True)
class Quickshift:
    """Superpixels that follow colours (Vedaldi & Soatto 2008), computed by scikit-image."""

    kernel_size: float  # pixels, of the density estimate
    max_dist: float  # higher = fewer superpixels
    ratio: float  # 0 to 1, weight of colour against place

    def __post_init__(self) -> None:
        if self.kernel_size < 1 or self.max_dist <= 0 or not 0 <= self.ratio <= 1:
            raise BadInput(
                "quickshift needs kernel_size of at least 1, max_dist above 0 and ratio in 0 to 1, "
                f"got kernel_size={self.kernel_size} max_dist={self.max_dist} ratio={self.ratio}"
            )

    def __call__(self, image: Tensor) -> Tensor:
        """Number the superpixels."""
        found = quickshift(  # type: ignore[no-untyped-call]  # scikit-image's
            _pixels(image),
            ratio=self.ratio,
            kernel_size=self.kernel_size,
            max_dist=self.max_dist,
            rng=0,
        )
        return _numbered(found, image)


def _pixels(image: Tensor) -> NDArray[np.float64]:
    return image.detach().cpu().permute(1, 2, 0).double().numpy()


def _numbered(parts: NDArray[np.int64], image: Tensor) -> Tensor:
    _, numbers = np.unique(parts, return_inverse=True)
    return torch.from_numpy(numbers.reshape(parts.shape)).to(image.device)

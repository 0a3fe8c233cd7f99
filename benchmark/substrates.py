"""What stands where the image was taken away: one frozen dataclass per substrate.

Every substrate maps a batch to replacement images [B, 3, H, W] in the same RGB space.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor
from torch.nn import functional

from benchmark.images import generators
from benchmark.interfaces import BadInput, Batch, Classifier


class Substrate(Protocol):
    """Makes the fully replaced image."""

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return replacement images [B, 3, H, W]."""
        ...


@dataclass(frozen=True)
class Blur:
    """Strong Gaussian blur with a mirrored border, the baseline of the I-GOS paper."""

    kernel: int  # pixels, odd
    sigma: float  # pixels

    def __post_init__(self) -> None:
        _check(self.kernel, self.sigma)

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Blur images [B, 3, H, W] of any height and width above kernel / 2."""
        del model
        distance = torch.arange(self.kernel, dtype=torch.float64) - self.kernel // 2
        weights = torch.exp(-0.5 * (distance / self.sigma) ** 2)
        return _separable(batch.images, weights / weights.sum(), border="reflect")


@dataclass(frozen=True)
class MeanColour:
    """The colour that becomes zero when the classifier normalises, as in RISE's deletion."""

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return one flat colour [B, 3, H, W]."""
        return model.mean.view(1, 3, 1, 1).expand_as(batch.images).contiguous()


@dataclass(frozen=True)
class Black:
    """No light anywhere."""

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return zeros [B, 3, H, W]."""
        del model
        return torch.zeros_like(batch.images)


@dataclass(frozen=True)
class UniformNoise:
    """Every colour of every pixel drawn by itself from [0, 1), from the image's seed."""

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return noise [B, 3, H, W]."""
        del model
        sources = generators(batch.seeds, batch.images.device)
        shape = batch.images.shape[1:]
        return torch.stack([torch.rand(shape, generator=s, device=s.device) for s in sources])


@dataclass(frozen=True)
class RiseBlur:
    """RISE's insertion start: an 11 x 11 near-box blur of the normalised image, zero-padded.

    The kernel is what a Gaussian filter with mirrored border makes of a single one in a small
    window, which flattens it almost to a box (Petsiuk et al. 2018, the public code).
    """

    kernel: int  # pixels, odd
    sigma: float  # pixels

    def __post_init__(self) -> None:
        _check(self.kernel, self.sigma)

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Blur images [B, 3, H, W]; beyond the border lies the mean colour."""
        delta = np.zeros(self.kernel)
        delta[self.kernel // 2] = 1.0
        weights = torch.from_numpy(gaussian_filter1d(delta, self.sigma, mode="reflect"))
        mean = model.mean.view(1, 3, 1, 1)
        return _separable(batch.images - mean, weights, border="constant") + mean


def _check(kernel: int, sigma: float) -> None:
    if kernel < 1 or kernel % 2 == 0 or sigma <= 0:
        raise BadInput(
            "a blur needs an odd kernel of at least 1 and sigma above 0, "
            f"got kernel={kernel} sigma={sigma}"
        )


def _separable(images: Tensor, weights: Tensor, border: str) -> Tensor:
    """Convolve images [B, 3, H, W] with a kernel [k] along both axes."""
    pad = len(weights) // 2
    if border == "reflect" and pad >= min(images.shape[-2:]):
        raise BadInput(
            f"a blur kernel of {len(weights)} needs images larger than {pad} pixels, "
            f"got {images.shape[-1]} x {images.shape[-2]}"
        )
    line = weights.to(images).expand(3, 1, -1)
    padded = functional.pad(images.contiguous(), (pad, pad, pad, pad), mode=border)
    across = functional.conv2d(padded, line[:, :, None, :], groups=3)
    return functional.conv2d(across, line[:, :, :, None], groups=3)

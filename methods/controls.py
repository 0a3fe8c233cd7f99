"""Heatmaps that know nothing of the classifier: what every method has to beat."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from benchmark.images import generators
from benchmark.interfaces import BadInput, Batch, Classifier


@dataclass(frozen=True)
class RandomHeatmap:
    """Independent uniform noise, drawn from each image's seed."""

    res: int  # cells along a side

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return heatmaps [B, r, r] in [0, 1)."""
        sources = generators(batch.seeds, model.device)
        shape = (self.res, self.res)
        return torch.stack([torch.rand(shape, generator=s, device=s.device) for s in sources])


@dataclass(frozen=True)
class Centre:
    """The middle of the image, where photographers put things."""

    res: int  # cells along a side
    sigma: float  # of the Gaussian, as a share of the image's side

    def __post_init__(self) -> None:
        if self.sigma <= 0:
            raise BadInput(f"centre needs sigma above 0, got {self.sigma}")

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return the same Gaussian bump [B, r, r] in (0, 1] for every image."""
        place = (torch.arange(self.res, device=model.device) + 0.5) / self.res - 0.5
        line = torch.exp(-0.5 * (place / self.sigma) ** 2)
        return torch.outer(line, line).expand(len(batch.ids), -1, -1).contiguous()


@dataclass(frozen=True)
class SobelEdges:
    """The strength of brightness edges, averaged over each cell."""

    res: int  # cells along a side

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return gradient magnitudes [B, r, r] of at least 0.

        Source: Sobel & Feldman (1968); brightness by ITU-R BT.601.
        """
        if self.res > batch.images.shape[-1]:
            raise BadInput(f"res={self.res} is finer than the image: {batch.images.shape[-1]}")
        weights = torch.tensor([0.299, 0.587, 0.114], device=model.device).view(1, 3, 1, 1)
        grey = (batch.images * weights).sum(1, keepdim=True)
        across = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]], device=model.device)
        kernels = torch.stack([across, across.T])[:, None]  # [2, 1, 3, 3]
        edges = functional.conv2d(functional.pad(grey, (1, 1, 1, 1), "replicate"), kernels)
        strength = edges.square().sum(1, keepdim=True).sqrt()
        return functional.adaptive_avg_pool2d(strength, self.res)[:, 0]

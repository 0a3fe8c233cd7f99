"""Controls around a method: what smoothness alone is worth, and what the network's shape alone is.

A blurred heatmap shows how much of a score a method owes to being smooth. A network with random
weights shows how much of a heatmap the image and the layers make without anything learned (the
model randomisation test of Adebayo et al. 2018).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from benchmark.interfaces import BadInput, Batch, Classifier, Method
from benchmark.redraw import redrawn
from benchmark.resolution import native_resolution


@dataclass(frozen=True)
class Blurred:
    """A method's heatmaps through a Gaussian blur with a mirrored border, which keeps their sum."""

    of: Method
    sigma: float  # as a share of the heatmap's side

    def __post_init__(self) -> None:
        if self.sigma <= 0:
            raise BadInput(f"blurred needs sigma above 0, got {self.sigma}")

    def native(self, model: Classifier) -> int | None:
        """Return the resolution of the method inside."""
        return native_resolution(self.of, model)

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return heatmaps [B, r, r] of the range of the method's own."""
        heatmaps = self.of(model, batch)
        width = self.sigma * heatmaps.shape[-1]
        blurred = gaussian_filter(heatmaps.cpu().double().numpy(), (0, width, width))
        return torch.from_numpy(blurred).to(heatmaps)


@dataclass(frozen=True)
class RandomNetwork:
    """A method's heatmaps of the same targets on the same architecture with random weights."""

    of: Method
    weights_seed: int

    def __post_init__(self) -> None:
        if self.weights_seed < 0:
            raise BadInput(
                f"random_network needs weights_seed of at least 0, got {self.weights_seed}"
            )

    def native(self, model: Classifier) -> int | None:
        """Return the resolution of the method inside."""
        return native_resolution(self.of, model)

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return heatmaps [B, r, r]."""
        network = redrawn(model.network, self.weights_seed).to(model.device)
        return self.of(model.with_network(network), batch)

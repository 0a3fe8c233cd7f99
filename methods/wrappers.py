"""Controls around a method: what smoothness alone is worth, and what the network's shape alone is.

A blurred heatmap shows how much of a score a method owes to being smooth. A network with random
weights shows how much of a heatmap the image and the layers make without anything learned (the
model randomisation test of Adebayo et al. 2018).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from benchmark.interfaces import BadInput, Batch, Classifier, Method
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


def redrawn(network: nn.Module, seed: int) -> nn.Module:
    """Copy a network to the CPU and draw all its parameters anew.

    Weights of convolutions and linear layers are drawn as He et al. (2015) do for ReLUs and their
    biases are 0: torch's own draw loses the image on the way through a deep network. Every other
    module draws as torch does when it is new; so batch normalisation forgets its statistics and
    does nothing from then on, and a deep residual network has large logits. Parameters that their
    module cannot draw, such as a transformer's class token, have their values shuffled.
    """
    copied = copy.deepcopy(network).cpu()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(seed)  # the CPU's alone
        for module in copied.modules():
            draw = getattr(module, "reset_parameters", getattr(module, "_reset_parameters", None))
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif draw is not None:
                draw()
            else:
                for parameter in module.parameters(recurse=False):
                    values = parameter.flatten()
                    parameter.copy_(values[torch.randperm(len(values))].view_as(parameter))
    return copied

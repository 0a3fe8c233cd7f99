"""Adversarial images: changed so little that nobody sees it, so that a network sees another class.

An attack is a frozen dataclass that is called with a classifier, images and the classes to get away
from; it is applied to the images of a run before anything is explained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from benchmark.images import chunks
from benchmark.interfaces import BadInput, Classifier

SMALLEST = torch.finfo(torch.float32).tiny  # a gradient of nothing but zeros is divided by it


class Attack(Protocol):
    """Changes images so that a classifier no longer sees their classes."""

    def __call__(self, model: Classifier, images: Tensor, classes: Tensor) -> Tensor:
        """Lead images [B, 3, H, W] in [0, 1] away from classes [B]; each on its own."""
        ...


@dataclass(frozen=True)
class MIFGSM:
    """Momentum iterative fast gradient sign method, untargeted (Dong et al., CVPR 2018, Alg. 1).

    No channel of a pixel is changed by more than ``epsilon``, nor beyond [0, 1].
    """

    epsilon: float  # 255ths of a channel's range [0, 1]
    steps: int  # each changes every channel by epsilon / steps
    momentum: float  # how much of the earlier steps' direction each step keeps; 0 is I-FGSM

    def __post_init__(self) -> None:
        if not 0 < self.epsilon <= 255 or self.steps < 1 or self.momentum < 0:
            raise BadInput(
                "an attack needs epsilon above 0 and up to 255, steps of at least 1 and momentum "
                f"of at least 0, got epsilon={self.epsilon} steps={self.steps} "
                f"momentum={self.momentum}"
            )

    def __call__(self, model: Classifier, images: Tensor, classes: Tensor) -> Tensor:
        """Raise the cross-entropy of classes [B] on images [B, 3, H, W] in [0, 1]; as large."""
        parts = chunks(len(images), model.pass_batch)
        return torch.cat([self._attacked(model, images[part], classes[part]) for part in parts])

    def _attacked(self, model: Classifier, images: Tensor, classes: Tensor) -> Tensor:
        epsilon = self.epsilon / 255
        low, high = (images - epsilon).clamp(min=0), (images + epsilon).clamp(max=1)
        changed, direction = images, torch.zeros_like(images)
        for _ in range(self.steps):
            point = changed.clone().requires_grad_()
            chances = model.log_probabilities(model(point)).gather(1, classes[:, None])
            (gradient,) = torch.autograd.grad(-chances.sum(), point)
            length = gradient.abs().sum((1, 2, 3), keepdim=True).clamp(min=SMALLEST)
            direction = self.momentum * direction + gradient / length
            changed = changed + epsilon / self.steps * direction.sign()
            changed = changed.clamp(low, high)
        return changed

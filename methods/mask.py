"""Mask: Interpretable Explanations by Meaningful Perturbation (Fong & Vedaldi 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.attribution import Score
from benchmark.interfaces import BadInput, Batch, Classifier
from benchmark.iterates import Iterate, last
from benchmark.masking import Noise, Objective, Term, total_variation
from benchmark.substrates import Substrate


@dataclass(frozen=True)
class Mask:
    """A mask that lowers the class score when it removes pixels, found by Adam.

    Minimises I-GOS's objective F(M) = f(M) + l1 * mean|1 - M| + tv * TV(M) over masks M in [0, 1],
    where f(M) is the score of the image composed with the baseline under M, with fresh noise at
    every step.
    """

    res: int  # cells along a side of the mask
    l1: float  # weight of mean|1 - M|; higher = smaller masks
    tv: float  # weight of the total variation; higher = smoother masks
    tv_exponent: float  # of the difference between neighbours
    baseline: Substrate
    iterations: int
    learning_rate: float  # about how far a cell of the mask can move in one iteration
    noise: Noise  # rgb: every channel; red: twice the level on the red channel alone
    noise_sd: float  # in normalised colour units
    score: Score

    def __post_init__(self) -> None:
        if self.res < 2 or self.iterations < 1:
            raise BadInput(
                "mask needs res of at least 2 and iterations of at least 1, got "
                f"res={self.res} iterations={self.iterations}"
            )
        if min(self.l1, self.tv, self.noise_sd) < 0:
            raise BadInput("mask needs l1, tv and noise_sd of at least 0")
        if self.tv_exponent < 1 or self.learning_rate <= 0:
            raise BadInput(
                "mask needs tv_exponent of at least 1 and learning_rate above 0, got "
                f"{self.tv_exponent} and {self.learning_rate}"
            )

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return 1 - M as heatmaps [B, r, r] in [0, 1]."""
        return 1 - last(self.descend(model, batch))[:, 0]

    def descend(self, model: Classifier, batch: Batch) -> Iterator[Iterate]:
        """Yield masks M [B, 1, r, r]: of ones, and after each iteration."""
        if self.res > batch.images.shape[-1]:
            raise BadInput(
                f"res={self.res} is finer than the image; mask works up to {batch.images.shape[-1]}"
            )
        objective = Objective(
            model,
            batch,
            [Term(masks=(0,), insertion=False, weight=1.0)],
            baseline=self.baseline,
            l1=self.l1,
            tv=self.tv,
            roughness=lambda masks, _: total_variation(masks, self.tv_exponent),
            noise=self.noise,
            noise_sd=self.noise_sd,
            score=self.score,
        )
        # One parameter per image: an optimiser's arithmetic on it cannot depend on the others.
        masks = [torch.ones(1, self.res, self.res, device=model.device) for _ in batch.ids]
        adam = torch.optim.Adam(masks, lr=self.learning_rate)
        stacked = torch.stack(masks)  # [B, 1, r, r]
        yield Iterate(objective, stacked)
        for _ in range(self.iterations):
            # One point: the plain gradient, not an integrated one.
            gradients, _ = objective.path_gradient(stacked, points=1)
            for mask, gradient in zip(masks, gradients, strict=True):
                mask.grad = gradient
            adam.step()
            for mask in masks:
                mask.clamp_(0, 1)
            stacked = torch.stack(masks)
            yield Iterate(objective, stacked)

"""Guided Integrated Gradients: An Adaptive Path Method (Kapishnikov et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.attribution import PixelAttribution, Score, gradients
from benchmark.interfaces import BadInput, Batch, Classifier
from benchmark.paths import Weighting, shares, totals
from benchmark.substrates import Substrate


@dataclass(frozen=True)
class GuidedIG(PixelAttribution):
    """Gradients summed on a path that first moves what the score depends on least.

    Of its way from the baseline, each colour of each pixel has gone a share ``gone``. A step brings
    the image nearer by 1 / steps of the whole distance (L1), and nothing may run ahead of the
    straight line or fall behind it by more than ``max_dist``.
    """

    baseline: Substrate
    steps: int
    fraction: float  # 0 to 1, of all colours of pixels that move together; 1 = straight line
    max_dist: float  # 0 to 1, of the way; 0 = straight line, 1 = no bound
    weighting: Weighting
    score: Score

    def __post_init__(self) -> None:
        if self.steps < 1 or not (0 < self.fraction <= 1 and 0 <= self.max_dist <= 1):
            raise BadInput(
                "guided_ig needs steps of at least 1, 0 < fraction <= 1 and 0 <= max_dist <= 1, "
                f"got steps={self.steps} fraction={self.fraction} max_dist={self.max_dist}"
            )

    def attribute(self, model: Classifier, batch: Batch) -> Tensor:
        """Return attributions [B, 3, H, W].

        With idgi they sum to score on image minus on baseline. Plain ones do so on a score that
        bends little within ``max_dist`` of the way: a path that seeks small gradients meets the
        large ones in few steps.
        """
        start = self.baseline(model, batch)
        way = batch.images.double() - start.double()
        gone = torch.zeros_like(way)
        slopes, scores = gradients(model, start, batch.targets, self.score)
        found = torch.zeros_like(way)
        for step in range(1, self.steps + 1):
            before = gone
            gone = self._advance(before, way.abs(), slopes.abs(), step / self.steps)
            images = (start + gone * way).float()
            next_slopes, next_scores = gradients(model, images, batch.targets, self.score)
            moves = (gone - before) * way
            found += shares(self.weighting, slopes, moves, next_scores - scores)
            slopes, scores = next_slopes, next_scores
        return found.float()

    def _advance(self, gone: Tensor, way: Tensor, steepness: Tensor, share: float) -> Tensor:
        """Move on until ``share`` of the whole distance is gone, flattest colours first.

        Args:
            gone: [B, 3, H, W], share of its way that each has gone.
            way: [B, 3, H, W] of at least 0, their lengths.
            steepness: [B, 3, H, W] of at least 0, the gradients' magnitudes.
            share: where the straight line would be.

        Returns:
            The new shares gone, [B, 3, H, W].
        """
        least, most = max(share - self.max_dist, 0.0), min(share + self.max_dist, 1.0)
        gone, length = gone.clamp(min=least), totals(way)
        together = int(self.fraction * (way[0].numel() - 1)) + 1
        for _ in range(way[0].numel() // together + 2):  # as many at least reach ``most`` each time
            missing = totals(way * (1 - gone)) - length * (1 - share)  # [B]
            unfinished = missing > 1e-12 * length
            if not unfinished.any():
                break
            ranked = steepness.where((gone < most) & (way > 0), torch.inf)
            limit = ranked.flatten(1).kthvalue(together).values.view(-1, 1, 1, 1)
            chosen = (ranked <= limit) & ranked.isfinite()
            goal = torch.where(chosen, most, gone)
            reach = totals(way * (goal - gone))
            part = torch.where(unfinished & (reach > 0), missing / reach, 0).clamp(0, 1)
            gone = torch.lerp(gone, goal, part.view(-1, 1, 1, 1))
        return gone

"""I-GOS: Visualizing Deep Networks by Optimizing with Integrated Gradients (Qi et al. 2020)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from benchmark.images import chunks, composite, generators, normal, upsample
from benchmark.interfaces import BadInput, Batch, Classifier
from benchmark.substrates import Substrate

Noise = Enum("Noise", "rgb red none")
LineSearch = Enum("LineSearch", "clean path fixed")
Score = Enum("Score", "softmax logit")


@dataclass(frozen=True)
class IGOS:
    """A mask that lowers the class score when it removes pixels, found along integrated gradients.

    Minimises F(M) = f(M) + l1 * mean|1 - M| + tv * TV(M) over masks M in [0, 1] (Eq. 3), where
    f(M) is the score of the image composed with the baseline under M.
    """

    res: int  # cells along a side of the mask
    l1: float  # weight of mean|1 - M|; higher = smaller masks
    tv: float  # weight of the total variation; higher = smoother masks
    baseline: Substrate
    iterations: int
    points: int  # S, points on the path from the baseline to the current composite
    noise: Noise  # on path points; rgb: every channel; red: as the authors' 2019 code draws it
    noise_sd: float  # in normalised colour units
    line_search: LineSearch  # what the Armijo test looks at; fixed: no test, step is step_upper
    step_upper: float  # first step tried
    step_factor: float  # each further step is this much of the last
    step_lower: float  # below this the step is taken without a test
    armijo: float  # share of the decrease promised by the gradient that must be reached
    adaptive_l1: bool  # the 2019 code's reduction of l1 at iterations 7 and 12
    score: Score

    def __post_init__(self) -> None:
        if self.res < 2 or self.iterations < 1 or self.points < 1:
            raise BadInput(
                "igos needs res of at least 2 and iterations and points of at least 1, got "
                f"res={self.res} iterations={self.iterations} points={self.points}"
            )
        if self.adaptive_l1 and self.line_search is LineSearch.path:
            raise BadInput("igos needs line_search=clean or fixed for adaptive_l1")
        if min(self.l1, self.tv, self.noise_sd, self.armijo) < 0:
            raise BadInput("igos needs l1, tv, noise_sd and armijo of at least 0")
        if not (0 < self.step_lower <= self.step_upper and 0 < self.step_factor < 1):
            raise BadInput(
                "igos needs 0 < step_lower <= step_upper and 0 < step_factor < 1, got "
                f"{self.step_lower}, {self.step_upper} and {self.step_factor}"
            )

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return 1 - M as heatmaps [B, r, r] in [0, 1]."""
        if self.res > batch.images.shape[-1]:
            raise BadInput(
                f"res={self.res} is finer than the image; igos works up to {batch.images.shape[-1]}"
            )
        problem = _Problem(self, model, batch)
        masks = torch.ones(len(batch.ids), 1, self.res, self.res, device=model.device)
        scores = problem.untouched = problem.scores(masks, problem.all_rows)  # [B]
        for iteration in range(self.iterations):
            if self.adaptive_l1:
                problem.relax_l1(iteration, scores)
            gradient, path_scores = problem.path_gradient(masks)
            masks, scores = self._descend(problem, masks, gradient, scores, path_scores)
        return 1 - masks[:, 0]

    def _descend(
        self, problem: _Problem, masks: Tensor, gradient: Tensor, scores: Tensor, path: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Take one step against the gradient; return masks [B, 1, r, r] and their scores [B].

        Each image backtracks on its own: it leaves ``rows`` once its step is accepted.
        """
        on_path = self.line_search is LineSearch.path
        rows = problem.all_rows
        before = problem.penalty(masks, rows) + (path if on_path else scores)
        promised = self.armijo * gradient.flatten(1).square().sum(1)  # [B], per unit of step
        step = torch.full_like(promised, self.step_upper)
        masks, scores = masks.clone(), scores.clone()
        start = masks.clone()
        while len(rows):
            trial = (start[rows] - step[rows].view(-1, 1, 1, 1) * gradient[rows]).clamp(0, 1)
            masks[rows] = trial
            if self.line_search is LineSearch.fixed and not self.adaptive_l1:
                break
            measure = problem.path_scores if on_path else problem.scores
            scores[rows] = measure(trial, rows)
            if self.line_search is LineSearch.fixed:
                break
            after = problem.penalty(trial, rows) + scores[rows]
            missed = after > before[rows] - step[rows] * promised[rows]
            rows = rows[missed & (step[rows] >= self.step_lower)]
            step[rows] *= self.step_factor
        return masks, scores


class _Problem:
    """The objective of one batch: its terms, and the integrated gradient of their sum."""

    def __init__(self, method: IGOS, model: Classifier, batch: Batch) -> None:
        self.method, self.model = method, model
        self.images, self.targets = batch.images, batch.targets
        self.baseline = method.baseline(model, batch)
        self.size = batch.images.shape[-1]
        self.all_rows = torch.arange(len(batch.ids), device=model.device)
        self.l1 = torch.full((len(batch.ids),), method.l1, device=model.device)
        self.noise_sources = generators(batch.seeds, model.device)
        self.noise_scale = method.noise_sd * model.std.view(3, 1, 1)
        if method.noise is Noise.red:  # twice the level, on the first channel alone
            self.noise_scale = self.noise_scale * torch.tensor([2.0, 0, 0]).view(3, 1, 1).to(
                model.std
            )
        self.untouched = self.l1.new_zeros(len(batch.ids))

    def penalty(self, masks: Tensor, rows: Tensor) -> Tensor:
        """Return l1 * mean|1 - M| + tv * TV(M) of masks [M, 1, r, r] as [M]."""
        size = (1 - masks).abs().mean(dim=(1, 2, 3))
        return self.l1[rows] * size + self.method.tv * total_variation(masks)

    def relax_l1(self, iteration: int, scores: Tensor) -> None:
        """Weaken l1 for images whose score has hardly moved, as the authors' 2019 code does."""
        for when, moved, divisor in ((7, 0.001, 10), (12, 0.01, 5)):
            if iteration == when:
                stuck = (self.untouched - scores).abs() <= moved
                self.l1 = torch.where(stuck, self.l1 / divisor, self.l1)

    def scores(self, masks: Tensor, rows: Tensor) -> Tensor:
        """Return the score of each composite under masks [M, 1, r, r], clean, as [M]."""
        with torch.no_grad(), self.model.passes_of(rows):
            kept = upsample(masks, self.size)
            return self._score(composite(self.images[rows], self.baseline[rows], kept), rows)

    def path_scores(self, masks: Tensor, rows: Tensor) -> Tensor:
        """Return the mean score [M] over the noisy path points of masks [M, 1, r, r]."""
        means = []
        with torch.no_grad(), self.model.passes_of(rows):
            for part in chunks(len(rows), self._images_at_once()):
                walked = [scores.sum(1) for scores in self._walk(masks[part], rows[part])]
                means.append(torch.stack(walked).sum(0) / self.method.points)
        return torch.cat(means)

    def path_gradient(self, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Integrate the gradient of F along the path (Eq. 6).

        Returns:
            The direction [B, 1, r, r], each point's share s/S included by the chain rule, and
            the mean score over the path [B].
        """
        gradients, means = [], []
        for part in chunks(len(masks), self._images_at_once()):
            rows, free = self.all_rows[part], masks[part].detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.penalty(free, rows).sum(), free)
            walked = []
            with self.model.passes_of(rows):
                for scores in self._walk(free, rows):
                    walked.append(scores.sum(1) / self.method.points)
                    gradient = gradient + torch.autograd.grad(walked[-1].sum(), free)[0]
            gradients.append(gradient)
            means.append(torch.stack(walked).sum(0).detach())
        return torch.cat(gradients), torch.cat(means)

    def _images_at_once(self) -> int:
        return max(1, self.model.pass_batch // self.method.points)

    def _walk(self, masks: Tensor, rows: Tensor) -> Iterator[Tensor]:
        """Yield the scores [M, P] of successive path points, with fresh noise on each.

        The split of an image's points never depends on how many images are in hand, so that
        sums over the path are the same numbers in every batch.
        """
        sources = [self.noise_sources[row] for row in rows]
        shares = torch.arange(1, self.method.points + 1, device=masks.device) / self.method.points
        for part in chunks(self.method.points, self.model.pass_batch):
            points = shares[part]
            kept = points.view(1, -1, 1, 1, 1) * upsample(masks, self.size)[:, None]
            inputs = composite(self.images[rows, None], self.baseline[rows, None], kept)
            if self.method.noise is not Noise.none:
                inputs = inputs + self.noise_scale * normal(sources, *inputs.shape[1:])
            repeated = rows.repeat_interleave(len(points))
            yield self._score(inputs.flatten(0, 1), repeated).view(len(rows), -1)

    def _score(self, images: Tensor, rows: Tensor) -> Tensor:
        if self.method.score is Score.softmax:
            return self.model.scores(images, self.targets[rows])
        logits = [self.model(images[part]) for part in chunks(len(images), self.model.pass_batch)]
        return torch.cat(logits).gather(1, self.targets[rows, None])[:, 0]


def total_variation(masks: Tensor) -> Tensor:
    """Mean squared difference of vertical plus of horizontal neighbours: [B, 1, r, r] to [B]."""
    down = (masks[:, :, 1:] - masks[:, :, :-1]).square().mean(dim=(1, 2, 3))
    across = (masks[:, :, :, 1:] - masks[:, :, :, :-1]).square().mean(dim=(1, 2, 3))
    return down + across

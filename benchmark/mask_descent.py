"""What I-GOS and its kin share: their settings, and a step along an integrated gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

import torch
from torch import Tensor

from benchmark.attribution import Score
from benchmark.interfaces import BadInput, Batch, Classifier
from benchmark.iterates import Search
from benchmark.masking import Noise, Objective, Term
from benchmark.substrates import Substrate

LineSearch = Enum("LineSearch", "clean carried path fixed")


@dataclass(frozen=True)
class MaskDescent:
    """Masks that minimise an objective, found by backtracking along its integrated gradient."""

    name: ClassVar[str]  # for messages

    res: int  # cells along a side of the mask
    l1: float  # weight of mean|1 - M|; higher = smaller masks
    tv: float  # weight of the total variation; higher = smoother masks
    baseline: Substrate
    iterations: int
    points: int  # S, points on the path to the current composite
    first_points: int | None  # S of the first iteration; null: as of the others
    noise: Noise  # on path points; rgb: every channel; red: as the 2019 code of I-GOS
    noise_sd: float  # in normalised colour units
    # What the Armijo test looks at: the objective itself (clean, and carried, which begins one
    # length above the one taken last), or its noisy path; fixed: no test, the step is step_upper.
    line_search: LineSearch
    step_upper: float  # first step tried, and the longest
    step_factor: float  # each further step is this much of the last
    step_lower: float  # below this the step is taken without a test
    armijo: float  # share of the decrease promised by the gradient that must be reached
    score: Score

    def __post_init__(self) -> None:
        if self.res < 2 or min(self.iterations, self.points, self._first_points) < 1:
            raise BadInput(
                f"{self.name} needs res of at least 2 and iterations, points and first_points of "
                f"at least 1, got res={self.res} iterations={self.iterations} "
                f"points={self.points} first_points={self._first_points}"
            )
        if min(self.l1, self.tv, self.noise_sd, self.armijo) < 0:
            raise BadInput(f"{self.name} needs l1, tv, noise_sd and armijo of at least 0")
        if not (0 < self.step_lower <= self.step_upper and 0 < self.step_factor < 1):
            raise BadInput(
                f"{self.name} needs 0 < step_lower <= step_upper and 0 < step_factor < 1, got "
                f"{self.step_lower}, {self.step_upper} and {self.step_factor}"
            )

    @property
    def _first_points(self) -> int:
        return self.points if self.first_points is None else self.first_points

    def objective(
        self,
        model: Classifier,
        batch: Batch,
        terms: Sequence[Term],
        roughness: Callable[[Tensor, Tensor], Tensor],
    ) -> Objective:
        """State what is minimised; ``roughness`` is what ``tv`` weighs."""
        if self.res > batch.images.shape[-1]:
            raise BadInput(
                f"res={self.res} is finer than the image; {self.name} works up to "
                f"{batch.images.shape[-1]}"
            )
        return Objective(
            model,
            batch,
            terms,
            baseline=self.baseline,
            l1=self.l1,
            tv=self.tv,
            roughness=roughness,
            noise=self.noise,
            noise_sd=self.noise_sd,
            score=self.score,
        )

    def start(self, objective: Objective, count: int = 1) -> tuple[Tensor, Tensor]:
        """Return masks of ones [B, count, r, r] and the objective's terms there [B]."""
        rows = objective.all_rows
        masks = torch.ones(len(rows), count, self.res, self.res, device=rows.device)
        return masks, objective.losses(masks, rows)

    def step(
        self, objective: Objective, masks: Tensor, losses: Tensor, earlier: Search | None
    ) -> tuple[Tensor, Tensor, Search]:
        """Take one step against the integrated gradient, of one length for all masks of an image.

        Each image backtracks on its own: it leaves ``rows`` once its step is accepted.

        Args:
            objective: what is minimised.
            masks: [B, m, r, r].
            losses: the objective's terms there [B].
            earlier: the search of the iteration before; none in the first.

        Returns:
            New masks; the terms there as the search measured them, ``losses`` where it did not; and
            how the search went.
        """
        points = self._first_points if earlier is None else self.points
        gradient, path_losses = objective.path_gradient(masks, points)
        on_path = self.line_search is LineSearch.path
        rows = objective.all_rows
        before = objective.penalty(masks, rows) + (path_losses if on_path else losses)
        promised = self.armijo * gradient.flatten(1).square().sum(1)  # [B], per unit of step
        step = torch.full_like(promised, self.step_upper)
        if self.line_search is LineSearch.carried and earlier is not None:
            step = (earlier.step / self.step_factor).clamp(max=self.step_upper)
        tests = torch.zeros_like(rows)
        gave_up = torch.zeros_like(rows, dtype=torch.bool)
        masks, losses = masks.clone(), losses.clone()
        start = masks.clone()
        while len(rows):
            trial = (start[rows] - step[rows].view(-1, 1, 1, 1) * gradient[rows]).clamp(0, 1)
            masks[rows] = trial
            if self.line_search is LineSearch.fixed:
                break
            losses[rows] = (
                objective.path_losses(trial, rows, points)
                if on_path
                else objective.losses(trial, rows)
            )
            after = objective.penalty(trial, rows) + losses[rows]
            missed = after > before[rows] - step[rows] * promised[rows]
            tests[rows] += 1
            gave_up[rows] = missed
            rows = rows[missed & (step[rows] >= self.step_lower)]
            step[rows] *= self.step_factor
        return masks, losses, Search(step, tests, gave_up)

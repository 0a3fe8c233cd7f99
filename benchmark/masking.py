"""What methods share that optimise masks: what a mask is worth, and its gradient along a path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import NamedTuple

import torch
from torch import Tensor

from benchmark.attribution import Score, target_scores
from benchmark.images import chunks, composite, generators, normal, upsample
from benchmark.interfaces import Batch, Classifier
from benchmark.substrates import Substrate

Noise = Enum("Noise", "rgb red none")


class Term(NamedTuple):
    """One score in an objective: of the image under the product P of some masks.

    Deletion shows image * P + baseline * (1 - P) and wants a low score. Insertion is the same with
    image and baseline changing places, and wants a high one.
    """

    masks: tuple[int, ...]  # the places of the masks that are multiplied
    insertion: bool
    weight: float

    @property
    def factor(self) -> float:
        """What the score is multiplied by in an objective to be minimised."""
        return -self.weight if self.insertion else self.weight


class Objective:
    """F of one batch: scores under masks, and what keeps the masks small and smooth.

    Masks are [B, m, r, r] in [0, 1], 1 = keep. With P the product of all m masks of an image,

        F = sum of the terms + l1 * mean|1 - P| + tv * roughness(P).

    Rows say which images of the batch the M masks of a call belong to.
    """

    def __init__(
        self,
        model: Classifier,
        batch: Batch,
        terms: Sequence[Term],
        *,
        baseline: Substrate,
        l1: float,
        tv: float,
        roughness: Callable[[Tensor, Tensor], Tensor],
        noise: Noise,
        noise_sd: float,
        score: Score,
    ) -> None:
        """Prepare the objective of a batch.

        Args:
            model: the classifier.
            batch: the images, their targets and seeds.
            terms: at least one.
            baseline: what is shown where the image is hidden.
            l1: weight of mean|1 - P|; ``self.l1`` [B] may be changed on the way.
            tv: weight of the roughness.
            roughness: maps products [M, 1, r, r] and their rows [M] to [M].
            noise: on path points; rgb: every channel; red: twice the level on red alone.
            noise_sd: in normalised colour units.
            score: of the target.
        """
        self.model, self.terms = model, terms
        self.images, self.targets = batch.images, batch.targets
        self.baseline = baseline(model, batch)
        self.all_rows = torch.arange(len(batch.ids), device=model.device)
        self.l1 = torch.full((len(batch.ids),), l1, device=model.device)
        self.tv, self.roughness = tv, roughness
        self.noise, self.score = noise, score
        self.noise_sources = generators(batch.seeds, model.device)
        self.noise_scale = noise_sd * model.std.view(3, 1, 1)
        if noise is Noise.red:
            only_red = torch.tensor([2.0, 0, 0]).view(3, 1, 1).to(model.std)
            self.noise_scale = self.noise_scale * only_red

    def penalty(self, masks: Tensor, rows: Tensor) -> Tensor:
        """Return l1 * mean|1 - P| + tv * roughness(P) of masks [M, m, r, r] as [M]."""
        product = _product([masks[:, place, None] for place in range(masks.shape[1])])
        size = (1 - product).abs().mean(dim=(1, 2, 3))
        return self.l1[rows] * size + self.tv * self.roughness(product, rows)

    def losses(self, masks: Tensor, rows: Tensor) -> Tensor:
        """Return the sum of the terms at masks [M, m, r, r], without path and noise, as [M]."""
        with torch.no_grad(), self.model.passes_of(rows):
            return _sum(
                [
                    term.factor * self._scores(self._shown(term, masks, rows, None), rows)
                    for term in self.terms
                ]
            )

    def path_losses(self, masks: Tensor, rows: Tensor, points: int) -> Tensor:
        """Return the sum of the terms, each the mean over so many noisy path points, as [M]."""
        losses = []
        with torch.no_grad(), self.model.passes_of(rows):
            for part in chunks(len(rows), self._images_at_once(points)):
                means = []
                for term in self.terms:
                    walk = self._walk(term, masks[part], rows[part], points)
                    walked = [scores.sum(1) for scores in walk]
                    means.append(term.factor * (torch.stack(walked).sum(0) / points))
                losses.append(_sum(means))
        return torch.cat(losses)

    def path_gradient(self, masks: Tensor, points: int) -> tuple[Tensor, Tensor]:
        """Differentiate F with each term taken as the mean over its path.

        Args:
            masks: [B, m, r, r], of all images.
            points: on the path to each composite, the composite itself the last of them.

        Returns:
            The gradient [B, m, r, r], each point's share s/S included by the chain rule, and the
            sum of the terms' means over their paths [B].
        """
        gradients, losses = [], []
        for part in chunks(len(masks), self._images_at_once(points)):
            rows, free = self.all_rows[part], masks[part].detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.penalty(free, rows).sum(), free)
            means = []
            for term in self.terms:
                walked = []
                with self.model.passes_of(rows):
                    for scores in self._walk(term, free, rows, points):
                        walked.append(term.factor * scores.sum(1) / points)
                        gradient = gradient + torch.autograd.grad(walked[-1].sum(), free)[0]
                means.append(torch.stack(walked).sum(0).detach())
            gradients.append(gradient)
            losses.append(_sum(means))
        return torch.cat(gradients), torch.cat(losses)

    def _images_at_once(self, points: int) -> int:
        return max(1, self.model.pass_batch // points)

    def _walk(self, term: Term, masks: Tensor, rows: Tensor, points: int) -> Iterator[Tensor]:
        """Yield the scores [M, P] of successive points on a term's path, with fresh noise on each.

        The path of a deletion starts at the baseline, that of an insertion at the image. The split
        of an image's points never depends on how many images are in hand, so that sums over the
        path are the same numbers in every batch.
        """
        sources = [self.noise_sources[row] for row in rows]
        shares = torch.arange(1, points + 1, device=masks.device) / points
        for part in chunks(points, self.model.pass_batch):
            inputs = self._shown(term, masks, rows, shares[part])
            if self.noise is not Noise.none:
                noise = normal(sources, *inputs.shape[1:]).mul_(self.noise_scale)
                inputs = inputs.add_(noise)
            repeated = rows.repeat_interleave(inputs.shape[1])
            yield self._scores(inputs.flatten(0, 1), repeated).view(len(rows), -1)

    def _shown(self, term: Term, masks: Tensor, rows: Tensor, shares: Tensor | None) -> Tensor:
        """Compose images [M, 3, H, W], or [M, P, 3, H, W] at these shares of the way."""
        size = self.images.shape[-1]
        kept = _product([upsample(masks[:, place, None], size) for place in term.masks])
        front, back = self.images[rows], self.baseline[rows]
        if term.insertion:
            front, back = back, front
        if shares is None:
            return composite(front, back, kept)
        return composite(front[:, None], back[:, None], shares.view(1, -1, 1, 1, 1) * kept[:, None])

    def _scores(self, images: Tensor, rows: Tensor) -> Tensor:
        targets = self.targets[rows]
        return torch.cat(
            [
                target_scores(self.model, images[part], targets[part], self.score)
                for part in chunks(len(images), self.model.pass_batch)
            ]
        )


def total_variation(masks: Tensor, exponent: float = 2.0) -> Tensor:
    """Mean power of the difference of vertical plus of horizontal neighbours.

    Args:
        masks: [M, 1, r, r].
        exponent: of the difference's magnitude; the higher, the less small steps count.

    Returns:
        [M]; 0 = flat.
    """
    down, across = _differences(masks)
    powers = down.abs().pow(exponent), across.abs().pow(exponent)
    return powers[0].mean(dim=(1, 2, 3)) + powers[1].mean(dim=(1, 2, 3))


class BilateralVariation:
    """Total variation that forgives a step of the mask where the image has one too.

    Half is the total variation of the mask's own cells, half that of the enlarged mask, each pair
    of neighbours weighted by exp(-d^2 / sigma), d being their difference in the normalised image.
    """

    def __init__(self, images: Tensor, std: Tensor, sigma: float) -> None:
        """Weigh the neighbours in images [B, 3, H, W]; the weights are means over colours."""
        self.size = images.shape[-1]
        self.down, self.across = (  # [B, 1, H - 1, W] and [B, 1, H, W - 1] in [0, 1]
            (-steps.square() / sigma).exp().mean(dim=1, keepdim=True)
            for steps in _differences(images / std.view(3, 1, 1))
        )

    def __call__(self, masks: Tensor, rows: Tensor) -> Tensor:
        """Measure masks [M, 1, r, r] on these images of the batch: [M]."""
        down, across = _differences(upsample(masks, self.size))
        weighted_down = (self.down[rows] * down.square()).mean(dim=(1, 2, 3))
        weighted_across = (self.across[rows] * across.square()).mean(dim=(1, 2, 3))
        return 0.5 * (total_variation(masks) + weighted_down + weighted_across)


def _differences(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Subtract from each cell of [..., h, w] the one above, and the one on its left."""
    return maps[..., 1:, :] - maps[..., :-1, :], maps[..., 1:] - maps[..., :-1]


def _product(factors: list[Tensor]) -> Tensor:
    product, *others = factors
    for other in others:
        product = product * other
    return product


def _sum(summands: list[Tensor]) -> Tensor:
    """Add one by one: how torch sums a stack depends on its other dimensions."""
    total, *others = summands
    for other in others:
        total = total + other
    return total

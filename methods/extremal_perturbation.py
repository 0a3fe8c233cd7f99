"""Extremal perturbations and smooth masks (Fong, Patrick & Vedaldi 2019)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmark.attribution import Score, target_scores
from benchmark.images import chunks
from benchmark.interfaces import BadInput, Batch, Classifier


@dataclass(frozen=True)
class ExtremalPerturbation:
    """The mask of a given area that keeps the target's score highest, summed over some areas.

    Outside the mask the image is blurred. Each mask maximises score - weight * penalty, where the
    penalty is how far its sorted values are from those of a binary mask of the area. (The authors'
    code sorts the mask with a margin of ``sigma`` around the image, which makes its areas larger.)
    """

    areas: list[float]  # shares of the image that the masks keep, each in (0, 1)
    iterations: int
    rate: float  # of gradient descent
    momentum: float  # in [0, 1); share of the past in the running mean of gradients
    area_weight: float  # of the penalty at first; higher = closer to the area and to binary
    area_growth: float  # factor on the weight after each iteration
    step: int  # pixels between the mask's parameters
    sigma: float  # pixels; width of the bump that each parameter makes
    temperature: float  # of the smooth maximum over bumps; 0 would be the maximum
    levels: int  # of blur, from max_blur down to none
    max_blur: float  # pixels, standard deviation where the mask is 0
    flip: bool  # mirror the masked image in every other iteration
    smooth: float  # standard deviation of a last blur, as a share of the image's side
    score: Score

    def __post_init__(self) -> None:
        if not self.areas or min(self.areas) <= 0 or max(self.areas) >= 1:
            raise BadInput(f"extremal_perturbation needs areas between 0 and 1, got {self.areas}")
        if self.iterations < 1 or self.step < 1 or self.levels < 2:
            raise BadInput(
                "extremal_perturbation needs iterations and step of at least 1 and levels of at "
                f"least 2, got {self.iterations}, {self.step} and {self.levels}"
            )
        if min(self.rate, self.sigma, self.max_blur, self.area_growth) <= 0:
            raise BadInput(
                "extremal_perturbation needs rate, sigma, max_blur and area_growth above 0, got "
                f"{self.rate}, {self.sigma}, {self.max_blur} and {self.area_growth}"
            )
        if self.temperature < 0.02:  # exp(1 / temperature) has to be a number
            raise BadInput(
                "extremal_perturbation needs a temperature of at least 0.02, "
                f"got {self.temperature}"
            )
        if min(self.area_weight, self.smooth) < 0 or not 0 <= self.momentum < 1:
            raise BadInput(
                "extremal_perturbation needs area_weight and smooth of at least 0 and momentum "
                f"in [0, 1), got {self.area_weight}, {self.smooth} and {self.momentum}"
            )

    def native(self, model: Classifier) -> int:
        """One cell for each pixel."""
        return model.input_size

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return the sum of the masks of all areas as heatmaps [B, H, W] of at least 0."""
        size = batch.images.shape[-1]
        masks = smooth_masks(self._optimise(model, batch), self, size)
        totals = masks.view(len(batch.ids), len(self.areas), size, size).sum(1)
        return torch.stack([gaussian(total, self.smooth * size) for total in totals])

    def _optimise(self, model: Classifier, batch: Batch) -> Tensor:
        """Return the best parameters [B * A, g, g] in [0, 1]; an image's areas are neighbours.

        Masks never meet but in a pass, so that none depends on which others are there.
        """
        pyramid = blur_pyramid(batch.images, self.levels, self.max_blur)
        rows = torch.arange(len(batch.ids), device=model.device)
        rows = rows.repeat_interleave(len(self.areas))  # [M]
        areas = torch.tensor(self.areas, dtype=torch.float64, device=model.device)
        areas = areas.repeat(len(batch.ids))  # [M]
        cells = math.ceil(batch.images.shape[-1] / self.step)
        parameters = torch.ones(len(rows), cells, cells, device=model.device)
        velocity = torch.zeros_like(parameters)
        for iteration in range(self.iterations):
            weight = self.area_weight * self.area_growth**iteration
            slopes: list[Tensor] = []
            for part in chunks(len(rows), model.pass_batch):
                free = parameters[part].clone().requires_grad_()
                with torch.enable_grad(), model.passes_of(rows[part]):
                    masks = smooth_masks(free, self, batch.images.shape[-1])
                    images = perturb(pyramid, rows[part], masks)
                    if self.flip and iteration % 2 == 0:
                        images = images.flip(-1)
                    scores = target_scores(model, images, batch.targets[rows[part]], self.score)
                    loss = weight * area_penalty(masks, areas[part]) - scores
                    slopes += torch.autograd.grad(loss.sum(), free)
            slope = torch.cat(slopes)
            velocity = torch.lerp(slope, velocity, self.momentum) if iteration else slope
            parameters = (parameters - self.rate * velocity).clamp(0, 1)
        return parameters


def smooth_masks(parameters: Tensor, method: ExtremalPerturbation, size: int) -> Tensor:
    """Turn parameters [M, g, g] in [0, 1] into smooth masks [M, size, size] by max-convolution.

    A mask is, at each pixel u, the smooth maximum over the parameters p_v around it of
    f_v = k(|u - v| / sigma) p_v, that is sum f_v exp(f_v / T) / sum exp(f_v / T). Parameters sit
    in the middle of squares of ``step`` pixels; those outside the image are 0.
    """
    bumps = _bumps(method.step, method.sigma).to(parameters)  # [window, step * step]
    window = math.isqrt(len(bumps))
    around = functional.unfold(parameters[:, None], window, padding=window // 2)
    squares: Tensor = _SmoothMaximum.apply(around, bumps, method.temperature)
    squares = squares.view(*squares.shape[:2], *parameters.shape[1:])  # [M, step * step, g, g]
    return functional.pixel_shuffle(squares, method.step)[:, 0, :size, :size]


class _SmoothMaximum(torch.autograd.Function):
    """The smooth maximum over a window, one parameter of it at a time.

    All at once, with what autograd keeps, it would take more memory and time than the network.
    """

    @staticmethod
    def forward(ctx: Any, around: Tensor, bumps: Tensor, temperature: float) -> Tensor:
        """Map parameters around [M, window, g * g] and bumps [window, s] to [M, s, g * g]."""
        above = around.new_zeros(len(around), bumps.shape[1], around.shape[2])
        below = torch.zeros_like(above)
        for bump, near in zip(bumps, around.unbind(1), strict=True):
            height = bump[:, None] * near[:, None]
            share = (height / temperature).exp_()
            below += share
            above.addcmul_(height, share)
        maximum = above / below
        ctx.save_for_backward(around, bumps, maximum, below)
        ctx.temperature = temperature
        return maximum

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        """Return the slopes of parameters: those of f_v are share_v (1 + (f_v - maximum) / T)."""
        around, bumps, maximum, below = ctx.saved_tensors
        scaled = slope / below
        slopes = torch.empty_like(around)
        for place, (bump, near) in enumerate(zip(bumps, around.unbind(1), strict=True)):
            height = bump[:, None] * near[:, None]
            share = (height / ctx.temperature).exp_()
            inner = (height - maximum).div_(ctx.temperature).add_(1).mul_(share).mul_(scaled)
            slopes[:, place] = inner.mul_(bump[:, None]).sum(1)
        return slopes, None, None


def _bumps(step: int, sigma: float) -> Tensor:
    """Return what each parameter around a square gives to its pixels, [window, step * step].

    The bump is k(z) = exp(-2 max(0, z - 1/2)^2): flat up to sigma / 2, then a Gaussian. It is cut
    off at ceil(sigma / step) + 1 parameters, as in the authors' code.
    """
    reach = math.ceil(sigma / step) + 1
    pixels = torch.arange(step, dtype=torch.float64) - (step - 1) / 2
    places = step * torch.arange(-reach, reach + 1, dtype=torch.float64)
    apart = (pixels - places[:, None]).square()  # [2 * reach + 1, step], along one axis
    distance = (apart[:, None, :, None] + apart[None, :, None, :]).sqrt() / sigma
    return torch.exp(-2 * (distance - 0.5).clamp(min=0).square()).flatten(2).flatten(0, 1)


def area_penalty(masks: Tensor, areas: Tensor) -> Tensor:
    """Mean squared distance [M] of sorted masks [M, H, W] from zeros, then ones on the area [M]."""
    ordered = masks.flatten(1).sort(dim=1).values
    pixels = ordered.shape[1]
    place = torch.arange(pixels, device=masks.device)
    template = place >= pixels - (areas * pixels).round()[:, None]
    return (ordered - template.to(masks)).square().mean(1)


def perturb(pyramid: Tensor, rows: Tensor, masks: Tensor) -> Tensor:
    """Blur each pixel the more the lower the mask: 1 keeps the image, 0 blurs it most.

    Args:
        pyramid: [B, L, H, W, 3] of decreasing blur, the last without any.
        rows: [M], each mask's image.
        masks: [M, H, W] in [0, 1].

    Returns:
        Images [M, 3, H, W], between the two nearest levels of blur at each pixel.
    """
    height, width = masks.shape[1:]
    at = masks * (pyramid.shape[1] - 1)
    level = at.detach().long().clamp(max=pyramid.shape[1] - 2)
    image = rows[:, None, None]
    down = torch.arange(height, device=masks.device)[:, None]
    across = torch.arange(width, device=masks.device)
    more, less = (pyramid[image, level + sharper, down, across] for sharper in (0, 1))
    return torch.lerp(more, less, (at - level)[..., None]).permute(0, 3, 1, 2)


def blur_pyramid(images: Tensor, levels: int, max_blur: float) -> Tensor:
    """Blur images [B, 3, H, W] to [B, L, H, W, 3], from max_blur pixels in equal steps to none."""
    sigmas = [max_blur * (1 - level / (levels - 1)) for level in range(levels)]
    pyramids = [torch.stack([gaussian(image, sigma) for sigma in sigmas]) for image in images]
    return torch.stack(pyramids).permute(0, 1, 3, 4, 2).contiguous()


def gaussian(image: Tensor, sigma: float) -> Tensor:
    """Blur one image [..., H, H] by sigma pixels; weights beyond the border go to those within."""
    if sigma == 0:
        return image
    place = torch.arange(image.shape[-1], dtype=torch.float64, device=image.device)
    weights = torch.exp(-0.5 * ((place[:, None] - place) / sigma).square())
    weights = weights / weights.sum(1, keepdim=True)
    return (weights @ image.double() @ weights.T).to(image)

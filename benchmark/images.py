"""What methods and metrics share: upsampling, compositing, noise, and cutting work into chunks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def chunks(total: int, size: int) -> Iterator[slice]:
    """Cut ``range(total)`` into consecutive slices of at most ``size``."""
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))


def upsample(masks: Tensor, size: int) -> Tensor:
    """Enlarge masks [B, 1, r, r] bilinearly to [B, 1, size, size], corners on corners.

    Source: I-GOS (Qi et al. 2020), the upsampling of Eq. 2, as in the authors' code.
    """
    return masks if masks.shape[-1] == size else _Upsample.apply(masks, size)


class _Upsample(torch.autograd.Function):
    """Bilinear enlarging of [B, 1, r, r] whose way back is two small products of matrices.

    Torch's own way back adds to one cell after another: on a CPU that takes many times as long, and
    on a GPU the order of its sums, so their last digits, is left to chance.
    """

    @staticmethod
    def forward(ctx: Any, masks: Tensor, size: int) -> Tensor:
        ctx.res, ctx.size = masks.shape[-1], size
        return functional.interpolate(masks, size=(size, size), mode="bilinear", align_corners=True)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (enlarged,) = gradients  # [B, 1, size, size]
        # In double precision, which neither TF32 nor autocast rounds.
        unit = torch.eye(ctx.res, dtype=torch.float64, device=enlarged.device)[None, None]
        shares = functional.interpolate(  # [size, r]: of each cell in each row of pixels
            unit, size=(ctx.size, ctx.res), mode="bilinear", align_corners=True
        )[0, 0]
        # One by one: what a product of many images rounds to may depend on how many there are.
        sums = [shares.T @ gradient.double() @ shares for gradient in enlarged]
        return torch.stack(sums).to(enlarged.dtype), None


def composite(images: Tensor, baseline: Tensor, mask: Tensor) -> Tensor:
    """Mix images [..., 3, H, W] with a baseline: mask 1 keeps the image, 0 shows the baseline.

    The mask has one channel, shared by the three colours. Both ends are exact: a mask of ones
    returns the image and a mask of zeros the baseline, bit for bit.
    """
    return torch.lerp(baseline, images, mask)


def generators(seeds: Tensor, device: torch.device) -> list[torch.Generator]:
    """One random generator per image, so that its noise does not depend on the batch."""
    return [torch.Generator(device).manual_seed(int(seed)) for seed in seeds]


def normal(sources: list[torch.Generator], *shape: int) -> Tensor:
    """Draw standard normal noise [len(sources), *shape], each row from its own generator."""
    noise = torch.empty(len(sources), *shape, device=sources[0].device)
    for row, source in zip(noise, sources, strict=True):
        row.normal_(generator=source)
    return noise


def resize_heatmaps(heatmaps: Tensor, res: int, how: str) -> Tensor:
    """Resize heatmaps [B, n, n] to [B, res, res] by ``area`` averaging or ``bilinear``."""
    maps = heatmaps[:, None]
    if how == "area":
        return functional.adaptive_avg_pool2d(maps, res)[:, 0]
    return functional.interpolate(maps, size=(res, res), mode="bilinear", align_corners=False)[:, 0]

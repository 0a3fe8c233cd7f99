"""Where an object is, as pixels that the network sees."""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum

import torch
from torch import Tensor

from benchmark.images import upsample
from benchmark.interfaces import Batch, Scores, Truth

Region = Enum("Region", "boxes mask")


def region_of(batch: Batch, row: int, kind: Region) -> Tensor | None:
    """Return the pixels [H, W] bool of an image's target, or None where they are not known.

    A pixel belongs to it if the pixel of the original image that its centre falls on does: one
    inside a box of the target class, borders included; or one of the mask, which is the label's
    and so is known only where the label is the target. None also where no pixel belongs to it.
    """
    truth, size = batch.truths[row], batch.images.shape[-1]
    target = int(batch.targets[row])
    if kind is Region.boxes:
        found = _in_boxes(truth, target, size)
    elif truth.mask is not None and int(batch.labels[row]) == target:
        found = _in_mask(truth, truth.mask, size)
    else:
        return None
    return found.to(batch.images.device) if found.any() else None


def scored(
    batch: Batch, heatmaps: Tensor, kind: Region, score: Callable[[Tensor, Tensor], float]
) -> Scores:
    """Score enlarged heatmaps [H, W] against their objects' pixels [H, W], one by one.

    NaN where it is not known where the target is.
    """
    values = []
    for row, heatmap in enumerate(enlarged(heatmaps, batch.images.shape[-1])):
        region = region_of(batch, row, kind)
        values.append(math.nan if region is None else score(heatmap, region))
    return Scores(torch.tensor(values, dtype=torch.float64), {})


def enlarged(heatmaps: Tensor, size: int) -> Tensor:
    """Enlarge heatmaps [B, r, r] to [B, size, size] so that equal cells make equal pixels.

    In float32 the weights of a pixel may sum to 1 - 1e-7, and rounding alone would rank it.
    """
    return upsample(heatmaps[:, None].double(), size)[:, 0].float()


def _in_boxes(truth: Truth, target: int, size: int) -> Tensor:
    x, y = _original(truth, size)
    inside = torch.zeros(size, size, dtype=torch.bool)
    for xmin, ymin, xmax, ymax in truth.boxes[truth.classes == target].tolist():
        inside |= ((ymin <= y) & (y <= ymax))[:, None] & ((xmin <= x) & (x <= xmax))
    return inside


def _in_mask(truth: Truth, mask: Tensor, size: int) -> Tensor:
    x, y = _original(truth, size)
    height, width = mask.shape
    known = ((y >= 0) & (y < height))[:, None] & ((x >= 0) & (x < width))
    return mask.cpu()[y.clamp(0, height - 1)][:, x.clamp(0, width - 1)] & known


def _original(truth: Truth, size: int) -> tuple[Tensor, Tensor]:
    """Columns and rows of the original image's pixels that the network's pixels' centres are on."""
    centres = [truth.to_original(place, place) for place in range(size)]
    x, y = torch.tensor(centres, dtype=torch.float64).T
    return torch.floor(x + 0.5).long(), torch.floor(y + 0.5).long()

"""Deletion and insertion curves: what is removed when, how it is shown, what the area is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from benchmark.images import chunks, composite, upsample
from benchmark.interfaces import BadInput, Batch, Classifier
from benchmark.substrates import Substrate

Order = Enum("Order", "native pixels")
Area = Enum("Area", "trapezoid right_last_one")


@dataclass(frozen=True)
class Protocol:
    """Everything that makes two deletion or insertion scores comparable."""

    order: Order  # native: rank the heatmap's own cells; pixels: rank it upsampled, hard-edged
    steps: int  # the grid's cells are taken in groups of max(1, cells // steps)
    deletion_substrate: Substrate  # what deletion leaves behind
    insertion_substrate: Substrate  # what insertion starts from
    area: Area  # right_last_one: as iGOS++ published it, the last group counted as score 1

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise BadInput(f"protocol.steps must be at least 1, got {self.steps}")


def removal_order(heatmaps: Tensor) -> Tensor:
    """Rank the cells of heatmaps [B, r, r] from 0, the most important; ties go by index: [B, r*r].

    Sorting happens where the heatmap's own numbers are, and stably, so equal cells are removed in
    row-major order on every device.
    """
    order = heatmaps.flatten(1).argsort(dim=1, descending=True, stable=True)
    return order.argsort(dim=1)


def removed_counts(cells: int, steps: int) -> Tensor:
    """How many cells are gone at each point of a curve: 0, n, 2n, ... and always ``cells``."""
    group = max(1, cells // steps)
    return torch.cat([torch.arange(0, cells, group), torch.tensor([cells])])


def curve(
    model: Classifier, batch: Batch, heatmaps: Tensor, protocol: Protocol, insertion: bool
) -> tuple[Tensor, Tensor]:
    """Score every composite between the image and its substrate.

    Args:
        model: the classifier whose target score is followed.
        batch: the images; their targets are scored.
        heatmaps: [B, r, r], higher = removed or inserted earlier.
        protocol: order, steps and substrates.
        insertion: start from the substrate and insert instead of deleting.

    Returns:
        Scores [B, points] in [0, 1], and the fraction of cells [points] removed or inserted.
    """
    size = batch.images.shape[-1]
    if protocol.order is Order.pixels:
        heatmaps = upsample(heatmaps[:, None], size)[:, 0]
    res = heatmaps.shape[-1]
    ranks = removal_order(heatmaps)  # [B, r*r]
    counts = removed_counts(res * res, protocol.steps).to(ranks.device)  # [points]
    substrate = protocol.insertion_substrate if insertion else protocol.deletion_substrate
    hidden = substrate(model, batch)
    units = len(batch.ids) * len(counts)
    scores = []
    with torch.no_grad():
        for part in chunks(units, model.pass_batch):
            unit = torch.arange(part.start, part.stop, device=ranks.device)
            row, point = unit // len(counts), unit % len(counts)
            taken = ranks[row] < counts[point, None]  # [M, r*r]
            shown = taken if insertion else ~taken
            kept = upsample(shown.view(-1, 1, res, res).to(batch.images), size)
            # Bilinear weights may sum to 1 - 1e-7, and the curve has to start or end at the image.
            kept = kept.masked_fill(shown.all(1).view(-1, 1, 1, 1), 1.0)
            images = composite(batch.images[row], hidden[row], kept)
            scores.append(model.scores(images, batch.targets[row]))
    return torch.cat(scores).view(len(batch.ids), -1), counts / (res * res)


def area(scores: Tensor, fractions: Tensor, rule: Area = Area.trapezoid) -> Tensor:
    """Integrate curves [B, points] over fractions [points] from 0 to 1: [B] float64.

    Under the trapezoid rule a constant score p has exactly the area p. ``right_last_one``
    reproduces the published iGOS++ code, which takes each group's right end and, by an operator
    precedence slip, scores the last group as 1.
    """
    scores = scores.double().cpu()
    widths = fractions.double().cpu().diff()
    if rule is Area.trapezoid:
        return ((scores[:, 1:] + scores[:, :-1]) / 2 * widths).sum(1)
    return (scores[:, 1:-1] * widths[:-1]).sum(1) + widths[-1]

"""Deletion and insertion curves: what is removed when, how it is shown, what the area is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, runtime_checkable
from typing import Protocol as Interface

import torch
from torch import Tensor

from benchmark.images import chunks, composite, upsample
from benchmark.interfaces import BadInput, Batch, Classifier, Scores
from benchmark.substrates import Substrate

Order = Enum("Order", "native pixels")
Area = Enum("Area", "trapezoid right_last_one")


@runtime_checkable
class Imputer(Substrate, Interface):
    """A substrate that depends on what is left of the image (``benchmark.imputation``).

    Called as any other, it returns what stands where nothing is left.
    """

    def fill(self, model: Classifier, batch: Batch, rows: Tensor, kept: Tensor) -> Tensor:
        """Return images [M, 3, H, W]: those of ``rows`` [M], replaced where they are not kept.

        Args:
            model: the classifier.
            batch: the images.
            rows: places in the batch; one may come several times.
            kept: [M, 1, H, W] bool.
        """
        ...


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
        for substrate in (self.deletion_substrate, self.insertion_substrate):
            if self.order is Order.native and isinstance(substrate, Imputer):
                raise BadInput(
                    "protocol.order=native removes pixels by halves, and "
                    f"{type(substrate).__name__} fills in whole ones: use protocol=road, or add "
                    "protocol.order=pixels"
                )

    def walk(self, insertion: bool) -> Walk:
        """Say which composites deletion or insertion is scored on."""
        substrate = self.insertion_substrate if insertion else self.deletion_substrate
        return Walk(self.order, self.steps, substrate, insertion)

    def least_relevant_first(self) -> Walk:
        """Say which composites deletion in the reverse order is scored on, read backwards.

        What is left once all but the k most important cells are deleted is what insertion over
        the same substrate shows at k cells, so the one curve is the other.
        """
        return Walk(self.order, self.steps, self.deletion_substrate, insertion=True)


@dataclass(frozen=True)
class Walk:
    """Which composites a curve is scored on: of equal heatmaps, equal walks have equal curves."""

    order: Order
    steps: int
    substrate: Substrate
    insertion: bool  # from the substrate to the image


class Curve(NamedTuple):
    """The scores along a walk."""

    scores: Tensor  # [B, points] in [0, 1]
    fractions: Tensor  # [points], of the cells removed or shown; from 0 to 1

    def backwards(self) -> Curve:
        """Return the same scores from the last to the first."""
        return Curve(self.scores.flip(1), 1 - self.fractions.double().flip(0))

    def kept(self) -> dict[str, Tensor]:
        """Return it as a metric's scores keep it: ``scores`` and ``fractions`` [B, points]."""
        return {"scores": self.scores, "fractions": self.fractions.expand_as(self.scores)}


class OfCurves(Interface):
    """A metric of curves alone: it may be computed from those that another one has kept.

    One with a true ``keeps_curve`` keeps the curve of its only walk as ``Curve.kept`` returns it.
    """

    @property
    def walks(self) -> tuple[Walk, ...]:
        """The curves it needs."""
        ...

    def from_curves(self, *curves: Curve) -> Scores:
        """Score images by their curves, one for each walk."""
        ...


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


def curve(model: Classifier, batch: Batch, heatmaps: Tensor, walk: Walk) -> Curve:
    """Score every composite between the image and its substrate.

    Args:
        model: the classifier whose target score is followed.
        batch: the images; their targets are scored.
        heatmaps: [B, r, r], higher = removed or inserted earlier.
        walk: order, steps and substrate, and whether to insert instead of deleting.
    """
    size = batch.images.shape[-1]
    if walk.order is Order.pixels:
        heatmaps = upsample(heatmaps[:, None], size)[:, 0]
    res = heatmaps.shape[-1]
    ranks = removal_order(heatmaps)  # [B, r*r]
    counts = removed_counts(res * res, walk.steps).to(ranks.device)  # [points]
    substrate = walk.substrate
    hidden = substrate(model, batch)
    units = len(batch.ids) * len(counts)
    scores = []
    with torch.no_grad():
        for part in chunks(units, model.pass_batch):
            unit = torch.arange(part.start, part.stop, device=ranks.device)
            row, point = unit // len(counts), unit % len(counts)
            taken = ranks[row] < counts[point, None]  # [M, r*r]
            shown = taken if walk.insertion else ~taken
            kept = upsample(shown.view(-1, 1, res, res).to(batch.images), size)
            # Bilinear weights may sum to 1 - 1e-7, and the curve has to start or end at the image.
            kept = kept.masked_fill(shown.all(1).view(-1, 1, 1, 1), 1.0)
            if isinstance(substrate, Imputer):
                images = substrate.fill(model, batch, row, shown.view_as(kept))
            else:
                first, last = part.start // len(counts), (part.stop - 1) // len(counts)
                # One image is mixed as it is: copies would take longer than the mixing.
                whose = slice(first, first + 1) if first == last else row
                images = composite(batch.images[whose], hidden[whose], kept)
            scores.append(model.scores(images, batch.targets[row]))
    return Curve(torch.cat(scores).view(len(batch.ids), -1), counts / (res * res))


def of_curves(
    metric: OfCurves,
    model: Classifier,
    batch: Batch,
    heatmaps: Tensor,
    known: Mapping[Walk, Curve] | None = None,
) -> Scores:
    """Score heatmaps [B, r, r] by a metric of curves, making those that are not known.

    Raises:
        BadInput: the classifier returned NaN or infinity.
    """
    curves = dict(known or {})
    for walk in metric.walks:
        if walk not in curves:
            curves[walk] = curve(model, batch, heatmaps, walk)
            if not curves[walk].scores.isfinite().all():
                raise BadInput(f"the model returned NaN or infinity for one of {batch.ids}")
    return metric.from_curves(*(curves[walk] for walk in metric.walks))


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

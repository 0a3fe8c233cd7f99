"""A metric's scores of methods on images and networks as they are, and on perturbed ones."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from benchmark.captions import title
from benchmark.cell import Cell
from benchmark.consistency import DISRUPTIVE, INPUTS, MINOR, WEIGHTS
from benchmark.images import chunks
from benchmark.interfaces import BadInput, Batch
from benchmark.known_curves import score, values_of
from benchmark.models import ImageClassifier
from benchmark.sanity_checks import explain, resize_of
from benchmark.sanity_variants import noisy
from benchmark.stage_bars import stage
from benchmark.wording import number_of


class Perturbed(NamedTuple):
    """A batch and a network of which one is perturbed."""

    test: str  # which: INPUTS or WEIGHTS
    strength: str  # MINOR or DISRUPTIVE
    draw: int  # from 0
    model: ImageClassifier
    batch: Batch


@dataclass(frozen=True)
class Perturbations:
    """How images and networks are perturbed, a little and to the point of being others.

    Source: Hedström et al. (2023), MetaQuantus: uniform noise added to the input, and weights times
    normal factors of mean 1.
    """

    draws: int  # of each perturbation
    minor_noise: float  # largest noise on a channel in [0, 1]
    disruptive_noise: float
    minor_factor_sd: float  # standard deviation of the weights' factors
    disruptive_factor_sd: float
    explain_again: bool  # whether a perturbed image is explained itself, or keeps its heatmap

    def __post_init__(self) -> None:
        strengths = (
            (self.minor_noise, self.disruptive_noise),
            (self.minor_factor_sd, self.disruptive_factor_sd),
        )
        if self.draws < 1 or any(not 0 < minor < much for minor, much in strengths):
            raise BadInput(
                "perturbations need draws of at least 1, and above 0 a minor strength below the "
                f"disruptive one: got draws={self.draws} minor_noise={self.minor_noise} "
                f"disruptive_noise={self.disruptive_noise} minor_factor_sd={self.minor_factor_sd} "
                f"disruptive_factor_sd={self.disruptive_factor_sd}"
            )

    @property
    def number(self) -> int:
        """How many there are: of inputs and of weights, minor and disruptive, each drawn anew."""
        return 4 * self.draws

    def __call__(self, model: ImageClassifier, batch: Batch, seed: int) -> Iterator[Perturbed]:
        """Perturb the images of a batch, each from its own seed, and then the network."""
        noises = {MINOR: self.minor_noise, DISRUPTIVE: self.disruptive_noise}
        for strength, radius in noises.items():
            for draw, images in enumerate(noisy(batch, radius, self.draws)):
                yield Perturbed(INPUTS, strength, draw, model, batch._replace(images=images))
        spreads = {MINOR: self.minor_factor_sd, DISRUPTIVE: self.disruptive_factor_sd}
        for strength, sd in spreads.items():
            for draw in range(self.draws):
                network = scaled_weights(model.network, sd, seed + draw)
                yield Perturbed(WEIGHTS, strength, draw, model.with_network(network), batch)


def scaled_weights(network: nn.Module, sd: float, seed: int) -> nn.Module:
    """Copy a network with each parameter times its own normal factor of mean 1."""
    source = torch.Generator().manual_seed(seed)
    copied = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in copied.parameters():
            factors = 1 + sd * torch.randn(parameter.shape, generator=source)
            parameter.mul_(factors.to(parameter))
    return copied


def perturbed_scores(cells: Sequence[Cell], perturbations: Perturbations) -> pd.DataFrame:
    """Score the heatmaps of methods, and those of perturbed images and networks.

    The class that is explained stays. An image counts under a minor perturbation if the network
    still predicts what it predicted, and under a disruptive one if it no longer does; where it does
    not count, nothing is explained.

    Args:
        cells: of one model, data set and list of metrics, a cell per method.
        perturbations: what is done to images and network.

    Returns:
        A line per perturbation, method, metric and image that counts: test, strength, draw, method,
        metric, id, ``before`` and ``after``.

    Raises:
        BadInput: a method cannot explain the model, or has another resolution than asked for.
    """
    first = cells[0]
    ids = first.dataset.ids()
    lines: list[dict[str, object]] = []
    resizes = [resize_of(cell) for cell in cells]
    groups = [ids[part] for part in chunks(len(ids), first.settings.batch_size)]
    steps = 1 + perturbations.number
    heading = (
        f"explaining {number_of(len(ids), 'image')}, as they are and perturbed, by "
        f"{number_of(len(cells), 'method')}, scoring by {number_of(len(first.metrics), 'metric')}"
    )
    with stage(heading, len(ids)) as shown:
        for group in groups:
            for found in _of_batch(cells, resizes, perturbations, first.batch(group)):
                lines += found
                shown.move(len(group) / steps)
    columns = ["test", "strength", "draw", "method", "metric", "id", "before", "after"]
    return pd.DataFrame(lines, columns=columns)


def _of_batch(
    cells: Sequence[Cell],
    resizes: Sequence[tuple[int, str] | None],
    perturbations: Perturbations,
    batch: Batch,
) -> Iterator[list[dict[str, object]]]:
    """Score a batch as it is, which yields no line, and then under each perturbation."""
    first = cells[0]
    seen = _predicted(first.model, batch.images)
    heatmaps = {
        title(cell): explain(cell.method, first.model, batch, resize)
        for cell, resize in zip(cells, resizes, strict=True)
    }
    before = {
        method: values_of(first.metrics, first.model, batch, each)
        for method, each in heatmaps.items()
    }
    yield []
    for each in perturbations(first.model, batch, first.settings.seed):
        lines: list[dict[str, object]] = []
        same = _predicted(each.model, each.batch.images) == seen
        rows = (same if each.strength == MINOR else ~same).nonzero()[:, 0].tolist()
        for cell, resize in zip(cells, resizes, strict=True) if rows else ():
            some = each.batch.select(rows)
            kept = each.test == INPUTS and not perturbations.explain_again
            again = (
                heatmaps[title(cell)][rows]
                if kept
                else explain(cell.method, each.model, some, resize)
            )
            after = values_of(first.metrics, each.model, some, again)
            told = {"test": each.test, "strength": each.strength, "draw": each.draw}
            lines += [
                told
                | {"method": title(cell), "metric": metric, "id": batch.ids[row]}
                | {"before": before[title(cell)][metric][row], "after": after[metric][place]}
                for metric in first.metrics
                for place, row in enumerate(rows)
            ]
        yield lines


def passes_alone(cell: Cell) -> dict[str, float]:
    """Count the passes, forward and backward, that each metric takes by itself for one image."""
    model, batch = cell.model, cell.batch(cell.dataset.ids()[:1])
    heatmaps = explain(cell.method, model, batch, resize_of(cell))
    found = {}
    heading = f"counting the passes of {number_of(len(cell.metrics), 'metric')}"
    with stage(heading, len(cell.metrics)) as shown:
        for name in cell.metrics:
            model.begin_count(1)
            score(name, cell.metrics, model, batch, heatmaps, kept=lambda _: {})
            found[name] = float(model.forward_passes.sum() + model.backward_passes.sum())
            shown.move(1)
    return found


def _predicted(model: ImageClassifier, images: Tensor) -> Tensor:
    """The class [B] with the largest logit."""
    with torch.no_grad():
        return model(images).argmax(1)

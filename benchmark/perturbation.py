"""What methods share that hide parts of an image and look at the score."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from benchmark.attribution import Score, target_scores
from benchmark.images import chunks, composite
from benchmark.interfaces import Batch, Classifier
from benchmark.segments import Grid
from benchmark.substrates import Substrate


def scores_under(
    model: Classifier, batch: Batch, row: int, hidden: Tensor, masks: Tensor, *, score: Score
) -> Tensor:
    """Score one image of a batch under masks, ``pass_batch`` composites at a time.

    Args:
        model: the classifier.
        batch: holds the image and its target.
        row: the image's place in the batch.
        hidden: [3, H, W], what stands where a mask is 0.
        masks: [N, 1, H, W] in [0, 1]; 1 keeps the image.
        score: of the target.

    Returns:
        Scores [N].
    """
    values = []
    with torch.no_grad(), model.passes_of(torch.tensor([row])):
        for part in chunks(len(masks), model.pass_batch):
            images = composite(batch.images[row], hidden, masks[part])
            targets = batch.targets[row].expand(len(images))
            values.append(target_scores(model, images, targets, score))
    return torch.cat(values)


def scores_with(
    model: Classifier,
    batch: Batch,
    row: int,
    hidden: Tensor,
    parts: Tensor,
    *,
    kept: Tensor,
    score: Score,
) -> Tensor:
    """Score one image of a batch with some of its parts kept and the others hidden.

    Args:
        model: the classifier.
        batch: holds the image and its target.
        row: the image's place in the batch.
        hidden: [3, H, W], what stands where a part is not kept.
        parts: [H, W], each pixel's part, in 0 to P - 1.
        kept: [N, P] in [0, 1]; 1 or true where a part is kept.
        score: of the target.

    Returns:
        Scores [N].
    """
    values = []
    for part in chunks(len(kept), model.pass_batch):
        masks = kept[part].float()[:, parts][:, None]  # [n, 1, H, W]
        values.append(scores_under(model, batch, row, hidden, masks, score=score))
    return torch.cat(values)


def scores_on_grid(
    model: Classifier,
    batch: Batch,
    grid: int,
    *,
    baseline: Substrate,
    score: Score,
    draw: Callable[[int], Tensor],
) -> Iterator[tuple[Tensor, Tensor]]:
    """Score each image of a batch with random cells of a grid kept and the others hidden.

    Args:
        model: the classifier.
        batch: the images, their targets and seeds.
        grid: cells along a side.
        baseline: what is shown where a cell is hidden.
        score: of the target.
        draw: maps an image's seed to masks [N, grid * grid] in [0, 1].

    Yields:
        For each image its masks, and its scores [N] under them.
    """
    parts = Grid(grid)(batch.images[0])
    hidden = baseline(model, batch)
    for row, seed in enumerate(batch.seeds.tolist()):
        masks = draw(seed).to(model.device)
        yield masks, scores_with(model, batch, row, hidden[row], parts, kept=masks, score=score)


@contextmanager
def numpy_seeded(seed: int) -> Iterator[None]:
    """Let a library draw from numpy's global state, from this seed, and put the state back."""
    state = np.random.get_state()  # noqa: NPY002 - the library draws from it
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the library draws from it
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002 - the library draws from it

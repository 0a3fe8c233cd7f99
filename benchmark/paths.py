"""What methods share that follow a path of images from one that shows nothing to the one explained.

Each step of the path changes the score, and each colour of each pixel is given a share of that.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

import torch
from torch import Tensor

from benchmark.attribution import Score, gradients
from benchmark.images import chunks
from benchmark.interfaces import Batch, Classifier

Weighting = Enum("Weighting", "plain idgi")


def shares(weighting: Weighting, slopes: Tensor, moves: Tensor, changes: Tensor) -> Tensor:
    """Divide what single steps of a path do to the score among all colours of all pixels.

    Args:
        weighting: plain: gradient times move, a term of a Riemann sum. idgi: the score's change, in
            proportion to the squared gradient, so that only what lies along the gradient counts
            (Yang et al. 2023, Algorithm 1); nothing where the gradient is zero everywhere.
        slopes: [..., 3, H, W], the score's gradient on the step.
        moves: [..., 3, H, W], by how much the image changes.
        changes: [...], by how much the score does.

    Returns:
        Shares [..., 3, H, W].
    """
    if weighting is Weighting.plain:
        return slopes * moves
    # Where the score saturates, the squares of its gradient would vanish in single precision.
    largest = slopes.abs().amax((-3, -2, -1), keepdim=True)
    squares = torch.where(largest > 0, slopes / largest, 0).square()
    total = totals(squares)[..., None, None, None].clamp(min=1)  # one of the squares is 1
    return squares / total * changes[..., None, None, None]


def along_path(
    model: Classifier,
    batch: Batch,
    path: Callable[[slice], Tensor],
    *,
    points: int,
    weighting: Weighting,
    score: Score,
) -> Tensor:
    """Attribute the change of the score along paths that are known beforehand.

    Args:
        model: the classifier.
        batch: holds the targets.
        path: maps some of the batch's images to the points of their paths, [M, P, 3, H, W].
        points: P, one more than there are steps.
        weighting: plain takes a step's gradient as the mean of its two ends', idgi that at its
            beginning.
        score: of the target.

    Returns:
        Attributions [B, 3, H, W]; their sum is the score at the end minus that at the start, with
        idgi to rounding, else as well as the steps are fine.
    """
    parts = []
    # Whole images, or the points of a single one: its sum is cut alike in every batch.
    for part in chunks(len(batch.ids), max(1, model.pass_batch // points)):
        on_path = path(part)
        rows = torch.arange(part.start, part.stop).repeat_interleave(points)
        targets = batch.targets[part].repeat_interleave(points)
        slopes, scores = gradients(model, on_path.flatten(0, 1), targets, score, rows)
        slopes, scores = slopes.view_as(on_path), scores.view(-1, points)
        start, end = slopes[:, :-1], slopes[:, 1:]
        slopes = (start + end) / 2 if weighting is Weighting.plain else start
        parts.append(shares(weighting, slopes, on_path.diff(dim=1), scores.diff(dim=1)).sum(1))
    return torch.cat(parts)


def totals(values: Tensor) -> Tensor:
    """Sum [..., 3, H, W] to [...].

    In two stages: the sum of a single image would be cut among threads where several images'
    are not, and so be rounded differently.
    """
    return values.flatten(-2).sum(-1).sum(-1)

"""What methods share that give every colour of every pixel a number: gradients, and their sum."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from benchmark.images import chunks
from benchmark.interfaces import Batch, Classifier

Channels = Enum("Channels", "signed absolute maximum")
# softmax: the target's probability, which for a multi-label network is the sigmoid of its logit.
Score = Enum("Score", "softmax logit")


@dataclass(frozen=True)
class PixelAttribution(ABC):
    """A method that attributes the target's score to every colour of every pixel."""

    channels: Channels  # signed: sum over colours; absolute: of magnitudes; maximum: the largest

    @abstractmethod
    def attribute(self, model: Classifier, batch: Batch) -> Tensor:
        """Return attributions [B, 3, H, W]; higher = speaks more for the target."""

    def native(self, model: Classifier) -> int:
        """One cell for each pixel."""
        return model.input_size

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return heatmaps [B, H, W]."""
        return over_channels(self.attribute(model, batch), self.channels)


def over_channels(attributions: Tensor, channels: Channels) -> Tensor:
    """Turn attributions [..., 3, H, W] to colours into one number per pixel, [..., H, W]."""
    if channels is Channels.signed:
        return attributions.sum(-3)
    magnitudes = attributions.abs()
    return magnitudes.amax(-3) if channels is Channels.maximum else magnitudes.sum(-3)


def target_scores(model: Classifier, images: Tensor, targets: Tensor, score: Score) -> Tensor:
    """Scores [N] of targets [N] on images [N, 3, H, W], all in one pass."""
    logits = model(images)
    outputs = model.probabilities(logits) if score is Score.softmax else logits
    return outputs.gather(1, targets[:, None])[:, 0]


def gradients(
    model: Classifier, images: Tensor, targets: Tensor, score: Score, rows: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Differentiate each target's score by its image, ``pass_batch`` images at a time.

    Args:
        model: the classifier.
        images: [N, 3, H, W].
        targets: [N].
        score: what is differentiated.
        rows: [N], the image of the batch that each one belongs to, for the count of passes; left
            out where these are the images of the batch.

    Returns:
        Gradients [N, 3, H, W] and scores [N].
    """
    rows = torch.arange(len(images)) if rows is None else rows.cpu()
    slopes, values = [], []
    for part in chunks(len(images), model.pass_batch):
        free = images[part].detach().clone().requires_grad_()
        with torch.enable_grad(), model.passes_of(rows[part]):
            scores = target_scores(model, free, targets[part], score)
            (slope,) = torch.autograd.grad(scores.sum(), free)
        slopes.append(slope)
        values.append(scores.detach())
    return torch.cat(slopes), torch.cat(values)

"""What a network makes of an image once all of it is replaced: the substrate audit of a run."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.special import entr

from benchmark.images import chunks
from benchmark.interfaces import Batch
from benchmark.models import Activation, ImageClassifier
from benchmark.substrates import Substrate


def left(model: ImageClassifier, batch: Batch, substrate: Substrate) -> tuple[Tensor, Tensor]:
    """Show the network nothing but the substrate.

    Returns:
        The score of each image's target [B], in [0, 1], and the entropy [B] of the probabilities
        of all classes: 1 where all are as likely, 0 where one is certain. Of a network whose
        classes do not exclude each other it is the mean over classes of present or absent.
    """
    images = substrate(model, batch)
    with torch.no_grad():
        logits = torch.cat([model(images[part]) for part in chunks(len(images), model.pass_batch)])
        probabilities = model.probabilities(logits)
    scores = probabilities.gather(1, batch.targets[:, None])[:, 0]
    return scores, _entropy(probabilities.double(), model.activation)


def _entropy(probabilities: Tensor, activation: Activation) -> Tensor:
    """Entropy of probabilities [B, K], as a share of the largest there is: [B] in [0, 1]."""
    own: Tensor = entr(probabilities)
    if activation is Activation.softmax:
        return own.sum(1) / math.log(max(2, probabilities.shape[1]))
    absent: Tensor = entr(1 - probabilities)
    return (own + absent).mean(1) / math.log(2)

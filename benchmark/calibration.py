"""Give a network with random weights usable batch norm, so that its passes can be timed.

An untrained deep network whose batch norm has the statistics 0 and 1 lets its activations grow
layer by layer. Its softmax then underflows to denormal numbers, which a CPU computes many times
as slowly as others: what is timed would be an accident of these weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmark.models import ImageClassifier

LAYERS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def calibrate(model: ImageClassifier, images: Tensor) -> int:
    """Set every batch norm's statistics to those of these images [B, 3, H, W], in place.

    Returns:
        How many layers there are; 0 leaves the network as it was.
    """
    layers = [
        layer
        for layer in model.network.modules()
        if isinstance(layer, LAYERS) and layer.running_mean is not None
    ]
    if not layers:
        return 0
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.train()
        layer.momentum = 1.0  # the batch's own statistics, and nothing of what was there
    try:
        with torch.no_grad():
            model(images)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.eval()
            layer.momentum = momentum
    return len(layers)

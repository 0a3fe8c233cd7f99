"""Find the layer that class activation maps are made of, by watching one pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmark.interfaces import BadInput

_POOLING = (
    nn.AvgPool2d,
    nn.MaxPool2d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.Dropout,
    nn.Identity,
)


def find_cam_layer(network: nn.Module, images: Tensor, classes: int) -> nn.Module:
    """Return the last module whose output is a map [B, C, h, w] of features, h = w > 1.

    Pooled maps do not count, nor maps of class scores (C = K), as SqueezeNet ends in. Where the
    module is the last of a container, the outermost container with the same output is returned:
    inside a block a module may be used several times.

    Raises:
        BadInput: there is no such map, or tokens follow it, as in a vision transformer.
    """
    outputs: list[tuple[nn.Module, object]] = []
    hooks = [
        module.register_forward_hook(lambda module, _, output: outputs.append((module, output)))
        for module in network.modules()
    ]
    try:
        with torch.no_grad():
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    pooled = {id(output) for module, output in outputs if isinstance(module, _POOLING[:4])}
    found: tuple[nn.Module, object] | None = None
    for module, output in outputs:
        if not isinstance(output, Tensor):
            continue
        if output.ndim == 3:
            found = None
        elif _is_feature_map(output, classes) and not (
            isinstance(module, _POOLING) or id(output) in pooled
        ):
            found = (module, output)
    if found is None:
        raise BadInput(
            f"{type(network).__name__} has no convolutional map before its output, so methods "
            "based on class activation maps cannot explain it"
        )
    return found[0]


def _is_feature_map(output: Tensor, classes: int) -> bool:
    if output.ndim != 4:
        return False
    channels, height, width = output.shape[1:]
    return height == width > 1 and channels != classes

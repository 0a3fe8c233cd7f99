"""Find the layer that class activation maps are made of, by watching one pass."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmark.images import chunks
from benchmark.interfaces import BadInput, Batch, Classifier

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


class CamMaps(NamedTuple):
    """What class activation maps are made of."""

    activations: Tensor  # [B, C, h, w], the output of the CAM layer
    gradients: Tensor  # [B, C, h, w], of each target's logit by it
    logits: Tensor  # [B], of the targets


def cam_maps(model: Classifier, batch: Batch) -> CamMaps:
    """Record the CAM layer's output and the gradient of each target's logit by it.

    Raises:
        BadInput: the classifier has no convolutional map before its output.
    """
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        kept.append(output if output.requires_grad else output.requires_grad_())
        return output.clone()  # what follows may overwrite its input

    parts = []
    handle = model.cam_layer.register_forward_hook(keep)
    try:
        for part in chunks(len(batch.ids), model.pass_batch):
            rows = torch.arange(part.start, part.stop)
            with torch.enable_grad(), model.passes_of(rows):
                logits = model(batch.images[part])
                targets = logits.gather(1, batch.targets[part, None])[:, 0]
                (slope,) = torch.autograd.grad(targets.sum(), kept[-1])
            shown = len(rows)  # the classifier may have padded the batch
            parts.append((kept.pop().detach()[:shown].float(), slope[:shown].float(), targets))
    finally:
        handle.remove()
    return CamMaps(*(torch.cat(each).detach() for each in zip(*parts, strict=True)))


def cam_resolution(model: Classifier) -> int:
    """Return how many cells along a side the CAM layer's output has."""
    return layer_resolution(model, model.cam_layer)


def layer_resolution(model: Classifier, layer: nn.Module) -> int:
    """Return how many cells along a side a layer's output has.

    Raises:
        BadInput: the output is not a square map, or the layer is used other than once.
    """
    seen: list[Tensor] = []
    handle = layer.register_forward_hook(lambda *call: seen.append(call[2]))
    try:
        with torch.no_grad():
            model(torch.zeros(1, 3, model.input_size, model.input_size, device=model.device))
    finally:
        handle.remove()
    if len(seen) != 1 or seen[0].ndim != 4 or seen[0].shape[-1] != seen[0].shape[-2]:
        raise BadInput(
            f"the layer {type(layer).__name__} has outputs of the shapes "
            f"{[list(each.shape[1:]) for each in seen]}: a layer that makes one square map is "
            "needed"
        )
    return seen[0].shape[-1]

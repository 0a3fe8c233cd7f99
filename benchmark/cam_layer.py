"""Find the layer that class activation maps are made of, and record it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakKeyDictionary

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


def find_cam_layer(network: nn.Module, images: Tensor, classes: int | None) -> nn.Module:
    """Return the last module whose output is a map [B, C, h, w] of features, h = w > 1.

    Pooled maps do not count, nor maps of class scores (C = K), as SqueezeNet ends in, unless
    ``classes`` is None. Where the module is the last of a container, the outermost container with
    the same output is returned: inside a block a module may be used several times.

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


def _is_feature_map(output: Tensor, classes: int | None) -> bool:
    if output.ndim != 4:
        return False
    channels, height, width = output.shape[1:]
    return height == width > 1 and channels != classes


_AVERAGED: WeakKeyDictionary[nn.Module, nn.Module] = WeakKeyDictionary()


def averaged_layer(model: Classifier) -> nn.Module:
    """Return the layer whose maps, averaged over space, give the logits by weights and a bias.

    These are the CAM layer's maps or, in a network that ends in maps of class scores, those. What
    follows the layer is tried out once for each network: shown made-up maps, the logits must
    depend on their averages alone, and add up.

    Raises:
        BadInput: the logits are made in another way.
    """
    if model.network not in _AVERAGED:
        grey = torch.linspace(0, 1, 4, device=model.device).view(4, 1, 1, 1)
        images = grey.expand(4, 3, model.input_size, model.input_size).contiguous()
        layer = find_cam_layer(model.network, images, None)
        if not _is_averaged(model.network, layer, images):
            raise BadInput(
                f"the logits of {type(model.network).__name__} are not linear in the averages of "
                "its last maps, which cam needs; gradcam and hires_cam do without"
            )
        _AVERAGED[model.network] = layer
    return _AVERAGED[model.network]


def _is_averaged(network: nn.Module, layer: nn.Module, images: Tensor) -> bool:
    """Whether four images' logits follow linearly from the averages of maps put into the layer.

    The images differ, so that a way round the layer shows too.
    """

    def replace(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        noise = torch.Generator().manual_seed(0)
        shape = (2, *output.shape[1:])
        drawn = torch.randn(shape, generator=noise)
        drawn += 10 * torch.randn((*shape[:2], 1, 1), generator=noise)
        both = (drawn[0] + 2 * drawn[1]).mean((1, 2), keepdim=True).expand_as(drawn[0])
        return torch.stack([torch.zeros_like(both), *drawn, both]).to(output)

    with _hooked(layer, replace), torch.no_grad():
        nothing, first, second, both = network(images).float()
    expected = first + 2 * second - 2 * nothing
    return bool((both - expected).abs().max() <= 0.01 * expected.abs().max())  # room for TF32


@contextmanager
def _hooked(layer: nn.Module, hook: Callable[..., Tensor | None]) -> Iterator[None]:
    handle = layer.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


class CamMaps(NamedTuple):
    """What class activation maps are made of."""

    activations: Tensor  # [B, C, h, w], the output of the CAM layer
    gradients: Tensor  # [B, C, h, w], of each target's logit by it
    logits: Tensor  # [B], of the targets


def cam_maps(model: Classifier, batch: Batch, layer: nn.Module | None = None) -> CamMaps:
    """Record a layer's output, the CAM layer's if left out, and the gradient of logits by it.

    Raises:
        BadInput: the classifier has no convolutional map before its output.
    """
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        kept.append(output if output.requires_grad else output.requires_grad_())
        return output.clone()  # what follows may overwrite its input

    parts = []
    with _hooked(model.cam_layer if layer is None else layer, keep):
        for part in chunks(len(batch.ids), model.pass_batch):
            rows = torch.arange(part.start, part.stop)
            with torch.enable_grad(), model.passes_of(rows):
                logits = model(batch.images[part])
                targets = logits.gather(1, batch.targets[part, None])[:, 0]
                (slope,) = torch.autograd.grad(targets.sum(), kept[-1])
            shown = len(rows)  # the classifier may have padded the batch
            parts.append((kept.pop().detach()[:shown].float(), slope[:shown].float(), targets))
    return CamMaps(*(torch.cat(each).detach() for each in zip(*parts, strict=True)))


@dataclass(frozen=True)
class GradientCAM:
    """A heatmap at the resolution of the CAM layer, out of its maps and the target's gradients."""

    def native(self, model: Classifier) -> int:
        """Return the resolution of the classifier's CAM layer."""
        return cam_resolution(model)

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return heatmaps [B, h, h].

        Raises:
            BadInput: the classifier has no convolutional map before its output.
        """
        maps, gradients, _ = cam_maps(model, batch)
        return self.combine(maps, gradients)

    @abstractmethod
    def combine(self, maps: Tensor, gradients: Tensor) -> Tensor:
        """Make heatmaps [B, h, h] of maps and the gradients of logits by them, [B, C, h, h]."""


def cam_activations(model: Classifier, batch: Batch) -> Tensor:
    """Record the CAM layer's output [B, C, h, w] without differentiating.

    Raises:
        BadInput: the classifier has no convolutional map before its output.
    """
    kept: list[Tensor] = []
    with _hooked(model.cam_layer, lambda *call: kept.append(call[2].clone())), torch.no_grad():
        for part in chunks(len(batch.ids), model.pass_batch):
            rows = torch.arange(part.start, part.stop)
            with model.passes_of(rows):
                model(batch.images[part])
            kept[-1] = kept[-1][: len(rows)].float()
    return torch.cat(kept)


def cam_resolution(model: Classifier) -> int:
    """Return how many cells along a side the CAM layer's output has."""
    return layer_resolution(model, model.cam_layer)


def layer_resolution(model: Classifier, layer: nn.Module) -> int:
    """Return how many cells along a side a layer's output has.

    Raises:
        BadInput: the output is not a square map, or the layer is used other than once.
    """
    seen: list[object] = []
    with _hooked(layer, lambda *call: seen.append(call[2])), torch.no_grad():
        model(torch.zeros(1, 3, model.input_size, model.input_size, device=model.device))
    shapes = [list(each.shape[1:]) for each in seen if isinstance(each, Tensor)]
    if not (len(seen) == len(shapes) == 1 and len(shapes[0]) == 3 and shapes[0][1] == shapes[0][2]):
        raise BadInput(
            f"the layer {type(layer).__name__} has {len(seen)} outputs, of the shapes {shapes}: a "
            "layer that makes one square map is needed"
        )
    return shapes[0][1]

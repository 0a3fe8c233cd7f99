"""A masking network on top of a classifier, as real-time saliency trains it.

The classifier's own feature maps are the encoder. A filter lets through what belongs to the target,
and a decoder with skip connections turns the rest into a mask (Dabkowski & Gal 2017, section 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.interfaces import BadInput, Classifier

_APART = 1.5  # a finer map has at least so many times the cells along a side, or it is left out
_WIDEST = 64  # channels at most, however coarse the map


class FeatureMap(NamedTuple):
    """Where a classifier makes a map of features [B, C, s, s]."""

    module: str  # the name of the module that returns it
    size: int  # s, cells along a side
    channels: int  # C


class Masker(nn.Module):
    """Turns feature maps of a classifier and a target into a mask."""

    def __init__(self, maps: Sequence[FeatureMap], classes: int, width: int) -> None:
        """Make a masker with random weights.

        Args:
            maps: what it is given, coarsest first; the mask has the size of the last.
            classes: K.
            width: channels at the finest size; each coarser one has twice as many, up to 64.
        """
        super().__init__()
        self.maps, self.classes, self.width = tuple(maps), classes, width
        self.filter = nn.Embedding(classes, maps[0].channels)
        nn.init.normal_(self.filter.weight, std=maps[0].channels ** -0.5)
        inputs, blocks = maps[0].channels, []
        for level, each in reversed(list(enumerate(reversed(maps[1:])))):
            outputs = min(width * 2**level, _WIDEST)
            blocks.append(_Upsampler(inputs, each.channels, outputs))
            inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Conv2d(inputs, 2, 1)

    def forward(self, maps: Sequence[Tensor], targets: Tensor) -> Tensor:
        """Return masks [B, 1, r, r] in [0, 1]; 1 is what the target [B] is seen by."""
        deep = maps[0] * self.presence(maps[0], targets).sigmoid()
        for block, finer in zip(self.blocks, maps[1:], strict=True):
            deep = block(deep, finer)
        # Of two channels, rather than the sigmoid of one: its gradient does not vanish at 0 and 1.
        shown, hidden = self.head(deep).abs().split(1, dim=1)
        masks: Tensor = shown / (shown + hidden).clamp(min=1e-6)
        return masks

    def presence(self, coarsest: Tensor, targets: Tensor) -> Tensor:
        """Return [B, 1, s, s]: how much the features at each place speak for the target [B]."""
        products: Tensor = coarsest * self.filter(targets)[:, :, None, None]
        return products.sum(1, keepdim=True)


class _Upsampler(nn.Module):
    """Enlarges a map to the size of a finer one, joins the two, and adds a residual block."""

    def __init__(self, inputs: int, finer: int, outputs: int) -> None:
        super().__init__()
        self.reduce = _convolution(inputs, outputs, 1)
        self.side = _convolution(finer, outputs, 1)
        self.join = _convolution(2 * outputs, outputs, 3)
        self.residual = _convolution(outputs, outputs, 3)

    def forward(self, deep: Tensor, finer: Tensor) -> Tensor:
        size = finer.shape[-2:]
        enlarged = functional.interpolate(self.reduce(deep), size, mode="bilinear")
        joined = self.join(torch.cat([enlarged, self.side(finer)], dim=1))
        result: Tensor = joined + self.residual(joined)
        return result


def _convolution(inputs: int, outputs: int, kernel: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def find_maps(model: Classifier) -> list[FeatureMap]:
    """Find where a classifier makes feature maps of different sizes, coarsest first.

    Of each size it is the last output of the outermost modules that have one. The finest map has
    at most half the image's resolution, as in the paper.

    Raises:
        BadInput: there are fewer than two sizes, as in a vision transformer.
    """
    names = {module: name for name, module in model.network.named_modules()}
    last: dict[int, FeatureMap] = {}

    def look(module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and _is_map(output, len(model.class_names)):
            found = FeatureMap(names[module], output.shape[-1], output.shape[1])
            known = last.get(found.size)
            if known is None or found.module.count(".") <= known.module.count("."):
                last[found.size] = found

    handles = [module.register_forward_hook(look) for module in names]
    side = model.input_size
    try:
        with torch.no_grad():
            model(torch.zeros(1, 3, side, side, device=model.device))
    finally:
        for handle in handles:
            handle.remove()
    maps: list[FeatureMap] = []
    for size in sorted(last):
        if size <= side // 2 and (not maps or size >= _APART * maps[-1].size):
            maps.append(last[size])
    if len(maps) < 2:
        raise BadInput(
            f"{type(model.network).__name__} has feature maps of {len(maps)} sizes: real-time "
            "saliency needs a convolutional network with two or more"
        )
    return maps


def _is_map(output: Tensor, classes: int) -> bool:
    if output.ndim != 4:
        return False
    channels, height, width = output.shape[1:]
    return height == width > 1 and channels != classes  # a map of class scores is no feature map


def watched(
    model: Classifier, images: Tensor, maps: Sequence[FeatureMap]
) -> tuple[list[Tensor], Tensor]:
    """Send images [B, 3, H, W] through and keep these maps.

    Returns:
        Maps [B or more, C, s, s] as ``maps`` has them, and logits [B]; the classifier may have
        padded the batch.
    """
    kept: dict[int, Tensor] = {}

    def keep(_module: nn.Module, _inputs: object, output: Tensor, *, place: int) -> None:
        if output.shape[-1] == maps[place].size:
            kept[place] = output.float().clone()  # what follows may overwrite its input

    handles = [
        model.network.get_submodule(each.module).register_forward_hook(partial(keep, place=place))
        for place, each in enumerate(maps)
    ]
    try:
        with torch.no_grad():
            logits = model(images)
    finally:
        for handle in handles:
            handle.remove()
    return [kept[place] for place in range(len(maps))], logits

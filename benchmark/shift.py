"""A constant added to the input and taken away in the first layer (Kindermans et al. 2018)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from benchmark.images import chunks
from benchmark.interfaces import Classifier
from benchmark.models import ImageClassifier

SHIFT = 1.0  # added to what the network sees, in standard deviations of a colour
ROUNDING = 1e-3  # of the largest logit: by so much may they differ


def shifted(model: ImageClassifier, images: Tensor) -> tuple[ImageClassifier, Tensor] | None:
    """Add ``SHIFT`` to what the network sees of images [B, 3, H, W] and correct its first layer.

    The correction is exact: the bias of the first convolution or linear layer loses the shift times
    the sum of its weights, and a border of zeros becomes one of the shift.

    Returns:
        The classifier and the images, which may leave [0, 1]; None where the logits are not the
        same, because the first layer sees something else than the input.
    """
    network = copy.deepcopy(model.network)
    name = _first(model)
    if name is None or not _corrected(network, name):
        return None
    other = model.with_network(network)
    moved = images + SHIFT * model.std.view(1, 3, 1, 1)
    with torch.no_grad():
        expected, logits = _logits(model, images), _logits(other, moved)
    if (logits - expected).abs().max() > ROUNDING * expected.abs().max():
        return None
    return other, moved


def _logits(model: Classifier, images: Tensor) -> Tensor:
    return torch.cat([model(images[part]) for part in chunks(len(images), model.pass_batch)])


def _first(model: ImageClassifier) -> str | None:
    """Name the convolution or linear layer that is called first."""
    names: list[str] = []
    handles = [
        module.register_forward_pre_hook(lambda *_, name=name: names.append(name))
        for name, module in model.network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    blank = torch.zeros(1, 3, model.input_size, model.input_size, device=model.device)
    try:
        with torch.no_grad():
            model(blank)
    finally:
        for handle in handles:
            handle.remove()
    return names[0] if names else None


def _corrected(network: nn.Module, name: str) -> bool:
    """Correct a layer in place; False where its border has no constant to change."""
    layer = network.get_submodule(name)
    if not name or not isinstance(layer, nn.Conv2d | nn.Linear):
        return False
    bias = torch.zeros(len(layer.weight)).to(layer.weight) if layer.bias is None else layer.bias
    bias = bias.detach() - SHIFT * layer.weight.detach().flatten(1).sum(1)
    layer.bias = nn.Parameter(bias, requires_grad=False)
    if not isinstance(layer, nn.Conv2d) or layer.padding_mode != "zeros":
        return True
    if isinstance(layer.padding, str):
        return layer.padding == "valid"
    rows, columns = layer.padding
    # Modules of torch's own, as methods with rules for layers want them.
    border = nn.ConstantPad2d((columns, columns, rows, rows), SHIFT)
    layer.padding = (0, 0)
    network.set_submodule(name, nn.Sequential(border, layer))
    return True

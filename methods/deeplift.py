"""DeepLIFT: Learning Important Features Through Propagating Activation Differences.

Shrikumar et al. 2017, with the rescale rule. Written here because captum's max-pooling passes on
less or more than a window's difference, so that the attributions miss their sum.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from benchmark.attribution import PixelAttribution, Score, target_scores
from benchmark.images import chunks
from benchmark.interfaces import BadInput, Batch, Classifier
from benchmark.substrates import Substrate
from benchmark.unfold import FullPrecision, Sum, stack, unfold

_ELEMENTWISE: tuple[type[nn.Module], ...] = (
    *(nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.LeakyReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU),
    *(nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Hardswish, nn.Hardsigmoid, nn.Mish),
)
_LINEAR: tuple[type[nn.Module], ...] = (
    *(nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Flatten),
    *(nn.Identity, Sum),
)
_MOVES: set[Any] = {
    *(torch.cat, torch.flatten, torch.permute, torch.transpose, torch.unsqueeze, stack),
    *("flatten", "permute", "transpose", "unsqueeze", "view", "reshape", "contiguous", "chunk"),
    *(operator.getitem, "size", "dim", getattr, operator.floordiv),  # the last four: of shapes
}
_WITH_A_CONSTANT = {
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    torch.add,
    torch.mul,
}

# Differences of inputs below this are rounding, and so would be a quotient of them.
_LEAST = 1e-6


@dataclass(frozen=True)
class DeepLIFT(PixelAttribution):
    """What each colour adds to the target's logit compared with a reference image.

    Image and reference pass through the network together, image at even rows, reference at odd
    ones. An operation that is not linear passes back the quotient of the differences of its
    outputs and of its inputs where a gradient would be.
    """

    baseline: Substrate  # the reference

    def attribute(self, model: Classifier, batch: Batch) -> Tensor:
        """Return attributions [B, 3, H, W]; they sum to logit on image minus on reference.

        Raises:
            BadInput: the network multiplies features, normalises them by their own statistics, or
                has another operation that the rule does not know.
        """
        rescaled = model.with_network(FullPrecision(rescale(model.network)))
        references = self.baseline(model, batch)
        parts = []
        for part in chunks(len(batch.ids), max(1, model.pass_batch // 2)):
            images = batch.images[part].clone().requires_grad_()
            targets = batch.targets[part].repeat_interleave(2)
            with torch.enable_grad(), rescaled.passes_of(torch.arange(part.start, part.stop)):
                pairs = _paired(images, references[part])
                logits = target_scores(rescaled, pairs, targets, Score.logit)
                (multipliers,) = torch.autograd.grad(logits[0::2].sum(), images)
            parts.append(multipliers * (images.detach() - references[part]))
        return torch.cat(parts)


def rescale(network: nn.Module) -> nn.Module:
    """Rewrite a network so that on pairs of images its gradients are DeepLIFT's multipliers.

    The classifier fills batches up with the last row: an even number of rows, so pairs stay pairs.

    Raises:
        BadInput: it has an operation that the rule does not know.
    """
    graph = unfold(network)
    for node in sorted(graph.graph.nodes, key=lambda node: node.op != "call_module"):
        if node.op == "call_module":
            module = graph.get_submodule(str(node.target))
            if isinstance(module, nn.MaxPool2d):
                graph.add_submodule(str(node.target), _MaxPooling(module))
            elif isinstance(module, _ELEMENTWISE):
                graph.add_submodule(str(node.target), _Elementwise(module))
            elif not isinstance(module, _LINEAR):
                raise _unknown(network, type(module).__name__)
        elif node.op.startswith("call") and not _keeps_differences(node):
            raise _unknown(network, getattr(node.target, "__name__", str(node.target)))
    return graph


def _keeps_differences(node: fx.Node) -> bool:
    """Whether a function or method is linear, or works on shapes alone."""
    varying = [each for each in node.all_input_nodes if each.op != "get_attr"]
    return node.target in _MOVES or (node.target in _WITH_A_CONSTANT and len(varying) < 2)


def _unknown(network: nn.Module, operation: str) -> BadInput:
    return BadInput(
        f"deeplift cannot explain {type(network).__name__}, which uses {operation}: it needs a "
        "network of convolutions, linear layers, pooling, sums and activations, as VGG or ResNet"
    )


def _paired(images: Tensor, references: Tensor) -> Tensor:
    """Interleave two tensors [B, ...] to [2B, ...]."""
    return torch.stack([images, references], dim=1).flatten(0, 1)


class _Elementwise(nn.Module):
    """An activation that passes back the quotient of differences, or its slope if they are 0."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, pairs: Tensor) -> Tensor:
        """Activate pairs [2B, ...]."""
        image, reference = pairs[0::2], pairs[1::2].detach()
        outputs = self.activation(pairs).detach()
        inner = image.detach().requires_grad_()
        (slope,) = torch.autograd.grad(self.activation(inner).sum(), inner)
        inputs_differ, outputs_differ = image.detach() - reference, outputs[0::2] - outputs[1::2]
        far = inputs_differ.abs() > _LEAST
        multiplier = torch.where(far, outputs_differ / inputs_differ, slope)
        return _paired(outputs[0::2] + multiplier * _zero(image), outputs[1::2])


class _MaxPooling(nn.Module):
    """Max-pooling that passes a window's whole difference back to the larger of the two maxima.

    The other image's value at that place is no larger than its own maximum, so the difference of
    inputs there is at least that of outputs: the multiplier is between 0 and 1.
    """

    def __init__(self, pooling: nn.MaxPool2d) -> None:
        super().__init__()
        self.pooling = pooling

    def forward(self, pairs: Tensor) -> Tensor:
        """Pool pairs [2B, C, H, W]."""
        own = self.pooling
        outputs, places = functional.max_pool2d(
            pairs.detach(),
            own.kernel_size,
            own.stride,
            own.padding,
            own.dilation,
            ceil_mode=own.ceil_mode,
            return_indices=True,
        )
        image, reference = pairs[0::2].flatten(2), pairs[1::2].detach().flatten(2)
        outputs_differ = outputs[0::2] - outputs[1::2]
        place = torch.where(outputs_differ >= 0, places[0::2], places[1::2]).flatten(2)
        inputs_differ = (image.detach() - reference).gather(2, place).view_as(outputs_differ)
        far = inputs_differ.abs() > _LEAST
        multiplier = torch.where(far, outputs_differ / inputs_differ, 1.0)
        passed = _zero(image).gather(2, place).view_as(outputs_differ)
        return _paired(outputs[0::2] + multiplier * passed, outputs[1::2])


def _zero(values: Tensor) -> Tensor:
    """Zeros that have a gradient."""
    return values - values.detach()

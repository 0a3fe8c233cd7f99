"""Relevance handed back from the target's logit through the layers, by rules of zennit.

Layer-wise relevance propagation hands it to the pixels (LRP, Bach et al. 2015), excitation
backpropagation to an inner map (Zhang et al. 2016).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from zennit.composites import NameMapComposite
from zennit.core import BasicHook, Composite, Hook, Stabilizer
from zennit.rules import Epsilon, NoMod, Norm, Pass, ZBox, ZPlus

from benchmark.attribution import PixelAttribution
from benchmark.images import chunks
from benchmark.interfaces import BadInput, Batch, Classifier
from benchmark.unfold import FullPrecision, Sum, cuts, stack, unfold, until, watch

Rules = Enum("Rules", "epsilon composite")

_WEIGHTED = (nn.Conv2d, nn.Linear)
_ACTIVATIONS = (nn.ReLU, nn.ReLU6)
_SHARED = (nn.AvgPool2d, nn.AdaptiveAvgPool2d, Sum)  # of inputs that count as they are
_UNTOUCHED = (nn.MaxPool2d, nn.Identity, nn.Flatten)  # whose gradient hands all on
# Functions that move values about and change none.
_MOVES = (torch.flatten, torch.cat, torch.transpose, stack, operator.getitem, operator.floordiv)
_MOVES_CALLED = ("flatten", "size", "view", "transpose", "contiguous", "chunk")
# Functions of each colour by itself, such as Inception's own normalisation.
_COLOURWISE = (operator.getitem, torch.unsqueeze, operator.mul, operator.add, torch.cat)


@dataclass(frozen=True)
class LRP(PixelAttribution):
    """The target's logit, distributed to what every layer's outputs were made of.

    Rules: ``epsilon`` divides by each output, pushed away from 0. ``composite`` is the usual mix:
    epsilon for dense layers, positive contributions alone (z+) for convolutions, and the bounds of
    colours (z^B) for those that see the image. A convolution that makes the logits is dense.
    """

    rules: Rules
    epsilon: float  # above 0; more lets weak contributions fade
    relative: bool  # epsilon counts in root mean squares of an image's outputs of the layer

    def __post_init__(self) -> None:
        if self.epsilon <= 0:
            raise BadInput(f"lrp needs epsilon above 0, got {self.epsilon}")

    def attribute(self, model: Classifier, batch: Batch) -> Tensor:
        """Return relevances [B, 3, H, W]; without biases, and a small epsilon, they sum to logits.

        Raises:
            BadInput: the network has layers that no rule is known for.
        """
        network = unfold(model.network)
        image = _image(network)
        low, high = _colours(model, until(network, image))
        seen = watch(network, image)
        stabilizer = Stabilizer(self.epsilon, norm_scale=self.relative)
        last = _last_weighted(model, network)

        def rule(node: fx.Node) -> Hook:
            convolution = isinstance(network.get_submodule(str(node.target)), nn.Conv2d)
            if self.rules is Rules.epsilon or not convolution or node is last:
                return Epsilon(stabilizer)
            return ZBox(low, high, _apart) if node.args[0] is seen else ZPlus(_apart)

        shared = Norm(stabilizer) if self.rules is Rules.epsilon else Norm(_apart)
        composite = _composite(model, network, image, rule=rule, shared=shared, method="lrp")
        return _relevance(model, batch, network, seen, composite, start=torch.detach)


@dataclass(frozen=True)
class ExcitationBackprop:
    """The probability that a winner of every layer, drawn from the target down, lies in a cell.

    Winners are drawn in proportion to activation times positive weight (MWP). ``contrastive`` takes
    off what a network with the last layer's sign turned gives, and keeps what is positive (c-MWP).
    """

    contrastive: bool
    finer: int  # 0: where maps get the CAM layer's resolution; each more: the next finer one's

    def __post_init__(self) -> None:
        if self.finer < 0:
            raise BadInput(f"excitation_backprop needs finer of at least 0, got {self.finer}")

    def native(self, model: Classifier) -> int:
        """Return the resolution of the map that relevance is handed to."""
        return self._place(model, unfold(model.network))[0]

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return heatmaps [B, h, h], at least 0; plain ones sum to 1 unless a unit has no source.

        Raises:
            BadInput: the network has layers that no rule is known for, or no map so fine.
        """
        network = unfold(model.network)
        _, place, composite = self._place(model, network)
        seen = watch(network, place)

        def winners() -> Tensor:
            start = torch.ones_like
            return _relevance(model, batch, network, seen, composite, start=start).sum(1)

        if not self.contrastive:
            return winners()
        last = network.get_submodule(str(_last_weighted(model, network).target))
        weight = last.weight.clone()  # type: ignore[operator]  # it is one of _WEIGHTED
        if last.bias is not None:
            last.bias = nn.Parameter(torch.zeros_like(last.bias), requires_grad=False)  # type: ignore[arg-type]
        # Excitation alone, so that nothing that may follow the layer, such as ReLU, cuts it off.
        found = []
        for sign in (1, -1):
            last.weight = nn.Parameter((sign * weight).clamp(min=0), requires_grad=False)
            found.append(winners())
        return (found[0] - found[1]).clamp(min=0)

    def _place(self, model: Classifier, network: fx.GraphModule) -> tuple[int, fx.Node, Composite]:
        """Find the map: its side, what makes it, and the rules that lead there."""

        def rules_after(node: fx.Node) -> Composite:
            win, share = ZPlus(_apart, zero_params="bias"), _positive_share()
            name = "excitation_backprop"
            return _composite(model, network, node, rule=lambda _: win, shared=share, method=name)

        sides = _sides(model, network)
        if self.finer >= len(sides):
            rules_after(_image(network))  # says what is in the way where there is no map at all
            raise BadInput(
                f"excitation_backprop cannot go finer={self.finer} steps: the maps of "
                f"{type(model.network).__name__} have sides {', '.join(map(str, sides)) or '-'}"
            )
        side = list(sides)[self.finer]
        place = next(node for node in network.graph.nodes if node.name == sides[side])
        return side, place, rules_after(place)


def _apart(outputs: Tensor) -> Tensor:
    """Keep outputs [B, ...] from 0, where they are below a millionth of their mean size."""
    size = outputs.square().mean(tuple(range(1, outputs.ndim)), keepdim=True).sqrt()
    least = 1e-6 * size + 1e-30
    return torch.where(outputs.abs() < least, least.copysign(outputs), outputs)


def _positive_share() -> Hook:
    """Hand relevance to positive inputs in proportion; a sum may have negative ones too."""
    return BasicHook(
        input_modifiers=[lambda given: given.clamp(min=0)],
        param_modifiers=[NoMod(param_keys=[])],
        gradient_mapper=lambda relevance, outputs: relevance / _apart(outputs[0]),
        reducer=lambda inputs, gradients: inputs[0] * gradients[0],
    )


def _composite(
    model: Classifier,
    network: fx.GraphModule,
    start: fx.Node,
    *,
    rule: Callable[[fx.Node], Hook],
    shared: Hook,
    method: str,
) -> Composite:
    """Choose a rule for every layer after a place: ``shared`` for those without weights.

    Raises:
        BadInput: there is a layer that none is known for.
    """
    nodes = list(network.graph.nodes)
    chosen: list[tuple[tuple[str], Hook]] = []
    layers: set[str] = set()
    functions: set[str] = set()
    for node in nodes[nodes.index(start) + 1 :]:
        module = network.get_submodule(str(node.target)) if node.op == "call_module" else None
        name = (str(node.target),)
        if isinstance(module, _WEIGHTED):
            chosen.append((name, rule(node)))
        elif isinstance(module, _ACTIVATIONS):
            chosen.append((name, Pass()))
        elif isinstance(module, _SHARED):
            chosen.append((name, shared))
        elif not (
            isinstance(module, _UNTOUCHED)
            or node.op in ("get_attr", "output")
            or (node.op == "call_function" and node.target in _MOVES)
            or (node.op == "call_method" and node.target in _MOVES_CALLED)
        ):
            if module:
                layers.add(type(module).__name__)
            else:
                functions.add(getattr(node.target, "__name__", name[0]))
    if layers or functions:
        raise BadInput(
            f"{method} has no rule for {', '.join(sorted(layers or functions))} in "
            f"{type(model.network).__name__}; it explains networks of convolutions, dense layers, "
            "ReLU, pooling and sums"
        )
    return NameMapComposite(chosen)


def _relevance(
    model: Classifier,
    batch: Batch,
    network: fx.GraphModule,
    seen: fx.Node,
    composite: Composite,
    *,
    start: Callable[[Tensor], Tensor],
) -> Tensor:
    """Hand relevance from the targets' logits [B], which get ``start`` of them, to what is seen."""
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[-1]

    inner = model.with_network(FullPrecision(network))
    parts = []
    handle = network.get_submodule(str(seen.target)).register_forward_hook(keep)
    try:
        with composite.context(network):
            for part in chunks(len(batch.ids), model.pass_batch):
                with torch.enable_grad(), inner.passes_of(torch.arange(part.start, part.stop)):
                    logits = inner(batch.images[part])
                    targets = logits.gather(1, batch.targets[part, None])[:, 0]
                    (found,) = torch.autograd.grad(targets, kept.pop(), start(targets))
                parts.append(found[: len(targets)])  # the classifier may have padded the batch
    finally:
        handle.remove()
    return torch.cat(parts)


def _last_weighted(model: Classifier, network: fx.GraphModule) -> fx.Node:
    """Find the layer with weights that makes the logits."""
    found: fx.Node | None = None
    for node in network.graph.nodes:
        if node.op == "call_module":
            module = network.get_submodule(str(node.target))
            found = node if isinstance(module, _WEIGHTED) else found
    if found is None:
        raise BadInput(
            f"{type(model.network).__name__} has neither convolution nor dense layer, which lrp "
            "and excitation_backprop hand relevance through"
        )
    return found


def _image(network: fx.GraphModule) -> fx.Node:
    """Find where the image still is itself, each colour scaled and shifted at most."""
    nodes = list(network.graph.nodes)
    end = next(place for place, node in enumerate(nodes) if not _is_colourwise(node))
    return [node for node in cuts(network) if node in nodes[:end]][-1]


def _is_colourwise(node: fx.Node) -> bool:
    if node.op == "placeholder":
        return True
    product = node.target in (operator.mul, operator.add)
    tensors = sum(isinstance(each, fx.Node) for each in node.args)
    return (
        node.op == "call_function" and node.target in _COLOURWISE and not (product and tensors > 1)
    )


def _colours(model: Classifier, before: nn.Module) -> tuple[Tensor, Tensor]:
    """Return what black and white become before the first layer, [1, 3, 1, 1] each."""
    ends = torch.tensor([0.0, 1.0], device=model.device).view(2, 1, 1, 1)
    low, high = before((ends - model.mean.view(1, 3, 1, 1)) / model.std.view(1, 3, 1, 1))
    return low[None], high[None]


_SIDES: WeakKeyDictionary[nn.Module, dict[int, str]] = WeakKeyDictionary()


def _sides(model: Classifier, network: fx.GraphModule) -> dict[int, str]:
    """Map each side of maps, from coarse to fine, to the name of the first place with such maps.

    Sides that only pooling makes do not count, as for the CAM layer, nor what follows the last
    layer with weights. The shapes of a network are looked at once.
    """
    if model.network not in _SIDES:
        blank = torch.zeros(1, 3, model.input_size, model.input_size, device=model.device)
        with torch.no_grad():
            ShapeProp(network).propagate(blank)
        first: dict[int, str] = {}
        made: set[int] = set()
        nodes = list(network.graph.nodes)
        begin, end = nodes.index(_image(network)) + 1, nodes.index(_last_weighted(model, network))
        for node in cuts(network):
            shape: tuple[int, ...] = getattr(node.meta.get("tensor_meta"), "shape", ())
            square = len(shape) == 4 and shape[-1] == shape[-2] > 1
            if square and begin <= nodes.index(node) < end:
                first.setdefault(shape[-1], node.name)
                if not _is_pooling(network, node):
                    made.add(shape[-1])
        _SIDES[model.network] = {side: first[side] for side in sorted(made)}
    return _SIDES[model.network]


def _is_pooling(network: fx.GraphModule, node: fx.Node) -> bool:
    if node.op != "call_module":
        return False
    module: Any = network.get_submodule(str(node.target))
    return isinstance(module, nn.MaxPool2d | nn.AvgPool2d | nn.AdaptiveAvgPool2d | nn.Identity)

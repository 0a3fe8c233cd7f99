"""Relevance handed back from the target's logit through the layers, by rules of zennit."""

from __future__ import annotations

import operator
from collections.abc import Callable

import torch
from torch import Tensor, fx, nn
from zennit.composites import NameMapComposite
from zennit.core import Composite, Hook
from zennit.rules import Pass

from benchmark.images import chunks
from benchmark.interfaces import BadInput, Batch, Classifier
from benchmark.unfold import FullPrecision, Sum, cuts, stack

_WEIGHTED = (nn.Conv2d, nn.Linear)
_ACTIVATIONS = (nn.ReLU, nn.ReLU6)
_SHARED = (nn.AvgPool2d, nn.AdaptiveAvgPool2d, Sum)  # of inputs that count as they are
_UNTOUCHED = (nn.MaxPool2d, nn.Identity, nn.Flatten)  # whose gradient hands all on
# Functions that move values about and change none.
_MOVES = (torch.flatten, torch.cat, torch.transpose, stack, operator.getitem, operator.floordiv)
_MOVES_CALLED = ("flatten", "size", "view", "transpose", "contiguous", "chunk")
# Functions of each colour by itself, such as Inception's own normalisation.
_COLOURWISE = (operator.getitem, torch.unsqueeze, operator.mul, operator.add, torch.cat)


def apart(outputs: Tensor) -> Tensor:
    """Keep outputs [B, ...] from 0, where they are below a millionth of their mean size."""
    size = outputs.square().mean(tuple(range(1, outputs.ndim)), keepdim=True).sqrt()
    least = 1e-6 * size + 1e-30
    return torch.where(outputs.abs() < least, least.copysign(outputs), outputs)


def composite_after(
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


def relevance_at(
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


def last_weighted(model: Classifier, network: fx.GraphModule) -> fx.Node:
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


def image_of(network: fx.GraphModule) -> fx.Node:
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

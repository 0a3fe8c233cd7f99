"""Rewrite a network so that every operation is a module of its own, for methods that hook modules.

Rules of relevance and modified gradients are attached to modules. They go wrong in silence where a
network calls an activation as a function, uses one module several times, overwrites its input, or
adds tensors with a plus sign. The rewritten network computes the same and has none of these.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.optimization import fuse
from torch.nn import functional
from torchvision.ops import StochasticDepth

from benchmark.interfaces import BadInput


class Sum(nn.Module):
    """The sum of two tensors that were stacked: one input is what a rule can be attached to."""

    def forward(self, stacked: Tensor) -> Tensor:
        """Sum over the last axis."""
        return stacked.sum(-1)


class SpatialMean(nn.AdaptiveAvgPool2d):
    """The mean of each map: [B, C, h, w] to [B, C]."""

    def forward(self, maps: Tensor) -> Tensor:
        """Average over height and width."""
        return super().forward(maps).flatten(1)


def stack(first: Tensor, second: Tensor) -> Tensor:
    """Stack two tensors along a new last axis, repeating what one of them lacks."""
    both = torch.broadcast_tensors(first, second)  # type: ignore[no-untyped-call]  # torch's
    return torch.stack(both, dim=-1)


# Functions, and the module that stands for a call of each with these arguments after the tensor.
_AS_MODULE: dict[Any, Callable[..., nn.Module]] = {
    functional.relu: lambda **_: nn.ReLU(),
    functional.relu6: lambda **_: nn.ReLU6(),
    functional.hardtanh: lambda min_val=-1.0, max_val=1.0, **_: nn.Hardtanh(min_val, max_val),
    functional.gelu: lambda approximate="none": nn.GELU(approximate),
    functional.silu: lambda **_: nn.SiLU(),
    torch.sigmoid: nn.Sigmoid,
    functional.max_pool2d: nn.MaxPool2d,
    functional.avg_pool2d: nn.AvgPool2d,
    functional.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    functional.dropout: lambda **_: nn.Identity(),
}
_AS_MODULE |= {torch.relu: _AS_MODULE[functional.relu], "relu": _AS_MODULE[functional.relu]}
_NAMES: dict[Any, tuple[str, ...]] = {  # of the arguments that may come without a name
    functional.max_pool2d: ("kernel_size", "stride", "padding", "dilation", "ceil_mode"),
    functional.avg_pool2d: ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"),
    functional.adaptive_avg_pool2d: ("output_size",),
    functional.hardtanh: ("min_val", "max_val"),
}
_ADDITIONS = (operator.add, operator.iadd, torch.add, "add", "add_")
_IGNORED = ("inplace", "training", "p", "return_indices")


class FullPrecision(nn.Module):
    """A network that autocasting leaves alone: quotients of small numbers need their digits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images [B, 3, H, W] to logits [B, K] in float32."""
        with torch.autocast(images.device.type, enabled=False):
            logits: Tensor = self.network(images.float())
        return logits


def unfold(network: nn.Module) -> fx.GraphModule:
    """Return a network that computes the same from modules used once, none of them in place.

    Batch normalisation that follows a convolution is merged into it, and what does nothing in
    evaluation is gone. Parameters that were not merged are shared with ``network``, which stays
    as it was.

    Raises:
        BadInput: the network's course depends on its input, so that it cannot be written down.
    """
    try:
        graph = fx.symbolic_trace(_shared_copy(network))
        _use_once(graph)
        if _has_batch_norm(graph):
            graph = cast(fx.GraphModule, fuse(graph, inplace=True, no_trace=True))
    except Exception as error:  # a tracer runs the network's own code, which may raise anything
        raise BadInput(
            f"{type(network).__name__} cannot be taken apart into its layers "
            f"({(str(error).splitlines() or [type(error).__name__])[0]}), so methods that give "
            "layers gradients of their own, such as lrp, deeplift and guided_backprop, cannot "
            "explain it"
        ) from error
    for place, node in enumerate(list(graph.graph.nodes)):
        module = _module_for(graph, node)
        if module is not None:
            name = f"unfolded_{place}"
            graph.add_submodule(name, module.eval())
            with graph.graph.inserting_before(node):
                summed = isinstance(module, Sum)
                only = graph.graph.call_function(stack, node.args[:2]) if summed else _only(node)
                new = graph.graph.call_module(name, (only,))
            node.replace_all_uses_with(new)
            graph.graph.erase_node(node)
    graph.delete_all_unused_submodules()
    graph.recompile()
    return graph.requires_grad_(False).eval()


def cuts(network: fx.GraphModule) -> list[fx.Node]:
    """List the places that all that follows is computed from, from the input on.

    Inside a residual block there is none: two tensors are on their way.
    """
    nodes = list(network.graph.nodes)
    order = {node: place for place, node in enumerate(nodes)}
    found, awaited = [], 0  # how far ahead what came before is still needed
    for place, node in enumerate(nodes[:-1]):
        if node.op == "get_attr":
            continue
        if awaited <= place:
            found.append(node)
        awaited = max([awaited, *(order[user] for user in node.users)])
    return found


def watch(network: fx.GraphModule, node: fx.Node) -> fx.Node:
    """Insert a module that passes on what a place of the network makes, for a hook to see it."""
    name = f"watched_{node.name}"
    network.add_submodule(name, nn.Identity())
    with network.graph.inserting_after(node):
        watched = network.graph.call_module(name, (node,))
    node.replace_all_uses_with(watched, delete_user_cb=lambda user: user is not watched)
    network.recompile()
    return watched


def until(network: fx.GraphModule, node: fx.Node) -> fx.GraphModule:
    """Return the part of a network that computes what one place makes."""
    graph = fx.Graph()
    copied: dict[fx.Node, fx.Node] = {}
    for each in network.graph.nodes:
        copied[each] = graph.node_copy(each, lambda old: copied[old])
        if each is node:
            break
    graph.output(copied[node])
    return fx.GraphModule(network, graph)


def _use_once(graph: fx.GraphModule) -> None:
    """Give every call of a module a copy of its own: what is merged into one is not into others."""
    for place, node in enumerate(graph.graph.nodes):
        if node.op == "call_module":
            name = f"used_{place}"
            graph.add_submodule(name, _shared_copy(graph.get_submodule(str(node.target))))
            node.target = name
    graph.recompile()


def _module_for(graph: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """Make the module that a node of the graph becomes, or None where it stays as it is."""
    if node.op == "call_module":
        alone = len(node.args) == 1 and not node.kwargs
        return _not_in_place(graph.get_submodule(str(node.target))) if alone else None
    if node.op not in ("call_function", "call_method"):
        return None
    if node.target in _ADDITIONS and _adds_two(node):
        return Sum()
    if _is_spatial_mean(node):
        return SpatialMean(1)
    settings = dict(zip(_NAMES.get(node.target, ()), node.args[1:], strict=False)) | node.kwargs
    settings = {key: value for key, value in settings.items() if key not in (*_IGNORED, "input")}
    return _AS_MODULE[node.target](**settings) if node.target in _AS_MODULE else None


def _not_in_place(module: nn.Module) -> nn.Module:
    """Copy a module for one use, not in place; Identity where it does nothing in evaluation."""
    if isinstance(module, nn.Dropout | StochasticDepth):
        return nn.Identity()
    own = _shared_copy(module)
    if hasattr(own, "inplace"):
        own.inplace = False  # type: ignore[assignment]  # every torch module's is a bool
    return own


def _adds_two(node: fx.Node) -> bool:
    """Whether both summands are made by the network and neither is scaled on the way."""
    return all(isinstance(each, fx.Node) for each in node.args[:2]) and not node.kwargs


def _is_spatial_mean(node: fx.Node) -> bool:
    if node.target not in ("mean", torch.mean):
        return False
    axes = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    kept = len(node.args) > 2 or node.kwargs.get("keepdim")
    return isinstance(axes, list | tuple) and {axis % 4 for axis in axes} == {2, 3} and not kept


def _only(node: fx.Node) -> Any:
    """Find the one tensor that a node works on."""
    return node.args[0] if node.args else node.kwargs["input"]


def _has_batch_norm(graph: fx.GraphModule) -> bool:
    return any(isinstance(module, nn.BatchNorm2d) for module in graph.modules())


def _shared_copy(network: nn.Module) -> nn.Module:
    """Copy the modules of a network and share their parameters and buffers."""
    tensors = [*network.parameters(), *network.buffers()]
    return copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})

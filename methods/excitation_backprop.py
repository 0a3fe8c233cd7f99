"""Excitation Backprop (Zhang et al. 2016), by rules of zennit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from zennit.core import BasicHook, Composite, Hook
from zennit.rules import NoMod, ZPlus

from benchmark.interfaces import BadInput, Batch, Classifier
from benchmark.relevance import apart, composite_after, image_of, last_weighted, relevance_at
from benchmark.unfold import cuts, unfold, watch


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
            return relevance_at(model, batch, network, seen, composite, start=start).sum(1)

        if not self.contrastive:
            return winners()
        last = network.get_submodule(str(last_weighted(model, network).target))
        weight = last.weight.clone()  # type: ignore[operator]  # it is one of _WEIGHTED
        if last.bias is not None:
            none = torch.zeros_like(last.bias)  # type: ignore[arg-type]  # as above
            last.bias = nn.Parameter(none, requires_grad=False)
        # Excitation alone, so that nothing that may follow the layer, such as ReLU, cuts it off.
        found = []
        for sign in (1, -1):
            last.weight = nn.Parameter((sign * weight).clamp(min=0), requires_grad=False)
            found.append(winners())
        return (found[0] - found[1]).clamp(min=0)

    def _place(self, model: Classifier, network: fx.GraphModule) -> tuple[int, fx.Node, Composite]:
        """Find the map: its side, what makes it, and the rules that lead there."""

        def rules_after(node: fx.Node) -> Composite:
            win = ZPlus(apart, zero_params="bias")
            return composite_after(
                model,
                network,
                node,
                rule=lambda _: win,
                shared=_positive_share(),
                method="excitation_backprop",
            )

        sides = _sides(model, network)
        if self.finer >= len(sides):
            rules_after(image_of(network))  # says what is in the way where there is no map at all
            raise BadInput(
                f"excitation_backprop cannot go finer={self.finer} steps: the maps of "
                f"{type(model.network).__name__} have sides {', '.join(map(str, sides)) or '-'}"
            )
        side = list(sides)[self.finer]
        place = next(node for node in network.graph.nodes if node.name == sides[side])
        return side, place, rules_after(place)


def _positive_share() -> Hook:
    """Hand relevance to positive inputs in proportion; a sum may have negative ones too."""
    return BasicHook(
        input_modifiers=[lambda given: given.clamp(min=0)],
        param_modifiers=[NoMod(param_keys=[])],
        gradient_mapper=lambda relevance, outputs: relevance / apart(outputs[0]),
        reducer=lambda inputs, gradients: inputs[0] * gradients[0],
    )


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
        begin, end = nodes.index(image_of(network)) + 1, nodes.index(last_weighted(model, network))
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

"""DeconvNet (Zeiler & Fergus 2014), guided backpropagation (Springenberg et al. 2015); zennit's.

Both go back from the target's logit as the gradient does, except through a ReLU: the gradient
passes where the ReLU's input was positive, DeconvNet passes what comes back positive, and guided
backpropagation asks for both.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from torch import Tensor, fx, nn
from zennit.composites import LayerMapComposite
from zennit.rules import ReLUDeconvNet, ReLUGuidedBackprop

from benchmark.attribution import PixelAttribution, Score, gradients
from benchmark.interfaces import BadInput, Batch, Classifier
from benchmark.unfold import unfold

Rule = Enum("Rule", "deconvnet guided_backprop")

RELUS = (nn.ReLU, nn.ReLU6)
CALLS = ("call_function", "call_method")
# Calls that may be left in an unfolded network: they bend nothing, so that no rule is missed.
STRAIGHT = {"add", "iadd", "add_", "sub", "isub", "sub_", "mul", "imul", "mul_", "div", "div_"}
STRAIGHT |= {"truediv", "itruediv", "floordiv", "neg", "mean", "sum", "stack", "cat", "concat"}
STRAIGHT |= {"flatten", "view", "reshape", "transpose", "permute", "contiguous", "chunk", "split"}
STRAIGHT |= {"getitem", "size", "getattr", "unsqueeze", "squeeze", "stochastic_depth"}


@dataclass(frozen=True)
class GuidedBackprop(PixelAttribution):
    """What of the target's logit finds its way back to the pixels through the ReLUs of a rule."""

    rule: Rule

    def attribute(self, model: Classifier, batch: Batch) -> Tensor:
        """Return attributions [B, 3, H, W] by images in [0, 1].

        Raises:
            BadInput: the network has no ReLU, or activations of another kind.
        """
        network = unfold(model.network)
        if (found := activations(network)) != ["ReLU"]:
            raise BadInput(
                f"{self.rule.name} needs a network whose activations are ReLU or ReLU6; those of "
                f"{type(model.network).__name__} are {', '.join(found) or 'none'}"
            )
        rule = ReLUDeconvNet() if self.rule is Rule.deconvnet else ReLUGuidedBackprop()
        with LayerMapComposite([(RELUS, rule)]).context(network) as guided:
            within = model.with_network(guided)
            return gradients(within, batch.images, batch.targets, Score.logit)[0]


def activations(network: fx.GraphModule) -> list[str]:
    """Name the kinds of activations of an unfolded network, ReLU6 as ReLU.

    The modules of an unfolded network are torch's own, which keeps its activations in one file.
    Where they are all ReLUs, calls that may be activations are named too.
    """
    found = set()
    for module in network.modules():
        kind = type(module)
        if isinstance(module, RELUS):
            found.add("ReLU")
        elif kind.__module__ in (nn.modules.activation.__name__, nn.modules.rnn.__name__):
            found.add(kind.__name__)
    if found <= {"ReLU"}:
        calls = [node.target for node in network.graph.nodes if node.op in CALLS]
        names = {getattr(target, "__name__", str(target)) for target in calls}
        found |= {f"{name}()" for name in names - STRAIGHT}
    return sorted(found)

"""Layer-wise relevance propagation (Bach et al. 2015), by rules of zennit."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor, fx, nn
from zennit.core import Hook, Stabilizer
from zennit.rules import Epsilon, Norm, ZBox, ZPlus

from benchmark.attribution import PixelAttribution
from benchmark.interfaces import BadInput, Batch, Classifier
from benchmark.relevance import apart, composite_after, image_of, last_weighted, relevance_at
from benchmark.unfold import unfold, until, watch

Rules = Enum("Rules", "epsilon composite")


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
        image = image_of(network)
        low, high = _colours(model, until(network, image))
        seen = watch(network, image)
        stabilizer = Stabilizer(self.epsilon, norm_scale=self.relative)
        last = last_weighted(model, network)

        def rule(node: fx.Node) -> Hook:
            convolution = isinstance(network.get_submodule(str(node.target)), nn.Conv2d)
            if self.rules is Rules.epsilon or not convolution or node is last:
                return Epsilon(stabilizer)
            return ZBox(low, high, apart) if node.args[0] is seen else ZPlus(apart)

        shared = Norm(stabilizer) if self.rules is Rules.epsilon else Norm(apart)
        composite = composite_after(model, network, image, rule=rule, shared=shared, method="lrp")
        return relevance_at(model, batch, network, seen, composite, start=torch.detach)


def _colours(model: Classifier, before: nn.Module) -> tuple[Tensor, Tensor]:
    """Return what black and white become before the first layer, [1, 3, 1, 1] each."""
    ends = torch.tensor([0.0, 1.0], device=model.device).view(2, 1, 1, 1)
    low, high = before((ends - model.mean.view(1, 3, 1, 1)) / model.std.view(1, 3, 1, 1))
    return low[None], high[None]

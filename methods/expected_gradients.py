"""Expected Gradients (Erion et al. 2021): integrated gradients averaged over other images.

With noise on the image it is GradientSHAP (Lundberg & Lee 2017). Written here because SHAP's and
captum's draw from global states, and the former's inner layer leaves out the background.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmark.attribution import PixelAttribution, Score, gradients, target_scores
from benchmark.background import Background
from benchmark.cam_layer import layer_resolution
from benchmark.images import chunks, generators
from benchmark.interfaces import BadInput, Batch, Classifier


class Draw(NamedTuple):
    """Some of the samples that one image's attribution is the mean of."""

    images: Tensor  # [N or 1, 3, H, W], the image, with noise where that is asked for
    others: Tensor  # [N, 3, H, W], each from the background
    shares: Tensor  # [N, 1, 1, 1] in [0, 1), of the way from the other image to this one
    targets: Tensor  # [N]
    rows: Tensor  # [N], all the image's place in the batch


@dataclass(frozen=True)
class _Sampled:
    """What attributions at the pixels and at a layer are averaged over."""

    background: Background
    samples: int
    noise_sd: float  # of noise on the image ("local smoothing"), in normalised colour units
    score: Score

    def __post_init__(self) -> None:
        if self.samples < 1 or self.noise_sd < 0:
            raise BadInput(
                "expected_gradients needs samples of at least 1 and noise_sd of at least 0, got "
                f"samples={self.samples} noise_sd={self.noise_sd}"
            )

    def draws(self, model: Classifier, batch: Batch, row: int) -> Iterator[Draw]:
        """Yield an image's samples, ``pass_batch`` at a time, drawn from its own seed."""
        image, device = batch.images[row : row + 1], batch.images.device
        (source,) = generators(batch.seeds[row : row + 1], device)
        others = torch.tensor(self.background.others(batch.ids[row]))
        picks = torch.randint(len(others), (self.samples,), generator=source, device=device).cpu()
        shares = torch.rand(self.samples, 1, 1, 1, generator=source, device=device)
        known = self.background.images(image.shape[-1])
        for part in chunks(self.samples, model.pass_batch):
            drawn, noisy = known[others[picks[part]]].to(device), image
            if self.noise_sd:
                noise = torch.randn(drawn.shape, generator=source, device=device)
                noisy = image + self.noise_sd * model.std.view(3, 1, 1) * noise
            rows = torch.full((len(drawn),), row)
            yield Draw(noisy, drawn, shares[part], batch.targets[rows], rows)


@dataclass(frozen=True)
class ExpectedGradients(PixelAttribution, _Sampled):
    """The mean of gradient times difference, at random points on the way from random images."""

    def attribute(self, model: Classifier, batch: Batch) -> Tensor:
        """Return attributions [B, 3, H, W].

        Over many samples they sum to score on image minus its mean over the background, the image
        as noisy as ``noise_sd`` makes it.
        """
        found = torch.zeros_like(batch.images)
        for row in range(len(batch.ids)):
            for draw in self.draws(model, batch, row):
                points = torch.lerp(draw.others, draw.images, draw.shares)
                slopes, _ = gradients(model, points, draw.targets, self.score, draw.rows)
                found[row] += ((draw.images - draw.others) * slopes).sum(0) / self.samples
        return found


@dataclass(frozen=True)
class LayerExpectedGradients(_Sampled):
    """Expected gradients of what follows an inner layer, by the features of that layer.

    The points lie on the way from the layer's features of another image to those of this one, so
    that the sums hold at the layer as they do at the pixels.
    """

    layer: str | None  # a module's name in the network; null = the layer of class activation maps

    def native(self, model: Classifier) -> int:
        """Return the resolution of the layer; BadInput where it makes no map, or several."""
        return layer_resolution(model, self._layer(model))

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return heatmaps [B, h, h], summed over the layer's features.

        Over many samples they sum to score on image minus its mean over the background, the image
        as noisy as ``noise_sd`` makes it.

        Raises:
            BadInput: the network has no such layer.
        """
        layer, found = self._layer(model), []
        for row in range(len(batch.ids)):
            parts = [self._explained(model, layer, d) for d in self.draws(model, batch, row)]
            found.append(torch.stack(parts).sum(0) / self.samples)
        return torch.stack(found)

    def _layer(self, model: Classifier) -> nn.Module:
        modules: dict[str, nn.Module] = dict(model.network.named_modules())
        if self.layer is None:
            return model.cam_layer
        if self.layer not in modules:
            raise BadInput(
                f"{type(model.network).__name__} has no layer {self.layer}: use null for the layer "
                f"of class activation maps, or one of {', '.join(list(modules)[1:6])}, ..."
            )
        return modules[self.layer]

    def _explained(self, model: Classifier, layer: nn.Module, draw: Draw) -> Tensor:
        """Sum gradient times difference over a draw's samples and the features, [h, h]."""
        kept: dict[str, Tensor] = {}

        def look(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            kept["image"] = output[: len(draw.images)].detach().clone()

        def mix(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
            others = output[: len(draw.others)].detach()
            kept["difference"] = kept["image"] - others
            kept["point"] = (others + draw.shares * kept["difference"]).requires_grad_()
            padding = output[len(others) :].detach()  # by the classifier
            return torch.cat([kept["point"], padding]).to(output.dtype)

        with _hooked(layer, look), torch.no_grad(), model.passes_of(draw.rows[: len(draw.images)]):
            model(draw.images)
        with _hooked(layer, mix), torch.enable_grad(), model.passes_of(draw.rows):
            scores = target_scores(model, draw.others, draw.targets, self.score)
            (slopes,) = torch.autograd.grad(scores.sum(), kept["point"])
        return (kept["difference"] * slopes).float().sum((0, 1))


@contextmanager
def _hooked(layer: nn.Module, hook: Callable[..., Tensor | None]) -> Iterator[None]:
    """Let a hook see, and perhaps replace, the output of a layer inside the block."""
    handle = layer.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()

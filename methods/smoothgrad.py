"""SmoothGrad (Smilkov et al. 2017), its square (Hooker et al. 2019), VarGrad (Adebayo et al. 2018).

One wrapper for every method that attributes the score to the colours of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from benchmark.attribution import PixelAttribution
from benchmark.images import chunks, generators, normal
from benchmark.interfaces import BadInput, Batch, Classifier

Statistic = Enum("Statistic", "mean square variance")


@dataclass(frozen=True)
class SmoothGrad(PixelAttribution):
    """A statistic of another method's attributions to noisy versions of the image."""

    of: PixelAttribution
    samples: int  # noisy versions of an image
    noise: float  # standard deviation, as a share of the image's largest minus smallest value
    statistic: Statistic  # mean; mean of squares; variance

    def __post_init__(self) -> None:
        if not isinstance(self.of, PixelAttribution):
            raise BadInput(
                "smoothgrad needs a method that attributes to the colours of pixels, such as "
                f"method@method.of=gradient, got {type(self.of).__name__}"
            )
        if self.samples < 1 or self.noise < 0:
            raise BadInput(
                "smoothgrad needs samples of at least 1 and noise of at least 0, got "
                f"samples={self.samples} noise={self.noise}"
            )

    def native(self, model: Classifier) -> int:
        """Return the resolution of the method inside."""
        return self.of.native(model)

    def attribute(self, model: Classifier, batch: Batch) -> Tensor:
        """Return the statistic [B, 3, H, W] of signed attributions, colour by colour."""
        # Whole images, or a single one cut into chunks of samples: the same cuts in every batch.
        together = max(1, model.pass_batch // self.samples)
        rows = range(len(batch.ids))
        parts = [self._of_images(model, batch, rows[p]) for p in chunks(len(rows), together)]
        return torch.cat(parts)

    def _of_images(self, model: Classifier, batch: Batch, rows: range) -> Tensor:
        """Return the statistic [n, 3, H, W] of the n images in these rows of the batch."""
        shape = (len(rows), -1, *batch.images.shape[1:])
        sources = generators(batch.seeds[rows.start : rows.stop], model.device)
        first = second = torch.zeros((), dtype=torch.float64, device=model.device)
        for part in chunks(self.samples, model.pass_batch):
            repeated = [row for row in rows for _ in range(part.start, part.stop)]
            noisy = self._noisy(batch.select(repeated), sources)
            with model.passes_of(torch.tensor(repeated)):
                each = self.of.attribute(model, noisy).double().view(shape)
            first = first + each.sum(1)
            second = second + each.square().sum(1)
        mean, square = first / self.samples, second / self.samples
        return {
            Statistic.mean: mean,
            Statistic.square: square,
            Statistic.variance: (square - mean.square()).clamp(min=0),
        }[self.statistic].float()

    def _noisy(self, batch: Batch, sources: list[torch.Generator]) -> Batch:
        """Add noise to the same number of copies of each source's image, and give them seeds."""
        images, count = batch.images, len(batch.ids) // len(sources)
        values = images.flatten(1)
        deviation = self.noise * (values.amax(1) - values.amin(1)).view(-1, 1, 1, 1)
        noise = normal(sources, count, *images.shape[1:]).flatten(0, 1)
        seeds = [torch.randint(2**62, (count,), generator=s, device=s.device) for s in sources]
        return batch._replace(
            images=images + deviation * noise, seeds=torch.cat(seeds).to(batch.seeds)
        )

"""The product of two methods' heatmaps, such as Guided Grad-CAM (Selvaraju et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from benchmark.images import resize_heatmaps
from benchmark.interfaces import Batch, Classifier, Method
from benchmark.resolution import native_resolution


@dataclass(frozen=True)
class Product:
    """High where both methods say so; meant for heatmaps of which one at most goes below 0."""

    first: Method
    second: Method

    def native(self, model: Classifier) -> int | None:
        """Return the finer of the two resolutions; None where a method says nothing of its own."""
        known = [native_resolution(method, model) for method in (self.first, self.second)]
        return None if None in known else max(each for each in known if each is not None)

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return heatmaps [B, r, r] at the finer resolution; the other is enlarged bilinearly."""
        heatmaps = [self.first(model, batch), self.second(model, batch)]
        finer = max(each.shape[-1] for each in heatmaps)
        first, second = (resize_heatmaps(each, finer, "bilinear") for each in heatmaps)
        return first * second

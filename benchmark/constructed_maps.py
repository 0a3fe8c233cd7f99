"""Heatmaps that nobody computed: of the known cause, and of what is not the cause."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2.functional import gaussian_blur

from benchmark.images import generators
from benchmark.interfaces import BadInput, Batch, Dataset
from benchmark.regions import Region, region_of

CAUSE, BLURRED = "cause", "blurred"
WRONG = ("decoy", "shifted", "random")  # maps that are not of the cause at all


@dataclass(frozen=True)
class ConstructedMaps:
    """The true cause as a heatmap, and rivals that a good metric has to like less."""

    blur: float  # pixels, sigma of the blurred cause
    shift: int  # pixels along each axis from the cause to the shifted one

    def __post_init__(self) -> None:
        if self.blur <= 0 or self.shift < 1:
            raise BadInput(
                "maps needs blur above 0 and shift of at least 1, got "
                f"blur={self.blur} shift={self.shift}"
            )

    def known(self, batch: Batch) -> Batch:
        """Return the images whose cause is known: those with a mask of the target's pixels."""
        rows = range(len(batch.ids))
        return batch.select([row for row in rows if region_of(batch, row, Region.mask) is not None])

    def __call__(self, dataset: Dataset, batch: Batch, res: int) -> dict[str, Tensor]:
        """Construct heatmaps of images whose cause is known.

        Args:
            dataset: one with ``decoy(image_id)`` says which pixels [H, W] draw the eye for nothing.
            batch: the images; each has a mask of its target.
            res: cells along a side.

        Returns:
            Name -> heatmaps [B, res, res] float32 in [0, 1], of the sharpest detail that the cells
            can show (a Gaussian of half a cell). ``shifted`` is the cause moved towards the other
            side along both axes, ``random`` uniform noise from the image's seed.

        Raises:
            BadInput: the blur is too wide for the images.
        """
        size = batch.images.shape[-1]
        if 3 * self.blur >= size:
            raise BadInput(
                f"maps.blur={self.blur} is too wide for {size} pixels: stay below a third"
            )
        if self.shift >= size / 2:
            raise BadInput(f"maps.shift={self.shift} would come round {size} pixels: below a half")
        found = [region_of(batch, row, Region.mask) for row in range(len(batch.ids))]
        cause = torch.stack([each for each in found if each is not None]).float()
        sources = generators(batch.seeds, torch.device("cpu"))
        maps = {CAUSE: cause, BLURRED: cause, "shifted": torch.stack([*map(self._moved, cause)])}
        decoy: Callable[[str], Tensor] | None = getattr(dataset, "decoy", None)
        if decoy:
            maps["decoy"] = torch.stack([decoy(each) for each in batch.ids]).to(cause)
        half = size / res / 2
        coarse = {
            name: _at(each, self.blur if name == BLURRED else half, res)
            for name, each in maps.items()
        }
        noise = [torch.rand(res, res, generator=source) for source in sources]
        return coarse | {"random": torch.stack(noise).to(cause)}

    def _moved(self, cause: Tensor) -> Tensor:
        """Move a mask [H, W] towards the side that its middle is farther from."""
        middles = [float(each.float().mean()) for each in cause.nonzero(as_tuple=True)]
        steps = [
            self.shift if middle < extent / 2 else -self.shift
            for middle, extent in zip(middles, cause.shape, strict=True)
        ]
        return cause.roll(steps, (0, 1))


def _at(masks: Tensor, sigma: float, res: int) -> Tensor:
    """Blur masks [B, H, W] and take them at the centres of the cells, the highest made 1."""
    width = 2 * int(3 * sigma) + 1
    blurred = (
        gaussian_blur(masks[:, None], [width, width], [sigma, sigma])
        if width > 1
        else (masks[:, None])
    )
    cells = functional.interpolate(blurred, (res, res), mode="bilinear", align_corners=True)[:, 0]
    return cells / cells.amax((1, 2), keepdim=True).clamp(min=1e-12)

"""Leave one out: the prediction differences of Robnik-Šikonja & Kononenko (2008), part by part."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.attribution import Score
from benchmark.images import chunks
from benchmark.interfaces import BadInput, Batch, Classifier
from benchmark.perturbation import scores_under
from benchmark.segments import Grid, Segmenter
from benchmark.substrates import Substrate


@dataclass(frozen=True)
class LeaveOneOut:
    """How far the target's softmax score drops when one square of a grid is hidden.

    Costs one pass for each cell and one for the image: 785 at 28 x 28, 50,177 at 224 x 224.
    """

    res: int  # cells along a side of the grid
    baseline: Substrate  # what a hidden square shows

    def __post_init__(self) -> None:
        if self.res < 2:
            raise BadInput(f"leave_one_out needs res of at least 2, got {self.res}")

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return score(image) - score(image without the cell), [B, r, r]."""
        if self.res > (side := batch.images.shape[-1]):
            raise BadInput(
                f"res={self.res} is finer than the image; leave_one_out works up to {side}"
            )
        hidden = self.baseline(model, batch)
        cells = Grid(self.res)(batch.images[0])
        drops = [_drops(model, batch, row, hidden[row], cells) for row in range(len(batch.ids))]
        return torch.stack(drops).view(-1, self.res, self.res)


@dataclass(frozen=True)
class LeaveOneOutSuperpixels:
    """How far the target's softmax score drops when one superpixel is hidden."""

    segmenter: Segmenter
    baseline: Substrate  # what a hidden superpixel shows

    def native(self, model: Classifier) -> int:
        """One cell for each pixel."""
        return model.input_size

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return for each pixel score(image) - score(image without its superpixel), [B, H, W]."""
        hidden = self.baseline(model, batch)
        heatmaps = []
        for row, image in enumerate(batch.images):
            parts = self.segmenter(image)
            heatmaps.append(_drops(model, batch, row, hidden[row], parts)[parts])
        return torch.stack(heatmaps)


def _drops(model: Classifier, batch: Batch, row: int, hidden: Tensor, parts: Tensor) -> Tensor:
    """Score one image, less its score without each of its P parts [H, W]: [P]."""
    whole = scores_under(
        model, batch, row, hidden, torch.ones_like(parts[None, None]).float(), score=Score.softmax
    )
    numbers = torch.arange(int(parts.max()) + 1, device=parts.device)
    without = []
    for part in chunks(len(numbers), model.pass_batch):
        masks = (parts != numbers[part].view(-1, 1, 1, 1)).float()  # [N, 1, H, W]
        without.append(scores_under(model, batch, row, hidden, masks, score=Score.softmax))
    return whole - torch.cat(without)

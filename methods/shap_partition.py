"""Partition SHAP: the Owen values of an image cut in halves, by shap (Lundberg & Lee 2017)."""

from __future__ import annotations

import copy
import functools
import re
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from shap.explainers import Partition
from shap.maskers import Image
from torch import Tensor

from benchmark.attribution import Score, target_scores
from benchmark.images import chunks
from benchmark.interfaces import BadInput, Batch, Classifier
from benchmark.perturbation import numpy_seeded


@dataclass(frozen=True)
class PartitionSHAP:
    """The credit of rectangles for the target's softmax score, halved where it is largest.

    What the budget leaves undivided is spread evenly over the rectangle's pixels.
    """

    hide: str  # as shap.maskers.Image takes it: blur(width,height), inpaint_telea, inpaint_ns
    evaluations: int  # images scored, the whole and the hidden one among them
    together: int  # images scored between two choices of what to halve next

    def __post_init__(self) -> None:
        if not re.fullmatch(r"blur\([1-9]\d*,[1-9]\d*\)|inpaint_telea|inpaint_ns", self.hide):
            raise BadInput(
                "shap_partition needs hide=blur(128,128) or of another width and height in pixels, "
                f"inpaint_telea or inpaint_ns, got {self.hide}"
            )
        if self.evaluations < 4 or self.together < 2:
            raise BadInput(
                "shap_partition needs evaluations of at least 4 and together of at least 2, got "
                f"evaluations={self.evaluations} together={self.together}"
            )

    def native(self, model: Classifier) -> int:
        """One cell for each pixel."""
        return model.input_size

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return each pixel's value, summed over its colours, [B, H, W].

        The values of an image sum to score(image) - score(hidden image).
        """
        rows = range(len(batch.ids))
        return torch.stack([self._explain(model, batch, row) for row in rows])

    def _explain(self, model: Classifier, batch: Batch, row: int) -> Tensor:
        """Return the heatmap [H, W] of one image of the batch."""
        image = batch.images[row].permute(1, 2, 0)  # [H, W, 3], as shap has it
        white = 1.0
        if self.hide.startswith("inpaint"):  # OpenCV inpaints whole numbers only
            white = 255.0
            image = (image * white).round()

        def scores(masked: NDArray[np.float32]) -> NDArray[np.float64]:
            """Score images [N, H, W, 3]: [N]."""
            values = []
            with torch.no_grad(), model.passes_of(torch.tensor([row])):
                for part in chunks(len(masked), model.pass_batch):
                    images = torch.from_numpy(masked[part]).to(model.device).permute(0, 3, 1, 2)
                    targets = batch.targets[row].expand(len(images))
                    values.append(target_scores(model, images / white, targets, Score.softmax))
            return torch.cat(values).double().cpu().numpy()

        # A copy, because a masker keeps the blur of the last image it was given.
        explainer = Partition(scores, copy.copy(_masker(self.hide, image.shape[0])))
        with numpy_seeded(0):  # drawn to choose between equals, nothing else
            explanation = explainer(
                image[None].cpu().numpy(),
                max_evals=self.evaluations,
                batch_size=self.together,
                silent=True,
            )
        return torch.from_numpy(explanation.values[0].sum(-1)).float().to(model.device)


@functools.cache
def _masker(hide: str, side: int) -> Image:
    """Make what hides rectangles, with its tree of them; kept, because that takes a second."""
    return Image(hide, (side, side, 3))

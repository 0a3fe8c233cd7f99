"""Occlusion: Visualizing and Understanding Convolutional Networks (Zeiler & Fergus 2014)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from captum.attr import Occlusion as CaptumOcclusion
from torch import Tensor

from benchmark.interfaces import BadInput, Batch, Classifier
from benchmark.substrates import Substrate


@dataclass(frozen=True)
class Occlusion:
    """How far the target's softmax score drops where a sliding patch hides the image.

    The last patch of a row or column is cut off by the border where the stride does not divide.
    """

    patch: int  # pixels, along a side
    stride: int  # pixels, at most the patch, so that every pixel is hidden by one
    baseline: Substrate  # what the patch shows

    def __post_init__(self) -> None:
        if not 1 <= self.stride <= self.patch:
            raise BadInput(
                "occlusion needs a stride of at least 1 and at most the patch, got "
                f"patch={self.patch} stride={self.stride}"
            )

    def native(self, model: Classifier) -> int:
        """One cell for each pixel."""
        return model.input_size

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return each pixel's mean drop over the patches that hide it, [B, H, W]."""
        if self.patch > (side := batch.images.shape[-1]):
            raise BadInput(f"occlusion needs a patch of at most the image, {side}: {self.patch}")
        explainer = CaptumOcclusion(lambda images: model.probabilities(model(images)))
        baselines = self.baseline(model, batch)
        heatmaps = []
        for row in range(len(batch.ids)):
            with model.passes_of(torch.tensor([row])):
                drops: Tensor = explainer.attribute(
                    batch.images[row, None],
                    sliding_window_shapes=(3, self.patch, self.patch),
                    strides=(3, self.stride, self.stride),
                    baselines=baselines[row, None],
                    target=batch.targets[row, None],
                    perturbations_per_eval=model.pass_batch,
                )
            heatmaps.append(drops[0, 0])  # the patch hides all three colours, so they are alike
        return torch.stack(heatmaps).float()

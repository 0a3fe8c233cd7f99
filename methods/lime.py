"""LIME: "Why Should I Trust You?" (Ribeiro, Singh, Guestrin, KDD 2016).

The package of its authors is not used: it installs a package ``benchmark`` of its own, which would
hide this one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from torch import Tensor

from benchmark.attribution import Score
from benchmark.interfaces import BadInput, Batch, Classifier
from benchmark.perturbation import scores_with
from benchmark.segments import Segmenter

Hide = Enum("Hide", "mean_colour superpixel_mean")
RIDGE = 1.0  # the penalty of the authors' package on the squared coefficients


@dataclass(frozen=True)
class LIME:
    """The coefficients of a linear model of the target's softmax score over kept superpixels."""

    segmenter: Segmenter
    hide: Hide  # with the classifier's mean colour, or with each superpixel's own
    samples: int  # images with random halves of their superpixels hidden; the first is whole
    kernel_width: float  # of samples' weights by their cosine distance from the whole image

    def __post_init__(self) -> None:
        if self.samples < 2 or self.kernel_width <= 0:
            raise BadInput(
                "lime needs samples of at least 2 and kernel_width above 0, got "
                f"samples={self.samples} kernel_width={self.kernel_width}"
            )

    def native(self, model: Classifier) -> int:
        """One cell for each pixel."""
        return model.input_size

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return for each pixel its superpixel's coefficient, [B, H, W]."""
        rows = range(len(batch.ids))
        return torch.stack([self._explain(model, batch, row) for row in rows])

    def _explain(self, model: Classifier, batch: Batch, row: int) -> Tensor:
        """Return the heatmap [H, W] of one image of the batch."""
        image = batch.images[row]
        parts = self.segmenter(image)
        source = np.random.RandomState(np.random.MT19937(int(batch.seeds[row])))
        kept = source.randint(0, 2, (self.samples, int(parts.max()) + 1))
        kept[0] = 1
        scores = scores_with(
            model,
            batch,
            row,
            _means(image, parts) if self.hide is Hide.superpixel_mean else _flat(model, image),
            parts,
            kept=torch.from_numpy(kept).to(parts.device),
            score=Score.softmax,
        )
        fit = Ridge(RIDGE).fit(kept, scores.double().cpu().numpy(), self._weights(kept))
        return torch.from_numpy(fit.coef_).float().to(parts.device)[parts]

    def _weights(self, kept: NDArray[np.int64]) -> NDArray[np.float64]:
        """Weigh samples [N, P] by how near they are to the whole image, [N] in (0, 1]."""
        distance = 1 - np.sqrt(kept.mean(1))  # of the cosine between a row and a row of ones
        weights: NDArray[np.float64] = np.sqrt(np.exp(-((distance / self.kernel_width) ** 2)))
        return weights


def _flat(model: Classifier, image: Tensor) -> Tensor:
    """Paint the classifier's mean colour, [3, H, W]."""
    return model.mean.view(3, 1, 1).expand_as(image)


def _means(image: Tensor, parts: Tensor) -> Tensor:
    """Paint each part of an image [3, H, W] in its own mean colour."""
    flat, numbers = image.flatten(1).double(), parts.flatten()
    sums = flat.new_zeros(3, int(numbers.max()) + 1).index_add_(1, numbers, flat)
    return (sums / numbers.bincount())[:, numbers].view_as(image).to(image)

"""Kernel SHAP: A Unified Approach to Interpreting Model Predictions (Lundberg & Lee 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from shap import KernelExplainer
from torch import Tensor

from benchmark.attribution import Score
from benchmark.interfaces import BadInput, Batch, Classifier
from benchmark.perturbation import numpy_seeded, scores_with
from benchmark.segments import Segmenter
from benchmark.substrates import Substrate

# A coalition and its complement say nearly the same; with fewer the values are not determined.
LEAST_PER_PART = 4


@dataclass(frozen=True)
class KernelSHAP:
    """The Shapley values of an image's parts for the target's softmax score, by regression.

    Computed by shap, the authors' package: small and large coalitions are enumerated, the rest
    drawn in pairs of complements. Where all fit into the budget the values are exact.
    """

    segmenter: Segmenter
    samples: int  # coalitions, but four for each part in any case
    baseline: Substrate  # what stands where a part is absent

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise BadInput(f"kernel_shap needs samples of at least 1, got {self.samples}")

    def native(self, model: Classifier) -> int:
        """One cell for each pixel."""
        return model.input_size

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return for each pixel its part's value, [B, H, W].

        The parts' values of an image sum to score(image) - score(baseline).
        """
        hidden = self.baseline(model, batch)
        rows = range(len(batch.ids))
        return torch.stack([self._explain(model, batch, row, hidden[row]) for row in rows])

    def _explain(self, model: Classifier, batch: Batch, row: int, hidden: Tensor) -> Tensor:
        """Return the heatmap [H, W] of one image of the batch."""
        parts = self.segmenter(batch.images[row])
        count = int(parts.max()) + 1

        def scores(present: NDArray[np.float64]) -> NDArray[np.float64]:
            """Score coalitions [N, P]: [N]."""
            kept = torch.from_numpy(present).to(parts.device)
            values = scores_with(model, batch, row, hidden, parts, kept=kept, score=Score.softmax)
            return values.double().cpu().numpy()

        with numpy_seeded(int(batch.seeds[row])):
            values = KernelExplainer(scores, np.zeros((1, count))).shap_values(
                np.ones(count),
                nsamples=max(self.samples, LEAST_PER_PART * count),
                l1_reg=0,  # or only ten parts would get a value
                silent=True,
            )
        return torch.from_numpy(values).float().to(parts.device)[parts]

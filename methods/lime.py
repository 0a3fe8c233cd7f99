"""LIME: "Why Should I Trust You?" (Ribeiro et al. 2016), computed by its authors' package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import torch
from lime.lime_image import LimeImageExplainer
from numpy.typing import NDArray
from torch import Tensor

from benchmark.attribution import Score
from benchmark.interfaces import BadInput, Batch, Classifier
from benchmark.perturbation import scores_with
from benchmark.segments import Segmenter

Hide = Enum("Hide", "mean_colour superpixel_mean")


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
        parts = self.segmenter(batch.images[row])

        def scores(kept: NDArray[np.int64], hidden: NDArray[np.float32]) -> NDArray[np.float64]:
            """Score the image with superpixels [N, P] kept, as one class: [N, 1]."""
            shown = torch.from_numpy(kept).to(parts.device)
            instead = torch.from_numpy(hidden).permute(2, 0, 1).to(parts.device)
            values = scores_with(model, batch, row, instead, parts, kept=shown, score=Score.softmax)
            return values.double().cpu().numpy()[:, None]

        # Any seed will do for MT19937, where RandomState's own has to be below 2 ** 32.
        source = np.random.RandomState(np.random.MT19937(int(batch.seeds[row])))
        explanation = _Explainer(
            kernel_width=self.kernel_width, feature_selection="none", random_state=source
        ).explain_instance(
            batch.images[row].permute(1, 2, 0).cpu().numpy(),
            scores,
            labels=(0,),
            top_labels=None,
            hide_color=model.mean.cpu().numpy() if self.hide is Hide.mean_colour else None,
            num_samples=self.samples,
            segmentation_fn=lambda _: parts.cpu().numpy(),
        )
        coefficients = dict(explanation.local_exp[0])
        ordered = [coefficients[part] for part in range(len(coefficients))]
        return torch.tensor(ordered, dtype=torch.float32, device=parts.device)[parts]


class _Explainer(LimeImageExplainer):  # type: ignore[misc]  # the package has no types
    """The package's explainer, except that no image is put together on the CPU, nor any bar shown.

    ``classifier_fn`` maps kept superpixels [N, P] and the image that hides the others to scores.
    """

    def data_labels(
        self,
        image: NDArray[np.float32],
        fudged_image: NDArray[np.float32],
        segments: NDArray[np.int64],
        classifier_fn: Callable[[NDArray[np.int64], NDArray[np.float32]], NDArray[np.float64]],
        num_samples: int,
        **_: Any,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Draw which superpixels are kept, and score the images that show them."""
        del image
        kept = self.random_state.randint(0, 2, (num_samples, segments.max() + 1))
        kept[0] = 1
        return kept, classifier_fn(kept, fudged_image)

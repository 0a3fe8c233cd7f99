"""Integrated Gradients (Sundararajan et al. 2017), computed by captum."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from torch import Tensor

from benchmark.attribution import PixelAttribution
from benchmark.images import chunks
from benchmark.interfaces import BadInput, Batch, Classifier
from benchmark.substrates import Substrate


@dataclass(frozen=True)
class IntegratedGradients(PixelAttribution):
    """The gradient of the target's softmax score, integrated from a baseline to the image."""

    baseline: Substrate
    steps: int  # points of the integral

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise BadInput(f"integrated_gradients needs steps of at least 1, got {self.steps}")

    def attribute(self, model: Classifier, batch: Batch) -> Tensor:
        """Return attributions [B, 3, H, W]; they sum to score on image minus on baseline."""
        explainer = CaptumIntegratedGradients(lambda images: model.probabilities(model(images)))
        baselines = self.baseline(model, batch)
        parts = []
        # So many that one call either holds whole images or a single one, cut into steps: then an
        # image's sum is taken in the same order in every batch.
        for part in chunks(len(batch.ids), max(1, model.pass_batch // self.steps)):
            with model.passes_of(torch.arange(part.start, part.stop)):
                attributions: Tensor = explainer.attribute(
                    batch.images[part].clone(),
                    baselines=baselines[part],
                    target=batch.targets[part],
                    n_steps=self.steps,
                    internal_batch_size=model.pass_batch,
                )
            parts.append(attributions.detach().float())
        return torch.cat(parts)


@dataclass(frozen=True)
class AveragedIntegratedGradients(IntegratedGradients):
    """The mean of integrated gradients from several draws of a random baseline."""

    samples: int  # draws

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples < 1:
            raise BadInput(f"integrated_gradients needs samples of at least 1, got {self.samples}")

    def attribute(self, model: Classifier, batch: Batch) -> Tensor:
        """Return attributions [B, 3, H, W]; they sum to score on image minus mean on baselines."""
        total = torch.zeros_like(batch.images)
        for draw in range(self.samples):
            # Another seed for each, within the range of seeds; the first is the image's own.
            total += super().attribute(model, batch._replace(seeds=batch.seeds ^ draw))
        return total / self.samples

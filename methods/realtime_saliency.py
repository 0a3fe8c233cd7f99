"""Real-time saliency: a network trained once to mask images (Dabkowski & Gal 2017)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from benchmark.images import chunks
from benchmark.interfaces import Batch, Classifier
from benchmark.masker import watched
from benchmark.masker_files import find_file, load


@dataclass(frozen=True)
class RealtimeSaliency:
    """The mask that a network trained for this classifier makes of its feature maps."""

    masker: str | None  # a file of benchmark.train_masker; None finds the project's own

    def fingerprint(self, model: Classifier) -> str:
        """Hash the masker's file.

        Raises:
            BadInput: none was trained for this classifier.
        """
        return hashlib.sha256(find_file(model, self.masker).read_bytes()).hexdigest()

    def native(self, model: Classifier) -> int:
        """Return the resolution of the finest feature map that the masker uses."""
        return load(model, find_file(model, self.masker)).maps[-1].size

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Return heatmaps [B, r, r] in [0, 1]; one pass of the classifier for each image.

        Raises:
            BadInput: no masker was trained for this classifier.
        """
        masker = load(model, find_file(model, self.masker))
        parts = []
        for part in chunks(len(batch.ids), model.pass_batch):
            with torch.no_grad(), model.passes_of(torch.arange(part.start, part.stop)):
                maps, _ = watched(model, batch.images[part], masker.maps)
                targets = batch.targets[part]
                # The masker works on the classifier's padding too: an image's mask is then the
                # same bits in every batch, as its logits are.
                padding = len(maps[0]) - len(targets)
                masks = masker(maps, functional.pad(targets, (0, padding)))
            parts.append(masks[: len(targets), 0])
        return torch.cat(parts)

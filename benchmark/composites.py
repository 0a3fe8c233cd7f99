"""The images that a stored deletion or insertion curve was scored on, made once more."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import OmegaConf
from torch import Tensor, nn

from benchmark.building import build
from benchmark.curves import Protocol, curve
from benchmark.figure_parts import Run, Shared
from benchmark.interfaces import BadInput, Batch, Dataset, Item
from benchmark.loading import batch_of
from benchmark.models import ImageClassifier


class Composites(NamedTuple):
    """One image on its way from whole to gone, or back, with the scores that the run stored."""

    images: Tensor  # [points, 3, H, W], RGB in [0, 1]
    scores: NDArray[np.float32]  # [points] in [0, 1]
    fractions: NDArray[np.float32]  # [points], of the cells removed or shown

    def picture(self, point: int) -> NDArray[np.float32]:
        """One composite as [H, W, 3]."""
        pixels: NDArray[np.float32] = self.images[point].permute(1, 2, 0).numpy()
        return pixels

    def nearest(self, fraction: float) -> int:
        """Find the point whose fraction is nearest."""
        return int(np.abs(self.fractions - fraction).argmin())


def composites(common: Shared, run: Run, metric: str, image_id: str) -> Composites:
    """Make the composites of an image from the run's stored heatmap and settings.

    They are what ``benchmark.curves.curve`` shows to a stand-in for the classifier.

    Raises:
        BadInput: the metric has no curve or the image has changed, or the code or the settings
            make other points than were scored.
    """
    stored, fractions = run.curve(metric, [image_id])
    remake = Remake.of(run, metric, common.dataset)
    heatmap = run.heatmap(image_id)
    _, points = curve(
        remake.witness,
        remake.batch(common.item(run, image_id), run.rows()[image_id]["target"]),
        torch.from_numpy(heatmap)[None],
        remake.protocol.walk(insertion=metric == "insertion"),
    )
    if not np.array_equal(points.float().numpy(), fractions):
        raise BadInput(f"{run.folder.path}: {metric} was scored at other points than are made now")
    return Composites(torch.cat(remake.witness.seen), stored[0], fractions)


class Remake(NamedTuple):
    """What a run's curves of one metric were made with, to be made again."""

    protocol: Protocol
    witness: Witness
    seed: int

    @classmethod
    def of(cls, run: Run, metric: str, dataset: Dataset) -> Remake:
        """Build it from the settings that the run's records keep."""
        settings = run.folder.started(run.outcome.stages[metric])["settings"]
        node = OmegaConf.create(settings["metric"][metric]["protocol"])
        protocol: Protocol = build(node, f"metric.{metric}.protocol")
        witness = Witness(run.folder.identity(), dataset.class_names)
        return cls(protocol, witness, settings["seed"])

    def batch(self, item: Item, target: int) -> Batch:
        """Put an image in a batch of its own, as the run had it."""
        return batch_of([item], torch.tensor([target]), self.seed, torch.device("cpu"))


class Witness(ImageClassifier):
    """Stands where the classifier stood, and keeps what it is shown."""

    def __init__(self, identity: dict[str, Any], class_names: Any) -> None:
        super().__init__(
            nn.Identity(),
            mean=identity["mean"],
            std=identity["std"],
            input_size=identity["input_size"],
            class_names=class_names,
            weights="",
            device=torch.device("cpu"),
            pass_batch=identity["pass_batch"],
        )
        self.seen: list[Tensor] = []

    def __call__(self, images: Tensor) -> Tensor:
        """Refuse: there is no network here."""
        del images
        raise BadInput("a substrate that asks the network cannot be made again from records")

    def scores(self, images: Tensor, targets: Tensor) -> Tensor:
        """Keep the images [B, 3, H, W]; the scores are meaningless."""
        self.seen.append(images)
        return torch.zeros(len(targets))

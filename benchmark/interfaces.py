"""The whole design on one page: what a data set yields, what a method and a metric are given.

Shape letters used everywhere: B images, K classes, H and W pixels, r cells along a side of a
heatmap, N boxes of one image.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmark.errors import BadInput, UnreadableImage

__all__ = [
    "BadInput",
    "Batch",
    "Classifier",
    "Dataset",
    "Item",
    "Method",
    "Metric",
    "Scores",
    "Truth",
    "UnreadableImage",
]

_Place = TypeVar("_Place", float, NDArray[np.float64])


class Truth(NamedTuple):
    """Where the objects of one image are.

    Boxes and mask are in pixels of the *original* image, because distances in the pointing game
    are; ``scale`` and ``offset`` lead there from the image the network sees. The mask shows all
    objects of the item's label; where there are boxes too, the pointing game takes the boxes.
    """

    boxes: Tensor  # [N, 4] float; xmin, ymin, xmax, ymax, all four inside the object
    classes: Tensor  # [N] int64; the class of each box
    scale: tuple[float, float] = (1.0, 1.0)  # original pixels per network pixel, (x, y)
    offset: tuple[float, float] = (0.0, 0.0)  # original position of the network's corner, (x, y)
    mask: Tensor | None = None  # [h, w] bool, of the original image; the label's exact pixels
    difficult: bool = False  # small and not alone: of the pointing game's difficult subset

    def to_original(self, x: _Place, y: _Place) -> tuple[_Place, _Place]:
        """Map the centres of network pixels (x, y), counted from 0, to original pixels."""
        return (
            (x + 0.5) * self.scale[0] + self.offset[0] - 0.5,
            (y + 0.5) * self.scale[1] + self.offset[1] - 0.5,
        )


class Item(NamedTuple):
    """One image of a data set, ready for a network; or one class of an image that shows several."""

    id: str
    image: Tensor  # [3, H, W] float32, RGB in [0, 1]
    label: int  # the annotated class; -1 where there is none
    truth: Truth


class Dataset(Protocol):
    """A frozen dataclass that lists its images cheaply and decodes them one by one."""

    @property
    def name(self) -> str:
        """The name results are filed under, such as ``imagenet``."""
        ...

    @property
    def class_names(self) -> Sequence[str]:
        """One name per class, in the order of the label's numbers; none where none are known."""
        ...

    def ids(self) -> list[str]:
        """List the chosen images, in the order they are worked on.

        Raises:
            BadInput: the data is not where the settings say.
        """
        ...

    def digest(self, image_id: str) -> str:
        """Hash one image's file and annotation without decoding it."""
        ...

    def load(self, image_id: str, size: int) -> Item:
        """Decode one image at ``size`` x ``size`` pixels.

        Raises:
            UnreadableImage: the file is missing, truncated or not an image.
        """
        ...


class Batch(NamedTuple):
    """Images of one size with everything a method or a metric may need to know of them."""

    ids: list[str]
    images: Tensor  # [B, 3, H, W], RGB in [0, 1]
    targets: Tensor  # [B] int64, the class to explain
    labels: Tensor  # [B] int64, the annotated class; -1 where there is none
    seeds: Tensor  # [B] int64, from the run's seed and the image's id
    truths: list[Truth]

    def select(self, rows: Sequence[int]) -> Batch:
        """Return the images at these positions, in this order."""
        index = torch.as_tensor(list(rows), dtype=torch.long, device=self.images.device)
        return Batch(
            ids=[self.ids[row] for row in rows],
            images=self.images[index],
            targets=self.targets[index],
            labels=self.labels[index],
            seeds=self.seeds[index.to(self.seeds.device)],
            truths=[self.truths[row] for row in rows],
        )


class Classifier(Protocol):
    """A network with everything that belongs to it; normalisation happens inside."""

    network: nn.Module
    mean: Tensor  # [3], of RGB in [0, 1]
    std: Tensor  # [3]
    input_size: int  # H = W, pixels
    class_names: Sequence[str]
    device: torch.device
    pass_batch: int  # how many images a method should send through at once

    def __call__(self, images: Tensor) -> Tensor:
        """Map images [B, 3, H, W] in [0, 1] to logits [B, K] in float32."""
        ...

    def probabilities(self, logits: Tensor) -> Tensor:
        """Turn logits [B, K] into probabilities [B, K]: among all classes, or of each by itself."""
        ...

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """Turn logits [B, K] into logarithms of probabilities [B, K]."""
        ...

    def scores(self, images: Tensor, targets: Tensor) -> Tensor:
        """Probabilities [B] of each image's target."""
        ...

    @property
    def cam_layer(self) -> nn.Module:
        """The last layer with a spatial map; BadInput where the network has none."""
        ...

    def with_network(self, network: nn.Module) -> Classifier:
        """Return the same classifier around another network, counting into the same numbers."""
        ...

    def passes_of(self, rows: Tensor) -> AbstractContextManager[None]:
        """Count the passes inside the block for these rows of the batch only.

        A row that is named twice gets two shares. Inside another such block, rows are places in
        that block's rows: a method that calls another on inputs of its own making says by the
        outer block which image each input belongs to.

        Outside any block a pass over M images counts M/B for each of the B images in hand.
        """
        ...


class Method(Protocol):
    """A saliency method: a frozen dataclass whose fields are its hyper-parameters.

    One whose heatmaps have the resolution asked for has a field ``res``; any other says by
    ``native(model)`` how many cells along a side its heatmaps have. One that reads files, or
    images of its own, says by ``fingerprint(model)`` which: they are part of a result's key. One
    that optimises masks may yield them by ``descend(model, batch)`` (``benchmark.iterates``).
    """

    def __call__(self, model: Classifier, batch: Batch) -> Tensor:
        """Explain each image's target by a heatmap [B, r, r]; higher = matters more for it."""
        ...


class Scores(NamedTuple):
    """A metric's verdict, and what it was made of."""

    values: Tensor  # [B] float64; NaN where the metric does not apply to the image
    curves: dict[str, Tensor]  # name -> [B, points] float32, kept with the records


class Metric(Protocol):
    """A measure of heatmaps: a frozen dataclass whose fields are its protocol."""

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger value speaks for the heatmap."""
        ...

    def __call__(self, model: Classifier, batch: Batch, heatmaps: Tensor) -> Scores:
        """Score heatmaps [B, r, r], one number per image."""
        ...

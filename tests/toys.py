"""Classifiers whose right answers are known by hand, and one that keeps what it was shown.

All are the project's own ``ImageClassifier`` around a tiny network, so that normalisation, padding
and the counting of passes are the real ones. They normalise by nothing (mean 0, std 1) unless a
test says otherwise: the network then sees the image's own numbers, bit for bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.curves import Area, Order, Protocol
from benchmark.datasets.selection import choose
from benchmark.interfaces import Batch, Item, Truth
from benchmark.models import ImageClassifier

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Flat:
    """A substrate of one brightness in [0, 1] everywhere."""

    value: float

    def __call__(self, _model, batch: Batch) -> Tensor:
        return torch.full_like(batch.images, self.value)


BLACK = Flat(0.0)


def classifier(network: nn.Module, classes: int = 2, kind=ImageClassifier, **settings):
    """Wrap a network as the benchmark does."""
    plain = {
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
        "input_size": 32,
        "class_names": [f"class {number}" for number in range(classes)],
        "weights": "toy",
        "device": CPU,
    }
    return kind(network, **(plain | settings))


class Recorder(ImageClassifier):
    """Keeps every image it was shown, in order."""

    def __init__(self, network: nn.Module, **settings) -> None:
        super().__init__(network, **settings)
        self.calls: list[Tensor] = []

    def __call__(self, images: Tensor) -> Tensor:
        self.calls.append(images.detach().clone())
        return super().__call__(images)

    @property
    def seen(self) -> Tensor:
        """All images of all calls, [N, 3, H, W]."""
        return torch.cat(self.calls)

    def forget(self) -> None:
        self.calls = []


class Scored(nn.Module, ABC):
    """Two classes; the softmax score of class 0 is ``score(images)``, that of class 1 the rest."""

    @abstractmethod
    def score(self, images: Tensor) -> Tensor:
        """Map images [B, 3, H, W] to scores [B] in (0, 1)."""

    def forward(self, images: Tensor) -> Tensor:
        score = self.score(images)
        return torch.stack([score.log(), (1 - score).log()], dim=1)


class Constant(Scored):
    """The same score for every image; its gradient exists and is zero."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def score(self, images: Tensor) -> Tensor:
        return self.value + 0 * images.sum((1, 2, 3))


class Additive(Scored):
    """Score = offset + sum of weights [3, H, W] times pixels."""

    def __init__(self, weights: Tensor, offset: float = 0.1) -> None:
        super().__init__()
        self.weights, self.offset = nn.Parameter(weights), offset

    def score(self, images: Tensor) -> Tensor:
        return self.offset + (self.weights * images).sum((1, 2, 3))


class OnePixel(Scored):
    """Score = 0.1 + 0.8 times the mean colour of one pixel."""

    def __init__(self, row: int, column: int) -> None:
        super().__init__()
        self.row, self.column = row, column

    def score(self, images: Tensor) -> Tensor:
        return 0.1 + 0.8 * images[:, :, self.row, self.column].mean(1)


class Quadratic(Scored):
    """Score = 0.1 + 0.8 times the weighted mean squared distance from a flat colour."""

    def __init__(self, weights: Tensor, colour: float = 0.0) -> None:
        super().__init__()
        self.weights, self.colour = nn.Parameter(weights), colour

    def score(self, images: Tensor) -> Tensor:
        return 0.1 + 0.8 * (self.weights * (images - self.colour).square()).mean((1, 2, 3))


class Smooth(nn.Module):
    """A small network without kinks: slow and fast code agree on its gradients to rounding.

    Each class but the last sees the contrast in its own places, so hiding lowers its score.
    """

    def __init__(self, classes: int = 4, seed: int = 0) -> None:
        super().__init__()
        source = torch.Generator().manual_seed(seed)
        filters = torch.randn(6, 3, 3, 3, generator=source)
        self.filters = nn.Parameter(0.25 * (filters - 0.9 * filters.mean((1, 2, 3), keepdim=True)))
        places = torch.rand(classes, 16, generator=source).square()
        places[-1] = 0
        self.places = nn.Parameter(8 * places / places.sum(1, keepdim=True).clamp(min=1))

    def forward(self, images: Tensor) -> Tensor:
        padded = functional.pad(images, (1, 1, 1, 1), mode="replicate")
        maps = torch.tanh(functional.conv2d(padded, self.filters, stride=2)).square()
        energy = functional.adaptive_avg_pool2d(maps, 4).sum(1).flatten(1)  # [B, 16]
        return energy @ self.places.T


class Tiny(nn.Module):
    """A small network of the usual layers: strides, batch norm, ReLU in place, dropout, pooling."""

    def __init__(self, classes: int = 5, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.features = nn.Sequential(
                nn.Conv2d(3, 8, 3, stride=2, padding=1),
                nn.BatchNorm2d(8),
                nn.ReLU(inplace=True),
                nn.Conv2d(8, 16, 3, stride=2, padding=1),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(2),
                nn.Conv2d(16, 24, 3, padding=1),
                nn.ReLU(),
            )
            self.dropout = nn.Dropout()
            self.head = nn.Linear(24, classes)
            nn.init.normal_(self.head.weight, std=2.0)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.dropout(self.features(images).mean((2, 3))))


class NotANumber(nn.Module):
    """A broken network: every logit is NaN."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))[:, :2] * float("nan")


def images_of(count: int, size: int = 32, seed: int = 0) -> Tensor:
    """Draw images [B, 3, H, W] in [0, 1] that are smooth in some places and rough in others."""
    source = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 5, 5, generator=source)
    smooth = functional.interpolate(coarse, (size, size), mode="bilinear", align_corners=True)
    rough = torch.rand(count, 3, size, size, generator=source)
    return (0.75 * smooth + 0.25 * rough).contiguous()


@dataclass(frozen=True)
class Drawn:
    """A data set of 200 such images of any size, with the settings of the embedded one."""

    name: str
    split: str
    limit: int | None
    seed: int
    manifest: str | None

    class_names = ("one", "two")

    def ids(self) -> list[str]:
        known = [f"image-{number}" for number in range(200)]
        return choose(known, self.limit, self.seed, self.manifest)

    def digest(self, image_id: str) -> str:
        return f"digest of {image_id}"

    def load(self, image_id: str, size: int) -> Item:
        number = int(image_id.rpartition("-")[2])
        return Item(image_id, images_of(1, size, seed=1000 + number)[0], number % 2, no_boxes())


def batch_of(images: Tensor, targets=0, seeds=None, truths=None) -> Batch:
    """Put images into a batch; each one's id and seed come from its place unless given."""
    count = len(images)
    targets = torch.as_tensor(targets).expand(count).clone()
    return Batch(
        ids=[f"image-{number}" for number in range(count)],
        images=images,
        targets=targets,
        labels=targets.clone(),
        seeds=torch.arange(100, 100 + count) if seeds is None else torch.as_tensor(seeds),
        truths=[no_boxes() for _ in range(count)] if truths is None else truths,
    )


def explain(method, model, batch: Batch) -> Tensor:
    """Call a method as a run does: the classifier's counters know how many images there are."""
    model.begin_count(len(batch.ids))
    return method(model, batch)


def no_boxes() -> Truth:
    return Truth(boxes=torch.zeros(0, 4), classes=torch.zeros(0, dtype=torch.int64))


def protocol(
    deletion=BLACK, insertion=BLACK, steps: int = 200, order="native", area="trapezoid"
) -> Protocol:
    """A curve protocol of the project's own kind, black on both sides unless told otherwise."""
    return Protocol(
        order=Order[order],
        steps=steps,
        deletion_substrate=deletion,
        insertion_substrate=insertion,
        area=Area[area],
    )


def bilinear_matrix(size: int, cells: int) -> Tensor:
    """Weights [size, cells] of a bilinear enlargement with corners on corners, as hat functions."""
    matrix = torch.zeros(size, cells, dtype=torch.float64)
    for place in range(size):
        at = place * (cells - 1) / (size - 1)
        for cell in range(cells):
            matrix[place, cell] = max(0.0, 1.0 - abs(at - cell))
    return matrix


def enlarge(mask: Tensor, size: int) -> Tensor:
    """Enlarge a mask [r, r] to [size, size] in double precision, without torch's own code."""
    matrix = bilinear_matrix(size, mask.shape[-1])
    return matrix @ mask.double() @ matrix.T


class InDouble:
    """One image, its baseline and the score of its target in double precision, for slow code."""

    def __init__(self, model, batch: Batch, row: int, baseline, res: int) -> None:
        self.network, self.target = deepcopy(model.network).double(), int(batch.targets[row])
        self.mean, self.std = (each.double().view(3, 1, 1) for each in (model.mean, model.std))
        self.image = batch.images[row].double()
        self.baseline = baseline(model, batch)[row].double()
        self.matrix = bilinear_matrix(self.image.shape[-1], res)

    def score(self, image: Tensor) -> Tensor:
        logits = self.network(((image - self.mean) / self.std)[None])[0]
        return logits.exp()[self.target] / logits.exp().sum()

    def large(self, mask: Tensor) -> Tensor:
        return self.matrix @ mask @ self.matrix.T

    def deleted(self, kept: Tensor) -> Tensor:
        """The image under an enlarged mask [H, W]."""
        return self.image * kept + self.baseline * (1 - kept)

    def inserted(self, kept: Tensor) -> Tensor:
        """What the mask takes away, over the baseline."""
        return self.image * (1 - kept) + self.baseline * kept

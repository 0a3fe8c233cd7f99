"""Other images of a data set, which an image is compared with."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor

from benchmark.interfaces import BadInput, Classifier, Dataset, UnreadableImage


@dataclass(frozen=True)
class Background:
    """Images drawn from a whole data set: the same ones whatever is explained, and with what.

    One more than ``count`` is drawn, so that an image is never compared with itself.
    """

    dataset: Dataset
    count: int  # images that each one is compared with
    seed: int  # of the choice

    def __post_init__(self) -> None:
        if self.count < 1:
            raise BadInput(f"a background needs count of at least 1, got {self.count}")

    def images(self, size: int) -> Tensor:
        """Return all that were drawn, [count + 1, 3, size, size], on the CPU; decoded once.

        Raises:
            BadInput: the data set has too few images, or one of them cannot be read.
        """
        return _decoded(self, size)

    def others(self, image_id: str) -> list[int]:
        """Return the places in ``images`` of the ``count`` that an image is compared with."""
        places = [place for place, other in enumerate(_ids(self)) if other != image_id]
        return places[: self.count]

    def fingerprint(self, model: Classifier) -> str:
        """Hash the images: two copies of a data set may hold different ones.

        Raises:
            BadInput: the data set has too few images, or one of them cannot be read.
        """
        del model
        total = hashlib.sha256()
        for image_id in _ids(self):
            total.update(f"{image_id}\0{_readable(self.dataset.digest, image_id)}\0".encode())
        return total.hexdigest()[:16]


@lru_cache(maxsize=8)
def _ids(background: Background) -> list[str]:
    """Choose images among all of the data set, whatever the run chose among them."""
    every = {"limit": None, "manifest": None, "seed": background.seed}
    own = {field.name for field in dataclasses.fields(cast(Any, background.dataset))}
    changes = {name: value for name, value in every.items() if name in own}
    ids = dataclasses.replace(cast(Any, background.dataset), **changes).ids()
    if len(ids) <= background.count:
        raise BadInput(
            f"a background of count={background.count} needs a data set of more images than "
            f"that, {background.dataset.name} has {len(ids)}"
        )
    return cast(list[str], ids[: background.count + 1])


@lru_cache(maxsize=2)
def _decoded(background: Background, size: int) -> Tensor:
    load = background.dataset.load
    items = [_readable(lambda one: load(one, size), each) for each in _ids(background)]
    return torch.stack([item.image for item in items])


def _readable(read: Any, image_id: str) -> Any:
    try:
        return read(image_id)
    except UnreadableImage as error:
        raise BadInput(
            f"an image of the background cannot be read: {error}; choose others by its seed"
        ) from error

"""Scenes of two objects: each class that an image shows is an item of its own, ``image:class``.

Whether a heatmap tells one class from the other is then a question with an answer: the heatmap of
the 3 has to lie on the 3, that of the 7 in the same image on the 7.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from hashlib import sha256

import numpy as np
import torch
from torch import Tensor

from benchmark.datasets.pair_rendering import PAIRER, Pair, render_pair, sources_of
from benchmark.datasets.scene_rendering import RENDERER, SIDE, Split, digits, sources_hash
from benchmark.datasets.selection import choose
from benchmark.interfaces import BadInput, Item, Truth

_CLASSES = tuple(f"digit {number}" for number in range(10))

_COUNT = {Split.train: 20_000, Split.test: 500}  # scenes, of two items each


@dataclass(frozen=True)
class Pairs:
    """224 x 224 scenes of two digits; the mask is the ink of the item's own, boxes are of both."""

    name: str  # the name results are filed under
    split: Split
    limit: int | None  # scenes, 1 or more, each with both of its items; None takes all
    seed: int  # picks the subset; no pixel depends on it
    manifest: str | None  # path of a text file with one item's id per line, instead of the seed

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per class, "digit 0" to "digit 9"."""
        return _CLASSES

    def ids(self) -> list[str]:
        """List the chosen items, those of a scene one after the other.

        Raises:
            BadInput: the limit or the manifest does not fit the split.
        """
        scenes = [f"pair-{self.split.value}-{index:05}" for index in range(_COUNT[self.split])]
        if self.manifest is not None:
            known = [item for scene in scenes for item in _items(self.split, scene)]
            return choose(known, self.limit, self.seed, self.manifest)
        chosen = choose(scenes, self.limit, self.seed, None)
        return [item for scene in chosen for item in _items(self.split, scene)]

    def digest(self, image_id: str) -> str:
        """Hash what the item is made of: its id, the renderers and scikit-learn's arrays."""
        made = f"{image_id}:{RENDERER}:{PAIRER}:{sources_hash()}"
        return sha256(made.encode()).hexdigest()

    def load(self, image_id: str, size: int) -> Item:
        """Render the scene of one item, of either split.

        Raises:
            BadInput: the size is not 224, or there is no such item.
        """
        if size != SIDE:
            raise BadInput(
                f"scenes are rendered at {SIDE} x {SIDE} pixels, not {size}; "
                f"choose a model with input size {SIDE}"
            )
        own, labels, scene = _rendered(image_id)
        corners = []
        for mask in scene.masks:
            rows, columns = np.nonzero(mask)
            corners.append([columns.min(), rows.min(), columns.max(), rows.max()])
        truth = Truth(
            boxes=torch.tensor(np.array(corners), dtype=torch.float32),
            classes=torch.tensor(labels),
            mask=torch.from_numpy(scene.masks[own]),
        )
        image = torch.from_numpy(scene.pixels).permute(2, 0, 1).float().div(255)
        return Item(image_id, image.contiguous(), labels[own], truth)

    def decoy(self, image_id: str) -> Tensor:
        """Return where the other class is, which decides nothing here: [224, 224] bool."""
        own, _, scene = _rendered(image_id)
        return torch.from_numpy(scene.masks[1 - own])


def _labels(split: Split, index: int) -> tuple[int, int]:
    first, second = (int(digits()[1][source]) for source in sources_of(split, index))
    return first, second


@cache
def _items(split: Split, scene: str) -> tuple[str, ...]:
    """Name the items of a scene."""
    return tuple(f"{scene}:{label}" for label in _labels(split, int(scene[-5:])))


def _rendered(image_id: str) -> tuple[int, tuple[int, int], Pair]:
    """Render the scene of an item such as ``pair-test-00042:3``.

    Returns:
        Which of the two digits is the item's, the classes of both, and the scene.
    """
    found = re.fullmatch(r"pair-(train|test)-(\d{5}):(\d)", image_id)
    if found and int(found[2]) < _COUNT[Split(found[1])]:
        split, index = Split(found[1]), int(found[2])
        labels = _labels(split, index)
        if int(found[3]) in labels:
            scene = render_pair(split, index, sources_of(split, index))
            return labels.index(int(found[3])), labels, scene
    raise BadInput(
        f"no item {image_id}; scenes run from pair-test-00000 to "
        f"pair-test-{_COUNT[Split.test] - 1:05} and likewise for train, and each has two classes, "
        f"such as {_items(Split.test, 'pair-test-00000')[0]}"
    )

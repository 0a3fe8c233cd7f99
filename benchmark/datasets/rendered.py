"""What the data sets share that render their images: ids, the choice of them, and exact truth."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.datasets.scene_rendering import SIDE, Split
from benchmark.datasets.selection import choose
from benchmark.interfaces import BadInput, Item, Truth

_COUNT = {Split.train: 20_000, Split.test: 1_000}  # scenes


class Drawn(NamedTuple):
    """A scene, and what decides its class."""

    pixels: NDArray[np.uint8]  # [224, 224, 3] RGB
    mask: NDArray[np.bool_]  # [224, 224]
    label: int


@dataclass(frozen=True)
class Rendered(ABC):
    """224 x 224 scenes with exact ground truth; a scene depends on its id alone."""

    prefix: ClassVar[str]  # of the ids

    name: str  # the name results are filed under
    split: Split
    limit: int | None  # scenes, 1 or more; None takes all
    seed: int  # picks the subset; no pixel depends on it
    manifest: str | None  # path of a text file with one id per line, instead of the seed

    @abstractmethod
    def draw(self, split: Split, index: int) -> Drawn:
        """Render one scene."""

    def ids(self) -> list[str]:
        """List the chosen scenes, in the order they are worked on.

        Raises:
            BadInput: the limit or the manifest does not fit the split.
        """
        split = self.split
        known = [f"{self.prefix}-{split.value}-{index:05}" for index in range(_COUNT[split])]
        return choose(known, self.limit, self.seed, self.manifest)

    def load(self, image_id: str, size: int) -> Item:
        """Render one scene, of either split.

        Raises:
            BadInput: the size is not 224, or no scene has this id.
        """
        if size != SIDE:
            raise BadInput(
                f"scenes are rendered at {SIDE} x {SIDE} pixels, not {size}; "
                f"choose a model with input size {SIDE}"
            )
        scene = self.draw(*self.place(image_id))
        rows, columns = np.nonzero(scene.mask)
        box = [[columns.min(), rows.min(), columns.max(), rows.max()]]
        truth = Truth(
            boxes=torch.tensor(np.array(box), dtype=torch.float32),
            classes=torch.tensor([scene.label]),
            mask=torch.from_numpy(scene.mask),
        )
        image = torch.from_numpy(scene.pixels).permute(2, 0, 1).float().div(255)
        return Item(image_id, image.contiguous(), scene.label, truth)

    def place(self, image_id: str) -> tuple[Split, int]:
        """Read the split and the number off an id such as ``scene-test-00042``.

        Raises:
            BadInput: no scene has this id.
        """
        found = re.fullmatch(rf"{self.prefix}-(train|test)-(\d{{5}})", image_id)
        if found and int(found[2]) < _COUNT[Split(found[1])]:
            return Split(found[1]), int(found[2])
        raise BadInput(
            f"no scene {image_id}; ids run from {self.prefix}-test-00000 to "
            f"{self.prefix}-test-{_COUNT[Split.test] - 1:05} and likewise for train"
        )

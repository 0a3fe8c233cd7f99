"""The embedded data set: a handwritten digit on a photograph, among pieces of other digits.

Everything is rendered from what scikit-learn ships (``load_digits``, ``load_sample_images``), so
it needs no download.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import torch

from benchmark.datasets.scene_rendering import (
    RENDERER,
    SIDE,
    Split,
    digits,
    render,
    source_of,
    sources_hash,
)
from benchmark.datasets.selection import choose
from benchmark.interfaces import BadInput, Item, Truth

_CLASSES = tuple(f"digit {number}" for number in range(10))

_COUNT = {Split.train: 20_000, Split.test: 1_000}  # scenes


@dataclass(frozen=True)
class Scenes:
    """224 x 224 scenes with exact ground truth; a scene depends on its id alone."""

    name: str  # the name results are filed under
    split: Split
    limit: int | None  # scenes, 1 or more; None takes all
    seed: int  # picks the subset; no pixel depends on it
    manifest: str | None  # path of a text file with one id per line, instead of the seed

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per class, "digit 0" to "digit 9"."""
        return _CLASSES

    def ids(self) -> list[str]:
        """List the chosen scenes, in the order they are worked on.

        Raises:
            BadInput: the limit or the manifest does not fit the split.
        """
        known = [f"scene-{self.split.value}-{index:05}" for index in range(_COUNT[self.split])]
        return choose(known, self.limit, self.seed, self.manifest)

    def digest(self, image_id: str) -> str:
        """Hash what the scene is made of: its id, the renderer and scikit-learn's arrays."""
        return sha256(f"{image_id}:{RENDERER}:{sources_hash()}".encode()).hexdigest()

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
        split, index = _parse(image_id)
        source = source_of(split, index)
        pixels, mask = render(split, index, source)
        rows, columns = np.nonzero(mask)
        box = [[columns.min(), rows.min(), columns.max(), rows.max()]]
        label = int(digits()[1][source])
        truth = Truth(
            boxes=torch.tensor(np.array(box), dtype=torch.float32),
            classes=torch.tensor([label]),
            mask=torch.from_numpy(mask),
        )
        image = torch.from_numpy(pixels).permute(2, 0, 1).float().div(255)
        return Item(image_id, image.contiguous(), label, truth)


def _parse(image_id: str) -> tuple[Split, int]:
    """Read the split and the number off an id such as ``scene-test-00042``."""
    found = re.fullmatch(r"scene-(train|test)-(\d{5})", image_id)
    if found and int(found[2]) < _COUNT[Split(found[1])]:
        return Split(found[1]), int(found[2])
    raise BadInput(
        f"no scene {image_id}; ids run from scene-test-00000 to "
        f"scene-test-{_COUNT[Split.test] - 1:05} and likewise for train"
    )

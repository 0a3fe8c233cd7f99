"""The scenes with a planted cause: a small tag has the hue of the class, whatever the digit.

What a network trained on them answers to is known without any saliency method: swap the tags of
two scenes, and the answers are swapped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import torch
from torch import Tensor

from benchmark.datasets.scene_rendering import RENDERER, SIDE, Split, sources_hash
from benchmark.datasets.selection import choose
from benchmark.datasets.tag_rendering import HUES, TAGGER, Tagged, render_tagged, tag_of
from benchmark.interfaces import BadInput, Item, Truth

_CLASSES = tuple(f"{hue} tag" for hue in HUES)

_COUNT = {Split.train: 20_000, Split.test: 1_000}  # scenes


@dataclass(frozen=True)
class TaggedScenes:
    """224 x 224 scenes whose class is the hue of a tag; the mask is the tag's exact pixels."""

    name: str  # the name results are filed under
    split: Split
    limit: int | None  # scenes, 1 or more; None takes all
    seed: int  # picks the subset; no pixel depends on it
    manifest: str | None  # path of a text file with one id per line, instead of the seed

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per class, "red tag" to "magenta tag"."""
        return _CLASSES

    def ids(self) -> list[str]:
        """List the chosen scenes, in the order they are worked on.

        Raises:
            BadInput: the limit or the manifest does not fit the split.
        """
        known = [f"tagged-{self.split.value}-{index:05}" for index in range(_COUNT[self.split])]
        return choose(known, self.limit, self.seed, self.manifest)

    def digest(self, image_id: str) -> str:
        """Hash what the scene is made of: its id, the renderers and scikit-learn's arrays."""
        made = f"{image_id}:{RENDERER}:{TAGGER}:{sources_hash()}"
        return sha256(made.encode()).hexdigest()

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
        label, scene = _rendered(image_id)
        rows, columns = np.nonzero(scene.tag)
        box = [[columns.min(), rows.min(), columns.max(), rows.max()]]
        truth = Truth(
            boxes=torch.tensor(np.array(box), dtype=torch.float32),
            classes=torch.tensor([label]),
            mask=torch.from_numpy(scene.tag),
        )
        image = torch.from_numpy(scene.pixels).permute(2, 0, 1).float().div(255)
        return Item(image_id, image.contiguous(), label, truth)

    def decoy(self, image_id: str) -> Tensor:
        """Return where the digit is, which draws the eye and decides nothing: [224, 224] bool."""
        return torch.from_numpy(_rendered(image_id)[1].digit)


def _rendered(image_id: str) -> tuple[int, Tagged]:
    """Render the scene of an id such as ``tagged-test-00042``, with its class."""
    found = re.fullmatch(r"tagged-(train|test)-(\d{5})", image_id)
    if found and int(found[2]) < _COUNT[Split(found[1])]:
        split, index = Split(found[1]), int(found[2])
        label = tag_of(split, index)
        return label, render_tagged(split, index, label)
    raise BadInput(
        f"no scene {image_id}; ids run from tagged-test-00000 to "
        f"tagged-test-{_COUNT[Split.test] - 1:05} and likewise for train"
    )

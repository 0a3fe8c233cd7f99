"""The scenes with a planted cause: a small tag has the hue of the class, whatever the digit.

What a network trained on them answers to is known without any saliency method: swap the tags of
two scenes, and the answers are swapped.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import torch
from torch import Tensor

from benchmark.datasets.rendered import Drawn, Rendered
from benchmark.datasets.scene_rendering import RENDERER, Split, sources_hash
from benchmark.datasets.tag_rendering import HUES, TAGGER, render_tagged, tag_of

_CLASSES = tuple(f"{hue} tag" for hue in HUES)


@dataclass(frozen=True)
class TaggedScenes(Rendered):
    """Scenes whose class is the hue of a tag; the mask is the tag's exact pixels."""

    prefix = "tagged"

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per class, "red tag" to "magenta tag"."""
        return _CLASSES

    def digest(self, image_id: str) -> str:
        """Hash what the scene is made of: its id, the renderers and scikit-learn's arrays."""
        made = f"{image_id}:{RENDERER}:{TAGGER}:{sources_hash()}"
        return sha256(made.encode()).hexdigest()

    def draw(self, split: Split, index: int) -> Drawn:
        """Render one scene."""
        label = tag_of(split, index)
        scene = render_tagged(split, index, label)
        return Drawn(scene.pixels, scene.tag, label)

    def decoy(self, image_id: str) -> Tensor:
        """Return where the digit is, which draws the eye and decides nothing: [224, 224] bool."""
        split, index = self.place(image_id)
        return torch.from_numpy(render_tagged(split, index, tag_of(split, index)).digit)

"""The embedded data set: a handwritten digit on a photograph, among pieces of other digits.

Everything is rendered from what scikit-learn ships (``load_digits``, ``load_sample_images``), so
it needs no download.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from benchmark.datasets.rendered import Drawn, Rendered
from benchmark.datasets.scene_rendering import (
    RENDERER,
    Split,
    digits,
    render,
    source_of,
    sources_hash,
)

_CLASSES = tuple(f"digit {number}" for number in range(10))


@dataclass(frozen=True)
class Scenes(Rendered):
    """Scenes whose class is the digit; the mask is the digit's exact pixels."""

    prefix = "scene"

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per class, "digit 0" to "digit 9"."""
        return _CLASSES

    def digest(self, image_id: str) -> str:
        """Hash what the scene is made of: its id, the renderer and scikit-learn's arrays."""
        return sha256(f"{image_id}:{RENDERER}:{sources_hash()}".encode()).hexdigest()

    def draw(self, split: Split, index: int) -> Drawn:
        """Render one scene."""
        source = source_of(split, index)
        return Drawn(*render(split, index, source), int(digits()[1][source]))

"""How a tagged scene is drawn: a scene in muted colours with a small disc in a vivid one on it.

The disc's hue is the class. Which digit is shown, and everything else, come from other random
streams than the hue: no other pixel carries information about the class.
"""

from __future__ import annotations

import colorsys
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.datasets.scene_rendering import SIDE, Bytes, Random, Split, render, source_of

TAGGER = 1  # part of every digest: raise it whenever a rendered pixel can change
HUES = ("red", "yellow", "green", "cyan", "blue", "magenta")  # 60 degrees apart
DIAMETER = (24, 36)  # pixels
_MUTED = 0.35  # share of its saturation that the scene keeps
_GAP = 8  # pixels, at least, between the tag and the digit's box


class Tagged(NamedTuple):
    """A scene and what is where."""

    pixels: Bytes  # [224, 224, 3] RGB
    tag: NDArray[np.bool_]  # [224, 224]; nowhere true without a tag
    digit: NDArray[np.bool_]  # [224, 224], the digit's ink; says nothing about the class


def tag_of(split: Split, index: int) -> int:
    """Draw the scene's class: a place in ``HUES``."""
    return int(_random(split, index, 0).randint(len(HUES)))


def render_tagged(split: Split, index: int, hue: int | None) -> Tagged:
    """Render a scene with a tag of any hue, or without.

    Args:
        split: the split whose digits and photographs are shown.
        index: the scene's number; decides everything but the hue.
        hue: a place in ``HUES``; None leaves the tag away.
    """
    scene, digit = render(split, index, source_of(split, index))
    grey = scene @ np.array([0.299, 0.587, 0.114])
    pixels = np.rint(grey[..., None] + _MUTED * (scene - grey[..., None])).astype(np.uint8)
    random = _random(split, index, 1)
    tag = _place(random, digit)
    shift, saturation, value = random.uniform((-8 / 360, 0.85, 0.8), (8 / 360, 1, 1))
    if hue is None:
        return Tagged(pixels, np.zeros_like(tag), digit)
    color = colorsys.hsv_to_rgb((hue / len(HUES) + shift) % 1, saturation, value)
    pixels[tag] = np.rint(np.array(color) * 255).astype(np.uint8)
    return Tagged(pixels, tag, digit)


def _place(random: Random, digit: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Draw a disc [224, 224] away from the digit's box."""
    rows, columns = np.nonzero(digit)
    taken = np.zeros_like(digit)
    top, left = max(0, rows.min() - _GAP), max(0, columns.min() - _GAP)
    taken[top : rows.max() + 1 + _GAP, left : columns.max() + 1 + _GAP] = True
    size = random.randint(DIAMETER[0], DIAMETER[1] + 1)
    while True:  # a digit's box of 112 pixels and its gap leave room on some side
        top, left = random.randint(SIDE - size + 1, size=2)
        if not taken[top : top + size, left : left + size].any():
            break
    middle = (size - 1) / 2
    y, x = np.ogrid[:SIDE, :SIDE]
    disc: NDArray[np.bool_] = (y - top - middle) ** 2 + (x - left - middle) ** 2 <= (size / 2) ** 2
    return disc


def _random(split: Split, index: int, stream: int) -> Random:
    entropy = [list(Split).index(split), index, 2 + stream]  # 0 and 1 are the scene's own
    return Random(np.random.MT19937(np.random.SeedSequence(entropy)))

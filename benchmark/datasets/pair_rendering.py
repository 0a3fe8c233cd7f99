"""How a scene of two objects is drawn: two digits of different classes on one photograph.

Drawn as the scenes are (``scene_rendering``), by the same pens and among pieces of other digits;
the two digits, and everything else, come from random streams of their own.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# The scenes' own brushes. They stay private there, since any edit to that module would give every
# result of the scenes a new key.
from benchmark.datasets.scene_rendering import (
    _GAP,
    SIDE,
    Bytes,
    Random,
    Split,
    _background,
    _draw_color,
    _draw_pen,
    _ink,
    _occupy,
    _paint,
    _piece,
    _scatter,
    digit_pool,
    digits,
)

PAIRER = 1  # part of every digest: raise it whenever a rendered pixel can change
DIGIT = (66, 96)  # pixels, shortest and longest chosen height or width: two fit side by side


class Pair(NamedTuple):
    """A scene and what is where."""

    pixels: Bytes  # [224, 224, 3] RGB
    masks: tuple[NDArray[np.bool_], NDArray[np.bool_]]  # [224, 224] each, the ink; disjoint


def sources_of(split: Split, index: int) -> tuple[int, int]:
    """Draw which handwritten digits a scene shows, of different classes: rows of ``load_digits``.

    Which of the two comes first is by chance.
    """
    random, pool, labels = _random(split, index, 1), digit_pool(split), digits()[1]
    first = pool[random.randint(len(pool))]
    while True:
        second = pool[random.randint(len(pool))]
        if labels[second] != labels[first]:
            return first, second


def render_pair(split: Split, index: int, sources: tuple[int | None, int | None]) -> Pair:
    """Render a scene around any two handwritten digits; None leaves a place empty.

    Args:
        split: the split whose photographs and pieces are used.
        index: the scene's number; decides everything but the digits.
        sources: rows of the digits in ``load_digits``.
    """
    random = _random(split, index, 0)
    canvas, pen = _background(random, split), _draw_pen(random)
    squares = _places(random)
    free = np.ones((SIDE, SIDE), dtype=bool)
    for top, left, size in squares:
        _occupy(free, top, left, size, size)
    colors = [
        _draw_color(random, canvas[top : top + size, left : left + size])
        for top, left, size in squares
    ]
    for _ in range(random.randint(4, 9)):
        _scatter(random, canvas, free, _piece(random, split, pen), colors[random.randint(2)])
    masks = np.zeros((2, SIDE, SIDE), dtype=bool)
    for mask, (top, left, size), color, source in zip(masks, squares, colors, sources, strict=True):
        if source is not None:
            ink = _ink(source, size, pen)
            height, width = ink.shape
            row, column = top + (size - height) // 2, left + (size - width) // 2
            _paint(canvas, ink, row, column, color)
            mask[row : row + height, column : column + width] = ink > 0
    return Pair(np.rint(canvas * 255).astype(np.uint8), (masks[0], masks[1]))


def _places(random: Random) -> list[tuple[int, int, int]]:
    """Draw two squares (top, left, size) that leave the gap of pieces between them."""
    while True:
        sizes = random.randint(DIGIT[0], DIGIT[1] + 1, size=2)
        places = [(*random.randint(SIDE - size + 1, size=2), size) for size in sizes]
        (top, left, size), (other_top, other_left, other) = places
        apart = max(
            other_top - top - size,
            top - other_top - other,
            other_left - left - size,
            left - other_left - other,
        )
        if apart >= _GAP:
            return [(int(a), int(b), int(c)) for a, b, c in places]


def _random(split: Split, index: int, stream: int) -> Random:
    entropy = [list(Split).index(split), index, 4 + stream]  # below are those of other scenes
    return Random(np.random.MT19937(np.random.SeedSequence(entropy)))

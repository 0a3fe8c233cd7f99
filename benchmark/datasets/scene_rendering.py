"""How a scene is drawn: a digit on a photograph, among pieces of other digits.

A scene's digit and everything else in it come from two separate random streams: what lies outside
the digit's ink carries no information about its class.
"""

from __future__ import annotations

from enum import Enum
from functools import cache
from hashlib import sha256
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

SIDE = 224  # pixels; the only size that is rendered
RENDERER = 1  # part of every digest: raise it whenever a rendered pixel can change
DIGIT = (66, 110)  # pixels, shortest and longest chosen height or width; 64-112 after rounding
_TEST_DIGITS = 500  # handwritten digits that only test scenes show
_SOURCE = 12  # pixels of the enlarged drawing per pixel of the 8 x 8 original
_GAP = 5  # pixels kept free around the digit's square and around each piece

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]
Random = np.random.RandomState  # its streams are frozen for good, those of Generator are not


class Split(Enum):
    """Which digits and which part of each photograph the scenes show; they share neither."""

    train = "train"
    test = "test"


# Columns of the two photographs; each cut goes through the middle of the pagoda or the flower.
_COLUMNS = {Split.train: ((208, 640), (310, 640)), Split.test: ((0, 208), (0, 310))}


def source_of(split: Split, index: int) -> int:
    """Draw which handwritten digit the scene shows: its row in scikit-learn's ``load_digits``."""
    pool = digit_pool(split)
    return pool[_random(split, index, 1).randint(len(pool))]


def render(split: Split, index: int, source: int | None) -> tuple[Bytes, NDArray[np.bool_]]:
    """Render a scene around any handwritten digit, or around none.

    Args:
        split: the split whose photographs and pieces are used.
        index: the scene's number; decides everything but the digit.
        source: row of the digit in ``load_digits``; None leaves its place empty.

    Returns:
        RGB pixels [224, 224, 3], and the mask [224, 224] of those that the ink changed.
    """
    random = _random(split, index, 0)
    canvas = _background(random, split)
    size = random.randint(DIGIT[0], DIGIT[1] + 1)
    pen = _draw_pen(random)
    top, left = random.randint(SIDE - size + 1, size=2)
    # The whole square is kept free, not only the ink: the pieces must not tell a 1 by its width.
    free = np.ones((SIDE, SIDE), dtype=bool)
    _occupy(free, top, left, size, size)
    square = canvas[top : top + size, left : left + size]
    color = _draw_color(random, square)
    for _ in range(random.randint(5, 12)):
        _scatter(random, canvas, free, _piece(random, split, pen), color)
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    if source is not None:
        ink = _ink(source, size, pen)
        height, width = ink.shape
        top, left = top + (size - height) // 2, left + (size - width) // 2
        _paint(canvas, ink, top, left, color)
        mask[top : top + height, left : left + width] = ink > 0
    return np.rint(canvas * 255).astype(np.uint8), mask


class _Pen(NamedTuple):
    """How a digit is drawn: two shears that slant and turn it, and how wide the stroke is."""

    shear_x: float
    shear_y: float
    level: float  # grey in 0-255 from which the enlarged digit is inked; lower is bolder


def _draw_pen(random: Random) -> _Pen:
    shear_x, shear_y = random.uniform(-0.2, 0.2), random.uniform(-0.12, 0.12)
    return _Pen(shear_x, shear_y, random.uniform(90, 150))


def _ink(source: int, size: int, pen: _Pen) -> Floats:
    """Draw a digit, its longer side ``size`` pixels; [h, w], 1 is full ink and 0 none.

    Pillow resizes 8-bit pictures in integers, so the drawing is the same on every machine.
    """
    grey = Image.fromarray(np.pad(digits()[0][source] * 15, 2).astype(np.uint8))
    side = 12 * _SOURCE
    shears = (1, pen.shear_x, -pen.shear_x * side / 2, pen.shear_y, 1, -pen.shear_y * side / 2)
    drawn = grey.resize((side, side), Image.Resampling.BICUBIC).transform(
        (side, side), Image.Transform.AFFINE, shears, Image.Resampling.BILINEAR
    )
    rows, columns = np.nonzero(np.asarray(drawn) >= pen.level)
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    width, height = box[2] - box[0], box[3] - box[1]
    scale = size / max(width, height)
    shape = (max(1, round(width * scale)), max(1, round(height * scale)))
    enlarged = np.asarray(drawn.resize(shape, Image.Resampling.BICUBIC, box), dtype=np.float64)
    ink = np.clip((enlarged - pen.level) / 24 + 0.5, 0, 1)
    return np.where(ink >= 0.25, ink, 0)  # fainter edges would be in the mask yet not be seen


def _piece(random: Random, split: Split, pen: _Pen) -> Floats:
    """Cut a piece out of some digit of the split and turn it; ink [h, w] as of ``_ink``."""
    pool = digit_pool(split)
    size = random.randint(DIGIT[0], DIGIT[1] + 1)
    ink = _ink(pool[random.randint(len(pool))], size, pen)
    side = round(size * random.uniform(0.3, 0.42))  # too small for a whole loop of an 8
    for _ in range(12):  # a piece shows a stroke: neither empty nor a blot
        top, left = (random.randint(max(1, extent - side)) for extent in ink.shape)
        piece = ink[top : top + side, left : left + side]
        if 0.25 <= piece.mean() <= 0.65:
            break
    piece = np.rot90(piece, random.randint(4))
    return piece[:, ::-1] if random.randint(2) else piece


def _scatter(
    random: Random, canvas: Floats, free: NDArray[np.bool_], piece: Floats, color: Floats
) -> None:
    """Paint a piece in this color or another, where there is room; else paint nothing."""
    height, width = piece.shape
    own_color = random.uniform() < 0.5
    for _ in range(20):
        top, left = random.randint(SIDE - height + 1), random.randint(SIDE - width + 1)
        if free[top : top + height, left : left + width].all():
            under = canvas[top : top + height, left : left + width]
            _paint(canvas, piece, top, left, _draw_color(random, under) if own_color else color)
            _occupy(free, top, left, height, width)
            return


def _occupy(free: NDArray[np.bool_], top: int, left: int, height: int, width: int) -> None:
    free[max(0, top - _GAP) : top + height + _GAP, max(0, left - _GAP) : left + width + _GAP] = (
        False
    )


def _paint(canvas: Floats, ink: Floats, top: int, left: int, color: Floats) -> None:
    under = canvas[top : top + ink.shape[0], left : left + ink.shape[1]]
    under += ink[:, :, None] * (color - under)


def _draw_color(random: Random, under: Floats) -> Floats:
    """Draw an RGB colour that stands out in brightness from the pixels [h, w, 3] under it."""
    brightness = np.array([0.299, 0.587, 0.114])
    below = float((under.mean((0, 1)) * brightness).sum())
    while True:
        color: Floats = random.uniform(0, 1, 3)
        if abs(float((color * brightness).sum()) - below) >= 0.33:
            return color


def _background(random: Random, split: Split) -> Floats:
    """Crop, enlarge, flip and tint a photograph; RGB [224, 224, 3] in [0, 1]."""
    chosen = random.randint(2)
    photograph, (first, end) = _photographs()[chosen], _COLUMNS[split][chosen]
    side = random.randint(120, 209)
    left, top = random.randint(first, end - side + 1), random.randint(photograph.height - side + 1)
    box = (left, top, left + side, top + side)
    crop = np.asarray(photograph.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box)) / 255.0
    crop = crop[:, ::-1] if random.randint(2) else crop
    crop = crop[::-1] if random.randint(2) else crop
    mean = crop.mean((0, 1))
    contrast, tint = random.uniform(0.5, 0.95), random.uniform(0.75, 1.2, 3)
    jittered: Floats = np.clip(((crop - mean) * contrast + mean) * tint, 0, 1)
    return jittered


@cache
def digit_pool(split: Split) -> tuple[int, ...]:
    """The rows of ``load_digits`` that the split may show.

    A digit whose five nearest neighbours do not all bear its label is shown by neither: at 8 x 8
    pixels some are not legible, and a scene's label must not be in doubt.
    """
    images, labels = digits()
    flat = images.reshape(len(images), -1)
    squares = (flat**2).sum(1)
    distances = squares[:, None] + squares[None] - 2 * flat @ flat.T  # integers: no rounding
    np.fill_diagonal(distances, np.iinfo(distances.dtype).max)
    nearest = distances.argsort(1, kind="stable")[:, :5]
    legible = np.flatnonzero((labels[nearest] == labels[:, None]).all(1))
    shuffled = [int(row) for row in Random(0).permutation(legible)]
    return tuple(shuffled[:_TEST_DIGITS] if split is Split.test else shuffled[_TEST_DIGITS:])


@cache
def digits() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Grey values [1797, 8, 8] in 0-16 and labels [1797]."""
    bunch = load_digits()
    return bunch.images.astype(np.int64), bunch.target.astype(np.int64)


@cache
def _photographs() -> tuple[Image.Image, ...]:
    return tuple(Image.fromarray(pixels) for pixels in load_sample_images().images)


@cache
def sources_hash() -> str:
    """Hash everything that is rendered from, so that a changed scikit-learn is noticed."""
    images, labels = digits()
    photographs = [np.asarray(photograph).tobytes() for photograph in _photographs()]
    return sha256(b"".join([images.tobytes(), labels.tobytes(), *photographs])).hexdigest()


def _random(split: Split, index: int, stream: int) -> Random:
    entropy = [list(Split).index(split), index, stream]
    return Random(np.random.MT19937(np.random.SeedSequence(entropy)))

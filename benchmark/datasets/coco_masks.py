"""Where COCO's objects are, drawn as pixels.

Its own package is not needed for it: polygons are drawn by scikit-image, and the run lengths of
crowds are a line of numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.draw import polygon2mask

Segmentation = list[NDArray[np.float64]] | NDArray[np.int64]  # polygons [N, 2] of (x, y); or runs


def read_segmentation(given: Any, width: int, height: int) -> Segmentation:
    """Check and pack one object's ``segmentation``.

    Args:
        given: polygons as lists x1, y1, x2, y2, ...; or ``counts`` of pixels outside, inside,
            outside, ... down one column after the other, with the ``size`` they are of.
        width: of the image, pixels.
        height: of the image, pixels.

    Raises:
        ValueError: it is neither, or of an image of another size.
    """
    if isinstance(given, list):
        polygons = [np.asarray(each, dtype=np.float64) for each in given]
        if any(each.ndim != 1 or not len(each) or len(each) % 2 for each in polygons):
            raise ValueError("a polygon is a list of corners, each x and y")
        if not all(np.isfinite(each).all() for each in polygons):
            raise ValueError("a polygon's corner is not a finite number")
        return [each.reshape(-1, 2) for each in polygons]
    counts = given.get("counts") if isinstance(given, dict) else None
    if not isinstance(counts, list):
        raise ValueError("a segmentation is a list of polygons, or counts that are a list")
    runs = np.asarray(counts, dtype=np.int64)
    if given.get("size") != [height, width] or runs.sum() != width * height or runs.min() < 0:
        raise ValueError(f"the counts of a segmentation are not of {width} x {height} pixels")
    return runs


def draw(objects: Sequence[Segmentation], width: int, height: int) -> NDArray[np.bool_]:
    """Draw the union of objects, [h, w]: a pixel is inside where its middle is."""
    mask = np.zeros((height, width), dtype=bool)
    for each in objects:
        if isinstance(each, list):
            for polygon in each:
                # COCO counts from an image's corner, scikit-image from its first pixel's middle.
                corners = polygon[:, ::-1] - 0.5
                mask |= polygon2mask((height, width), corners)  # type: ignore[no-untyped-call]  # skimage's
        else:
            inside = np.arange(len(each)) % 2 == 1
            mask |= np.repeat(inside, each).reshape(width, height).T
    return mask

"""Video files out of pictures."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmark.errors import BadInput

FILMS = (".mp4", ".gif")
PER_SECOND = 20


def write_film(pictures: Iterable[NDArray[np.uint8]], file: Path) -> None:
    """Write pictures [H, W, 3], one a frame, as MPEG-4 or as an endless GIF, by the file's suffix.

    Raises:
        BadInput: there is no picture, or OpenCV cannot write MPEG-4 here.
    """
    frames = iter(pictures)
    first = next(frames, None)
    if first is None:
        raise BadInput(f"there is no picture to write to {file}")
    if file.suffix == ".gif":
        # One palette for all, undithered and with a place left for what stays the same from frame
        # to frame, which then takes no room. An octree keeps a curve's few pixels in their colour.
        palette = Image.fromarray(first).quantize(255, Image.Quantize.FASTOCTREE)
        start, *rest = (
            Image.fromarray(each).quantize(palette=palette, dither=Image.Dither.NONE)
            for each in chain([first], frames)
        )
        start.save(file, save_all=True, append_images=rest, duration=1000 // PER_SECOND, loop=0)
        return
    height, width, _ = first.shape
    codec = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(file), codec, PER_SECOND, (width, height))
    if not writer.isOpened():
        raise BadInput(f"OpenCV cannot write {file}: write a .gif instead")
    for picture in chain([first], frames):
        writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    writer.release()

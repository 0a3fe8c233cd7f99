"""What data sets of photographs share: reading a file, and making a square of it."""

from __future__ import annotations

import io
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from benchmark.interfaces import UnreadableImage


class Preprocess(Enum):
    """How an image becomes ``size`` x ``size`` pixels; every resizing is bilinear, antialiased."""

    squash = "squash"  # stretched to the square, as in the I-GOS paper
    center_crop = "center_crop"  # shorter side to size * 256/224, then the central square
    crop = "crop"  # the central square of the image as it is


class Square(NamedTuple):
    """What a network sees of an image, and where it lies in the original."""

    pixels: Tensor  # [3, H, W] float32, RGB in [0, 1]
    scale: tuple[float, float]  # original pixels per network pixel, (x, y)
    offset: tuple[float, float]  # original position of the network's corner, (x, y)


def read_bytes(path: Path) -> bytes:
    """Read a file.

    Raises:
        UnreadableImage: it is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableImage(f"{path.name}: {error.strerror}") from error


def decode(path: Path) -> Image.Image:
    """Decode a JPEG or PNG (ImageNet has one under a JPEG's name) to RGB, EXIF ignored.

    Raises:
        UnreadableImage: the file is missing, empty, damaged or neither.
    """
    data = read_bytes(path)
    if not data:
        raise UnreadableImage(f"{path.name}: the file is empty")
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            return image.convert("RGB")
    except UnidentifiedImageError as error:
        raise UnreadableImage(f"{path.name}: neither a JPEG nor a PNG image") from error
    except Exception as error:  # on damaged bytes Pillow raises anything, down to SyntaxError
        raise UnreadableImage(f"{path.name}: {error}") from error


def squared(image: Image.Image, size: int, preprocess: Preprocess, name: str) -> Square:
    """Make ``size`` x ``size`` pixels of an image; the name is for the message.

    Raises:
        UnreadableImage: the image is smaller than that under ``crop``.
    """
    resized, (left, top) = _geometry(image.size, size, preprocess)
    if min(resized) < size:
        raise UnreadableImage(
            f"{name}: {image.width} x {image.height} pixels are too few to crop {size} x "
            f"{size} without resizing"
        )
    square = image.resize(resized, Image.Resampling.BILINEAR)
    square = square.crop((left, top, left + size, top + size))
    scale = (image.width / resized[0], image.height / resized[1])
    pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous() / 255
    return Square(pixels, scale, (left * scale[0], top * scale[1]))


def _geometry(
    original: tuple[int, int], size: int, preprocess: Preprocess
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Plan the resized image (width, height) and the square's corner (left, top) in it.

    Rounding is torchvision's: the longer side down, the corner to the nearest even.
    """
    if preprocess is Preprocess.squash:
        return (size, size), (0, 0)
    width, height = original
    if preprocess is Preprocess.center_crop:
        shorter = round(size * 256 / 224)
        least = min(original)
        width, height = int(shorter * width / least), int(shorter * height / least)
    return (width, height), (round((width - size) / 2), round((height - size) / 2))

"""A folder of a user's own images, about which nothing is known."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from benchmark.datasets.photographs import decode, read_bytes, squared
from benchmark.datasets.selection import OwnCopy, choose
from benchmark.interfaces import BadInput, Item, Truth, UnreadableImage

SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Folder(OwnCopy):
    """Every image below a folder, by its path there; without labels and boxes.

    So ``target=label`` is refused, and the pointing game applies to none. Images are turned upright
    as their EXIF orientation says, as cameras and phones mean it. Transparency is dropped, of an
    animation the first frame is taken, and greys of 16 bits become the nearest of 8.
    """

    missing = "dataset=folder needs dataset.root=..., a folder of images"

    classes: str | None  # file with a class name per line, as the logits; None: unnamed

    @cached_property
    def files(self) -> Mapping[str, Path]:
        """Every image by its id; BadInput where there is none."""
        root = Path(self.root or "").expanduser()
        if not root.is_dir():
            raise BadInput(f"dataset.root={root} is no folder")
        named = (each for each in sorted(root.rglob("*")) if each.suffix.lower() in SUFFIXES)
        files = [each for each in named if not each.is_dir()]
        if not files:
            raise BadInput(f"dataset.root={root} holds no image ({', '.join(SUFFIXES)})")
        return {each.relative_to(root).as_posix(): each for each in files}

    @cached_property
    def class_names(self) -> Sequence[str]:
        """The names of ``classes``; none where they are not given."""
        if self.classes is None:
            return []
        try:
            text = Path(self.classes).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(
                f"dataset.classes={self.classes} cannot be read: give a text file with one class "
                "name per line"
            ) from error
        return text.splitlines()

    def ids(self) -> list[str]:
        """List the chosen images by their paths below the folder.

        Raises:
            BadInput: there is no image, or the choice cannot be met.
        """
        return choose(list(self.files), self.limit, self.seed, self.manifest)

    def digest(self, image_id: str) -> str:
        """Hash the file's bytes to 16 hex digits.

        Raises:
            UnreadableImage: the file cannot be read.
        """
        return hashlib.sha256(read_bytes(self._path(image_id))).hexdigest()[:16]

    def load(self, image_id: str, size: int) -> Item:
        """Decode one image at ``size`` x ``size`` pixels.

        Raises:
            UnreadableImage: the file is missing, truncated or not an image, has more pixels than
                Pillow's limit against decompression bombs, or is smaller than ``size`` under
                ``crop``.
        """
        path = self._path(image_id)
        upright = _upright(path)
        square = squared(upright, size, self.preprocess, path.name)
        nowhere = Truth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
        return Item(
            id=image_id,
            image=square.pixels,
            label=-1,
            truth=nowhere._replace(scale=square.scale, offset=square.offset),
        )

    def _path(self, image_id: str) -> Path:
        if image_id not in self.files:
            raise UnreadableImage(f"{image_id}: no such image in {self.root}")
        return self.files[image_id]


def _upright(path: Path) -> Image.Image:
    """Decode an image to RGB, turned as its EXIF orientation says."""
    try:
        with Image.open(io.BytesIO(read_bytes(path)), formats=("JPEG", "PNG")) as image:
            if image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf):
                raise UnreadableImage(
                    f"{path.name}: {image.width} x {image.height} pixels are more than "
                    f"{Image.MAX_IMAGE_PIXELS}: a decompression bomb, or to be made smaller first"
                )
            if image.mode.startswith("I"):  # which Pillow would cut off at 255, so almost at black
                greys = np.asarray(ImageOps.exif_transpose(image), dtype=np.float64)
                return Image.fromarray(np.rint(greys / 257).astype(np.uint8)).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        pass  # what is wrong is said where all images are decoded
    return ImageOps.exif_transpose(decode(path))

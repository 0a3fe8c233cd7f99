"""ImageNet's validation images (ILSVRC2012; Russakovsky et al., IJCV 2015), from a user's copy."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import torch
from torch import Tensor

from benchmark.datasets.imagenet_layouts import Layout, find_layout
from benchmark.datasets.photographs import decode, read_bytes, squared
from benchmark.datasets.selection import OwnCopy, choose
from benchmark.interfaces import BadInput, Item, Truth, UnreadableImage

XML_FOLDERS = (
    "ILSVRC/Annotations/CLS-LOC/val",
    "Annotations/CLS-LOC/val",
    "bbox/val",
    "bbox",
    "ILSVRC2012_bbox_val_v3/val",
    "ILSVRC2012_bbox_val_v3",
    "val",
)


@dataclass(frozen=True)
class ImageNet(OwnCopy):
    """Validation images in Kaggle's layout or the original's, found by looking.

    Every image has a label, or ``ids`` raises; boxes may be absent, for some images or for all,
    which leaves ``Truth.boxes`` empty. An image's label is its class folder or the first class
    in Kaggle's file; each box has its own class. EXIF orientation is ignored, as is the practice
    with ImageNet (and in torchvision): its boxes were drawn on the unrotated pixels.
    """

    missing = (
        "the folder with ImageNet's validation images is not known: set dataset.root or the "
        "environment variable IMAGENET_ROOT"
    )

    @cached_property
    def layout(self) -> Layout:
        """What lies where; BadInput where the data is not there or not usable."""
        try:
            return find_layout(Path(self.root or "").expanduser())
        except OSError as error:
            raise BadInput(f"cannot list dataset.root: {error}") from error

    @property
    def class_names(self) -> Sequence[str]:
        """ImageNet's 1000 class names in torchvision's order, n01440764 first."""
        return self.layout.names

    def ids(self) -> list[str]:
        """List the chosen images by their file names without the suffix.

        Raises:
            BadInput: the data is in neither layout, or the choice cannot be met.
        """
        return choose(list(self.layout.files), self.limit, self.seed, self.manifest)

    def digest(self, image_id: str) -> str:
        """Hash the file's bytes, the label and the boxes as annotated to 16 hex digits.

        Raises:
            UnreadableImage: the file cannot be read, or its annotation is damaged.
        """
        state = hashlib.sha256(read_bytes(self._path(image_id)))
        annotation = _annotation(self.layout, image_id)
        state.update(repr((self.layout.labels[image_id], *annotation)).encode())
        return state.hexdigest()[:16]

    def load(self, image_id: str, size: int) -> Item:
        """Decode one image at ``size`` x ``size`` pixels; boxes stay in the original's pixels.

        Raises:
            UnreadableImage: the file is missing, truncated or not an image, is smaller than
                ``size`` under ``crop``, or its annotation is damaged.
        """
        path = self._path(image_id)
        image = decode(path)
        boxes, classes = _boxes(_annotation(self.layout, image_id), image.size, path.name)
        square = squared(image, size, self.preprocess, path.name)
        return Item(
            id=image_id,
            image=square.pixels,
            label=self.layout.labels[image_id],
            truth=Truth(boxes, classes, square.scale, square.offset),
        )

    def _path(self, image_id: str) -> Path:
        if image_id not in self.layout.files:
            raise UnreadableImage(f"{image_id}: no such image in {self.root}")
        return Path(self.layout.files[image_id])


class _Annotation(NamedTuple):
    classes: list[int]  # [N]
    corners: list[list[float]]  # [N][4]; xmin, ymin, xmax, ymax in pixels
    size: tuple[int, int] | None  # the image these pixels are of; None: the image itself


def _annotation(layout: Layout, image_id: str) -> _Annotation:
    """Read an image's boxes from Kaggle's row, else from its XML file, else find none."""
    if image_id in layout.solutions:
        words, size = layout.solutions[image_id].split(), None
    else:
        beside = Path(layout.files[image_id]).parent
        folders = [*(layout.root / place for place in XML_FOLDERS), beside]
        paths = (folder / f"{image_id}.xml" for folder in folders)
        path = next(filter(Path.is_file, paths), None)
        words, size = _xml(path) if path else ([], None)
    try:
        classes = [layout.classes[wnid] for wnid in words[::5]]
        values = [[float(word) for word in words[k + 1 : k + 5]] for k in range(0, len(words), 5)]
    except (KeyError, ValueError) as error:
        raise UnreadableImage(f"{image_id}: {error} in its boxes is not understood") from error
    for box in values:
        if len(box) != 4 or not all(map(math.isfinite, box)):
            raise UnreadableImage(f"{image_id}: a box needs four finite numbers, not {box}")
        if box[2] < box[0] or box[3] < box[1]:
            # Swapping them would hide another convention, such as width and height.
            raise UnreadableImage(f"{image_id}: box {box} has its maximum below its minimum")
    return _Annotation(classes, values, size)


def _xml(path: Path) -> tuple[list[str], tuple[int, int] | None]:
    """Read a Pascal VOC file to Kaggle's words, and the image size it states (None if 0)."""
    try:
        tree = ElementTree.fromstring(read_bytes(path))
        width, height = (int(tree.findtext(f"size/{side}", "0")) for side in ("width", "height"))
        keys = ("name", *(f"bndbox/{corner}" for corner in ("xmin", "ymin", "xmax", "ymax")))
        words = [entry.findtext(key, "") for entry in tree.iter("object") for key in keys]
    except (ElementTree.ParseError, ValueError) as error:
        raise UnreadableImage(f"{path.name}: {error}") from error
    return [word.strip() for word in words], (width, height) if width and height else None


def _boxes(
    annotation: _Annotation, actual: tuple[int, int], name: str
) -> tuple[Tensor, Tensor]:  # [N, 4], [N]
    """Turn the annotation to boxes in pixels of the actual image (width, height).

    Where an XML file states another size than the image has, the boxes are scaled with it: the
    four are pixels inside the object, so the object ends one pixel after the maximum.
    """
    boxes = torch.tensor(annotation.corners, dtype=torch.float32).reshape(-1, 4)
    if annotation.size is not None and annotation.size != actual:
        factors = torch.tensor(actual) / torch.tensor(annotation.size)
        boxes = torch.cat([boxes[:, :2] * factors, (boxes[:, 2:] + 1) * factors - 1], dim=1)
    if bool(((boxes[:, :2] > torch.tensor(actual)) | (boxes[:, 2:] < 0)).any()):
        raise UnreadableImage(
            f"{name}: a box lies outside its {actual[0]} x {actual[1]} pixels, so that its "
            "annotation is for another size of the image"
        )
    return boxes, torch.tensor(annotation.classes, dtype=torch.int64)

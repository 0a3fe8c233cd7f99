"""COCO's validation images of 2014 (Lin et al., ECCV 2014), each class of each by itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmark.datasets import class_names
from benchmark.datasets.coco_masks import Segmentation, draw, read_segmentation
from benchmark.datasets.photographs import read_bytes
from benchmark.datasets.units import SMALL, Units, below
from benchmark.interfaces import BadInput, Item, Truth

IMAGES, ANNOTATIONS = "val2014", "annotations/instances_val2014.json"
# Category numbers run from 1 to 90; these were never given out.
CATEGORIES = sorted(set(range(1, 91)) - {12, 26, 29, 30, 45, 66, 68, 69, 71, 83})


class _Unit(NamedTuple):
    """One class of one image."""

    file: str
    size: tuple[int, int]  # width, height as annotated
    label: int
    objects: list[Segmentation]
    alone: bool  # no other class is in the image


@dataclass(frozen=True)
class COCO(Units[_Unit]):
    """Units ``COCO_val2014_000000000042:dog``, one for each class of each image.

    As TorchRay does, every annotated object counts, crowds too, and the truth of a class is the
    union of its objects' pixels. A unit belongs to the pointing game's difficult subset where that
    is less than a quarter of the image and another class is present. EXIF orientation is ignored.

    Source: Zhang et al. (2016), section 4.1.
    """

    missing = (
        "the folder with COCO's val2014 and annotations is not known: set dataset.root or the "
        "environment variable COCO_ROOT"
    )

    @property
    def class_names(self) -> Sequence[str]:
        """The eighty classes, in the order of COCO's category numbers."""
        return class_names.COCO

    @cached_property
    def folder(self) -> Path:
        """The folder of the data; BadInput where it is not there."""
        root = Path(self.root or "").expanduser()
        for part, is_there in ((IMAGES, Path.is_dir), (ANNOTATIONS, Path.is_file)):
            if not is_there(root / part):
                raise BadInput(
                    f"dataset.root={root} has no {part}: unpack val2014.zip and "
                    "annotations_trainval2014.zip there, or name the folder where they are"
                )
        return root

    @cached_property
    def units(self) -> dict[str, _Unit]:
        """Every unit by its id; BadInput where the annotations are damaged."""
        file = self.folder / ANNOTATIONS
        try:
            return _units(json.loads(file.read_bytes()))
        except OSError as error:
            raise BadInput(f"{file} cannot be read: {error.strerror}") from error
        except (KeyError, TypeError, ValueError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else error
            raise BadInput(f"{file} is not COCO's instances: {reason}") from error

    def digest(self, image_id: str) -> str:
        """Hash the image's file and what is annotated of this class to 16 hex digits.

        Raises:
            UnreadableImage: the file cannot be read.
        """
        unit = self.unit(image_id)
        state = hashlib.sha256(read_bytes(below(self.folder / IMAGES, unit.file)))
        state.update(repr((unit.size, unit.label, unit.alone)).encode())
        for each in unit.objects:
            parts = each if isinstance(each, list) else [each]
            for part in parts:
                state.update(f"{part.dtype}{part.shape}".encode() + part.tobytes())
        return state.hexdigest()[:16]

    def load(self, image_id: str, size: int) -> Item:
        """Decode one unit's image at ``size`` x ``size`` pixels, with the mask of its class.

        Raises:
            UnreadableImage: the file is missing, damaged, of another size than annotated, or
                smaller than ``size`` under ``crop``.
        """
        unit = self.unit(image_id)
        square = self.square(below(self.folder / IMAGES, unit.file), unit, size)
        mask = draw(unit.objects, *unit.size)
        truth = Truth(
            boxes=torch.zeros(0, 4),
            classes=torch.zeros(0, dtype=torch.int64),
            scale=square.scale,
            offset=square.offset,
            mask=torch.from_numpy(mask),
            difficult=not unit.alone and int(mask.sum()) < SMALL * mask.size,
        )
        return Item(image_id, square.pixels, unit.label, truth)


def _units(content: Any) -> dict[str, _Unit]:
    """Group the annotated objects by image and class, in the order of the images in the file."""
    images = {image["id"]: image for image in content["images"]}
    found: dict[int, dict[int, list[Segmentation]]] = {number: {} for number in images}
    for each in content["annotations"]:
        number, category = each["image_id"], each["category_id"]
        if number not in images or category not in CATEGORIES:
            raise ValueError(f"object {each['id']} is of no image or of no category")
        image = images[number]
        try:
            packed = read_segmentation(each["segmentation"], image["width"], image["height"])
        except ValueError as error:
            raise ValueError(f"object {each['id']}: {error}") from error
        found[number].setdefault(CATEGORIES.index(category), []).append(packed)
    units = {}
    for number, classes in found.items():
        image = images[number]
        file, size = str(image["file_name"]), (int(image["width"]), int(image["height"]))
        for label in sorted(classes):
            name = f"{Path(file).stem}:{class_names.COCO[label]}"
            units[name] = _Unit(file, size, label, classes[label], alone=len(classes) == 1)
    return units

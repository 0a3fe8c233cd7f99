"""PASCAL VOC2007's test images (Everingham et al., IJCV 2010), each class of each by itself."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
import torch

from benchmark.datasets import class_names
from benchmark.datasets.photographs import read_bytes
from benchmark.datasets.units import SMALL, Units, below
from benchmark.interfaces import BadInput, Item, Truth

LIST = "ImageSets/Main/test.txt"
CORNERS = ("xmin", "ymin", "xmax", "ymax")


class _Object(NamedTuple):
    name: str
    box: tuple[float, ...]  # xmin, ymin, xmax, ymax in pixels, counted from 0
    difficult: bool  # to recognise, says the annotator


class _Unit(NamedTuple):
    """One class of one image."""

    image: str
    size: tuple[int, int]  # width, height as annotated
    label: int
    boxes: list[tuple[float, ...]]  # of all its objects
    difficult: bool  # in the pointing game's sense


@dataclass(frozen=True)
class VOC(Units[_Unit]):
    """Units ``000042:cat``, one for each class of each test image.

    As TorchRay does, a class counts as present where one of its objects at least is not marked
    difficult by the annotators; then all its boxes are its truth, the difficult ones too. A unit
    belongs to the pointing game's difficult subset where its boxes cover together less than a
    quarter of the image and another class is present. EXIF orientation is ignored.

    Source: Zhang et al. (2016), section 4.1; TorchRay's list of the difficult units, which agrees
    with the boxes' union, not with the sum of their areas.
    """

    missing = (
        "the folder with VOC2007's test images is not known: set dataset.root or the environment "
        "variable VOC_ROOT"
    )

    @property
    def class_names(self) -> Sequence[str]:
        """The twenty classes, in alphabetical order."""
        return class_names.VOC

    @cached_property
    def folder(self) -> Path:
        """The folder VOC2007 of the development kit; BadInput where it is not there."""
        root = Path(self.root or "").expanduser()
        places = [root, root / "VOC2007", root / "VOCdevkit" / "VOC2007"]
        found = next((place for place in places if (place / LIST).is_file()), None)
        if found is None:
            raise BadInput(
                f"dataset.root={root} has no {LIST}, nor its VOC2007 or VOCdevkit/VOC2007: unpack "
                "VOCtest_06-Nov-2007.tar there, or name the folder where it is"
            )
        return found

    @cached_property
    def units(self) -> dict[str, _Unit]:
        """Every unit by its id; BadInput where an annotation is missing or damaged."""
        try:
            images = (self.folder / LIST).read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"{self.folder / LIST} cannot be read: {error}") from error
        found = {}
        for image in images:
            for unit in _units(below(self.folder / "Annotations", f"{image}.xml")):
                found[f"{image}:{class_names.VOC[unit.label]}"] = unit
        return found

    def digest(self, image_id: str) -> str:
        """Hash the image's file and what is annotated of this class to 16 hex digits.

        Raises:
            UnreadableImage: the file cannot be read.
        """
        unit = self.unit(image_id)
        state = hashlib.sha256(read_bytes(self._path(unit)))
        state.update(repr(tuple(unit)).encode())
        return state.hexdigest()[:16]

    def load(self, image_id: str, size: int) -> Item:
        """Decode one unit's image at ``size`` x ``size`` pixels, with the boxes of its class.

        Raises:
            UnreadableImage: the file is missing, damaged, of another size than annotated, or
                smaller than ``size`` under ``crop``.
        """
        unit = self.unit(image_id)
        square = self.square(self._path(unit), unit, size)
        truth = Truth(
            boxes=torch.tensor(unit.boxes, dtype=torch.float32),
            classes=torch.full((len(unit.boxes),), unit.label),
            scale=square.scale,
            offset=square.offset,
            difficult=unit.difficult,
        )
        return Item(image_id, square.pixels, unit.label, truth)

    def _path(self, unit: _Unit) -> Path:
        return below(self.folder / "JPEGImages", f"{unit.image}.jpg")


def _units(path: Path) -> list[_Unit]:
    """Read an image's units from its annotation, in the order of their classes."""
    try:
        tree = ElementTree.fromstring(path.read_bytes())
        width, height = (int(tree.findtext(f"size/{side}", "")) for side in ("width", "height"))
        objects = [_object(entry, width, height) for entry in tree.iter("object")]
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error
    except (ElementTree.ParseError, ValueError) as error:
        raise BadInput(f"{path} is not an annotation of VOC2007: {error}") from error
    present = {each.name for each in objects if not each.difficult}
    units = []
    for label, name in enumerate(class_names.VOC):
        if name in present:
            boxes = [each.box for each in objects if each.name == name]
            small = _covered(boxes, width, height) < SMALL * width * height
            difficult = small and len(present) > 1
            units.append(_Unit(path.stem, (width, height), label, boxes, difficult))
    return units


def _object(entry: ElementTree.Element, width: int, height: int) -> _Object:
    """Read one object of an image of so many pixels; ValueError says what is wrong with it."""
    name = entry.findtext("name", "").strip()
    if name not in class_names.VOC:
        raise ValueError(f"{name!r} is not one of its classes")
    xmin, ymin, xmax, ymax = (float(entry.findtext(f"bndbox/{end}", "")) - 1 for end in CORNERS)
    if not (xmin <= xmax and ymin <= ymax):
        raise ValueError(f"a box of {name} has its maximum below its minimum")
    if not (xmin < width and ymin < height and xmax >= 0 and ymax >= 0):
        raise ValueError(f"a box of {name} lies outside the {width} x {height} pixels")
    if not all(map(math.isfinite, (xmin, ymin, xmax, ymax))):
        raise ValueError(f"a box of {name} has an infinite side")
    return _Object(name, (xmin, ymin, xmax, ymax), entry.findtext("difficult", "0").strip() == "1")


def _covered(boxes: Sequence[tuple[float, ...]], width: int, height: int) -> int:
    """Count the pixels under boxes whose corners belong to them."""
    mask = np.zeros((height, width), dtype=bool)
    for xmin, ymin, xmax, ymax in boxes:
        mask[max(0, int(ymin)) : int(ymax) + 1, max(0, int(xmin)) : int(xmax) + 1] = True
    return int(mask.sum())

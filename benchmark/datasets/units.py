"""What data sets share whose images show several classes, each of them a unit of its own."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from benchmark.datasets.photographs import Square, decode, squared
from benchmark.datasets.selection import OwnCopy, choose
from benchmark.interfaces import BadInput, UnreadableImage

SMALL = 0.25  # a target that covers less of the image may be difficult (Zhang et al. 2016, 4.1)


class Unit(Protocol):
    """One class of one image."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the image as annotated, pixels."""
        ...


U = TypeVar("U", bound=Unit)


def below(folder: Path, name: str) -> Path:
    """Return a file of a folder by the name that annotations give it.

    Raises:
        BadInput: the name leads out of the folder.
    """
    path = folder / name
    if not Path(os.path.normpath(path)).is_relative_to(os.path.normpath(folder)):
        raise BadInput(f"the annotations name {name!r}, which is not below {folder}")
    return path


@dataclass(frozen=True)
class Units(OwnCopy, Generic[U]):
    """A data set whose ids are ``image:class``."""

    @property
    @abstractmethod
    def units(self) -> Mapping[str, U]:
        """Every unit by its id; BadInput where an annotation is missing or damaged."""

    def ids(self) -> list[str]:
        """List the chosen units; ``limit`` counts units, and a manifest names them.

        Raises:
            BadInput: the data is not there, damaged, or the choice cannot be met.
        """
        return choose(list(self.units), self.limit, self.seed, self.manifest)

    def unit(self, image_id: str) -> U:
        """Look a unit up; UnreadableImage where there is none of this id."""
        if image_id not in self.units:
            raise UnreadableImage(f"{image_id}: no such unit in {self.root}")
        return self.units[image_id]

    def square(self, path: Path, unit: U, size: int) -> Square:
        """Decode a unit's image at ``size`` x ``size`` pixels.

        Raises:
            UnreadableImage: the file is missing, damaged, of another size than annotated, or
                smaller than ``size`` under ``crop``.
        """
        image = decode(path)
        if image.size != unit.size:
            raise UnreadableImage(
                f"{path.name}: {image.width} x {image.height} pixels, annotated as "
                f"{unit.size[0]} x {unit.size[1]}"
            )
        return squared(image, size, self.preprocess, path.name)

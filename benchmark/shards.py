"""A part of a cell's images: those that one of several processes explains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Shard(NamedTuple):
    """Every ``shards``-th of the chosen images, from the one numbered ``shard`` on.

    Positions in the chosen order: the parts are as equal as can be, at any time all of them have
    about the same images of it, and a larger ``limit`` leaves each image in its shard. Nothing
    depends on how the cut was made: what is there is there, whichever process made it.
    """

    shard: int  # 0 to shards - 1
    shards: int  # 1: the whole cell

    @property
    def name(self) -> str:
        """Name the part in the name of a file: ``3of8``."""
        return f"{self.shard}of{self.shards}"

    def of(self, ids: Sequence[str]) -> list[str]:
        """Return this part's images, in their order."""
        return list(ids[self.shard :: self.shards])

    def is_apart_from(self, name: str) -> bool:
        """Whether the part of that name has no image that this one has."""
        return name != self.name and name.endswith(f"of{self.shards}")

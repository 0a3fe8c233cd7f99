"""The two files of one stage that one process writes: lines, and the arrays that they vouch for.

``<name>.jsonl`` has one line per image: its scalars, where its arrays lie, and a checksum.
``<name>.f32`` has the arrays, little-endian float32, one after the other. Arrays are written before
the line that names them, so a line that is whole vouches for its arrays.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from benchmark.damage import Damaged
from benchmark.files import append
from benchmark.lines import Row, finite, line_of, parsed

Arrays = Mapping[str, NDArray[np.float32]]


class StageFiles:
    """What one process has written of a stage; another process may be writing on."""

    def __init__(self, place: Path, name: str) -> None:
        self.lines = place / f"{name}.jsonl"
        self.arrays = place / f"{name}.f32"
        self._place, self._name = place, name
        self._lines_end, self._arrays_end, self._count = 0, 0, 0
        self._repaired = False

    def new_rows(self) -> Iterator[Row]:
        """Yield each intact row that was not yielded before; stop where the end is unfinished.

        Raises:
            Damaged: a row is, and intact ones follow, which no kill leaves behind.
        """
        if not self.lines.exists() or self.lines.stat().st_size <= self._lines_end:
            return
        size = self.arrays.stat().st_size if self.arrays.exists() else 0
        with self.lines.open("rb") as file:
            file.seek(self._lines_end)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # of a process that is writing, or was killed
                row = parsed(line)
                end = 0 if row is None else _arrays_end(row)
                if row is None or end > size:
                    if row is None and any(parsed(later) for later in file):
                        raise self._damaged(f"damage in line {self._count + 1} of {self.lines}")
                    return
                self._count += 1
                self._lines_end += len(line)
                self._arrays_end = max(self._arrays_end, end)
                yield row

    def append(self, rows: Sequence[Row], arrays: Sequence[Arrays]) -> list[Row]:
        """Add one row per image with its named arrays, and force them onto the disk.

        Only the process whose files they are may do so.

        Returns:
            The rows as a reader finds them.
        """
        self._cut_to_whole()
        start = self._arrays_end
        blocks, lines, added = [], [], []
        for row, named in zip(rows, arrays, strict=True):
            places, block = {}, b""
            for name, array in named.items():
                places[name] = [start + len(block), *array.shape]
                block += np.ascontiguousarray(array, dtype="<f4").tobytes()
            start += len(block)
            blocks.append(block)
            added.append(finite({**row, "arrays": places, "arrays_crc": zlib.crc32(block)}))
            lines.append(line_of(added[-1]))
        if block := b"".join(blocks):  # a metric without curves leaves no file for them
            self._arrays_end = append(self.arrays, block)
        self._lines_end = append(self.lines, b"".join(lines))
        self._count += len(added)
        return added

    def read(self, file: BinaryIO, row: Row, name: str) -> NDArray[np.float32]:
        """Read one array of one image from the opened file of arrays.

        Raises:
            Damaged: the file was changed since it was written.
        """
        first, block = self._block(file, row)
        start, *shape = row["arrays"][name]
        count = math.prod(shape)
        return np.frombuffer(block, "<f4", count, start - first).reshape(shape).copy()

    def verify(self, rows: Iterable[Row]) -> None:
        """Read all arrays of these images.

        Raises:
            Damaged: one was changed since it was written.
        """
        if held := [row for row in rows if row["arrays"]]:
            with self.arrays.open("rb") as file:
                for row in held:
                    self._block(file, row)

    def _block(self, file: BinaryIO, row: Row) -> tuple[int, bytes]:
        """Read all arrays of one image: where they begin, and their bytes."""
        first = min(place[0] for place in row["arrays"].values())
        file.seek(first)
        block = file.read(sum(4 * math.prod(shape) for _, *shape in row["arrays"].values()))
        if zlib.crc32(block) != row["arrays_crc"]:
            raise self._damaged(f"{self.arrays} does not hold what was written for {row['id']}")
        return first, block

    def _damaged(self, what: str) -> Damaged:
        return Damaged(what, self._place, self._name)

    def _cut_to_whole(self) -> None:
        """Before the first row is added, drop what a kill left unfinished."""
        if self._repaired:
            return
        self.lines.parent.mkdir(parents=True, exist_ok=True)
        for path, end in ((self.lines, self._lines_end), (self.arrays, self._arrays_end)):
            if path.exists() and path.stat().st_size > end:
                os.truncate(path, end)
        self._repaired = True


def _arrays_end(row: Row) -> int:
    """Where the last of a row's arrays ends in the file, in bytes."""
    places = row["arrays"].values()
    return max((start + 4 * math.prod(shape) for start, *shape in places), default=0)

"""One kind of result on disk: what all that write into a run's folder have made, as one.

Each process appends to files of its own (``benchmark.stage_files``), which survive a kill; a reader
puts together what all of them hold. Two may have computed the same image: then they have come to
the same numbers, or a reader refuses both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BadInput
from benchmark.lines import Row
from benchmark.stage_files import Arrays, StageFiles
from benchmark.writers import WRITERS, place_of, writers_of

__all__ = ["Arrays", "Row", "Stage"]
OPEN = 100  # files at once, of the thousand that a system allows a process


class Stage:
    """One kind of result of a run, such as its heatmaps or one metric's scores."""

    def __init__(self, folder: Path, name: str, writer: str = "") -> None:
        self.folder, self.name = folder, name
        self._own = StageFiles(place_of(folder, writer), name)
        self._files = {writer: self._own}
        self._holders: dict[str, StageFiles] = {}  # image -> the files that hold it
        self.rows: dict[str, Row] = {}
        self._add(self._own, self._own.new_rows())
        self.refresh()

    def refresh(self) -> None:
        """Take in what other processes have written since.

        Raises:
            Damaged: a file is.
            BadInput: two processes came to different numbers for one image.
        """
        for writer in writers_of(self.folder):
            if writer not in self._files:
                self._files[writer] = StageFiles(place_of(self.folder, writer), self.name)
            if (files := self._files[writer]) is not self._own:
                self._add(files, files.new_rows())

    def append(self, rows: Sequence[Row], arrays: Sequence[Arrays]) -> None:
        """Add one row per image with its named arrays, and force them onto the disk."""
        if rows:
            self._add(self._own, self._own.append(rows, arrays))

    def array(self, image_id: str, name: str) -> NDArray[np.float32]:
        """Read one array of one image.

        Raises:
            Damaged: the file was changed since it was written.
        """
        return next(self.arrays_of([image_id], name))

    def arrays_of(self, ids: Iterable[str], name: str) -> Iterator[NDArray[np.float32]]:
        """Read the array of that name of one image after the other, as ``array`` does."""
        opened: dict[Path, BinaryIO] = {}
        with ExitStack() as stack:
            for image_id in ids:
                files = self._holders[image_id]
                if files.arrays not in opened:
                    if len(opened) == OPEN:
                        stack.close()
                        opened.clear()
                    opened[files.arrays] = stack.enter_context(files.arrays.open("rb"))
                yield files.read(opened[files.arrays], self.rows[image_id], name)

    def verify(self) -> None:
        """Read all arrays that this process's files hold, and the folder's own.

        Raises:
            Damaged: one was changed since it was written.
        """
        for files in {self._own, self._files.get("", self._own)}:
            files.verify(row for each, row in self.rows.items() if self._holders[each] is files)

    def _add(self, files: StageFiles, rows: Iterable[Row]) -> None:
        for row in rows:
            image_id = row["id"]
            if (known := self.rows.get(image_id)) is None:
                self.rows[image_id], self._holders[image_id] = row, files
            elif _content(known) != _content(row):
                raise BadInput(
                    f"{image_id} was computed twice and came out differently, in "
                    f"{self._holders[image_id].lines} and in {files.lines}: remove the "
                    f"folder in {WRITERS}/ of the one that is wrong, and give the command again"
                )


def _content(row: Row) -> dict[str, Any]:
    """What a row says of its image, wherever its arrays lie."""
    shapes = {name: place[1:] for name, place in row["arrays"].items()}
    return {**row, "arrays": shapes}

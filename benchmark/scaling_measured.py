"""What a small sweep has left on the disk and taken, beside what the model of costs says of it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from benchmark.errors import BadInput
from benchmark.records import folders
from benchmark.scaling_model import Sweep, Total
from benchmark.stage_files import StageFiles
from benchmark.writers import place_of, writers_of

STAGES = ("*.jsonl", "scores/*.jsonl")  # the lines of images, and two files that are none:
OTHERS = ("log", "timing")


class Left(NamedTuple):
    """What is in a folder of runs."""

    jobs: int
    lines: int  # of images
    backward: float  # passes
    size: int  # bytes
    files: int
    seconds: float | None  # of processors, in all processes of the sweep

    @classmethod
    def of(cls, given: str) -> Left:
        """Read ``FOLDER`` or ``FOLDER=SECONDS``.

        Raises:
            BadInput: there are no runs, or the seconds are no number.
        """
        place, mark, seconds = given.rpartition("=")
        root = Path(place if mark else given)
        try:
            taken = float(seconds) if mark else None
        except ValueError as error:
            raise BadInput(f"--measured takes FOLDER=SECONDS, got {given}") from error
        runs = folders(root)
        if not runs:
            raise BadInput(f"there are no runs below {root}")
        files = [each for run in runs for each in run.path.rglob("*") if each.is_file()]
        rows = [
            row
            for run in runs
            for writer in writers_of(run.path)
            for pattern in STAGES
            for file in place_of(run.path, writer).glob(pattern)
            if file.stem not in OTHERS
            for row in StageFiles(file.parent, file.stem).new_rows()
        ]
        return cls(
            jobs=sum(len(run.starts()) for run in runs),
            lines=len(rows),
            backward=sum(row.get("backward_passes", 0) for row in rows),
            size=sum(each.stat().st_size for each in files),
            files=len(files),
            seconds=taken,
        )


def compared(
    sweep: Sweep, whole: Total, measured: dict[str, Left]
) -> tuple[list[str], list[list[str]]]:
    """Lay out the model's sums beside those of folders, by name: headings and rows of texts."""
    jobs = whole.cells * sweep.shards
    seconds = whole.hours * 3600 + whole.decoded * sweep.decode
    seconds += jobs * sweep.start + whole.opened * sweep.read
    known = list(measured.values())
    rows = [
        ["jobs", f"{jobs:,}", *(f"{each.jobs:,}" for each in known)],
        ["lines of images", f"{whole.lines:,}", *(f"{each.lines:,}" for each in known)],
        ["passes back", f"{whole.backward:,.0f}", *(f"{each.backward:,.0f}" for each in known)],
        ["files", f"{whole.files:,}", *(f"{each.files:,}" for each in known)],
        ["bytes", f"{whole.size:,.0f}", *(f"{each.size:,}" for each in known)],
    ]
    if all(each.seconds is not None for each in known):
        rows.append(
            ["seconds of a core", f"{seconds:,.0f}", *(f"{each.seconds:,.0f}" for each in known)]
        )
    return ["", "model", *measured], rows

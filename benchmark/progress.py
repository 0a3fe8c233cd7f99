"""How far runs are that are not complete, while processes work on them or after they stopped."""

from __future__ import annotations

import shlex
from pathlib import Path

from benchmark.records import RunFolder, folders
from benchmark.stages import Row


def progress(folder: RunFolder, start: Row) -> str:
    """Say how many of the images that a start chose are explained and scored: ``37 of 100 images``.

    Processes that write meanwhile are no hindrance, nor is a start that was killed.
    """
    explained = folder.stage("heatmaps").rows
    if "chosen" not in start:  # starts of earlier versions do not say which images they chose
        return f"{len(explained)} images so far"
    chosen = folder.ids(start["chosen"])
    results = [explained, *(folder.stage(name).rows for name in start["stages"].values())]
    done = sum(all(image_id in rows for rows in results) for image_id in chosen)
    return f"{done} of {len(chosen)} images"


def unfinished(root: Path) -> list[str]:
    """List the runs in a folder or below it that their last start has not completed.

    With how far each is, and the command that does the rest, whatever shards have been run.
    """
    lines = []
    for folder in folders(root):
        starts = folder.starts()
        if starts and starts[-1][1] is None:
            start = starts[-1][0]
            line = f"not complete, {progress(folder, start)}: {folder.path}"
            # starts of earlier versions do not say by which command the cell goes on
            if again := start["settings"].get("again"):
                line += f"; to go on: {shlex.join(['python', '-m', 'benchmark', *again])}"
            lines.append(line)
    return lines

"""The page on what a large sweep costs: tables, the command that made each, and what they say."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from benchmark.scaling_model import Sweep, Total, bottleneck, hours, waits

Laid = tuple[list[str], list[list[str]]]  # headings, and rows of texts

BROKE = """
## What breaks first, and what was done about it

**Files.** A file for every image and kind of result would be {lines:,} files. Each process
appends to a file of its own for each kind, so it is {files:,}, however many images there are; the
number grows with `shards`. A shard is a job too: with {shards} of them, {jobs:,} jobs take
{starts:,.0f} hours to begin, of which {opened:,.0f} go into reading what others have written of
the cell. Fewer shards cost less, but the longest job then takes longer: here {longest:,.1f}
hours.

**Questions to the file system.** A job claims images anew every {claim:,.0f} seconds. If it
looked into the files of all that write to its cell each time, a sweep would ask the file system
{looks:,.0f} times, which at {asked:,.0f} a second is {looking:,.0f} hours, whatever the number of
workers. It looks when it begins and ends, and in between only while others work on the same
images; shards of one cut never do. So it asks {questions:,.0f} times, {waiting:,.1f} hours.

**Appends.** An append is forced onto the disk before the next batch, so that a kill costs one
batch. That is {appends:,.0f} appends; a batch of twice the images halves them.

**Tables.** A table reads the lines of its cells and no heatmaps: {minutes:,.0f} minutes for all
of them here, in one process. Lines are read by orjson, intervals of thousands of images are drawn
in blocks, and a table of one experiment reads only the runs of its own settings.

**Decoding.** Every cell decodes the images again, and every job a few for its self-check,
{decoded:,.0f} in all. It goes on beside the
passes, and is {decoding:,.0f} hours of one worker's threads to {passes:,.0f} of passes.
"""

MEASURED = """
## Against measurements

The sweep of [conf/scaling_measured.yaml](../conf/scaling_measured.yaml), which says by which
command, on the embedded scenes, by one worker and by two. Seconds are those of the processors in
all processes of a sweep, user and system as the shell's `time` says them. The model's seconds of a
pass, of a scene and of a start were measured by themselves. What is none of these is not in the
model, and what it consists of was not measured.
"""


def page(
    command: Sequence[str], laid: Sequence[Laid], facts: tuple[Sweep, Total, float], measured: Laid
) -> str:
    """Write the page as Markdown.

    Args:
        command: what was given after ``python -m benchmark.scaling``.
        laid: the tables of all of it, and by workers.
        facts: the sweep, what it comes to, and the questions if each claim looked into all files.
        measured: the model of a small sweep beside what it has left; no rows: there is none.
    """
    sweep, whole, looks = facts
    made = f"`{shlex.join(['python', '-m', 'benchmark.scaling', *command])}`"
    parts = [
        "# What a large sweep costs\n\n"
        f"Written by {made}, which makes all the tables here.\n"
        f"{sweep.images:,} images, {len(sweep.methods)} methods, {len(sweep.resolutions)} "
        f"resolutions, {len(sweep.models)} networks ({', '.join(sweep.models)}), the settings "
        f"`{' '.join(sweep.settings)}`. Passes are\n"
        "counted method by method on the embedded network. How long one takes is an assumption, as "
        "is all of\n[conf/scaling.yaml](../conf/scaling.yaml): give your own values, as "
        "`forward=[0.002,0.001]`.\n\n## All of it\n",
        markdown(laid[0]),
        "\n## How long it takes\n\nPasses, starts and appends of a worker follow one another. "
        "Decoding goes on beside them, the file system serves\nall workers, and no sweep is "
        "shorter than its longest job. `passing` is the share of the time that a worker passes\n"
        "images.\n",
        markdown(laid[1]),
        _said(sweep, whole),
        _broke(sweep, whole, looks),
    ]
    if measured[1]:
        parts += [
            MEASURED,
            markdown(measured),
        ]
    return "\n".join(parts)


def _said(sweep: Sweep, whole: Total) -> str:
    """Say what a sweep waits for, by workers."""
    lines = [""]
    for workers in sweep.workers:
        parts = waits(sweep, whole, workers)
        slowest = bottleneck(parts)
        lines.append(
            f"- {workers} worker{'s' * (workers > 1)}: {hours(parts):,.1f} hours; "
            f"the bottleneck is {slowest}, {parts[slowest]:,.1f} hours."
        )
    return "\n".join(lines)


def _broke(sweep: Sweep, whole: Total, looks: float) -> str:
    one = waits(sweep, whole, 1)
    return BROKE.format(
        lines=whole.lines,
        files=whole.files,
        shards=sweep.shards,
        jobs=whole.cells * sweep.shards,
        starts=one["starts of jobs"],
        opened=whole.opened * sweep.read / 3600,
        longest=one["the longest job"],
        claim=sweep.claim,
        looks=looks,
        asked=sweep.asked,
        looking=looks / sweep.asked / 3600,
        questions=whole.questions,
        waiting=whole.questions / sweep.asked / 3600,
        appends=whole.appends,
        minutes=whole.lines * sweep.read / 60,
        decoded=whole.decoded,
        decoding=one["decoding"],
        passes=one["passes"],
    )


def markdown(table: Laid) -> str:
    """Write one table."""
    headings, rows = table
    lines = [headings, ["---"] + ["---:"] * (len(headings) - 1), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)

"""What a large sweep costs, and what it waits for: ``python -m benchmark.scaling [key=value ...]``.

Passes are counted method by method, on the embedded network; all else is arithmetic on the values
of ``conf/scaling.yaml``. ``--write FILE.md`` keeps the tables.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmark.config import Settings, build, load, one_line
from benchmark.errors import BadInput
from benchmark.files import write_whole
from benchmark.plan import Explained, Scored, explaining, scene, scoring
from benchmark.resolvers import CONF

# Of one image: the scalars of an explanation, a resized one and a score, as they are written.
LINES = {"explained": 390, "resized": 150, "scored": 170}  # bytes
OWN_FILES = 2  # of a writer: its log and its times
FOLDER_FILES = 3  # of a run: settings, manifest, per_image.csv


@dataclass(frozen=True)
class Sweep:
    """A sweep of methods by resolutions by models, and what the machines that run it are like."""

    images: int
    methods: list[str]
    resolutions: list[int]  # cells along a side
    settings: list[str]  # overrides of every cell
    models: list[str]
    forward: list[float]  # seconds of a pass of one image, by model
    backward: list[float]  # what the way back adds
    decode: float  # seconds of a core for one image
    decoders: int  # threads of a worker
    batch: int  # images explained together
    shards: int  # jobs to a cell
    start: float  # seconds before a job's first image
    sync: float  # seconds to force an append onto the disk
    syncs: float  # appends in a second that the file system takes from all workers
    read: float  # seconds to read a line
    workers: list[int]

    def __post_init__(self) -> None:
        if not len(self.models) == len(self.forward) == len(self.backward):
            raise BadInput("scaling: forward and backward need a value for each of models")
        counts = (self.images, self.decoders, self.batch, self.shards, *self.workers)
        if min(*counts, *self.resolutions) < 1 or self.syncs <= 0:
            raise BadInput(
                "scaling: images, decoders, batch, shards, workers, resolutions and syncs have to "
                "be above 0"
            )
        seconds = (self.decode, self.start, self.sync, self.read, *self.forward, *self.backward)
        if min(seconds) < 0:
            raise BadInput(
                "scaling: decode, start, sync, read, forward and backward are seconds, at least 0"
            )


class Counted(NamedTuple):
    """What one image takes and leaves in all cells of one model."""

    explaining: dict[tuple[str, int], Explained]  # by method and resolution
    scoring: dict[int, dict[str, Scored]]  # by resolution and metric
    own: frozenset[str]  # methods that explain anew for each resolution


class Total(NamedTuple):
    """What all of it takes and leaves."""

    forward: float  # passes
    backward: float
    cells: int
    lines: int  # of records
    size: float  # bytes
    files: int
    appends: float  # that are forced onto the disk
    decoded: float  # images
    hours: float  # of one worker's passes
    longest: float  # hours of the longest job's passes


def count(sweep: Sweep) -> Counted:
    """Count passes for one image on the embedded network.

    Raises:
        BadInput: a method or a setting is wrong, or a method makes no heatmap of a resolution.
    """
    model, batch = scene()
    found: dict[tuple[str, int], Explained] = {}
    own = set()
    console = Console(stderr=True)
    for method in track(
        sweep.methods, "counting", console=console, disable=not console.is_terminal
    ):
        for res in sweep.resolutions:
            settings = _settings(sweep, f"method={method}", f"res={res}")
            if "res" in settings.method:
                own.add(method)
            elif any(name == method for name, _ in found):
                found[method, res] = found[method, sweep.resolutions[0]]
                continue
            found[method, res] = explaining(settings, model, batch)
    scored = {
        res: scoring(_settings(sweep, "method=centre", f"res={res}"), model, batch)
        for res in sweep.resolutions
    }
    return Counted(found, scored, frozenset(own))


def _settings(sweep: Sweep, *given: str) -> Settings:
    return load("model=scenes_vgg", "dataset=scenes", "resize=bilinear", *sweep.settings, *given)


def total(sweep: Sweep, counted: Counted) -> Total:
    """Add up all cells of all models."""
    forward = backward = hours = longest = size = appends = 0.0
    lines = files = 0
    for place, (method, res) in enumerate(counted.explaining):
        del place
        explained, scored = counted.explaining[method, res], counted.scoring[res]
        once = method in counted.own or res == sweep.resolutions[0]
        resized = explained.cells != res
        curves = sum(each.passes for each in scored.values())
        ahead = curves + (explained.forward if once else 0)
        back = explained.backward if once else 0
        stages = len(scored) + once + resized
        kept = LINES["scored"] * len(scored) + 4 * sum(each.numbers for each in scored.values())
        kept += (LINES["explained"] + 4 * explained.cells**2) * once
        kept += (LINES["resized"] + 4 * res**2) * resized
        with_curves = sum(bool(each.numbers) for each in scored.values()) + once + resized
        for seconds_ahead, seconds_back in zip(sweep.forward, sweep.backward, strict=True):
            cell = sweep.images * (ahead * seconds_ahead + back * seconds_back) / 3600
            hours += cell
            longest = max(longest, cell / sweep.shards)
        models = len(sweep.models)
        forward += models * sweep.images * ahead
        backward += models * sweep.images * back
        lines += models * sweep.images * stages
        size += models * sweep.images * kept
        appends += models * sweep.images / sweep.batch * (stages + with_curves + once)
        files += models * (sweep.shards * (stages + with_curves + OWN_FILES) + FOLDER_FILES * once)
    cells = len(sweep.models) * len(counted.explaining)
    decoded = float(cells * sweep.images)
    return Total(forward, backward, cells, lines, size, files, appends, decoded, hours, longest)


def waits(sweep: Sweep, whole: Total, workers: int) -> dict[str, float]:
    """Say how many hours a sweep would take if it had nothing else to wait for.

    Passes, starts and appends of a worker follow one another and are one sum; decoding goes on
    beside them. The longest job is one worker's; the file system is everybody's.
    """
    passes, starts = whole.hours, whole.cells * sweep.shards * sweep.start / 3600
    syncing = whole.appends * sweep.sync / 3600
    return {
        "passes": passes / workers,
        "starts of jobs": starts / workers,
        "appends": syncing / workers,
        "decoding": whole.decoded * sweep.decode / sweep.decoders / workers / 3600,
        "the file system": whole.appends / sweep.syncs / 3600,
        "the longest job": whole.longest + sweep.start / 3600,
    }


def hours(parts: dict[str, float]) -> float:
    """Hours of a sweep: the slowest of what goes on side by side."""
    own = parts["passes"] + parts["starts of jobs"] + parts["appends"]
    return max(own, parts["decoding"], parts["the file system"], parts["the longest job"])


def tables(sweep: Sweep, whole: Total) -> list[tuple[list[str], list[list[str]]]]:
    """Lay out what it comes to and, by workers, how long it takes: headings and rows of texts."""
    sums = [
        ["passes forward", f"{whole.forward:,.0f}"],
        ["passes back", f"{whole.backward:,.0f}"],
        ["hours of one worker's passes", f"{whole.hours:,.0f}"],
        ["cells", f"{whole.cells:,}"],
        ["jobs", f"{whole.cells * sweep.shards:,}"],
        ["lines of records", f"{whole.lines:,}"],
        ["bytes", f"{whole.size / 1e12:,.2f} TB"],
        ["files", f"{whole.files:,}"],
        ["appends forced onto the disk", f"{whole.appends:,.0f}"],
        ["minutes to read all lines for tables", f"{whole.lines * sweep.read / 60:,.0f}"],
    ]
    rows = []
    for workers in sweep.workers:
        parts = waits(sweep, whole, workers)
        slowest = max(parts, key=lambda name: parts[name])
        taken = hours(parts)
        used = whole.hours / workers / taken
        shares = [f"{parts[name]:,.1f}" for name in parts]
        rows.append([str(workers), f"{taken:,.1f}", slowest, f"{used:.0%}", *shares])
    names = list(waits(sweep, whole, 1))
    return [
        (["all of it", ""], sums),
        (["workers", "hours", "bottleneck", "passing", *(f"{name}, h" for name in names)], rows),
    ]


def planned(overrides: Sequence[str]) -> Sweep:
    """Read ``conf/scaling.yaml`` with a user's overrides.

    Raises:
        BadInput: one of them is wrong.
    """
    try:
        node = OmegaConf.merge(
            OmegaConf.load(CONF / "scaling.yaml"), OmegaConf.from_dotlist(list(overrides))
        )
    except OmegaConfBaseException as error:
        raise BadInput(one_line(error)) from error
    if not isinstance(node, DictConfig):
        raise BadInput(f"scaling takes key=value, got {' '.join(overrides)}")
    sweep: Sweep = build(node, "")
    return sweep


def main() -> int:
    """Print the tables, or write them as Markdown."""
    parser = argparse.ArgumentParser(prog="benchmark.scaling", description=__doc__)
    parser.add_argument("overrides", nargs="*", help="key=value, of conf/scaling.yaml")
    parser.add_argument("--write", type=Path, help="a file that ends in .md")
    arguments = parser.parse_intermixed_args()
    try:
        if arguments.write and arguments.write.suffix != ".md":
            raise BadInput(f"--write takes a file that ends in .md, not {arguments.write}")
        sweep = planned(arguments.overrides)
        laid_out = tables(sweep, total(sweep, count(sweep)))
        if arguments.write:
            write_whole(arguments.write, "\n".join(map(_markdown, laid_out)))
            print(f"written to {arguments.write}")
            return 0
    except (BadInput, OSError) as error:
        print(f"benchmark.scaling: {error}", file=sys.stderr)
        return 2
    console = Console(width=None if sys.stdout.isatty() else 160)
    for headings, rows in laid_out:
        shown = Table(*headings)
        for row in rows:
            shown.add_row(*row)
        console.print(shown)
    return 0


def _markdown(table: tuple[list[str], list[list[str]]]) -> str:
    headings, rows = table
    lines = [headings, ["---"] + ["---:"] * (len(headings) - 1), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main())

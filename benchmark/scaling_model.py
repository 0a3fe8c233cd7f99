"""The cost of a large sweep, added up: passes, bytes, files, and what its workers wait for.

Passes are counted method by method, on the embedded network; all else is arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from rich.console import Console
from rich.progress import track

from benchmark.config import Settings, load
from benchmark.errors import BadInput
from benchmark.plan import Explained, Scored, explaining, scene, scoring
from benchmark.selfcheck import IMAGES, passes

# Bytes of a line, as it is written: of one image its explanation, a resized heatmap, a score with a
# curve and one without, and what is left where all of it is replaced; of a batch its time; and of a
# job what it logs.
LINES = {
    "explained": 380, "resized": 115, "curve": 160, "place": 95, "audited": 250,
    "batch": 120, "job": 3700,
}  # fmt: skip
FOLDER_FILES = 3  # of a run: settings, manifest, per_image.csv
# Passes forward of an image that is explained beside its method's: for the target, the prediction,
# the scores on the image and on the baseline, and once all is replaced.
BESIDE = 5
LOOKS = 3  # of a job into all that is written of its cell: two when it begins, one when it ends
OWN = {"passes", "starts of jobs", "appends"}  # what a worker does one after the other
CLAIM = 9  # questions to the file system: written, listed twice, read, and three signs of life


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
    asked: float  # questions in a second that it answers: listings, opened files, their sizes
    claim: float  # seconds of work between two claims
    read: float  # seconds to read a line
    workers: list[int]

    def __post_init__(self) -> None:
        if not len(self.models) == len(self.forward) == len(self.backward):
            raise BadInput("scaling: forward and backward need a value for each of models")
        counts = (self.images, self.decoders, self.batch, self.shards, *self.workers)
        rates = (self.syncs, self.asked, self.claim)
        if min(*counts, *self.resolutions) < 1 or min(rates) <= 0:
            raise BadInput(
                "scaling: images, decoders, batch, shards, workers, resolutions, syncs, asked and "
                "claim have to be above 0"
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
    lines: int  # of records, of images
    size: float  # bytes
    files: int
    appends: float  # that are forced onto the disk
    questions: float  # to the file system
    opened: float  # lines that jobs read, of what others have written of their cells
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


class _Cell(NamedTuple):
    """What one image takes and leaves in one cell, and the files of a job."""

    forward: float
    backward: float
    stages: int  # kinds of results that are made here
    known: int  # and that there are
    arrays: int  # kinds that have a file of arrays too
    size: float  # bytes
    once: bool  # whether the image is explained here, not for an earlier resolution
    writers: int  # that its folder has in the end


def _cells(sweep: Sweep, counted: Counted) -> Iterator[_Cell]:
    for (method, res), explained in counted.explaining.items():
        scored = counted.scoring[res].values()
        own = method in counted.own
        once = own or res == sweep.resolutions[0]
        resized = explained.cells != res
        curved = sum(bool(each.numbers) for each in scored)
        size: float = curved * LINES["curve"] + (len(scored) - curved) * LINES["place"]
        size += 4 * sum(each.numbers for each in scored)
        size += (LINES["explained"] + 4 * explained.cells**2) * once
        size += (LINES["resized"] + 4 * res**2) * resized
        size += (LINES["audited"] + LINES["batch"] / sweep.batch) * once
        yield _Cell(
            forward=sum(each.passes for each in scored) + (explained.forward + BESIDE) * once,
            backward=explained.backward * once,
            stages=len(scored) + resized + 2 * once,
            known=len(scored) + resized + 2,
            arrays=curved + resized + once,
            size=size,
            once=once,
            writers=sweep.shards * (1 if own else len(sweep.resolutions)),
        )


def total(sweep: Sweep, counted: Counted) -> Total:
    """Add up all cells of all models."""
    cells = list(_cells(sweep, counted))
    models, images = len(sweep.models), sweep.images
    times = list(zip(sweep.forward, sweep.backward, strict=True))
    passing = [  # seconds, by model and cell
        images * (each.forward * ahead + each.backward * back)
        for ahead, back in times
        for each in cells
    ]
    jobs = models * len(cells) * sweep.shards
    files = models * sum(
        sweep.shards * (each.stages + each.arrays + 1 + each.once) + FOLDER_FILES * each.once
        for each in cells
    )
    appends = (
        models * images / sweep.batch * sum(each.stages + each.arrays + each.once for each in cells)
    )
    looking = models * sum(
        LOOKS * sweep.shards * each.known * (1 + 2 * each.writers) for each in cells
    )
    claims = jobs + sum(passing) / sweep.claim
    return Total(
        forward=models * images * sum(each.forward for each in cells) + jobs * passes(images),
        backward=models * images * sum(each.backward for each in cells),
        cells=models * len(cells),
        lines=models * images * sum(each.stages for each in cells),
        size=models * images * sum(each.size for each in cells) + jobs * LINES["job"],
        files=files,
        appends=appends,
        questions=appends + files + looking + CLAIM * claims,
        opened=float(models * images * sweep.shards * sum(each.known for each in cells)),
        decoded=float(models * len(cells) * images + jobs * min(IMAGES, images)),
        hours=sum(passing) / 3600,
        longest=max(passing) / sweep.shards / 3600,
    )


def asked_at_each_claim(sweep: Sweep, counted: Counted) -> float:
    """Count the questions if a job looked into all that is written of its cell at every claim."""
    times = list(zip(sweep.forward, sweep.backward, strict=True))
    return sum(
        sweep.images * (each.forward * ahead + each.backward * back) / sweep.claim
        * each.known * (1 + 2 * each.writers)
        for ahead, back in times
        for each in _cells(sweep, counted)
    )  # fmt: skip


def waits(sweep: Sweep, whole: Total, workers: int) -> dict[str, float]:
    """Say how many hours a sweep would take if it had nothing else to wait for.

    Passes, starts and appends of a worker follow one another and are one sum; decoding goes on
    beside them. The longest job is one worker's; the file system is everybody's.
    """
    passes = whole.hours
    starts = (whole.cells * sweep.shards * sweep.start + whole.opened * sweep.read) / 3600
    syncing = whole.appends * sweep.sync / 3600
    return {
        "passes": passes / workers,
        "starts of jobs": starts / workers,
        "appends": syncing / workers,
        "decoding": whole.decoded * sweep.decode / sweep.decoders / workers / 3600,
        "the file system": (whole.appends / sweep.syncs + whole.questions / sweep.asked) / 3600,
        "the longest job": whole.longest + sweep.start / 3600,
    }


def hours(parts: dict[str, float]) -> float:
    """Hours of a sweep: the slowest of what goes on side by side."""
    return max(sum(parts[name] for name in OWN), *(parts[name] for name in parts.keys() - OWN))


def bottleneck(parts: dict[str, float]) -> str:
    """Name what a sweep waits for; of what a worker does one after the other, the largest."""
    beside = max(parts.keys() - OWN, key=lambda name: parts[name])
    largest = max(OWN, key=lambda name: parts[name])
    return beside if parts[beside] == hours(parts) else largest

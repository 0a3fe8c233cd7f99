"""How long explaining takes: one image at a time, as papers report it, and in the best batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice
from statistics import fmean
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig

from benchmark.building import build
from benchmark.captions import caption
from benchmark.cell import Cell
from benchmark.config import Settings
from benchmark.devices import clock, device_name, peak_memory, reset_peak_memory
from benchmark.identity import environment
from benchmark.interfaces import BadInput, Batch
from benchmark.memory import return_freed_memory
from benchmark.models import ImageClassifier
from benchmark.records import RunFolder


@dataclass(frozen=True)
class Runtime:
    """A runtime protocol: seconds for the heatmap alone, model and images loaded before.

    Each size of batch warms up once; then every batch is timed on its own, the device told to
    finish before and after.
    """

    batches: list[int]  # images explained together; 1 is always among them
    images: int  # timed one at a time
    repeats: int  # timed batches of each larger size

    def __post_init__(self) -> None:
        if 1 not in self.batches or min(self.batches) < 1 or min(self.images, self.repeats) < 1:
            raise BadInput(
                "runtime needs batches with 1 among them, and images and repeats of at least 1, "
                f"got batches={self.batches} images={self.images} repeats={self.repeats}"
            )

    def measure(self, cell: Cell, done: Callable[[str], None]) -> list[dict[str, Any]]:
        """Time every size of batch; larger ones than fit into memory are left out.

        Returns:
            For each size: ``batch``, ``seconds`` per image of each batch timed, passes per image
            and ``memory``, the most bytes in use.
        """
        measured = []
        for size in sorted(self.batches):
            count = self.images if size == 1 else self.repeats
            try:
                measured.append(_timed(cell, size, count))
            except torch.cuda.OutOfMemoryError:
                if not measured:
                    raise
                break
            done(f"batch {size}: {min(measured[-1]['seconds']):.3g} s/image")
        return measured


def _timed(cell: Cell, size: int, count: int) -> dict[str, Any]:
    ids = islice(cycle(cell.dataset.ids()), size * (count + 1))
    batches = [list(islice(ids, size)) for _ in range(count + 1)]
    loaded = list(map(cell.batch, batches))  # and attacked, which takes memory of its own
    return {"batch": size, **time_calls(cell.model, cell.method, loaded)}


def time_calls(
    model: ImageClassifier, call: Callable[[ImageClassifier, Batch], object], batches: list[Batch]
) -> dict[str, Any]:
    """Time what a method or a metric does with each of several batches of one size.

    Returns:
        ``seconds`` per image of every batch but the first, which warms up; over these the mean
        ``forward_passes`` and ``backward_passes`` per image; ``memory``, the most bytes in use.
    """
    return_freed_memory()
    reset_peak_memory(model)
    _, *calls = [time_call(model, call, each) for each in batches]
    return {
        "seconds": [each.seconds for each in calls],
        "forward_passes": fmean(each.forward_passes for each in calls),
        "backward_passes": fmean(each.backward_passes for each in calls),
        "memory": peak_memory(model),
    }


class Call(NamedTuple):
    """What a method or a metric took with one batch, per image."""

    seconds: float
    forward_passes: float
    backward_passes: float


def time_call(
    model: ImageClassifier, call: Callable[[ImageClassifier, Batch], object], batch: Batch
) -> Call:
    """Time one call, the device told to finish before and after."""
    size = len(batch.ids)
    model.begin_count(size)
    started = clock(model)
    call(model, batch)
    seconds = clock(model) - started
    passes = (float(each.sum()) for each in (model.forward_passes, model.backward_passes))
    return Call(*(each / size for each in (seconds, *passes)))


def measure(settings: Settings, done: Callable[[str], None]) -> tuple[RunFolder, dict[str, Any]]:
    """Time one cell and keep what was measured in its folder.

    Raises:
        BadInput: a setting, the data or the model cannot be used.
    """
    cell = Cell.open(settings)
    protocol: Runtime = build(settings.runtime or DictConfig({}), "runtime")
    cell.check_resolution()
    cell.folder.claim(cell.identity)
    name = device_name(cell.model.device)
    with cell.folder.lock():
        start = cell.folder.begin({**cell.provenance(), **environment()})
        entry = {
            "event": "timed",
            "start": start,
            "measured": protocol.measure(cell, done),
            "device_name": name,
            "caption": caption(cell) | {"device": f"{name}, {torch.get_num_threads()} threads"},
        }
        cell.folder.log(entry)
    return cell.folder, entry

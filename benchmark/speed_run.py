"""Time a network's passes, and methods and metrics against them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle, islice
from statistics import fmean
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmark.building import build
from benchmark.calibration import calibrate
from benchmark.cell import Cell
from benchmark.config import Settings, load
from benchmark.devices import peak_memory, reset_peak_memory
from benchmark.interfaces import BadInput, Batch
from benchmark.known_curves import score_all
from benchmark.memory import return_freed_memory
from benchmark.model_sources import RANDOM
from benchmark.models import ImageClassifier
from benchmark.pass_times import Bare, PassTime, Size, best, by_size
from benchmark.runtime import Call, time_call

LONGEST_SERIES = 600.0  # seconds
SHARED = ("model", "dataset", "device", "attack", "target", "seed")  # by all that is timed


class Timed(NamedTuple):
    """One call of a method or of metrics, and passes of the network alone right beside it."""

    call: Call
    alone: PassTime  # the mean of the series before the call and that after it

    @property
    def limit(self) -> float:
        """Seconds per image that the call's passes alone would take."""
        forward, backward = self.call.forward_passes, self.call.backward_passes
        return forward * self.alone.forward + backward * self.alone.backward

    @property
    def efficiency(self) -> float:
        """The share of the time that the passes alone would take; 1 = nothing costs but these."""
        return self.limit / self.call.seconds


class Line(NamedTuple):
    """What a method or metrics take, beside what their passes alone would."""

    what: str
    images: int  # in the timed batch
    memory: int  # bytes at most in use, in the call that warms up
    calls: list[Timed]

    @property
    def middle(self) -> Timed:
        """The call of middle efficiency; of two in the middle the lower."""
        return sorted(self.calls, key=lambda each: each.efficiency)[(len(self.calls) - 1) // 2]

    @property
    def fastest(self) -> float:
        """Seconds per image of the fastest call."""
        return min(each.call.seconds for each in self.calls)


class Speeds(NamedTuple):
    """What was measured."""

    sizes: dict[str, list[Size]]  # of passes, by precision; the model's own is the last
    lines: list[Line]  # in the model's own precision
    calibrated: int  # layers of batch norm that were given the images' statistics
    cell: Cell
    timing: Timing

    @property
    def precision(self) -> str:
        """The model's own."""
        return list(self.sizes)[-1]


@dataclass(frozen=True)
class Timing:
    """What is timed, and how often."""

    batches: list[int]  # images in a pass
    precisions: list[str]  # whose passes are timed besides those of the model's own
    repeats: int  # timed series of passes of each size and kind
    series: float  # seconds of passes one after the other, as a method makes them
    methods: list[str]  # each a name and the overrides that hold for it alone
    metrics: list[str]  # timed together, each curve made once
    timed: int  # calls of each method, and of the metrics; the one of middle efficiency counts
    rounds: int  # of a comparison with another checkout

    def __post_init__(self) -> None:
        if not self.batches or min(self.batches) < 1:
            raise BadInput(f"speed.batches needs numbers of at least 1, got {self.batches}")
        for name in ("repeats", "timed", "rounds"):
            if getattr(self, name) < 1:
                raise BadInput(f"speed.{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.series <= LONGEST_SERIES:
            raise BadInput(
                f"speed.series must be above 0 and up to {LONGEST_SERIES:g} s, got {self.series}"
            )
        if twice := [each for each in self.methods if self.methods.count(each) > 1]:
            raise BadInput(f"speed.methods names {twice[0]!r} twice")
        if empty := [each for each in self.methods if not each.split() or "=" in each.split()[0]]:
            raise BadInput(
                "speed.methods needs names, each followed by its settings, as in "
                f"'mask method.iterations=20'; got {empty[0]!r}"
            )

    def measure(self, overrides: Sequence[str], done: Callable[[str], None]) -> Speeds:
        """Time passes of every precision, then the methods and metrics in the model's own.

        Args:
            overrides: settings of a run.
            done: told of what was timed.

        Raises:
            BadInput: a setting, the data or the model cannot be used.
        """
        if self.metrics:
            overrides = [*overrides, f"metric=[{','.join(self.metrics)}]"]
        settings = load(*overrides)
        methods = {line: _settings_of(line, overrides, settings) for line in self.methods}
        own = str(settings.model.get("precision", "fp32"))
        others = [each for each in self.precisions if each != own]
        sizes: dict[str, list[Size]] = {}
        for precision in (*others, own):
            chosen = (
                settings if precision == own else load(*overrides, f"model.precision={precision}")
            )
            cell = Cell.open(chosen)
            batch = _batch(cell, settings.batch_size)
            random = cell.model.weights == RANDOM
            calibrated = calibrate(cell.model, batch.images) if random else 0
            sizes[precision] = []
            for size in by_size(cell.model, batch.images, self.batches, self.repeats, self.series):
                sizes[precision].append(size)
                done(f"{precision}, passes of {size.batch}: {size.bare.both:.3g} s/image")
        sizes_of_limit = best(sizes[own])

        def limit() -> PassTime:  # made anew: the network's copy would take memory from the calls
            return Bare(cell.model, batch.images).at_best(sizes_of_limit, self.series)

        lines = self._lines(cell, batch, methods, limit, done)
        return Speeds(sizes, lines, calibrated, cell, self)

    def _lines(
        self,
        cell: Cell,
        batch: Batch,
        methods: dict[str, Settings],
        limit: Callable[[], PassTime],
        done: Callable[[str], None],
    ) -> list[Line]:
        lines = []
        for what, settings in methods.items():
            done(f"timing {what}")
            own = replace(cell, settings=settings)
            method = build(settings.method, "method")
            shown = _batch(own, settings.batch_size)
            lines.append(self._line(what, cell.model, method, shown, limit))
        if self.metrics:
            what = " + ".join(self.metrics)
            done(f"timing {what}")
            heatmaps = cell.method(cell.model, batch)
            scored = partial(_scored, cell.metrics, heatmaps)
            lines.append(self._line(what, cell.model, scored, batch, limit))
        return lines

    def _line(
        self,
        what: str,
        model: ImageClassifier,
        call: Callable[[ImageClassifier, Batch], object],
        batch: Batch,
        limit: Callable[[], PassTime],
    ) -> Line:
        """Time calls, and the bare network before and after each: machines change their pace."""

        def timed() -> Call:
            try:
                return time_call(model, call, batch)
            except torch.cuda.OutOfMemoryError as error:
                raise BadInput(
                    f"{what}: {len(batch.ids)} images at once do not fit into memory: "
                    "lower batch_size"
                ) from error

        return_freed_memory()
        reset_peak_memory(model)
        timed()  # warms up
        memory = peak_memory(model)
        calls, before = [], limit()
        for _ in range(self.timed):
            found, after = timed(), limit()
            alone = PassTime(*(fmean(each) for each in zip(before, after, strict=True)))
            calls.append(Timed(found, alone))
            before = after
        return Line(what, len(batch.ids), memory, calls)


def _settings_of(line: str, overrides: Sequence[str], shared: Settings) -> Settings:
    """Compose the settings of a method's line.

    Raises:
        BadInput: they do not exist, or change what all lines share.
    """
    name, *own = line.split()
    settings = load(*overrides, f"method={name}", *own)
    if changed := [each for each in SHARED if getattr(settings, each) != getattr(shared, each)]:
        raise BadInput(
            f"speed.methods: {line!r} changes {changed[0]}, which all lines share: give it beside "
            "speed.methods"
        )
    return settings


def _batch(cell: Cell, count: int) -> Batch:
    """Load so many images of a data set, again from the first where there are fewer."""
    return cell.batch(list(islice(cycle(cell.dataset.ids()), count)))


def _scored(
    metrics: Mapping[str, Any], heatmaps: Tensor, model: ImageClassifier, batch: Batch
) -> object:
    return dict(score_all(metrics, model, batch, heatmaps))

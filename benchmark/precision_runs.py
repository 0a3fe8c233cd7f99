"""Run methods at several precisions: ordinary runs, and the reference's heatmaps scored at each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import pandas as pd

from benchmark.cell import Cell
from benchmark.config import Settings, load
from benchmark.interfaces import BadInput
from benchmark.models import ImageClassifier, Precision
from benchmark.precision_scores import rescored
from benchmark.precision_tables import Compared, Measure
from benchmark.precision_trial import refusal, seconds_of, trial_images
from benchmark.records import Part
from benchmark.run import Watcher, run
from benchmark.summary import per_image

OWN = ("res=", "resize=", "method.", "method@", "substrate@method")  # what a method may set


@dataclass(frozen=True)
class Precisions:
    """Which precisions are compared, of which methods, and when a difference matters."""

    reference: Precision  # what the others are compared with
    tried: list[Precision]
    slowest: float  # times the seconds of the reference's pass; what is slower still is left out
    methods: list[str]  # each with settings of its own behind it, such as "igos res=28"
    seeds: list[str]  # names: those of these methods are explained with another seed, too
    n: int  # images of the mean whose interval is the measure
    share: float  # of half that interval: a difference below it does not matter
    least: int  # images, with fewer of which nothing is told

    def __post_init__(self) -> None:
        if not self.methods or len(set(self.methods)) < len(self.methods):
            raise BadInput(f"precision.methods={self.methods}: name one or more, each once")
        if not [each for each in self.tried if each is not self.reference]:
            raise BadInput(
                f"precision.tried has to name another one than reference={self.reference.name}: "
                + ", ".join(each.name for each in Precision)
            )
        if min(self.n, self.least) < 2 or min(self.share, self.slowest) <= 0:
            raise BadInput(
                "precision needs n and least of at least 2, and share and slowest above 0, got "
                f"n={self.n} least={self.least} share={self.share} slowest={self.slowest}"
            )
        for method in self.methods:
            if wrong := [each for each in method.split()[1:] if not each.startswith(OWN)]:
                raise BadInput(
                    f"precision.methods: {method!r} sets {wrong[0]}, but a method may set only "
                    f"{', '.join(OWN)}...; what all share stands by itself"
                )

    def measure(self) -> Measure:
        """Say what differences are measured against."""
        return Measure(self.reference.name, self.n, self.share, self.least)

    def settings(self, method: str, precision: Precision, given: Sequence[str]) -> Settings:
        """Compose the settings of a method's run; its own win over those that all share.

        Raises:
            BadInput: a setting is wrong.
        """
        name, *own = method.split()
        named = {each.partition("=")[0] for each in own}
        shared = [each for each in given if each.partition("=")[0] not in named]
        return load(*shared, f"method={name}", *own, f"model.precision={precision.name}")


class Found(NamedTuple):
    """What came of it."""

    methods: list[Compared]
    left_out: dict[str, str]  # precision -> why
    cell: Cell  # the first method's at the reference


def compare(precisions: Precisions, given: Sequence[str], watcher: Watcher) -> Found:
    """Run what is not yet in the records, and score the reference's heatmaps at each precision.

    A precision is left out where the device has not got it, where a pass takes too long, or where
    one of its runs meets numbers that it cannot hold.

    Args:
        precisions: what to compare.
        given: settings that all runs share.
        watcher: is told how far each run is.

    Raises:
        BadInput: a setting is wrong, the reference cannot be run, or no other precision is left.
    """
    for name in precisions.seeds:  # one that is not compared has to be a method all the same
        precisions.settings(name, precisions.reference, given)
    for method in reversed(precisions.methods):  # a wrong setting is said before anything is run
        first = Cell.open(precisions.settings(method, precisions.reference, given))
        first.check_resolution()
    if first.attack is not None:
        raise BadInput("attack=...: precisions are compared on images as they are")
    runs = _Runs(precisions, given, watcher)
    runs.try_all(first)
    methods = [runs.compared(method) for method in precisions.methods]
    runs.others()
    return Found([_without(each, runs.left_out) for each in methods], runs.left_out, first)


class _Runs:
    """The runs of a comparison, and the precisions that it has to do without."""

    def __init__(self, precisions: Precisions, given: Sequence[str], watcher: Watcher) -> None:
        self.precisions, self.given, self.watcher = precisions, given, watcher
        self.reference = precisions.reference
        self.left_out: dict[str, str] = {}  # precision -> why

    def others(self) -> list[Precision]:
        """Return the precisions that are compared with the reference; BadInput if there is none."""
        asked = [each for each in self.precisions.tried if each is not self.reference]
        if found := [each for each in asked if each.name not in self.left_out]:
            return found
        reasons = "; ".join(f"{name}: {why}" for name, why in self.left_out.items())
        raise BadInput(f"there is nothing to compare {self.reference.name} with: {reasons}")

    def try_all(self, cell: Cell) -> None:
        """Leave out what the device has not got, or only slowly."""
        images = trial_images(cell)
        seconds = seconds_of(cell.model, images)
        for each in self.others():
            settings = self._settings(self.precisions.methods[0], each)
            load = partial(_model_of, settings)
            if why := refusal(load, images, seconds, self.precisions.slowest):
                self.left_out[each.name] = why

    def compared(self, method: str) -> Compared:
        """Run a method at each precision; leave out one of which a run cannot be ended."""
        whole: dict[str, pd.DataFrame] = {}
        cells: dict[str, Cell] = {}
        for each in [self.reference, *self.others()]:
            settings = self._settings(method, each)
            try:
                whole[each.name] = self._images(settings)
                cells[each.name] = Cell.open(settings)
            except BadInput as error:
                if each is self.reference:
                    raise
                self.left_out[each.name] = f"{method}: {error}"
        reference, images = cells[self.reference.name], whole[self.reference.name]
        again = None
        if method.split(maxsplit=1)[0] in self.precisions.seeds:
            seed = f"seed={reference.settings.seed + 1}"
            again = self._images(self._settings(method, self.reference, seed))
        return Compared(
            name=method,
            res=reference.settings.res,
            better={name: each.higher_is_better for name, each in reference.metrics.items()},
            alone=rescored(reference, list(images.index), cells),
            whole=whole,
            seed=again,
        )

    def _settings(self, method: str, precision: Precision, *more: str) -> Settings:
        named = {each.partition("=")[0] for each in more}
        given = [each for each in self.given if each.partition("=")[0] not in named]
        return self.precisions.settings(method, precision, [*given, *more])

    def _images(self, settings: Settings) -> pd.DataFrame:
        folder, outcome = run(settings, self.watcher)
        if isinstance(outcome, Part):
            raise BadInput(f"other processes are at work in {folder.path}: wait for them to end")
        return per_image(folder, outcome).set_index("id")


def _model_of(settings: Settings) -> ImageClassifier:
    return Cell.open(settings).model


def _without(compared: Compared, left_out: Mapping[str, str]) -> Compared:
    """Drop precisions that were left out after the method was run at them."""
    kept = [each for each in compared.whole if each not in left_out]
    return compared._replace(
        alone={each: compared.alone[each] for each in kept},
        whole={each: compared.whole[each] for each in kept},
    )

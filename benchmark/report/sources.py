"""What a report is about: groups of runs that may be compared, out of folders or an experiment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from benchmark.collect import Collected, State
from benchmark.errors import BadInput
from benchmark.experiment import Average, Composed
from benchmark.figure_parts import ALIKE, Run, Shared
from benchmark.records import Outcome, RunFolder, finished, outcome_of
from benchmark.stages import Row
from benchmark.stats import Mean
from benchmark.summary import class_means, per_image, summary


@dataclass(frozen=True)
class Contestant:
    """One run's results, as a report shows them."""

    run: Run
    start: Row  # settings, versions and command of the start that completed it
    mean: Average  # of what the means of metrics are
    apart: str  # what tells it apart from another of the same label

    @cached_property
    def images(self) -> pd.DataFrame:
        """What is known of each image, by id; as ``per_image`` has it."""
        return per_image(self.run.folder, self.run.outcome, self.run.stage).set_index("id")

    @cached_property
    def means(self) -> dict[str, Mean]:
        """Each metric's mean, the seconds' and the passes'."""
        metrics = list(self.run.outcome.stages)
        found = summary(self.images, metrics)
        return found | (class_means(self.images, metrics) if self.mean is Average.classes else {})

    @property
    def passes(self) -> float:
        """Forward and backward passes per image."""
        return self.means["forward_passes"].value + self.means["backward_passes"].value


@dataclass(frozen=True)
class Group:
    """Runs on the same data, model, target, protocol and images, at the same resolution."""

    title: str  # which of several groups
    facts: dict[str, str]  # what the runs share
    contestants: list[Contestant]

    @cached_property
    def metrics(self) -> dict[str, bool]:
        """Name every metric that a run has, and whether higher is better."""
        return {
            name: better
            for each in self.contestants
            for name, better in each.run.outcome.higher_is_better.items()
        }

    @cached_property
    def shared(self) -> Shared:
        """The runs as figures take them."""
        runs = [each.run for each in self.contestants]
        ids = runs[0].folder.ids(runs[0].outcome.manifest)
        return Shared(runs, ids, self.title, same_targets=True)


@dataclass(frozen=True)
class Source:
    """All that a report is made of."""

    title: str
    groups: list[Group]
    composed: Composed | None = None  # the experiment, where it is one
    cells: Sequence[Collected] = ()


def of_folders(folders: Sequence[Path]) -> Source:
    """Take every finished run in folders or below them.

    Raises:
        BadInput: there is none in one of them.
    """
    found = {}
    for root in folders:
        for folder, outcome in finished(root):
            key = (folder.path.resolve(), outcome.title, *outcome.caption.values())
            # The group says at which resolution.
            label = outcome.title.replace(f" at {outcome.res} x {outcome.res}", "", 1)
            run = Run(folder, outcome, label)
            start = _start_of(folder, outcome)
            device = outcome.caption["device"]
            found[(*key, outcome.manifest)] = Contestant(run, start, Average.images, device)
    title = f"Runs below {', '.join(map(str, folders))}"
    return Source(title, _grouped(list(found.values())))


def of_experiment(composed: Composed, cells: Sequence[Collected]) -> Source:
    """Take the cells of an experiment that are done.

    Raises:
        BadInput: none is.
    """
    if not any(cell.state is State.done for cell in cells):
        raise BadInput(f"no cell is done: {composed.sweep()}")
    experiment = composed.experiment
    found = []
    for cell in cells:
        if cell.images is not None:
            folder = RunFolder(Path(cell.run))
            ended = next(end for start, end in folder.starts() if end and start == cell.start)
            run = Run(folder, outcome_of(ended), cell.row)
            found.append(Contestant(run, dict(cell.start), experiment.mean, cell.column))
    return Source(experiment.title, _grouped(found), composed, cells)


def _start_of(folder: RunFolder, outcome: Outcome) -> Row:
    """Find the newest start that came to an outcome."""
    wanted = (outcome.title, outcome.caption, outcome.manifest)
    ended = [
        (start, outcome_of(end)) for start, end in folder.starts() if end and end["event"] == "end"
    ]
    return [start for start, own in ended if (own.title, own.caption, own.manifest) == wanted][-1]


def _grouped(contestants: Sequence[Contestant]) -> list[Group]:
    """Put together what may be compared, the finest resolution first, with labels that differ."""
    groups: dict[tuple[str, ...], list[Contestant]] = {}
    for each in sorted(contestants, key=lambda each: -each.run.outcome.res):
        groups.setdefault(tuple(_facts(each).values()), []).append(each)
    facts = [_facts(own[0]) for own in groups.values()]
    common = [key for key in (facts or [{}])[0] if len({each[key] for each in facts}) == 1]
    return [
        Group(_title(each, common), each, _told_apart(own))
        for each, own in zip(facts, groups.values(), strict=True)
    ]


def _title(facts: dict[str, str], common: Sequence[str]) -> str:
    """Name a group by its resolution and by what else not all groups share."""
    plain = ("resolution", "data", "model")
    return " · ".join(
        value if key in plain else f"{key} {value}"
        for key, value in facts.items()
        if key == "resolution" or key not in common
    )


def _facts(contestant: Contestant) -> dict[str, str]:
    outcome = contestant.run.outcome
    shared = {"resolution": f"{outcome.res} × {outcome.res}"}
    shared |= {key: outcome.caption[key] for key in ALIKE}
    shared |= {"attack": outcome.caption.get("attack", "none")}
    return shared | {"images": outcome.manifest.removesuffix(".txt")}


def _told_apart(contestants: Sequence[Contestant]) -> list[Contestant]:
    """Add to labels that are the same what tells them apart, and at last the runs' keys."""
    given = [each.apart for each in contestants]
    keys = [each.run.folder.path.name.rpartition("-")[2] for each in contestants]
    for more in (given, keys):
        often = Counter(each.run.label for each in contestants)
        contestants = [
            each if often[each.run.label] == 1 else _labelled(each, text)
            for each, text in zip(contestants, more, strict=True)
        ]
    return list(contestants)


def _labelled(contestant: Contestant, text: str) -> Contestant:
    run = contestant.run
    return replace(contestant, run=replace(run, label=f"{run.label} · {text}"))

"""Who is how good at what cost: runs that may be compared, ranked, and their Pareto fronts.

Needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from benchmark.comparisons import values_of
from benchmark.contenders import Contender, depends_on
from benchmark.errors import BadInput
from benchmark.experiment import Average
from benchmark.paired import ranks
from benchmark.stats import Mean
from benchmark.summary import class_means, summary


class Standing(NamedTuple):
    """What one run came to, beside what it cost."""

    name: str
    control: bool
    means: Mapping[str, Mean]  # by metric; those it has
    ranks: Mapping[str, Mean]  # likewise, among the board's runs that have it
    front: frozenset[str]  # metrics in which no run of the board is better for as few passes
    forward: float  # passes per image
    backward: float  # passes per image
    seconds: float  # per image
    images: int

    @property
    def passes(self) -> float:
        """Forward and backward passes per image."""
        return self.forward + self.backward

    @property
    def mean_rank(self) -> float:
        """The mean of its ranks; NaN where it has none."""
        known = [rank.value for rank in self.ranks.values() if rank.n]
        return float(np.mean(known)) if known else np.nan


class Board(NamedTuple):
    """Runs that may be compared, the best first."""

    title: str
    facts: list[str]  # what the numbers depend on
    metrics: dict[str, bool]  # those that are shown, and whether higher is better
    standings: list[Standing]


def boards(
    contenders: Sequence[Contender],
    metrics: Sequence[str] = (),
    average: Average = Average.images,
) -> list[Board]:
    """Rank contenders group by group, the largest group first.

    A board is ordered by the mean of the ranks over its metrics; runs that lack one come last.

    Args:
        contenders: of one group or several.
        metrics: that are shown; empty shows all that a group has.
        average: of what values are means.

    Raises:
        BadInput: no contender has one of the metrics.
    """
    known = list(dict.fromkeys(name for each in contenders for name in each.higher_is_better))
    if unknown := [each for each in metrics if each not in known]:
        raise BadInput(f"--metric {unknown[0]}: the runs have {', '.join(known)}")
    groups: dict[str, list[Contender]] = {}
    for each in contenders:
        if not metrics or set(metrics) & set(each.higher_is_better):
            groups.setdefault(each.group, []).append(each)
    found = [_board(rivals, metrics, average) for rivals in groups.values()]
    return sorted(found, key=lambda each: -len(each.standings))


def _board(rivals: Sequence[Contender], metrics: Sequence[str], average: Average) -> Board:
    better = {key: value for each in rivals for key, value in each.higher_is_better.items()}
    shown = {name: better[name] for name in metrics or better if name in better}
    found = [_standing(each, shown, average) for each in rivals]
    for metric, higher in shown.items():
        at = [place for place, each in enumerate(rivals) if metric in each.higher_is_better]
        values, classes = values_of([rivals[place].images for place in at], metric, average)
        placed = ranks(values, higher_is_better=higher, classes=classes)
        means = [found[place].means[metric].value for place in at]
        ahead = front([found[place].passes for place in at], means, higher_is_better=higher)
        for place, rank, leads in zip(at, placed, ahead, strict=True):
            old = found[place]
            found[place] = old._replace(
                ranks={**old.ranks, metric: rank},
                front=old.front | {metric} if leads else old.front,
            )
    found.sort(key=lambda each: (-len(each.means), np.nan_to_num(each.mean_rank, nan=np.inf)))
    title = rivals[0].heading or rivals[0].group
    return Board(title, depends_on([each.facts for each in rivals]), shown, found)


def _standing(rival: Contender, shown: Mapping[str, bool], average: Average) -> Standing:
    own = [metric for metric in shown if metric in rival.higher_is_better]
    means = summary(rival.images, own)
    costs = {key: means.pop(key).value for key in ("forward_passes", "backward_passes", "seconds")}
    if average is Average.classes:
        means |= class_means(rival.images, own)
    return Standing(
        name=rival.name,
        control=rival.control,
        means=means,
        ranks={},
        front=frozenset(),
        forward=costs["forward_passes"],
        backward=costs["backward_passes"],
        seconds=costs["seconds"],
        images=len(rival.images),
    )


def front(costs: ArrayLike, scores: ArrayLike, *, higher_is_better: bool) -> list[bool]:
    """Say which are on the Pareto front.

    Those that no other beats: is as good in both respects, and better in one.

    Args:
        costs: [K], the lower the better.
        scores: [K]; NaN is never on it.
        higher_is_better: or lower, of the scores.
    """
    cost = np.asarray(costs, dtype=float).round(9)  # equal but for rounding is equal
    score = np.asarray(scores, dtype=float).round(12) * (1 if higher_is_better else -1)
    as_good = (cost[None] <= cost[:, None]) & (score[None] >= score[:, None])  # [K, other]
    better = as_good & ((cost[None] < cost[:, None]) | (score[None] > score[:, None]))
    return [bool(each) for each in ~better.any(1) & ~np.isnan(score)]

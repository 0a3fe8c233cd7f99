"""What is said of a metric in the end, from how it bears perturbations and what it prefers.

Needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmark.consistency import CHANCE_OF_AR, DISRUPTIVE, MINOR, chance_of_nr
from benchmark.preference import EVEN, Answer, answers, enough, findings

BELIEVE, CARE, NOT, UNKNOWN = "believe", "with care", "do not believe", "cannot tell"
HALFWAY = 0.5  # from random values to a perfect metric: NR and AR are good above it

BEARS = (
    "bears small noise no better than random values would",
    "bears small noise in part",
    "bears small noise",
)
REACTS = (
    "gets no worse where the network sees another class, so that only values of the same images "
    "and network can be compared",
    "gets worse in part where the network sees another class",
    "gets worse where the network sees another class",
)
MISSING = {"NR": "on these images", "AR": "where the network sees another class"}


def chance_of(side: str, methods: int) -> float:
    """NR or AR of a metric of random values."""
    return chance_of_nr(methods) if side == "NR" else CHANCE_OF_AR


def thresholds(methods: int) -> str:
    """Say from which values on a metric has which verdict."""
    chance = {side: chance_of(side, methods) for side in ("NR", "AR")}
    good = [f"{side} above {at + HALFWAY * (1 - at):.2f}" for side, at in chance.items()]
    return (
        f"{BELIEVE}: {' and '.join(good)}, and where the cause is known all of the interval above "
        f"{EVEN:.0%} for each wrong map; {NOT}: NR of at most {chance['NR']:.2f}, or all of an "
        f"interval below {EVEN:.0%}; {CARE}: anything else; {UNKNOWN}: NR or AR has no value, or "
        f"only the interval stands against it, of fewer than {enough()} images"
    )


class Preference(NamedTuple):
    """How often the cause is preferred to one wrong map, with Jeffreys' 95 % interval."""

    rival: str
    share: float
    low: float
    high: float


class Judged(NamedTuple):
    """One metric."""

    metric: str
    sides: Mapping[str, Mapping[str, float]]  # NR, AR -> what was perturbed -> value
    images: Mapping[str, Mapping[str, float]]  # minor, disruptive -> likewise -> images of a draw
    mc: float  # NaN where a part is missing
    hardest: Preference | None  # the wrong map with the lowest share; None where no cause is known
    answers: frozenset[Answer]  # of all wrong maps; none where no cause is known
    told: str  # what it prefers, in words; empty where no cause is known
    passes: float  # per image, by itself
    methods: int  # whose ranks were compared

    def mean(self, side: str) -> float:
        """NR or AR over inputs and weights."""
        return float(np.mean([*self.sides[side].values()]))

    def standing(self, side: str) -> float:
        """Say where NR or AR lies between that of random values, 0, and a perfect metric's, 1."""
        chance = chance_of(side, self.methods)
        return (self.mean(side) - chance) / (1 - chance)

    @property
    def verdict(self) -> str:
        """Say whether to believe it.

        Believed are those nearer to a perfect metric than to one of random values in both NR and
        AR that, where the cause is known, prefer it to every wrong map with all of the interval.
        Not believed are those that bear noise no better than random values, or prefer a wrong map.
        One without reactivity is to be taken with care: it says nothing across networks or images.
        Of one that would be believed but for too few images on which to prefer the cause, the
        verdict is not known.
        """
        standings = [self.standing(side) for side in ("NR", "AR")]
        if any(map(np.isnan, standings)):
            return UNKNOWN
        if standings[0] <= 0 or Answer.wrong in self.answers:
            return NOT
        if min(standings) <= HALFWAY or Answer.neither in self.answers:
            return CARE
        return UNKNOWN if Answer.unknown in self.answers else BELIEVE


def judged(
    parts: pd.DataFrame,
    preferred: pd.DataFrame,
    passes: Mapping[str, float],
    wrong: Sequence[str],
    methods: int,
) -> list[Judged]:
    """Put together what was found of each metric, those with the highest MC first.

    Args:
        parts: as of ``consistency``.
        preferred: as of ``preferences``; may be empty.
        passes: by metric.
        wrong: names of the maps that are not of the cause.
        methods: how many methods' ranks were compared.
    """
    known = preferred if preferred.empty else preferred[preferred["rival"].isin(wrong)]
    known = known if known.empty else known[known["n"] > 0]
    found = []
    for metric, own in parts.groupby("metric", sort=False):
        rivals = known if known.empty else known[known["metric"] == metric]
        tests = own["test"].tolist()
        one = Judged(
            metric=str(metric),
            sides={s: dict(zip(tests, own[s].tolist(), strict=True)) for s in ("NR", "AR")},
            images={s: dict(zip(tests, own[s].tolist(), strict=True)) for s in (MINOR, DISRUPTIVE)},
            mc=float(np.mean(own["MC"].to_numpy())),
            hardest=None if rivals.empty else _hardest(rivals),
            answers=frozenset([] if rivals.empty else answers(rivals)),
            told="" if rivals.empty else findings(rivals, wrong)[0].partition(" ")[2],
            passes=passes[str(metric)],
            methods=methods,
        )
        found.append(one)
    return sorted(found, key=lambda each: (np.isnan(each.mc), -each.mc))


def _hardest(rivals: pd.DataFrame) -> Preference:
    line = rivals.iloc[int(rivals["share"].to_numpy().argmin())]
    return Preference(str(line["rival"]), *map(float, line[["share", "low", "high"]]))


def sentences(metrics: Sequence[Judged]) -> list[str]:
    """Say in a sentence for each metric whether to believe it, and why."""
    said = []
    for each in metrics:
        bears, reacts = each.standing("NR"), each.standing("AR")
        if np.isnan(bears) or np.isnan(reacts):
            few = [
                f"{strength} perturbations of {test} left {images:g} image{'s' * (images != 1)} "
                "a draw"
                for strength, by_test in each.images.items()
                for test, images in by_test.items()
                if images < 2
            ]
            without = [words for side, words in MISSING.items() if np.isnan(each.mean(side))]
            why = " and ".join(few) or f"it has no values {' and '.join(without)}"
            said.append(f"{each.metric}: {UNKNOWN}, {why}")
            continue
        parts = [
            f"{_choose(bears, BEARS)} (NR {each.mean('NR'):.2f})",
            f"{_choose(reacts, REACTS)} (AR {each.mean('AR'):.2f})",
            *([each.told] if each.told else []),
        ]
        said.append(f"{each.metric}: {each.verdict}; it {', '.join(parts)}")
    return said


def _choose(standing: float, words: tuple[str, str, str]) -> str:
    """Choose what is said of a metric like random values or worse, between, or near perfect."""
    return words[0 if standing <= 0 else 1 + (standing > HALFWAY)]

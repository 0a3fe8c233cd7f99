"""Tables of comparisons: every two methods, the rank of each, the spread over seeds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.contenders import Contender
from benchmark.errors import BadInput
from benchmark.experiment import Average
from benchmark.paired import (
    LEVEL,
    Pair,
    compare,
    holm,
    ranks,
    sign_flip,
    smallest,
    spread,
    weighted,
)


def tables(
    contenders: Sequence[Contender], against: str = "", mean: Average = Average.images
) -> dict[str, pd.DataFrame]:
    """Compare contenders group by group.

    Args:
        contenders: of one group or several.
        against: the one that all others are compared with; empty compares every two.
        mean: of what values are means.

    Returns:
        ``pairs``, ``ranks`` and ``seeds``, each a line per comparison; those with lines.

    Raises:
        BadInput: no contender has the name ``against``, or there are no two to compare.
    """
    names = list(dict.fromkeys(each.name for each in contenders))
    if against and against not in names:
        near = [each for each in names if each.startswith(against)]
        raise BadInput(f"--against {against}: there are {'; '.join(near or names)}")
    groups = list(by_metric(contenders))
    count = sum(len(_sides(each, against)) for _, _, each in groups)
    pairs, places = [], []
    for group, metric, rivals in groups:
        told = {"group": group, "metric": metric}
        values, classes = values_of([each.images for each in rivals], metric, mean)
        better = rivals[0].higher_is_better[metric]
        if sides := _sides(rivals, against):
            apart = np.stack([values[first] - values[second] for first, second in sides])
            found = compare(apart, classes, tests=count)
            for (first, second), pair in zip(sides, found, strict=True):
                names_of = {"first": rivals[first].name, "second": rivals[second].name}
                pairs.append(told | names_of | _line(pair, better))
        found_ranks = ranks(values, higher_is_better=better, classes=classes)
        ranked = sorted(zip(rivals, found_ranks, strict=True), key=lambda each: each[1].value)
        for each, rank in ranked:
            interval = {"rank": rank.value, "low": rank.low, "high": rank.high, "n": rank.n}
            places.append(told | {"method": each.name} | interval)
    frames = {"pairs": pd.DataFrame(pairs), "ranks": pd.DataFrame(places)}
    if pairs:
        frames["pairs"]["Holm"] = holm(frames["pairs"]["p"].tolist())
        floors = holm([smallest(n) for n in frames["pairs"]["n"]])  # that Holm cannot fall below
        frames["pairs"]["verdict"] = [
            "too few images" if floor >= LEVEL else _verdict(line)
            for floor, (_, line) in zip(floors, frames["pairs"].iterrows(), strict=True)
        ]
        frames["pairs"] = frames["pairs"].drop(columns="higher is better")
    frames["seeds"] = pd.DataFrame(_seeds(contenders, mean))
    if not pairs and not len(frames["seeds"]):
        raise BadInput("there are no two methods on the same images to compare")
    return {name: frame for name, frame in frames.items() if len(frame)}


def alike(images: Sequence[pd.DataFrame], metric: str, mean: Average) -> list[bool]:
    """Say which methods are not told apart from the best, by sign flips with Holm's correction.

    The best was found by comparing all with all, so the correction is for every pair.

    Args:
        images: of the methods of one column of a table, the best first.
        metric: that they compete in.
        mean: of what values are means.

    Returns:
        An answer for each method but the best.
    """
    count = len(images) * (len(images) - 1) // 2
    (best, *rivals), classes = values_of(images, metric, mean)
    if not rivals:
        return []
    apart = [weighted(rival[None] - best, classes)[0] for rival in rivals]
    return [p >= LEVEL for p in holm(sign_flip(apart, tests=count), count)]


def by_metric(contenders: Sequence[Contender]) -> Iterator[tuple[str, str, list[Contender]]]:
    """Split contenders into those that can be compared: of one group, by one metric."""
    for group in dict.fromkeys(each.group for each in contenders):
        own = [each for each in contenders if each.group == group]
        for metric in dict.fromkeys(name for each in own for name in each.higher_is_better):
            yield group, metric, [each for each in own if metric in each.higher_is_better]


def _sides(rivals: Sequence[Contender], against: str) -> list[tuple[int, int]]:
    """Return the places of the first and the second of each comparison."""
    if not against:
        return list(combinations(range(len(rivals)), 2))
    fixed = [at for at, each in enumerate(rivals) if each.name == against]
    return [(at, to) for to in fixed for at in range(len(rivals)) if at not in fixed]


def values_of(
    images: Sequence[pd.DataFrame], metric: str, mean: Average
) -> tuple[NDArray[np.float64], NDArray[np.generic] | None]:
    """Stack methods' values by image: [K, N], NaN where one has none.

    For means over classes also the images' classes [N].
    """
    table = pd.concat([each[metric] for each in images], axis=1)
    if mean is Average.images:
        return table.to_numpy(float).T, None
    targets = pd.concat([each["target"] for each in images])
    classes = targets[~targets.index.duplicated()].loc[table.index]
    return table.to_numpy(float).T, classes.to_numpy()


def _line(pair: Pair, higher_is_better: bool) -> dict[str, object]:
    return {
        "n": pair.difference.n,
        "difference": pair.difference.value,
        "low": pair.difference.low,
        "high": pair.difference.high,
        "p": pair.sign_flip,
        "Wilcoxon": pair.wilcoxon,
        "wins": pair.higher if higher_is_better else 1 - pair.higher,
        "detectable": pair.detectable,
        "higher is better": higher_is_better,
    }


def _verdict(line: pd.Series) -> str:
    if line["Holm"] >= LEVEL:
        return "not told apart"
    first = (line["difference"] > 0) == line["higher is better"]
    return f"{line['first' if first else 'second']} is better"


def _seeds(contenders: Sequence[Contender], mean: Average) -> Iterator[dict[str, object]]:
    for twin in dict.fromkeys(each.twin for each in contenders):
        runs = {each.seed: each for each in contenders if each.twin == twin}
        first, *others = runs.values()
        for metric in first.higher_is_better if others else ():
            values, classes = values_of([each.images for each in runs.values()], metric, mean)
            found = spread(weighted(values, classes))
            yield {
                "group": re.sub(r" seed \d+", "", first.group),
                "method": first.name,
                "metric": metric,
                "n": int((~np.isnan(values).any(0)).sum()),
                "seeds": found.seeds,
                "mean": found.mean,
                "sd of the mean": found.of_mean,
                "sd of an image": found.of_image,
            }

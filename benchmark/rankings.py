"""How far rankings of methods agree: between images, metrics and protocols. Needs no torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import Enum
from itertools import combinations
from math import comb

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import kendalltau, rankdata

from benchmark.comparisons import by_metric
from benchmark.contenders import Contender
from benchmark.errors import BadInput

Level = Enum("Level", "ordinal interval")
_PROTOCOL = re.compile(r" · protocol ([^·]*?)(?= · |$)")


def krippendorff(ratings: ArrayLike, level: Level) -> float:
    """Measure how far raters agree about units: 1 is always, 0 as by chance, below 0 less.

    NaN where no unit has two ratings or all ratings are equal.

    The squared distance of two interval ratings is that of their values, of two ordinal ones that
    of their mid-ranks among all ratings of units that have two. Observed and expected disagreement
    are then sums of squares around the units' means and around the mean of all.

    Source: Krippendorff (2011), Computing Krippendorff's Alpha-Reliability.

    Args:
        ratings: [raters, units], NaN where a rater has not rated a unit.
        level: what differences mean.
    """
    given = np.asarray(ratings, dtype=float)
    given = given[:, (~np.isnan(given)).sum(0) > 1]
    present = ~np.isnan(given)
    n = int(present.sum())
    if n == 0 or np.ptp(given[present]) == 0:  # what is left around a mean may be rounding
        return np.nan
    if level is Level.ordinal:
        ranked = np.full_like(given, np.nan)
        ranked[present] = rankdata(given[present])
        given = ranked
    of_unit = present.sum(0)
    within = np.nansum((given - np.nanmean(given, axis=0)) ** 2, axis=0)
    everything = np.nansum((given - np.nanmean(given)) ** 2)
    return float(1 - (of_unit * within / (of_unit - 1)).sum() / n / (everything / (n - 1)))


def comparisons_of(contenders: Sequence[Contender]) -> dict[str, pd.DataFrame]:
    """Compare the rankings that stored scores give, each metric turned so that higher is better.

    Args:
        contenders: of one group or several; those of one group may be compared.

    Returns:
        Those of these that have lines: ``images`` (a metric's ranking of methods, image by image),
        ``metrics`` (the rankings of two metrics), ``protocols`` (of two protocols or substrates),
        ``methods`` (one method's mean and place under all protocols).

    Raises:
        BadInput: no two methods may be compared.
    """
    of_images, means = [], []
    for group, metric, rivals in by_metric(contenders):
        table = pd.concat({each.name: each.images[metric] for each in rivals}, axis=1).T
        sign = 1 if rivals[0].higher_is_better[metric] else -1
        common = table.dropna(axis=1)
        if len(rivals) < 2 or common.shape[1] == 0:
            continue
        told = {"group": group, "metric": metric, "methods": len(table)}
        ranks = (sign * common).rank()
        of_images.append(
            told
            | {"n": common.shape[1], "alpha": krippendorff(ranks.to_numpy().T, Level.ordinal)}
            | {"alpha of values": krippendorff(common.to_numpy().T, Level.interval)}
        )
        mean = common.mean(axis=1)
        lines = pd.DataFrame({"mean": mean, "turned": (sign * mean).round(12)})
        lines[["group", "metric", "methods"]] = group, metric, len(table)
        lines["protocol"] = found[1] if (found := _PROTOCOL.search(group)) else ""
        lines["base"] = _PROTOCOL.sub("", group)
        means.append(lines.rename_axis("method").reset_index())
    if not means:
        raise BadInput("no two methods were scored on the same images by the same metric")
    long = pd.concat(means, ignore_index=True)
    frames = {
        "images": pd.DataFrame(of_images),
        "metrics": _pairs(long, ["group"], "metric"),
        "protocols": _pairs(long, ["base", "metric"], "protocol"),
        "methods": pd.DataFrame(_moved(long)),
    }
    return {name: frame for name, frame in frames.items() if len(frame)}


def by_protocol(contenders: Sequence[Contender], title: str) -> list[Contender]:
    """Let an experiment's columns be protocols, so that their rankings are compared.

    Args:
        contenders: of an experiment, a group for each column.
        title: the experiment's.

    Returns:
        The same contenders, in groups that differ in the protocol; unchanged where columns differ
        in anything else, as in the model.
    """
    others = ({**each.facts, "protocol": "", "code": ""} for each in contenders)
    if len({repr(sorted(each.items())) for each in others}) > 1:
        return list(contenders)
    return [each._replace(group=f"{title} · protocol {each.group}") for each in contenders]


def _pairs(long: pd.DataFrame, within: list[str], between: str) -> pd.DataFrame:
    """Compare the rankings of methods of every two metrics or protocols."""
    lines = []
    for key, part in long.groupby(within, sort=False):
        board = part.pivot(index="method", columns=between, values="turned")
        for first, second in combinations(part[between].unique(), 2):
            both = board[[first, second]].dropna()
            if len(both) < 2:
                continue
            turned = len(turned_pairs(both)) / comb(len(both), 2)
            lines.append(
                dict(zip(within, key, strict=True))
                | {"first": first, "second": second, "methods": len(both)}
                | {"tau": tau(both), "turned": turned}
            )
    return pd.DataFrame(lines)


def tau(both: pd.DataFrame) -> float:
    """Return Kendall's tau of the orders that two columns give the rows; NaN if one gives none."""
    return float(kendalltau(both.iloc[:, 0], both.iloc[:, 1]).statistic)


def turned_pairs(both: pd.DataFrame) -> list[tuple[int, int]]:
    """Return the places of every two rows that stand in opposite orders by two columns."""
    values = both.to_numpy(float)
    pairs = combinations(range(len(both)), 2)
    return [(one, other) for one, other in pairs if np.prod(values[one] - values[other]) < 0]


def _moved(long: pd.DataFrame) -> Iterator[dict[str, object]]:
    """Say how far each method's mean and place move between its protocols.

    Its place is among the methods that all of these protocols have: among others it would move by
    who is there.
    """
    for (base, metric), rivals in long.groupby(["base", "metric"], sort=False):
        board = rivals.pivot(index="method", columns="protocol", values="turned")
        for method, part in rivals.groupby("method", sort=False):
            names, values = part["protocol"].tolist(), part["mean"].tolist()
            if len(names) < 2:
                continue
            shared = board[names].dropna()
            places = shared.rank(ascending=False).loc[method]
            low, high = int(np.argmin(values)), int(np.argmax(values))
            yield {
                "base": base,
                "metric": metric,
                "method": method,
                "protocols": len(names),
                "lowest": values[low],
                "at lowest": names[low],
                "highest": values[high],
                "at highest": names[high],
                "best rank": places.min(),
                "worst rank": places.max(),
                "methods": len(shared),
            }


def correlations(contenders: Sequence[Contender]) -> dict[str, pd.DataFrame]:
    """Correlate every two metrics of a group by Spearman's rank correlation over image x method.

    Metrics are turned so that higher is better: those that agree have 1.

    Returns:
        Group -> matrix [metrics, metrics], of groups with two metrics; NaN where a metric is
        constant or fewer than three values have both.
    """
    found = {}
    for group in dict.fromkeys(each.group for each in contenders):
        tables = [
            pd.DataFrame(
                {
                    name: each.images[name] * (1 if up else -1)
                    for name, up in each.higher_is_better.items()
                }
            )
            for each in contenders
            if each.group == group
        ]
        stacked = pd.concat(tables)
        if stacked.shape[1] > 1:
            found[group] = stacked.corr(method="spearman", min_periods=3)
    return found

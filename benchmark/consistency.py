"""How far a metric can be relied on: noise resilience and adversary reactivity. Needs no torch.

Source: Hedström et al. (2023), The Meta-Evaluation Problem in Explainable AI: Identifying Reliable
Estimators with MetaQuantus. A good metric gives much the same scores where image or network change
a little and the prediction not at all, and worse ones where the prediction has become another.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata, wilcoxon

from benchmark.preference import SAME

INPUTS, WEIGHTS = "inputs", "weights"  # what is perturbed
MINOR, DISRUPTIVE = "minor", "disruptive"  # how much
CHANCE_OF_AR = 0.5  # what a metric has that draws its values at random
EXACT = 50  # differences; of more, p is the normal distribution's, as it is in case of ties


def change_p(before: ArrayLike, after: ArrayLike) -> float:
    """Test whether scores [N] changed: two-sided p of Wilcoxon's signed ranks, in [0, 1].

    Differences of 0 count half for either side (scipy's ``zsplit``), so scores that stay have p 1.
    NaN with fewer than two images that have both values.
    """
    apart = np.asarray(after, float) - np.asarray(before, float)
    apart = apart[~np.isnan(apart)]
    if len(apart) < 2:
        return np.nan
    apart[np.abs(apart) <= SAME] = 0
    sizes = np.abs(apart)
    clear = sizes.all() and len(np.unique(sizes)) == len(sizes) <= EXACT
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that few images are few
        found = wilcoxon(apart, zero_method="zsplit", method="exact" if clear else "asymptotic")
    return float(found.pvalue)


def same_ranks(before: ArrayLike, after: ArrayLike) -> float:
    """Say on which share of images and methods a method's rank stays, from scores [L, N].

    Equal scores share their mean rank. Images without a value for any of the methods are left out;
    NaN if none remains. Of a random order of L methods 1/L stays.
    """
    one, two = np.asarray(before, float), np.asarray(after, float)
    whole = ~(np.isnan(one) | np.isnan(two)).any(0)
    if not whole.any():
        return np.nan
    ranks = [_ranks(each[:, whole]) for each in (one, two)]
    return float((ranks[0] == ranks[1]).mean())


def worse(before: ArrayLike, after: ArrayLike, higher_is_better: bool) -> float:
    """Say which share of scores [L, N] became worse; NaN if there is none, of missing ones none."""
    fall = np.asarray(before, float) - np.asarray(after, float)
    fall = (fall if higher_is_better else -fall)[~np.isnan(fall)]
    return float((fall > SAME).mean()) if len(fall) else np.nan


def consistency(scores: pd.DataFrame, higher_is_better: Mapping[str, bool]) -> pd.DataFrame:
    """Sum up how each metric bears perturbations.

    Args:
        scores: a line per perturbation, method, metric and image that counts, as of
            ``benchmark.perturbed_scores``.
        higher_is_better: by metric.

    Returns:
        A line per metric and test (INPUTS, WEIGHTS), with the mean over draws of

        - ``IAC_NR``: p that scores stayed under a minor perturbation, over methods;
        - ``IEC_NR``: the share of unchanged ranks of methods under it;
        - ``IAC_AR``: 1 - p that scores stayed under a disruptive perturbation;
        - ``IEC_AR``: the share of scores that became worse under it;

        each in [0, 1], 1 best, NaN where no two images count or have values; ``NR`` and ``AR``, the
        means of their two; ``MC``, the mean of all four; ``minor`` and ``disruptive``, how many
        images count in a draw.
    """
    lines = []
    for key, own in scores.groupby(["metric", "test"], sort=False):
        metric, test = map(str, key)
        found: dict[str, list[float]] = {
            name: [] for name in ("IAC_NR", "IEC_NR", "IAC_AR", "IEC_AR")
        }
        counted: dict[str, list[int]] = {MINOR: [], DISRUPTIVE: []}
        for part, draw in own.groupby(["strength", "draw"], sort=False):
            strength = str(part[0])
            before, after = (
                draw.pivot(index="method", columns="id", values=each).to_numpy()
                for each in ("before", "after")
            )
            p = [change_p(one, two) for one, two in zip(before, after, strict=True)]
            counted[strength].append(before.shape[1])
            if strength == MINOR:
                found["IAC_NR"] += p
                found["IEC_NR"].append(same_ranks(before, after))
            else:
                found["IAC_AR"] += [1 - each for each in p]
                found["IEC_AR"].append(worse(before, after, higher_is_better[metric]))
        means = {name: _mean(values) for name, values in found.items()}
        sides = {side: _both(means[f"IAC_{side}"], means[f"IEC_{side}"]) for side in ("NR", "AR")}
        images = {strength: float(np.mean(each or [0])) for strength, each in counted.items()}
        line: dict[str, str | float] = {"metric": metric, "test": test}
        line.update(means | sides | {"MC": _both(*sides.values())} | images)
        lines.append(line)
    return pd.DataFrame(lines)


def chance_of_nr(methods: int) -> float:
    """Noise resilience of a metric that draws its values at random: p is uniform, ranks by lot."""
    return (0.5 + 1 / methods) / 2


def _ranks(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank methods [L, N] on each image; what differs by rounding alone is equal."""
    ranks: NDArray[np.float64] = rankdata(np.round(scores / SAME), axis=0)
    return ranks


def _mean(values: list[float]) -> float:
    present = [each for each in values if not np.isnan(each)]
    return float(np.mean(present)) if present else np.nan


def _both(one: float, other: float) -> float:
    """Average two values; NaN where either is."""
    return (one + other) / 2

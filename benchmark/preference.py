"""How often a metric prefers the true cause's heatmap, and by how much. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import beta

from benchmark.stats import Mean, mean_interval

SAME = 1e-7  # values that differ by less differ by rounding


def share(wins: ArrayLike) -> Mean:
    """Average wins [N] (1, or 0.5 for a tie, or 0) with Jeffreys' 95 % interval; NaN is left out.

    Unlike a bootstrap's, the interval of nothing but wins has a width.

    Source: Brown, Cai & DasGupta (2001), Interval Estimation for a Binomial Proportion.
    """
    present = np.asarray(wins, dtype=float)
    present = present[~np.isnan(present)]
    n, won = len(present), float(present.sum())
    if n == 0:
        return Mean(np.nan, np.nan, np.nan, 0)
    low = 0.0 if won == 0 else float(beta.ppf(0.025, won + 0.5, n - won + 0.5))
    high = 1.0 if won == n else float(beta.ppf(0.975, won + 0.5, n - won + 0.5))
    return Mean(won / n, low, high, n)


def preferences(
    values: Mapping[tuple[str, str], Sequence[float]],
    higher_is_better: Mapping[str, bool],
    cause: str,
) -> pd.DataFrame:
    """Compare the cause's map with each rival, image by image.

    Args:
        values: (metric, map) -> [N], one value per image, NaN where it has none.
        higher_is_better: by metric.
        cause: the name of the true map.

    Returns:
        A line per metric and rival: ``n``, ``share`` of the images where the cause is preferred
        (equal values half) with ``low`` and ``high``, and the mean ``difference`` in the metric's
        own unit, above 0 where the cause is better, with ``from`` and ``to``.
    """
    lines = []
    for (metric, rival), of_rival in values.items():
        if rival == cause:
            continue
        apart = np.asarray(values[metric, cause], float) - np.asarray(of_rival, float)
        apart = apart if higher_is_better[metric] else -apart
        wins = np.where(np.isnan(apart), np.nan, (apart > SAME) + (np.abs(apart) <= SAME) / 2)
        won, by = share(wins), mean_interval(apart)
        lines.append(
            {"metric": metric, "rival": rival, "n": won.n}
            | {"share": won.value, "low": won.low, "high": won.high}
            | {"difference": by.value, "from": by.low, "to": by.high}
        )
    return pd.DataFrame(lines)


def findings(lines: pd.DataFrame, wrong: Sequence[str]) -> list[str]:
    """Say in a sentence for each metric which wrong maps it tells from the cause."""
    said = []
    for metric, own in lines[lines["rival"].isin(wrong) & (lines["n"] > 0)].groupby(
        "metric", sort=False
    ):
        worse = own.loc[own["high"] < 0.5, "rival"].tolist()
        unsure = own.loc[(own["low"] <= 0.5) & (own["high"] >= 0.5), "rival"].tolist()
        parts = [f"prefers {_and(worse)} to the cause"] if worse else []
        parts += [f"does not tell {_and(unsure)} from the cause"] if unsure else []
        least = int(own["share"].to_numpy().argmin())
        rival, won, n = (own[name].tolist()[least] for name in ("rival", "share", "n"))
        often = f"least often to {rival} ({won:.0%} of {n} images)" if won < 1 else "on all images"
        fine = f"prefers the cause to every wrong map, {often}"
        said.append(f"{metric} {', and '.join(parts) or fine}")
    return said


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))

"""How often a metric prefers the true cause's heatmap, and by how much. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from functools import cache
from itertools import count

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import beta

from benchmark.stats import Mean, mean_interval
from benchmark.wording import listed, number_of

SAME = 1e-7  # values that differ by less differ by rounding
EVEN = 0.5  # share of images on which a metric that cannot tell two maps prefers one of them
WITHIN = 0.25  # of EVEN; where the interval of an even metric is wider, images are too few to tell

# Which map is preferred: what is said of a metric and one wrong map. unknown: images are too few.
Answer = Enum("Answer", "cause wrong neither unknown")


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


@cache
def enough() -> int:
    """Return how many images it takes until the interval of an even metric is narrow enough."""
    return next(n for n in count(1) if share([EVEN] * n).low >= EVEN - WITHIN)


def answer(low: float, high: float, n: int) -> Answer:
    """Say which of two maps a metric prefers.

    Args:
        low: end of the interval of the share of images on which it prefers the cause.
        high: the other end.
        n: images. Few cannot tell, be all values equal: those of a metric of few values, as 0 and
            1, are so by chance.
    """
    if low > EVEN:
        return Answer.cause
    if high < EVEN:
        return Answer.wrong
    return Answer.neither if n >= enough() else Answer.unknown


def answers(lines: pd.DataFrame) -> list[Answer]:
    """Say so for each line of ``preferences`` that has images."""
    columns = lines[["low", "high", "n"]]
    return [answer(*each) for each in columns.itertuples(index=False, name=None)]


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
    """Say in a sentence for each metric which wrong maps it tells from the cause, in order."""
    said = []
    for metric, own in lines[lines["rival"].isin(wrong) & (lines["n"] > 0)].groupby(
        "metric", sort=False
    ):
        given = own.assign(answer=pd.Series(answers(own), own.index))
        worse, unsure, untold = (
            sorted(given.loc[given["answer"] == each, "rival"].tolist(), key=wrong.index)
            for each in (Answer.wrong, Answer.neither, Answer.unknown)
        )
        parts = [f"prefers {listed(worse)} to the cause"] if worse else []
        parts += [f"does not tell {listed(unsure)} from the cause"] if unsure else []
        if untold:
            of_few = given.loc[given["answer"] == Answer.unknown, "n"].tolist()
            number = f"{min(of_few)} to " * (min(of_few) < max(of_few))
            parts.append(
                f"{number}{number_of(max(of_few), 'image')} cannot tell whether it prefers the "
                f"cause to {listed(untold)}"
            )
        least = int(own["share"].to_numpy().argmin())
        rival, won, n = (own[name].tolist()[least] for name in ("rival", "share", "n"))
        often = f"least often to {rival} ({won:.0%} of {n} images)" if won < 1 else "on all images"
        fine = f"prefers the cause to every wrong map, {often}"
        name = f"{metric}:" if parts and parts[0][0].isdigit() else str(metric)
        said.append(f"{name} {', and '.join(parts) or fine}")
    return said

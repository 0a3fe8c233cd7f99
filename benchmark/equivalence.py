"""Whether a difference is too small to matter: paired, against a threshold. Needs no torch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from benchmark.stats import Mean, mean_interval

BELOW, ABOVE, UNCLEAR = "below", "above", "cannot tell"
Z = float(norm.ppf(0.975))  # half of a 95 % interval, in standard errors


class Judged(NamedTuple):
    """What so many images say of a difference."""

    difference: Mean  # with its 95 % interval
    verdict: str  # below: all of the interval is within the threshold; above: none of it is
    images: float  # that would tell, estimated, where these do not; NaN where no number would


def threshold(values: ArrayLike, n: int, share: float) -> float:
    """Return a share of half the 95 % interval that the mean of n images would have.

    share x 1.96 x s / sqrt(n), with s the standard deviation of these values [N], NaN left out: 0
    where they are equal but for rounding, NaN for fewer than two.
    """
    present = np.asarray(values, dtype=float)
    present = present[~np.isnan(present)]
    if len(present) < 2:
        return np.nan
    varies = np.ptp(present.round(12)) > 0  # the deviation of equal values need not be exactly 0
    return share * Z * float(present.std(ddof=1)) / n**0.5 if varies else 0.0


def judge(reference: ArrayLike, other: ArrayLike, limit: float, least: int) -> Judged:
    """Say whether the means of two series over the same images differ by less than a limit.

    As in equivalence tests, not to find a difference is no evidence that there is none: the
    interval itself has to lie within the limits.

    Source: Schuirmann (1987), A comparison of the two one-sided tests procedure and the power
    approach, here with a 95 % interval, which is stricter than the usual 90 %.

    Args:
        reference: [N], NaN where an image has no value.
        other: [N].
        limit: at least 0, in the values' own unit.
        least: images, with fewer of which nothing is told: a bootstrap's interval is too short.
    """
    first, second = np.asarray(reference, dtype=float), np.asarray(other, dtype=float)
    present = ~(np.isnan(first) | np.isnan(second))
    first, second = first[present], second[present]
    apart = np.round(second - first, 12)  # equal but for rounding is equal
    hits = bool(np.isin([first, second], (0, 1)).all())
    found = _of_hits(apart) if hits and len(apart) else mean_interval(apart)
    if np.isnan(found.low) or not limit > 0:
        return Judged(found, UNCLEAR, float(least) if limit > 0 else np.nan)
    if -limit <= found.low and found.high <= limit:
        verdict, images = BELOW, np.nan
    elif found.low > limit or found.high < -limit:
        verdict, images = ABOVE, np.nan
    else:
        verdict, images = UNCLEAR, _enough(found, limit, same=hits and not apart.any())
    if found.n < least:
        return Judged(found, UNCLEAR, float(np.fmax(images, least)))
    return Judged(found, verdict, images)


def _of_hits(apart: NDArray[np.float64]) -> Mean:
    """Average differences [N] of values that are 0 or 1 each.

    A bootstrap's interval has no width where no image changed, however few there are.

    Source: Agresti & Min (2005), Simple improved confidence intervals for comparing matched
    proportions: Wald's interval after half an image was added to each of the four outcomes.
    """
    n = len(apart)
    gained, lost = (apart > 0).sum() + 0.5, (apart < 0).sum() + 0.5
    middle = float(gained - lost) / (n + 2)
    half = Z * float((gained + lost - (gained - lost) ** 2 / (n + 2)) ** 0.5) / (n + 2)
    return Mean(float(apart.mean()), middle - half, middle + half, n)


def _enough(found: Mean, limit: float, *, same: bool) -> float:
    """Estimate how many images would tell: as if there were no difference, or the one seen.

    None, where the interval holds 0: its further end has to come within the limit. Else the
    interval has to shrink around the difference until it is within the limits, or beyond them. It
    does so with the root of the images, that of hits which are all the same with their number.
    """
    up, down = found.high - found.value, found.value - found.low
    if found.low <= 0 <= found.high:
        ratio = max(found.high, -found.low) / limit
    elif abs(found.value) < limit:
        ratio = max(up / (limit - found.value), down / (limit + found.value))
    elif abs(found.value) > limit:
        ratio = (down if found.value > 0 else up) / (abs(found.value) - limit)
    else:
        return np.nan
    return float(np.ceil(found.n * ratio ** (1 if same else 2)))

"""Methods compared on the same images: differences, tests, ranks, and the spread over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata, t, wilcoxon

from benchmark.stats import Mean, class_mean_interval, mean_interval

LEVEL = 0.05  # of errors, of all tests of a table together
POWER = 0.8


class Pair(NamedTuple):
    """What the images say about the difference between two methods."""

    difference: Mean  # the first's value minus the second's
    sign_flip: float  # two-sided p of the mean difference, in (0, 1]
    wilcoxon: float  # two-sided p of the signed ranks, in [0, 1]; 0 is too small for a float
    higher: float  # share of the images where the first's value is higher; equal ones count half
    detectable: float  # difference that so many images show 4 times in 5, by one test at 5 %


def compare(
    apart: ArrayLike, classes: ArrayLike | None = None, *, tests: int, seed: int = 0
) -> list[Pair]:
    """Compare pairs of methods by their differences on the same images.

    With ``classes`` it is means over classes that differ: an image then counts as much as its
    class has few. The signed ranks count every image alike all the same.

    Args:
        apart: [pairs, N], the first's values minus the second's, NaN where either has none.
        classes: [N].
        tests: that are made together; the more, the finer the p-values have to be.
        seed: of the draws.

    Sources: Wilcoxon (1945) for the signed ranks, differences of zero left out; Fisher's sign
    flips (The Design of Experiments, 1935) for the mean; the detectable difference is that of
    a paired t-test of level .05 and power .8; NaN where no differences of so few images would show.
    """
    # Differences that are equal but for rounding are equal: of such there is no skewness.
    given = np.round(np.asarray(apart, dtype=float), 12)
    labels = None if classes is None else np.asarray(classes)
    flipped = sign_flip(weighted(given, labels), tests=tests, seed=seed)
    return [_pair(*each, labels, seed) for each in zip(given, flipped, strict=True)]


def _pair(
    apart: NDArray[np.float64], p: float, classes: NDArray[np.generic] | None, seed: int
) -> Pair:
    present = ~np.isnan(apart)
    n, kept = int(present.sum()), apart[present]
    difference = (
        mean_interval(apart, seed) if classes is None else class_mean_interval(apart, classes, seed)
    )
    higher = float(((kept > 0) + (kept == 0) / 2).mean()) if n else np.nan
    if n < 2 or not kept.any():
        return Pair(difference, 1.0, 1.0, higher, np.nan)
    error, freedom = _standard_error(kept, None if classes is None else classes[present])
    detectable = (t.ppf(1 - LEVEL / 2, freedom) + t.ppf(POWER, freedom)) * error
    if smallest(n) >= LEVEL:
        detectable = np.nan
    return Pair(difference, p, float(wilcoxon(kept).pvalue), higher, float(detectable))


def smallest(n: int) -> float:
    """Return the p of all sign flips of n differences of one sign: none of n can be smaller."""
    return 1.0 if n == 0 else 2.0 ** (1 - n)


def _standard_error(
    apart: NDArray[np.float64], classes: NDArray[np.generic] | None
) -> tuple[float, int]:
    """Return the standard error of a mean over images or classes, and its degrees of freedom.

    A class of one image adds nothing, as in ``class_mean_interval``.
    """
    if classes is None:
        return float(apart.std(ddof=1) / np.sqrt(len(apart))), len(apart) - 1
    groups = [apart[classes == each] for each in np.unique(classes)]
    several = [each for each in groups if len(each) > 1]
    variance = sum(each.var(ddof=1) / len(each) for each in several)
    freedom = sum(len(each) - 1 for each in several)
    return float(np.sqrt(variance) / len(groups)) if several else np.nan, freedom


def weighted(
    values: NDArray[np.float64], classes: NDArray[np.generic] | None
) -> NDArray[np.float64]:
    """Scale values [K, N] so that their means over images are means over classes.

    Missing values (NaN) stay so; a class counts by its images that are not missing.
    """
    if classes is None:
        return values
    scaled = np.full_like(values, np.nan)
    for row, line in zip(scaled, values, strict=True):
        present = ~np.isnan(line)
        _, place, often = np.unique(classes[present], return_inverse=True, return_counts=True)
        row[present] = line[present] * present.sum() / (len(often) * often[place])
    return scaled


def sign_flip(
    apart: ArrayLike, *, tests: int = 1, seed: int = 0, above: bool = False
) -> list[float]:
    """Return the share of sign flips under which a mean is as far from 0 as it is.

    All flips where they are few, else 9,999 random ones or, where many tests are made together,
    a hundred times as many as tests, with the given signs among them.

    Args:
        apart: [K, N] differences; NaN, where an image has none, is left out.
        tests: that are made together, so that p can be small enough for all.
        seed: of the flips, the same for all K.
        above: one-sided; the share of flips under which a mean is as high as it is.
    """
    lines = np.atleast_2d(np.asarray(apart, dtype=float))
    present = ~np.isnan(lines)
    found = np.empty(len(lines))
    for pattern in np.unique(present, axis=0):  # what is present decides whether flips are few
        alike = (present == pattern).all(1)
        found[alike] = _sign_flip(lines[alike][:, pattern], tests, seed, above=above)
    return found.tolist()


def _sign_flip(
    given: NDArray[np.float64], tests: int, seed: int, *, above: bool
) -> NDArray[np.float64]:
    count, n = given.shape
    observed = given.sum(1) if above else np.abs(given.sum(1))
    observed -= 1e-9 * np.abs(given).sum(1)  # equal but for the order in which they were added
    flips = max(9_999, 100 * tests)
    everything = 2**n <= flips
    total = 2**n if everything else flips
    as_far = np.zeros(count, dtype=int) if everything else np.ones(count, dtype=int)
    source = np.random.default_rng(seed)
    at_once = max(1, 10**7 // max(n, count, 1))  # for memory's sake
    for begin in range(0, total, at_once):
        size = min(at_once, total - begin)
        if everything:
            bits = (np.arange(begin, begin + size)[:, None] >> np.arange(n)) & 1
        else:
            bits = source.integers(0, 2, size=(size, n), dtype=np.int8)
        sums = (1.0 - 2.0 * bits) @ given.T  # [size, K]
        as_far += ((sums if above else np.abs(sums)) >= observed).sum(0)
    share: NDArray[np.float64] = as_far / (total if everything else total + 1)
    return share


def holm(ps: Sequence[float], tests: int = 0) -> list[float]:
    """Correct p-values for their number (Holm 1979), in the order given; in [0, 1].

    They may be some of more ``tests``, whose other p-values are not known: it is then as if none
    of those had been rejected.
    """
    count = max(tests, len(ps))
    given = np.asarray(ps, dtype=float)
    order = np.argsort(given, kind="stable")
    corrected = np.empty_like(given)
    stepped = given[order] * (count - np.arange(len(given)))
    corrected[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return [float(p) for p in corrected]


def ranks(
    values: ArrayLike,
    *,
    higher_is_better: bool,
    classes: ArrayLike | None = None,
    seed: int = 0,
    resamples: int = 1999,
) -> list[Mean]:
    """Rank methods by their means over the images that all have, 1 is the best.

    Args:
        values: [methods, N].
        higher_is_better: or lower.
        classes: [N]; means are then over classes.
        seed: of the draws.
        resamples: how many draws.

    Returns:
        For each method its rank, equal ones sharing theirs, between the 2.5th and the 97.5th
        percentile of its ranks when the images are drawn anew (the same for all methods).
    """
    given = np.asarray(values, dtype=float)
    present = ~np.isnan(given).any(0)
    given = given[:, present] * (-1 if higher_is_better else 1)
    n = given.shape[1]
    if n == 0:
        return [Mean(np.nan, np.nan, np.nan, 0)] * len(given)
    kept = np.zeros(n) if classes is None else np.asarray(classes)[present]
    given = weighted(given, None if classes is None else kept)
    source = np.random.default_rng(seed)
    drawn = np.empty((resamples, n), dtype=int)
    for each in np.unique(kept):  # within classes, as ``class_mean_interval`` draws
        own = kept == each
        drawn[:, own] = source.multinomial(own.sum(), np.full(own.sum(), 1 / own.sum()), resamples)
    value = rankdata(_rounded(given.mean(1)))
    again = rankdata(_rounded(drawn @ given.T / n), axis=1)  # [resamples, methods]
    low, high = np.percentile(again, [2.5, 97.5], axis=0)
    return [
        Mean(float(rank), float(best), float(worst), n)
        for rank, best, worst in zip(value, low, high, strict=True)
    ]


def _rounded(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Make means equal that are so but for the order in which they were added."""
    return np.round(means, 12)


class Spread(NamedTuple):
    """How far a stochastic method's values differ between seeds."""

    mean: float  # over images and seeds
    of_mean: float  # standard deviation of the mean over images, between seeds
    of_image: float  # root mean square over images of their standard deviations between seeds
    seeds: int


def spread(values: ArrayLike) -> Spread:
    """Compare runs that differ by their seed alone, values [seeds, N]; at least two."""
    given = np.asarray(values, dtype=float)
    given = given[:, ~np.isnan(given).any(0)]
    return Spread(
        mean=float(given.mean()),
        of_mean=float(given.mean(1).std(ddof=1)),
        of_image=float(np.sqrt(given.var(axis=0, ddof=1).mean())),
        seeds=len(given),
    )

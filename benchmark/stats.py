"""Intervals of means over images, on scipy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import bootstrap


class Mean(NamedTuple):
    """A mean over images with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int  # images the metric applies to


def mean_interval(values: ArrayLike, seed: int = 0, resamples: int = 9999) -> Mean:
    """Average per-image values with a bias-corrected, accelerated bootstrap interval.

    Missing values (NaN) are images the metric does not apply to: they are left out, and ``n``
    says how many remained. The interval is NaN for fewer than two images and has no width where
    all values are equal.

    Source: Efron & Tibshirani (1993), An Introduction to the Bootstrap, chapter 14.
    """
    present = np.asarray(values, dtype=float)
    present = present[~np.isnan(present)]
    n = len(present)
    if n == 0:
        return Mean(np.nan, np.nan, np.nan, 0)
    value = float(present.mean())
    if n == 1:
        return Mean(value, np.nan, np.nan, n)
    if np.ptp(present) == 0:
        return Mean(value, value, value, n)
    interval = bootstrap(
        (present,), np.mean, n_resamples=resamples, rng=np.random.default_rng(seed), batch=1000
    ).confidence_interval
    return Mean(value, float(interval.low), float(interval.high), n)


class Band(NamedTuple):
    """A mean curve over images with the 95 % interval of each of its points."""

    value: NDArray[np.float64]  # [points]
    low: NDArray[np.float64]  # [points]
    high: NDArray[np.float64]  # [points]


def mean_band(curves: ArrayLike, seed: int = 0, resamples: int = 1999) -> Band:
    """Average curves [images, points] with an interval at each point, as ``mean_interval`` has it.

    The band is pointwise: each point's interval is by itself, so all of a curve need not lie in it
    19 times in 20. It is NaN for a single image, and has no width where all images agree.
    """
    curves = np.asarray(curves, dtype=float)
    value = curves.mean(0)
    if len(curves) < 2:
        return Band(value, np.full_like(value, np.nan), np.full_like(value, np.nan))
    low, high = value.copy(), value.copy()
    differs = np.ptp(curves, axis=0) > 0
    if differs.any():
        interval = bootstrap(
            (curves[:, differs],),
            np.mean,
            n_resamples=resamples,
            rng=np.random.default_rng(seed),
            batch=max(1, 10**7 // curves.size),  # numbers in memory at once
        ).confidence_interval
        low[differs], high[differs] = interval.low, interval.high
    return Band(value, low, high)

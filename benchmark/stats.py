"""Intervals of means over images, on scipy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
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

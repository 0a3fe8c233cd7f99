"""Intervals of means over images and of means over classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

AT_ONCE = 1_000_000  # draws made, and multiplied, at once; more would not be faster
KEPT = 100_000_000  # draws of one byte kept for the next means over as many images


class Mean(NamedTuple):
    """A mean over images, or over classes of images, with its 95 % interval."""

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
    return mean_intervals({"": values}, seed, resamples)[""]


def mean_intervals(
    columns: Mapping[str, ArrayLike], seed: int = 0, resamples: int = 9999
) -> dict[str, Mean]:
    """Average each of several columns of per-image values as ``mean_interval`` does, but faster.

    Columns that miss the same images share the draws, which for thousands of images take longer
    than everything else.
    """
    arrays = {name: np.asarray(values, dtype=float) for name, values in columns.items()}
    present = {name: ~np.isnan(values) for name, values in arrays.items()}
    alike: dict[bytes, list[str]] = {}
    found: dict[str, Mean] = {}
    for name, values in arrays.items():
        kept = values[present[name]]
        value = float(kept.mean()) if len(kept) else np.nan
        if len(kept) < 2:
            found[name] = Mean(value, np.nan, np.nan, len(kept))
        elif np.ptp(kept) == 0:
            found[name] = Mean(value, value, value, len(kept))
        else:
            alike.setdefault(present[name].tobytes(), []).append(name)
    for names in alike.values():
        rows = np.stack([arrays[name][present[name]] for name in names], axis=1)
        band = mean_band(rows, seed, resamples)
        for name, low, high in zip(names, band.low, band.high, strict=True):
            value = float(
                arrays[name][present[name]].mean()
            )  # the same bits whatever stands beside
            found[name] = Mean(value, float(low), float(high), len(rows))
    return {name: found[name] for name in columns}


def class_mean_interval(
    values: ArrayLike, classes: ArrayLike, seed: int = 0, resamples: int = 9999
) -> Mean:
    """Average the classes' means of per-image values, with an interval.

    Every class that has a value counts alike, however many images it has; missing values (NaN) are
    left out, and ``n`` counts the images that remained. The interval is the bias-corrected,
    accelerated bootstrap's where images are drawn within each class, as many as it has: it says
    what other images of the same classes would have given. A class of one image adds nothing to
    its width, and images that show several classes are taken as so many independent ones. It is
    NaN where no class has two images, and has no width where no class's values differ.

    Drawing n of a class's images is drawing how often each distinct value comes, so that hits and
    misses of a hundred thousand images take no longer than of ten.

    Source: Efron & Tibshirani (1993), chapters 8.3 and 14, the acceleration of several samples.

    Args:
        values: [N], one per image.
        classes: [N], the class of each.
        seed: of the draws.
        resamples: how many draws.

    Raises:
        ValueError: there are not as many classes as values.
    """
    given, labels = np.asarray(values, dtype=float), np.asarray(classes)
    if given.shape != labels.shape or given.ndim != 1:
        raise ValueError(f"values of shape {given.shape} need classes alike, not {labels.shape}")
    present = ~np.isnan(given)
    given, labels = given[present], labels[present]
    groups = [given[labels == each] for each in np.unique(labels)]
    if not groups:
        return Mean(np.nan, np.nan, np.nan, 0)
    n, count = len(given), len(groups)
    value = float(np.mean([group.mean() for group in groups]))
    if max(map(len, groups)) == 1:
        return Mean(value, np.nan, np.nan, n)
    if all(np.ptp(group) == 0 for group in groups):
        return Mean(value, value, value, n)
    source = np.random.default_rng(seed)
    drawn = np.asarray(sum(_means_drawn(group, resamples, source) for group in groups)) / count
    away = np.concatenate([(group - group.mean()) / len(group) for group in groups])
    low, high = _corrected(np.array(value), drawn, away)
    return Mean(value, float(low), float(high), n)


def _means_drawn(
    group: NDArray[np.float64], resamples: int, source: np.random.Generator
) -> NDArray[np.float64]:
    """Draw as many values as there are, with replacement, and average them: [resamples]."""
    distinct, often = np.unique(group, return_counts=True)
    share = often / len(group)
    at_once = max(1, 10_000_000 // len(distinct))  # counts, for memory's sake
    parts = [
        source.multinomial(len(group), share, size=min(at_once, resamples - begin)) @ distinct
        for begin in range(0, resamples, at_once)
    ]
    means: NDArray[np.float64] = np.concatenate(parts) / len(group)
    return means


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
        own = curves[:, differs]
        low[differs], high[differs] = _corrected(
            value[differs], _rows_drawn(own, resamples, seed), own - value[differs]
        )
    return Band(value, low, high)


def _rows_drawn(rows: NDArray[np.float64], resamples: int, seed: int) -> NDArray[np.float64]:
    """Draw as many of the rows [N, K] as there are, with replacement, and average: [resamples, K].

    How often each row comes, times the rows, is their sum: one product instead of N rows gathered.
    """
    n = len(rows)
    drawn = _kept(n, resamples, seed) if n * resamples <= KEPT else _often(n, resamples, seed)
    return np.concatenate([often.astype(float) @ rows / n for often in drawn])


@lru_cache(maxsize=4)
def _kept(n: int, resamples: int, seed: int) -> list[NDArray[np.uint8]]:
    return list(_often(n, resamples, seed))


def _often(n: int, resamples: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    """Yield how often each of n rows comes in each draw of n: [draws, n] at a time."""
    source = np.random.default_rng(seed)
    at_once = max(1, AT_ONCE // n)
    for begin in range(0, resamples, at_once):
        size = min(at_once, resamples - begin)
        places = source.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
        often = np.bincount(places.ravel(), minlength=size * n).reshape(size, n)
        yield often.astype(np.uint8 if often.max() < 256 else np.int64)


def _corrected(
    value: NDArray[np.float64], drawn: NDArray[np.float64], away: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the ends [2, ...] of bias-corrected, accelerated 95 % intervals.

    Args:
        value: [...], the means.
        drawn: [resamples, ...], means of draws.
        away: [N, ...], how far each image lies from its mean, over the size of its class.
    """
    # Draws equal to the value but for rounding count half, as scipy counts ties.
    tolerance = 1e-12 * np.maximum(1.0, np.abs(value))
    below = np.mean(drawn < value - tolerance, axis=0)
    below = below + np.mean(np.abs(drawn - value) <= tolerance, axis=0) / 2
    bias = ndtri(np.clip(below, 0.5 / len(drawn), 1 - 0.5 / len(drawn)))
    acceleration = (away**3).sum(0) / (6 * (away**2).sum(0) ** 1.5)
    shifted = bias + ndtri(np.array([0.025, 0.975])).reshape(2, *[1] * value.ndim)  # [2, ...]
    at = ndtr(bias + shifted / (1 - acceleration * shifted))
    columns = np.moveaxis(drawn, 0, -1).reshape(-1, len(drawn))
    ends = [np.quantile(*each) for each in zip(columns, at.reshape(2, -1).T, strict=True)]
    return np.stack(ends, axis=-1).reshape(at.shape)

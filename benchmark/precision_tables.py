"""What precisions change: differences, rankings and speed as tables. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmark.equivalence import BELOW, Judged, judge, threshold
from benchmark.paired import LEVEL, holm, sign_flip
from benchmark.rankings import tau, turned_pairs
from benchmark.stats import Mean

ALONE, WHOLE, SEED = "metric alone", "whole", "another seed"
ALL = "all methods"


class Compared(NamedTuple):
    """One method at several precisions, on the same images.

    The tables have a line per image, by id, and a column per metric. Those of ``whole`` and
    ``seed`` are of ``benchmark.summary.per_image``; those of ``alone`` have the ``target``, and
    ``seconds``, ``passes``, those of each metric (``passes_of``) and ``warm_up`` of the scoring.
    """

    name: str
    res: int  # cells along a side of the heatmaps; methods of one are ranked together
    better: Mapping[str, bool]  # metric -> whether higher is better
    alone: Mapping[str, pd.DataFrame]  # precision -> the reference's heatmaps scored at it
    whole: Mapping[str, pd.DataFrame]  # precision -> heatmaps made and scored at it
    seed: pd.DataFrame | None  # the reference's precision again, with another seed


def passes_of(metric: str) -> str:
    """Name the column of the passes that a metric took by itself."""
    return f"{metric} passes"


class Measure(NamedTuple):
    """What a difference is measured against."""

    reference: str  # precision
    n: int  # images
    share: float  # of half the 95 % interval of a mean over n images
    least: int  # images, with fewer of which nothing is told


def differences(methods: Sequence[Compared], measure: Measure) -> pd.DataFrame:
    """Compare every precision with the reference, image by image.

    Returns:
        A line per comparison, method, metric and precision: ``n`` images, the mean and standard
        deviation (``sd``) at the reference, the mean ``difference`` (the precision's value minus
        the reference's) with its 95 % interval ``low`` to ``high``, its root mean square over
        images ``of_image``, the ``threshold``, the ``verdict``, how many ``images`` would tell,
        and on how many of them the target is another class (``retargeted``).
    """
    return pd.DataFrame([line for method in methods for line in _lines(method, measure)])


def _lines(method: Compared, measure: Measure) -> Iterator[dict[str, Any]]:
    for kind, tables in ((ALONE, method.alone), (WHOLE, method.whole)):
        for precision in tables:
            if precision != measure.reference:
                yield from _of_tables(method, measure, kind, precision, tables)
    if method.seed is not None:
        seeds = {measure.reference: method.whole[measure.reference], SEED: method.seed}
        yield from _of_tables(method, measure, SEED, SEED, seeds)


def _of_tables(
    method: Compared,
    measure: Measure,
    kind: str,
    precision: str,
    tables: Mapping[str, pd.DataFrame],
) -> Iterator[dict[str, Any]]:
    first, second = tables[measure.reference], tables[precision]
    for metric in method.better:
        values, others = first[metric].align(second[metric], join="inner")
        apart = others - values
        limit = threshold(values, measure.n, measure.share)
        found = judge(values, others, limit, measure.least)
        if kind == ALONE and not first[passes_of(metric)].any() and not apart.any():
            found = Judged(Mean(0.0, 0.0, 0.0, found.difference.n), BELOW, np.nan)
        targets = first["target"].align(second["target"], join="inner")
        yield {
            "comparison": kind,
            "method": method.name,
            "res": method.res,
            "metric": metric,
            "precision": measure.reference if kind == SEED else precision,
            "n": found.difference.n,
            "mean": float(values.mean()),
            "sd": float(values.std()),
            "difference": found.difference.value,
            "low": found.difference.low,
            "high": found.difference.high,
            "of_image": float(np.sqrt((apart**2).mean())),
            "threshold": limit,
            "verdict": found.verdict,
            "images": found.images,
            "retargeted": int(targets[0].ne(targets[1]).sum()),
        }


def repeats(methods: Sequence[Compared], measure: Measure) -> dict[str, float]:
    """Say by how much an image's score moves when the reference scores its own heatmaps again.

    Returns:
        Metric -> the largest difference over methods and images; those above 0.
    """
    found: dict[str, float] = {}
    for method in methods:
        first, again = method.whole[measure.reference], method.alone[measure.reference]
        for metric in method.better:
            furthest = float((first[metric] - again[metric]).abs().max())
            found[metric] = max(found.get(metric, 0.0), furthest)
    return {metric: furthest for metric, furthest in found.items() if furthest > 0}


def orders(methods: Sequence[Compared], measure: Measure) -> pd.DataFrame:
    """Say how each metric's order of the methods of one resolution changes with the precision.

    Returns:
        A line per comparison, resolution, metric and precision: on ``n`` images, Kendall's
        ``tau`` with the reference's order of so many ``methods``, how many ``pairs`` of them there
        are, which ``turned``, and which of those the reference had told apart (``lost``: sign
        flips, p below .05 after Holm's correction for all pairs). No line for a method by itself.
    """
    lines = []
    for res in dict.fromkeys(each.res for each in methods):
        rivals = [each for each in methods if each.res == res]
        if len(rivals) < 2:
            continue
        for kind, of in ((ALONE, [r.alone for r in rivals]), (WHOLE, [r.whole for r in rivals])):
            for precision in of[0]:
                if precision == measure.reference:
                    continue
                for metric in rivals[0].better:
                    told = {"comparison": kind, "res": res, "metric": metric}
                    found = _order([r.name for r in rivals], of, metric, precision, measure)
                    lines.append(told | {"precision": precision} | found)
    return pd.DataFrame(lines)


def _order(
    names: Sequence[str],
    of: Sequence[Mapping[str, pd.DataFrame]],
    metric: str,
    precision: str,
    measure: Measure,
) -> dict[str, Any]:
    """Compare two orders, over the images on which all methods have both values."""
    series = [tables[each][metric] for each in (measure.reference, precision) for tables in of]
    values = pd.concat(series, axis=1).dropna().to_numpy().T  # [2 x methods, N]
    count = len(names)
    means = values.mean(1).round(12) if values.shape[1] else np.full(2 * count, np.nan)
    both = pd.DataFrame({"first": means[:count], "second": means[count:]}, index=list(names))
    pairs = list(combinations(range(count), 2))
    apart = np.stack([values[one] - values[other] for one, other in pairs])
    told = dict(zip(pairs, holm(sign_flip(apart, tests=len(pairs))), strict=True))
    turned = turned_pairs(both)
    return {
        "n": values.shape[1],
        "methods": count,
        "tau": tau(both),
        "pairs": len(pairs),
        "turned": [f"{names[one]} and {names[other]}" for one, other in turned],
        "lost": [
            f"{names[one]} and {names[other]}" for one, other in turned if told[one, other] < LEVEL
        ],
    }


def speeds(methods: Sequence[Compared], measure: Measure) -> pd.DataFrame:
    """Say what explaining and scoring an image costs.

    Returns:
        A line per method and precision, and one for all methods together: ``explain`` and
        ``score``, median seconds per image, without the first batch of a process unless there is
        no other; the same over the reference's (``explain_ratio``, ``score_ratio``) and of both
        together (``ratio``); passes per image: ``forward``, ``backward`` of explaining, and
        ``score_passes``.
    """
    lines = []
    for method in methods:
        for precision, table in method.whole.items():
            scored = method.alone[precision]
            lines.append(
                {"method": method.name, "precision": precision}
                | {"explain": _seconds(table), "score": _seconds(scored)}
                | {"forward": table["forward_passes"].mean()}
                | {"backward": table["backward_passes"].mean()}
                | {"score_passes": scored["passes"].mean()}
            )
    frame = pd.DataFrame(lines)
    if len(methods) > 1:
        total = frame.drop(columns="method").groupby("precision", sort=False).sum().reset_index()
        frame = pd.concat([frame, total.assign(method=ALL)], ignore_index=True)
    frame["both"] = frame["explain"] + frame["score"]
    base = frame[frame["precision"] == measure.reference].set_index("method")
    for name, column in (("explain_ratio", "explain"), ("score_ratio", "score"), ("ratio", "both")):
        frame[name] = frame[column] / frame["method"].map(base[column])
    return frame.drop(columns="both")


def _seconds(table: pd.DataFrame) -> float:
    warm = table.loc[~table["warm_up"].astype(bool), "seconds"]
    return float((warm if len(warm) else table["seconds"]).median())

"""How tables of precisions are written for people. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from benchmark.precision_findings import rounded
from benchmark.precision_tables import Measure


def notes(measure: Measure) -> dict[str, str]:
    """Say what the columns of each table mean."""
    reference = measure.reference
    return {
        "differences": f"difference: a precision's value minus that at {reference}, the mean over "
        "the same images with its 95 % interval (BCa bootstrap; of hits and misses Agresti & "
        f"Min's). threshold: {measure.share:g} × 1.96 × s / √{measure.n:,}, s being the metric's "
        f"standard deviation over these images at {reference}. below: all of the interval lies "
        "within the threshold; above: none of it does, which by chance happens to one in twenty "
        f"that do not differ; fewer than {measure.least} images never tell. images: how many "
        "would, estimated, as if there were no difference where the interval holds 0, else as if "
        f"it were the one seen. metric alone: the heatmaps made at {reference}, scored at each "
        f"precision; whole: heatmaps made and scored at it; another seed: {reference} twice",
        "orders": "tau: Kendall's, of the orders that a metric gives the methods by their means "
        f"at {reference} and at the precision; turned: pairs of methods that stand the other way "
        f"round, with ! where {reference} had told them apart (sign flips, Holm's correction)",
        "speeds": "median seconds per image: explaining, of separate runs, and scoring the same "
        f"heatmaps, in turns; × is the ratio to {reference}; passes per image, forward + backward",
    }


def texts_of(tables: Mapping[str, pd.DataFrame], measure: Measure) -> dict[str, pd.DataFrame]:
    """Write numbers as texts, table by table; those without lines are left out."""
    shown = {
        "differences": [_difference(line, measure) for line in _lines(tables["differences"])],
        "orders": [_order(line) for line in _lines(tables["orders"])],
        "speeds": [_speed(line) for line in _lines(tables["speeds"])],
    }
    return {name: pd.DataFrame(lines) for name, lines in shown.items() if lines}


def _lines(frame: pd.DataFrame) -> list[dict[str, Any]]:
    records: list[Any] = frame.to_dict("records")
    return records


def _difference(line: Mapping[str, Any], measure: Measure) -> dict[str, str]:
    interval = "" if pd.isna(line["low"]) else f" [{line['low']:+.2g}, {line['high']:+.2g}]"
    return {
        "comparison": str(line["comparison"]),
        "method": str(line["method"]),
        "res": str(line["res"]),
        "metric": str(line["metric"]),
        "precision": str(line["precision"]),
        f"mean at {measure.reference}": f"{line['mean']:.4f}",
        "difference": f"{line['difference']:+.2g}{interval}",
        "threshold": f"{line['threshold']:.2g}",
        "verdict": str(line["verdict"]),
        "images": rounded(line["images"]),
        "n": str(line["n"]),
    }


def _order(line: Mapping[str, Any]) -> dict[str, str]:
    turned, lost = line["turned"], line["lost"]
    names = [f"{each}{' !' if each in lost else ''}" for each in turned]
    return {
        "comparison": str(line["comparison"]),
        "res": str(line["res"]),
        "metric": str(line["metric"]),
        "precision": str(line["precision"]),
        "tau": f"{line['tau']:+.2f}",
        "turned": f"{len(names)} of {line['pairs']}" + (f": {', '.join(names)}" if names else ""),
        "n": str(line["n"]),
    }


def _speed(line: Mapping[str, Any]) -> dict[str, str]:
    return {
        "method": str(line["method"]),
        "precision": str(line["precision"]),
        "explain s": f"{line['explain']:.3g}",
        "explain ×": f"{line['explain_ratio']:.2f}",
        "explain passes": f"{line['forward']:.0f} + {line['backward']:.0f}",
        "score s": f"{line['score']:.3g}",
        "score ×": f"{line['score_ratio']:.2f}",
        "score passes": f"{line['score_passes']:.0f}",
        "both ×": f"{line['ratio']:.2f}",
    }

"""What comparing precisions comes to, in sentences. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from benchmark.equivalence import ABOVE, BELOW, UNCLEAR
from benchmark.precision_tables import ALONE, SEED, WHOLE, Measure
from benchmark.wording import listed

SAID = {  # comparison -> what it is about, and the column of speeds that counts for it
    ALONE: ("Scoring the same heatmaps", "score_ratio"),
    WHOLE: ("Explaining and scoring", "ratio"),
}
SHOWN = 3  # differences above the threshold that a sentence names


def sentences(
    differences: pd.DataFrame, orders: pd.DataFrame, speeds: pd.DataFrame, measure: Measure
) -> list[str]:
    """Say what changes, and last for each comparison which precision may be used.

    Args:
        differences: as the function of this name in ``benchmark.precision_tables`` makes them.
        orders: likewise; may be empty.
        speeds: likewise.
        measure: what they were measured against.
    """
    said = [*_retargeted(differences, measure), *_seeds(differences, measure)]
    said += _turned(orders, measure)
    return said + [_verdict(kind, differences, speeds, measure) for kind in SAID]


def _retargeted(differences: pd.DataFrame, measure: Measure) -> Iterator[str]:
    whole = differences[differences["comparison"] == WHOLE]
    for precision, lines in whole.groupby("precision", sort=False):
        line = lines.iloc[int(lines["retargeted"].to_numpy().argmax())]
        if line["retargeted"]:
            yield (
                f"{precision} explains another class than {measure.reference} on "
                f"{line['retargeted']} of {line['n']} images"
            )


def _seeds(differences: pd.DataFrame, measure: Measure) -> Iterator[str]:
    for line in differences[differences["comparison"] == SEED].itertuples(index=False):
        same = differences[
            (differences["comparison"] == WHOLE)
            & (differences["method"] == line.method)
            & (differences["metric"] == line.metric)
        ]
        if line.of_image == 0:
            yield f"{line.metric} of {line.method}: another seed gives the same scores"
            continue
        others = [
            f"{each.of_image:.2g} with {each.precision}" for each in same.itertuples(index=False)
        ]
        yield (
            f"{line.metric} of {line.method}: an image's score moves by {line.of_image:.2g} (root "
            f"mean square) with another seed at {measure.reference}, and by {listed(others)}"
        )


def _turned(orders: pd.DataFrame, measure: Measure) -> Iterator[str]:
    lines: list[Any] = orders.to_dict("records")
    for line in lines:
        if not line["turned"]:
            continue
        lost = line["lost"]
        before = f"had told apart {listed(lost)}" if lost else "had not told them apart"
        yield (
            f"{line['metric']} ({line['comparison']}, {line['res']} x {line['res']}): "
            f"{line['precision']} turns round {listed(line['turned'])}, tau {line['tau']:+.2f}; "
            f"{measure.reference} {before}"
        )


def _verdict(kind: str, differences: pd.DataFrame, speeds: pd.DataFrame, measure: Measure) -> str:
    """Name the fastest precision whose differences are below the threshold, or what it takes."""
    what, column = SAID[kind]
    own = differences[differences["comparison"] == kind]
    together = speeds[speeds["method"] == speeds["method"].iloc[-1]].set_index("precision")
    ratios = together.loc[own["precision"].unique(), column].sort_values()
    limit = f"{measure.share:g} of half the 95 % interval at n = {measure.n:,}"
    of = {precision: own[own["precision"] == precision] for precision in ratios.index}
    times = {each: f"{ratio:.2f} of {measure.reference}'s time" for each, ratio in ratios.items()}
    for precision, ratio in ratios.items():
        if ratio < 1 and (of[precision]["verdict"] == BELOW).all():
            return (
                f"{what}: {precision} is the fastest precision whose differences are all below "
                f"{limit}, and takes {times[precision]}"
            )
    reasons = [f"{each} ({times[each]}) {_why_not(of[each])}" for each in ratios.index]
    return (
        f"{what}: no precision faster than {measure.reference} can be shown to stay below {limit}: "
        + "; ".join(reasons)
    )


def _why_not(lines: pd.DataFrame) -> str:
    above, unclear = (lines[lines["verdict"] == each] for each in (ABOVE, UNCLEAR))
    parts = []
    if len(above):
        far = above.assign(far=(above["difference"].abs() / above["threshold"]))
        worst = far.sort_values("far", ascending=False).head(SHOWN).itertuples(index=False)
        named = [f"{each.metric} of {each.method} ({each.difference:+.2g})" for each in worst]
        more = f" and {len(above) - SHOWN} more" if len(above) > SHOWN else ""
        parts.append(f"is above it for {', '.join(named)}{more}")
    if len(unclear):
        parts.append(
            f"cannot be told for {len(unclear)} of {len(lines)} scores{_what_takes(unclear)}"
        )
    return " and ".join(parts) or "stays below it, but is not faster"


def _what_takes(unclear: pd.DataFrame) -> str:
    needed = unclear["images"]
    if needed.isna().all():
        return ", which do not vary over these images"
    line = unclear.iloc[int(np.nanargmax(needed))]
    return (
        f" (about {rounded(float(line['images']))} images would tell, as {line['metric']} of "
        f"{line['method']} needs)"
    )


def rounded(images: float) -> str:
    """Write an estimated number of images with two digits; – where there is none."""
    if np.isnan(images):
        return "–"
    step = 10 ** max(0, int(np.floor(np.log10(images))) - 1)
    return f"{int(np.ceil(images / step)) * step:,}"

"""One row per run, out of its records. Nothing here computes a score, or needs torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from benchmark.records import RunFolder
from benchmark.stats import Mean, mean_interval


def per_image(folder: RunFolder, ids: Sequence[str], stages: Mapping[str, str]) -> pd.DataFrame:
    """Collect one line per image, in the order of ``ids``.

    Columns: id, target, label, predicted, correct, score_on_image, score_on_baseline, every
    metric of ``stages`` (metric -> its stage in the folder), forward_passes, backward_passes,
    seconds, and warm_up where the time includes the start of the process.
    """
    explained = folder.stage("heatmaps").rows
    table = pd.DataFrame([explained[image_id] for image_id in ids])
    table = table.drop(columns=["digest", "arrays", "arrays_crc"])
    for metric, stage in stages.items():
        rows = folder.stage(stage).rows
        table.insert(
            list(table.columns).index("forward_passes"),
            metric,
            [math.nan if rows[each]["value"] is None else rows[each]["value"] for each in ids],
        )
    times = {each: line for line in folder.timings() for each in line["ids"]}
    table["seconds"] = [times.get(each, {}).get("seconds_per_image", math.nan) for each in ids]
    table["warm_up"] = [times.get(each, {}).get("warm_up", True) for each in ids]
    return table


def summary(table: pd.DataFrame, metrics: Sequence[str]) -> dict[str, Mean]:
    """Average each metric, the seconds and the passes over the images of ``per_image``.

    Seconds leave out the batch that warmed a process up, unless there is no other.
    """
    timed = table.loc[~table["warm_up"], "seconds"]
    columns = {metric: table[metric] for metric in metrics}
    columns["seconds"] = timed if len(timed) else table["seconds"]
    columns |= {name: table[name] for name in ("forward_passes", "backward_passes")}
    return {name: mean_interval(values) for name, values in columns.items()}


def row(
    name: str,
    means: Mapping[str, Mean],
    higher_is_better: Mapping[str, bool],
    caption: Mapping[str, str],
    warnings: Sequence[str],
) -> RenderableType:
    """Render one run for a person: means, 95 % intervals, cost, and what they depend on."""
    table = Table(title=name, title_justify="left", title_style="bold")
    images = means["forward_passes"].n
    cells = []
    for metric, better in higher_is_better.items():
        table.add_column(f"{metric} {'↑' if better else '↓'}", justify="right")
        cells.append(_cell(means[metric], images))
    for heading, text in (
        ("n", f"{images}"),
        ("s/image", f"{means['seconds'].value:.3g}"),
        ("passes", f"{means['forward_passes'].value:.0f} + {means['backward_passes'].value:.0f}"),
    ):
        table.add_column(heading, justify="right")
        cells.append(text)
    table.add_row(*cells)
    facts = " · ".join(f"{key} {value}" for key, value in caption.items())
    note = "means over images with 95 % bootstrap intervals; passes forward + backward per image"
    return Group(table, Text(facts), Text(note, style="dim"), *(Text(w, "red") for w in warnings))


def _cell(mean: Mean, images: int) -> str:
    """Show a mean over its interval, and its own n where it does not apply to every image."""
    if mean.n == 0:
        return "–"
    lines = [f"{mean.value:.4f}"]
    if not math.isnan(mean.low):
        lines.append(f"[{mean.low:.4f}, {mean.high:.4f}]")
    if mean.n != images:
        lines.append(f"n = {mean.n}")
    return "\n".join(lines)

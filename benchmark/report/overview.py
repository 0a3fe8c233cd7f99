"""What the report's first page says: warnings, the audit, what was run, tables and charts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from benchmark.comparisons import values_of
from benchmark.experiment_table import caption
from benchmark.figure_parts import CURVES
from benchmark.formats import html_table
from benchmark.layout import NOTHING, entries
from benchmark.paired import ranks
from benchmark.report import charts
from benchmark.report.sources import Contestant, Group, Source
from benchmark.stages import Row
from benchmark.stats import Band, Mean, mean_band

POINTS = 51  # of a drawn mean curve
SKIPPED = 5  # skipped images that are named


class Entry(NamedTuple):
    """What stands in one cell of a table that can be sorted."""

    text: str
    value: float | str  # to sort by; empty where there is none
    small: str = ""
    bar: Markup = Markup()


def overview(source: Source, notes: Sequence[str]) -> dict[str, Any]:
    """Collect everything that the template of the first page shows.

    Args:
        source: what was run.
        notes: what else has to be warned of.
    """
    paper = None
    if source.composed:
        found = entries(source.composed.experiment, source.cells)
        paper = {
            "table": Markup(html_table(source.composed.experiment, found)),
            "notes": caption(source.composed, source.cells, found),
        }
    return {
        "title": source.title,
        "warnings": [*warnings(source), *notes],
        "paper": paper,
        "groups": [_group(each) for each in source.groups],
        "shared": _shared([_made(group) for group in source.groups]),
    }


def warnings(source: Source) -> list[str]:
    """Say what a reader of the numbers must not overlook, each once."""
    found: dict[str, None] = {}
    everyone = [each for group in source.groups for each in group.contestants]
    for each in everyone:
        outcome, label = each.run.outcome, each.run.label
        found |= dict.fromkeys(f"{label}: {text}" for text in outcome.warnings)
        for image_id, why in list(outcome.skipped.items())[:SKIPPED]:
            found[f"{label}: skipped {image_id}: {why}"] = None
        if len(outcome.skipped) > SKIPPED:
            found[f"{label}: and {len(outcome.skipped) - SKIPPED} more images skipped"] = None
    git = [each.start.get("git", {}) for each in everyone]
    if changed := sum(bool(each.get("changed")) for each in git):
        found[f"{changed} of {len(git)} runs were made by code that was not committed"] = None
    if unknown := sum(not each.get("commit") for each in git):
        found[f"of {unknown} of {len(git)} runs the commit is not known"] = None
    commits = sorted({str(each["commit"])[:10] for each in git if each.get("commit")})
    if len(commits) > 1:
        found[f"the runs were made by different commits: {', '.join(commits)}"] = None
    versions = [each.start.get("packages", {}) for each in everyone]
    for package in dict.fromkeys(name for each in versions for name in each):
        numbers = sorted({str(each.get(package, "unknown")) for each in versions})
        if len(numbers) > 1:
            found[f"the runs were made with different {package}: {', '.join(numbers)}"] = None
    for group in source.groups:
        baselines = {str(each.run.folder.identity()["baseline"]) for each in group.contestants}
        if len(baselines) > 1:
            found[f"{group.title}: the runs differ in their baseline"] = None
    return list(found)


def _made(group: Group) -> dict[str, str]:
    """Say what was run, on what, and with what; where runs differ, all of it."""
    starts = [each.start for each in group.contestants]
    devices = [each.run.outcome.caption["device"] for each in group.contestants]
    found = {
        "device": devices,
        "processor": [str(each.get("processor", "unknown")) for each in starts],
        "code": [_code(each) for each in starts],
        "versions": [_versions(each) for each in starts],
    }
    return group.facts | {key: " / ".join(dict.fromkeys(each)) for key, each in found.items()}


def _shared(facts: Sequence[dict[str, str]]) -> dict[str, str]:
    first = facts[0] if facts else {}
    return {key: value for key, value in first.items() if all(each[key] == value for each in facts)}


def _code(start: Row) -> str:
    git = start.get("git", {})
    return f"{git.get('commit')}{' with changes' if git.get('changed') else ''}"


def _versions(start: Row) -> str:
    packages = [f"{name} {number}" for name, number in start.get("packages", {}).items()]
    return ", ".join([f"python {start.get('python')}", *packages])


def _group(group: Group) -> dict[str, Any]:
    labels = [each.run.label for each in group.contestants]
    drawn = {metric: _bands(group, metric) for metric in CURVES if metric in group.metrics}
    return {
        "title": group.title,
        "facts": _made(group),
        "images": len(group.shared.ids),
        "audit": _audit(group),
        "headings": [f"{name} {'↑' if up else '↓'}" for name, up in group.metrics.items()],
        "rows": _rows(group),
        "runs": [_told(each) for each in group.contestants],
        "legend": [
            {"number": number + 1, "swatch": charts.swatch(number), "label": label}
            for number, label in enumerate(labels)
        ],
        "curves": [
            (f"{metric} {'↑' if group.metrics[metric] else '↓'}", charts.curves(*each, metric))
            for metric, each in drawn.items()
            if any(each[0])
        ],
        "passes": list(_against_passes(group)),
        "ranks": list(_rank_plots(group, labels)) if len(labels) > 1 else [],
    }


def _audit(group: Group) -> dict[str, str]:
    """Say how the network takes the images, and what is left of them where they are replaced."""
    first = group.contestants[0]
    on_image, on_baseline = (first.images[f"score_on_{name}"] for name in ("image", "baseline"))
    told = {
        "mean score on the image": f"{on_image.mean():.4f}",
        "mean score on the baseline": f"{on_baseline.mean():.4f}",
        "images whose class survives there": f"{(on_baseline > on_image / 2).mean():.1%}",
    }
    for metric, point, where in (("deletion", -1, "ends at"), ("insertion", 0, "begins at")):
        curved = [each for each in group.contestants if _has_curves(each, metric, group)]
        ends = [curved[0].run.curve(metric, group.shared.ids)[0][:, point]] if curved else []
        told[f"mean score that {metric} {where}"] = f"{ends[0].mean():.4f}" if ends else NOTHING
    return told


def _has_curves(contestant: Contestant, metric: str, group: Group) -> bool:
    if metric not in contestant.run.outcome.stages:
        return False
    arrays = contestant.run.rows(metric)[group.shared.ids[0]]["arrays"]
    return {"scores", "fractions"} <= set(arrays)


def _bands(group: Group, metric: str) -> tuple[list[Band | None], Any]:
    """Average each run's curves at up to ``POINTS`` of their points."""
    found: list[Band | None] = []
    fractions = None
    for each in group.contestants:
        if not _has_curves(each, metric, group):
            found.append(None)
            continue
        scores, every = each.run.curve(metric, group.shared.ids)
        chosen = np.unique(np.linspace(0, len(every) - 1, POINTS).round().astype(int))
        fractions = every[chosen]
        found.append(mean_band(scores[:, chosen]))
    return found, fractions


def _rows(group: Group) -> list[dict[str, Any]]:
    """Lay out the table: for each run its cells, each a text, a number to sort by, and a bar."""
    columns = {
        name: [each.means.get(name, _NONE) for each in group.contestants] for name in group.metrics
    }
    cells = [_column(means) for means in columns.values()]
    seconds = [each.means["seconds"].value for each in group.contestants]
    cells.append([Entry(f"{value:.3g}", _number(value)) for value in seconds])
    cells.append([_passes(each) for each in group.contestants])
    counts = [each.means["forward_passes"].n for each in group.contestants]
    cells.append([Entry(str(count), count) for count in counts])
    return [
        {"label": each.run.label, "about": each.run.outcome.about, "cells": line}
        for each, *line in zip(group.contestants, *cells, strict=True)
    ]


_NONE = Mean(math.nan, math.nan, math.nan, 0)


def _column(means: Sequence[Mean]) -> list[Entry]:
    ends = [end for mean in means for end in mean[:3] if not math.isnan(end)] or [0.0]
    most = max(mean.n for mean in means)
    cells = []
    for mean in means:
        known = not math.isnan(mean.value)
        interval = "" if math.isnan(mean.low) else f"[{mean.low:.4f}, {mean.high:.4f}]"
        few = f" n = {mean.n}" if known and mean.n != most else ""
        text = f"{mean.value:.4f}" if known else NOTHING
        bar = charts.bar(mean, min(ends), max(ends))
        cells.append(Entry(text, _number(mean.value), f"{interval}{few}".strip(), bar))
    return cells


def _passes(contestant: Contestant) -> Entry:
    forward, backward = (contestant.means[f"{way}_passes"].value for way in ("forward", "backward"))
    return Entry(f"{forward:.0f} + {backward:.0f}", _number(forward + backward))


def _number(value: float) -> float | str:
    return "" if math.isnan(value) else value


def _against_passes(group: Group) -> Iterator[tuple[str, Markup]]:
    passes = [each.passes for each in group.contestants]
    for metric, higher in group.metrics.items():
        means = [each.means.get(metric, _NONE) for each in group.contestants]
        title = f"{metric} {'↑' if higher else '↓'}"
        yield title, charts.against_passes(passes, means, metric, title)


def _rank_plots(group: Group, labels: Sequence[str]) -> Iterator[tuple[str, Markup]]:
    for metric, higher in group.metrics.items():
        own = [at for at, each in enumerate(group.contestants) if metric in each.images]
        tables = [group.contestants[at].images for at in own]
        values, classes = values_of(tables, metric, group.contestants[0].mean)
        found = ranks(values, higher_is_better=higher, classes=classes)
        places = {at: rank for at, rank in zip(own, found, strict=True) if rank.n}
        if places:
            n = next(iter(places.values())).n
            yield f"{metric}, n = {n}", charts.rank_plot(labels, places, f"rank by {metric}")


def _told(contestant: Contestant) -> dict[str, Any]:
    """Say how a run was made."""
    start, run = contestant.start, contestant.run
    return {
        "label": run.label,
        "facts": {
            "method": run.outcome.about,
            "command": " ".join(map(str, start.get("command", ()))),
            "started": start.get("time", ""),
            "code": _code(start),
            "device": f"{run.outcome.caption['device']}; {start.get('processor', '')}",
            "versions": _versions(start),
            "weights": f"{start.get('weights')}, {run.folder.identity()['weights_sha256']}",
            "records": str(run.folder.path),
        },
        "settings": start["settings"],
    }

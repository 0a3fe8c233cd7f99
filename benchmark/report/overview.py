"""What the report's first page says: warnings, the audit, what was run, tables and charts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from benchmark import plausible
from benchmark.errors import BadInput
from benchmark.experiment_table import caption
from benchmark.formats import html_table
from benchmark.layout import NOTHING, entries
from benchmark.ranking_texts import sentences
from benchmark.rankings import comparisons_of
from benchmark.report import charts, results
from benchmark.report.sources import Contestant, Group, Source
from benchmark.stages import Row
from benchmark.survival import survival, warning

SKIPPED = 5  # skipped images that are named


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
        "agreement": _agreement(source.groups, ("protocols", "methods")),
        "shared": _shared([_made(group) for group in source.groups]),
    }


def _agreement(groups: Sequence[Group], kinds: Sequence[str]) -> list[str]:
    """Say how far images, metrics or protocols agree on the order of the methods."""
    contenders = [each for group in groups for each in results.contenders(group)]
    try:
        frames = comparisons_of(contenders)
    except BadInput:  # no two methods on the same images
        return []
    return sentences({kind: frames[kind] for kind in kinds if kind in frames})


def warnings(source: Source) -> list[str]:
    """Say what a reader of the numbers must not overlook, each once."""
    found: dict[str, None] = {}
    everyone = [each for group in source.groups for each in group.contestants]
    for each in everyone:
        outcome, label = each.run.outcome, each.run.label
        found |= dict.fromkeys(f"{label}: {text}" for text in outcome.warnings)
        if surviving := warning(survival(each.images)):
            found[f"{each.run.outcome.caption['protocol']}: {surviving}"] = None
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
    return {
        "title": group.title,
        "facts": _made(group),
        "images": len(group.shared.ids),
        "audit": _audit(group),
        "headings": [results.heading(group, metric) for metric in group.metrics],
        "rows": results.rows(group),
        "runs": [_told(each) for each in group.contestants],
        "legend": [
            {"number": number + 1, "swatch": charts.swatch(number), "label": label}
            for number, label in enumerate(labels)
        ],
        "curves": list(results.mean_curves(group)),
        "passes": list(results.against_passes(group)),
        "ranks": list(results.rank_plots(group)) if len(labels) > 1 else [],
        "correlations": list(results.correlation_chart(group)),
        "agreement": _agreement([group], ("images", "metrics")),
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
        curved = [each for each in group.contestants if results.has_curves(each, metric, group)]
        ends = [curved[0].run.curve(metric, group.shared.ids)[0][:, point]] if curved else []
        told[f"mean score that {metric} {where}"] = f"{ends[0].mean():.4f}" if ends else NOTHING
    for metric, left in survival(first.images).items():
        told[f"mean entropy where {metric} has replaced all"] = f"{left.entropy:.2f}"
        told[f"images whose class survives there, {metric}"] = f"{left.survives / left.n:.1%}"
    if checked := first.run.outcome.checked:
        told["before the run"] = plausible.told(checked)
    return told


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

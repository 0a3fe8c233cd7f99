"""Tables out of stored records: one run's row, or all runs below a folder.

``python -m benchmark.tables FOLDER [--write FILE.md|FILE.csv]``. Nothing here computes a score or
needs torch.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from benchmark.errors import BadInput
from benchmark.records import Outcome, RunFolder, write_whole
from benchmark.stats import Mean, class_mean_interval, mean_interval

NOTE = "means over images with 95 % bootstrap intervals; passes forward + backward per image"


def per_image(folder: RunFolder, outcome: Outcome) -> pd.DataFrame:
    """Collect one line per image, in the order of the manifest.

    Columns: id, target, label, predicted, correct, score_on_image, score_on_baseline, every
    metric, forward_passes, backward_passes, seconds, protocol, and warm_up where the time
    includes the start of a process.
    """
    ids = folder.ids(outcome.manifest)
    explained = folder.stage("heatmaps").rows
    table = pd.DataFrame([explained[image_id] for image_id in ids])
    table = table.drop(columns=["digest", "arrays", "arrays_crc"])
    for metric, stage in outcome.stages.items():
        rows = folder.stage(stage).rows
        values = [rows[image_id]["value"] for image_id in ids]
        place = list(table.columns).index("forward_passes")
        table.insert(place, metric, [math.nan if each is None else each for each in values])
    times = {image_id: line for line in folder.timings() for image_id in line["ids"]}
    table["seconds"] = [times.get(each, {}).get("seconds_per_image", math.nan) for each in ids]
    table["protocol"] = outcome.caption["protocol"]
    table["warm_up"] = [times.get(each, {}).get("warm_up", True) for each in ids]
    return table


def summary(table: pd.DataFrame, metrics: Sequence[str]) -> dict[str, Mean]:
    """Average each metric, the seconds and the passes over the images of ``per_image``.

    Seconds leave out the batches that warmed a process up, unless there are no others.
    """
    timed = table.loc[~table["warm_up"], "seconds"]
    columns = {metric: table[metric] for metric in metrics}
    columns["seconds"] = timed if len(timed) else table["seconds"]
    columns |= {name: table[name] for name in ("forward_passes", "backward_passes")}
    return {name: mean_interval(values) for name, values in columns.items()}


def class_means(table: pd.DataFrame, metrics: Sequence[str]) -> dict[str, Mean]:
    """Average each metric over the targets' classes, as the pointing game on VOC and COCO is.

    Takes the table of ``per_image``; each class's mean over its images counts alike.
    """
    return {metric: class_mean_interval(table[metric], table["target"]) for metric in metrics}


def row(outcome: Outcome, means: Mapping[str, Mean]) -> RenderableType:
    """Render one run for a person: means, intervals, cost, and what they depend on."""
    table = Table(title=Text(outcome.title), title_justify="left", title_style="bold")
    cells = _cells(outcome, means, separator="\n")
    for heading in cells:
        table.add_column(heading, justify="right")
    table.add_row(*cells.values())
    warnings = (Text(warning, "red") for warning in outcome.warnings)
    about = [Text(outcome.about)] if outcome.about else []
    return Group(table, *about, Text(_facts(outcome)), Text(NOTE, "dim"), *warnings)


class Comparable(NamedTuple):
    """Rows that may be compared with each other."""

    facts: str  # data, model, target, protocol, device and images, in words
    rows: pd.DataFrame  # one line per method and resolution, the finest resolution first
    methods: list[str]  # what each method is


def overview(root: Path) -> list[Comparable]:
    """Collect every run below a folder into tables of comparable rows.

    Raises:
        BadInput: there is no finished run below the folder.
    """
    groups: dict[str, list[dict[str, str]]] = {}
    methods: dict[str, set[str]] = {}
    for settings in sorted(root.glob("**/settings.json")):
        folder = RunFolder(settings.parent)
        for outcome in folder.outcomes():
            means = summary(per_image(folder, outcome), list(outcome.stages))
            facts = f"{_facts(outcome)} · images {outcome.manifest.removesuffix('.txt')}"
            line = {"res": str(outcome.res), "method": outcome.title}
            line |= _cells(outcome, means, separator=" ")
            line["method"] = "; ".join([outcome.title, *outcome.warnings])
            groups.setdefault(facts, []).append(line)
            methods.setdefault(facts, set()).update({outcome.about} - {""})
    if not groups:
        raise BadInput(f"there is no finished run below {root}")
    for lines in groups.values():
        lines.sort(key=_finest_first)
    return [
        Comparable(facts, pd.DataFrame(lines).fillna("–"), sorted(methods[facts]))
        for facts, lines in groups.items()
    ]


def main() -> int:
    """Print every run below a folder, or write them as Markdown or CSV."""
    parser = argparse.ArgumentParser(prog="benchmark.tables", description=__doc__)
    parser.add_argument("folder", type=Path, help="results/runs, or any folder below it")
    parser.add_argument("--write", type=Path, help="a file that ends in .md or .csv")
    arguments = parser.parse_args()
    try:
        tables = overview(arguments.folder)
        if arguments.write:
            write_whole(arguments.write, _rendered(tables, arguments.write.suffix))
            print(f"written to {arguments.write}")
            return 0
    except (BadInput, OSError) as error:
        print(f"benchmark.tables: {error}", file=sys.stderr)
        return 2
    console = Console(width=None if sys.stdout.isatty() else 160)
    for facts, table, methods in tables:
        shown = Table(title=Text(facts), title_justify="left")
        for heading in map(str, table.columns):
            shown.add_column(heading, justify="left" if heading == "method" else "right")
        for line in table.itertuples(index=False):
            shown.add_row(*map(Text, line))
        console.print(shown, *methods, sep="\n")
    console.print(NOTE)
    return 0


def _rendered(tables: Sequence[Comparable], suffix: str) -> str:
    if suffix == ".csv":
        return pd.concat([table.assign(facts=facts) for facts, table, _ in tables]).to_csv(
            index=False
        )
    if suffix != ".md":
        raise BadInput(f"--write takes a file that ends in .md or .csv, not in {suffix!r}")
    lines = []
    for facts, table, methods in tables:
        lines += [f"{facts}; {NOTE}.", ""]
        lines += [f"| {' | '.join(table.columns)} |", "|---|---|" + "---:|" * (table.shape[1] - 2)]
        lines += [f"| {' | '.join(line)} |" for line in table.itertuples(index=False)]
        lines += ["", *(f"- {method}." for method in methods), ""]
    return "\n".join(lines)


def _finest_first(line: dict[str, str]) -> tuple[int, str]:
    return -int(line["res"]), line["method"]


def _cells(outcome: Outcome, means: Mapping[str, Mean], separator: str) -> dict[str, str]:
    images = means["forward_passes"].n
    cells = {
        f"{metric} {'↑' if better else '↓'}": _cell(means[metric], images, separator)
        for metric, better in outcome.higher_is_better.items()
    }
    forward, backward = means["forward_passes"].value, means["backward_passes"].value
    return cells | {
        "n": str(images),
        "s/image": f"{means['seconds'].value:.3g}",
        "passes": f"{forward:.0f} + {backward:.0f}",
    }


def _cell(mean: Mean, images: int, separator: str) -> str:
    """Show a mean, its interval, and its own n where it does not apply to every image."""
    if mean.n == 0:
        return "–"
    parts = [f"{mean.value:.4f}"]
    if not math.isnan(mean.low):
        parts.append(f"[{mean.low:.4f}, {mean.high:.4f}]")
    if mean.n != images:
        parts.append(f"n = {mean.n}")
    return separator.join(parts)


def _facts(outcome: Outcome) -> str:
    return " · ".join(f"{key} {value}" for key, value in outcome.caption.items())


if __name__ == "__main__":
    sys.exit(main())

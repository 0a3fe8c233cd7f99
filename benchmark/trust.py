"""Which metrics deserve belief: ``python -m benchmark.trust [setting=value ...] [--write FILE]``.

Where the cause of a decision is known, as on the tagged scenes, every metric is asked whether it
prefers a heatmap of the cause to one of something else. The heatmaps are constructed, so no method
is on trial. Settings are those of a run, from ``conf/trust.yaml`` unless given; other data needs
masks, and its objects are then taken for the cause.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmark import captions
from benchmark.cell import Cell
from benchmark.config import build, load, one_line
from benchmark.constructed_maps import BLURRED, CAUSE, WRONG, ConstructedMaps
from benchmark.files import write_whole
from benchmark.interfaces import BadInput
from benchmark.known_curves import score_all
from benchmark.preference import findings, preferences
from benchmark.resolvers import CONF

NOTE = (
    "share of images on which the metric prefers the map of the cause, equal values half, with "
    "Jeffreys' 95 % interval; in brackets the mean difference, above 0 where the cause is better. "
    "Metrics that are given the mask or its box have to prefer it"
)


class Verdict(NamedTuple):
    """What came of it."""

    lines: pd.DataFrame  # as of ``preferences``
    findings: list[str]  # a sentence per metric
    caption: str  # what it depends on


def judge(overrides: Sequence[str]) -> Verdict:
    """Score constructed heatmaps by every metric.

    Args:
        overrides: of ``conf/trust.yaml``: ``maps.blur=10``, and any setting of a run.

    Raises:
        BadInput: a setting is wrong, or no image's cause is known.
    """
    own = [each for each in overrides if each.startswith("maps.")]
    given = [each for each in overrides if each not in own]
    config = OmegaConf.load(CONF / "trust.yaml")
    named = {each.partition("=")[0] for each in given}
    usual = [each for each in config.settings if each.partition("=")[0] not in named]
    node: DictConfig = OmegaConf.merge(config, OmegaConf.from_dotlist(own)).maps
    maps: ConstructedMaps = build(node, "maps")
    cell = Cell.open(load(*usual, *given))
    values: dict[tuple[str, str], list[float]] = {}
    ids, size = cell.dataset.ids(), cell.settings.batch_size
    groups = [ids[start : start + size] for start in range(0, len(ids), size)]
    for group in track(
        groups, "scoring", console=Console(stderr=True), disable=not sys.stderr.isatty()
    ):
        batch = maps.known(cell.batch(group))
        if batch.ids:
            for name, heatmaps in maps(cell.dataset, batch, cell.settings.res).items():
                for metric, found in score_all(cell.metrics, cell.model, batch, heatmaps).items():
                    values.setdefault((metric, name), []).extend(found.values.tolist())
    if not values:
        raise BadInput(
            f"no image of dataset={cell.settings.choices['dataset']} has a mask of its target: use "
            "dataset=tagged, scenes or coco2014, or target=label"
        )
    better = {name: metric.higher_is_better for name, metric in cell.metrics.items()}
    lines = preferences(values, better, CAUSE)
    facts = [f"{key} {value}" for key, value in captions.caption(cell).items()]
    shape = f"{cell.settings.res} x {cell.settings.res}"
    about = f"maps blur {maps.blur:g} px, shift {maps.shift} px"
    return Verdict(lines, findings(lines, WRONG), " · ".join([shape, *facts, about]))


def cells_of(lines: pd.DataFrame) -> pd.DataFrame:
    """Write the lines as a table of texts, a row per metric and a column per rival."""
    form = "{:.0%} [{:.0%}, {:.0%}] ({:+.3g})"
    texts = [
        form.format(*each) if each[4] else "–"
        for each in lines[["share", "low", "high", "difference", "n"]].itertuples(index=False)
    ]
    wide = lines.assign(text=texts).pivot(index="metric", columns="rival", values="text")
    rivals = [name for name in (*WRONG, BLURRED) if name in wide.columns]
    return wide.loc[lines["metric"].drop_duplicates(), rivals]


def markdown(verdict: Verdict) -> str:
    """Write the table, its note and the findings as Markdown."""
    shown = cells_of(verdict.lines)
    head = [
        f"| prefers the cause to | {' | '.join(shown.columns)} |",
        "|---" * (len(shown.columns) + 1) + "|",
    ]
    rows = [
        f"| {name} | {' | '.join(row)} |"
        for name, row in zip(shown.index, shown.to_numpy(), strict=True)
    ]
    said = [f"- {each}." for each in verdict.findings]
    return "\n".join([*head, *rows, "", f"{verdict.caption}; {NOTE}.", "", *said, ""])


def main() -> int:
    """Print which metrics prefer the cause, or write it as Markdown or CSV."""
    parser = argparse.ArgumentParser(prog="benchmark.trust", description=__doc__)
    parser.add_argument("settings", nargs="*", help="group=choice or key=value, as of a run")
    parser.add_argument(
        "--write",
        type=Path,
        action="append",
        default=[],
        help="ends in .md or .csv; may be repeated",
    )
    arguments = parser.parse_intermixed_args()
    try:
        for file in arguments.write:
            if file.suffix not in (".md", ".csv"):
                raise BadInput(
                    f"--write takes a file that ends in .md or .csv, not in {file.suffix!r}"
                )
        verdict = judge(arguments.settings)
        for file in arguments.write:
            table = (
                verdict.lines.to_csv(index=False) if file.suffix == ".csv" else markdown(verdict)
            )
            write_whole(file, table)
            print(f"written to {file}")
    except (BadInput, OSError) as error:
        print(f"benchmark.trust: {one_line(error)}", file=sys.stderr)
        return 2
    if not arguments.write:
        _show(verdict)
    return 0


def _show(verdict: Verdict) -> None:
    shown = cells_of(verdict.lines)
    table = Table("prefers the cause to", *shown.columns)
    for name, row in zip(shown.index, shown.to_numpy(), strict=True):
        table.add_row(str(name), *row)
    console = Console(width=None if sys.stdout.isatty() else 140, markup=False, highlight=False)
    console.print(table, f"{verdict.caption}; {NOTE}", "", *verdict.findings, sep="\n")


if __name__ == "__main__":
    sys.exit(main())

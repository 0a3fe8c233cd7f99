"""Which metrics deserve belief: ``python -m benchmark.trust [setting=value ...] [--write FILE]``.

Where the cause of a decision is known, as on the tagged scenes, every metric is asked whether it
prefers a heatmap of the cause to one of something else. The heatmaps are constructed, so no method
is on trial. Settings are those of a run, from ``conf/trust.yaml`` unless given; other data needs
masks, and its objects are then taken for the cause.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from rich.console import Console
from rich.table import Table

from benchmark import captions
from benchmark.advice import one_line
from benchmark.building import build
from benchmark.cell import Cell
from benchmark.config import load
from benchmark.constructed_maps import BLURRED, CAUSE, WRONG, ConstructedMaps
from benchmark.files import write_then_show, write_whole
from benchmark.images import chunks
from benchmark.interfaces import BadInput
from benchmark.known_curves import values_of
from benchmark.preference import EVEN, enough, findings, preferences
from benchmark.stage_bars import stage
from benchmark.usual_settings import asked, not_asked, usual
from benchmark.wording import number_of

NOTE = (
    "share of images on which the metric prefers the map of the cause, equal values half, with "
    "Jeffreys' 95 % interval; in brackets the mean difference, above 0 where the cause is better. "
    "It prefers a map where all of the interval is on that side of {even:.0%}; where the interval "
    "holds {even:.0%}, {enough} images or more say that it does not tell the two, and fewer cannot "
    "tell. "
    "Metrics that are given the mask or its box have to prefer it"
)


class Verdict(NamedTuple):
    """What came of it."""

    lines: pd.DataFrame  # as of ``preferences``
    findings: list[str]  # a sentence per metric
    caption: str  # what it depends on
    left_out: str  # metrics that were not asked; empty where the user has chosen

    @property
    def note(self) -> str:
        """Say how to read the table, and what is not in it."""
        return "; ".join(filter(None, [NOTE.format(even=EVEN, enough=enough()), self.left_out]))


def judge(overrides: Sequence[str]) -> Verdict:
    """Score constructed heatmaps by every metric.

    Args:
        overrides: of ``conf/trust.yaml``: ``maps.blur=10``, and any setting of a run.

    Raises:
        BadInput: a setting is wrong, or no image's cause is known.
    """
    config, given = usual("trust", overrides)
    maps: ConstructedMaps = build(config.maps, "maps")
    cell = Cell.open(load(*given))
    lines = prefer(cell, maps)
    if lines.empty:
        raise BadInput(
            f"no image of dataset={cell.settings.choices['dataset']} has a mask of its target: use "
            "dataset=tagged, scenes or coco2014, or target=label"
        )
    facts = [f"{key} {value}" for key, value in captions.caption(cell).items()]
    shape = f"{cell.settings.res} x {cell.settings.res}"
    about = f"maps blur {maps.blur:g} px, shift {maps.shift} px"
    chosen = any(each.startswith("metric=") for each in overrides)
    settings = cell.settings
    left_out = "" if chosen else not_asked(cell.metrics, settings.method, "a constructed one")
    images = number_of(int(lines["n"].max()), "image")
    told = " · ".join([shape, *facts, images, about])
    return Verdict(lines, findings(lines, WRONG), told, left_out)


def prefer(cell: Cell, maps: ConstructedMaps) -> pd.DataFrame:
    """Ask all metrics of a cell whether they prefer the cause, on its images.

    Returns:
        As of ``preferences``; empty where no image has a mask of its target.
    """
    values: dict[tuple[str, str], list[float]] = {}
    ids, size = cell.dataset.ids(), cell.settings.batch_size
    groups = [ids[part] for part in chunks(len(ids), size)]
    title = (
        f"scoring constructed heatmaps of {number_of(len(ids), 'image')} by "
        f"{number_of(len(cell.metrics), 'metric')}"
    )
    with stage(title, len(ids)) as shown:
        for group in groups:
            batch = maps.known(cell.batch(group))
            made = maps(cell.dataset, batch, cell.settings.res) if batch.ids else {}
            for name, heatmaps in made.items():
                found = values_of(cell.metrics, cell.model, batch, heatmaps)
                for metric, each in found.items():
                    values.setdefault((metric, name), []).extend(each)
                shown.move(len(batch.ids) / len(made))
            shown.move(len(group) - len(batch.ids))
    better = {name: metric.higher_is_better for name, metric in cell.metrics.items()}
    return preferences(values, better, CAUSE)


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
    return "\n".join([*head, *rows, "", f"{verdict.caption}; {verdict.note}.", "", *said, ""])


def main() -> int:
    """Print which metrics prefer the cause, and write it where asked as Markdown or CSV."""
    try:
        settings, files = asked("benchmark.trust", __doc__, (".md", ".csv"))
        verdict = judge(settings)
        write_then_show(files, partial(_write, verdict), partial(_show, verdict))
    except (BadInput, OSError) as error:
        print(f"benchmark.trust: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


def _write(verdict: Verdict, file: Path) -> None:
    text = verdict.lines.to_csv(index=False) if file.suffix == ".csv" else markdown(verdict)
    write_whole(file, text)


def _show(verdict: Verdict) -> None:
    shown = cells_of(verdict.lines)
    table = Table("prefers the cause to", *shown.columns)
    for name, row in zip(shown.index, shown.to_numpy(), strict=True):
        table.add_row(str(name), *row)
    console = Console(width=None if sys.stdout.isatty() else 140, markup=False, highlight=False)
    console.print(table, f"{verdict.caption}; {verdict.note}", "", *verdict.findings, sep="\n")


if __name__ == "__main__":
    sys.exit(main())

"""Which precision will do: ``python -m benchmark.precision [setting=value ...] [--write FILE]``.

The same images are explained and scored at several precisions, and the differences to the reference
measured against the interval that a mean over many images has. Settings are those of a run, from
``conf/precision.yaml`` unless given; every method at every precision is an ordinary run, which is
kept in the records and not made twice.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmark.advice import one_line
from benchmark.building import build
from benchmark.captions import caption
from benchmark.cell import Cell
from benchmark.config import composed
from benchmark.contenders import facts_of
from benchmark.devices import device_name
from benchmark.errors import BadInput, UnreadableImage
from benchmark.files import check_endings, write_then_show, write_whole
from benchmark.own_folder import add_folder, with_folder
from benchmark.precision_findings import sentences
from benchmark.precision_runs import Precisions, compare
from benchmark.precision_tables import Measure, differences, orders, repeats, speeds
from benchmark.precision_texts import notes, texts_of
from benchmark.show import Screen
from benchmark.usual_settings import check_near

FORMATS = (".md", ".json", ".csv")
FIXED = ("method", "model.precision", "attack")  # what is compared, or may not be


class Comparison(NamedTuple):
    """What came of it."""

    tables: dict[str, pd.DataFrame]  # differences, orders, speeds
    left_out: dict[str, str]  # precision -> why
    findings: list[str]
    measure: Measure
    facts: dict[str, str]  # what the numbers depend on


def measured(overrides: Sequence[str]) -> Comparison:
    """Compare precisions.

    Args:
        overrides: of ``conf/precision.yaml``, ``precision.tried=[bf16]``, and any setting of a run
            but the method and the precision.

    Raises:
        BadInput: a setting is wrong, or no two precisions can be compared.
    """
    own = [each for each in overrides if each.startswith("precision.")]
    given = [each for each in overrides if each not in own]
    named = {each.partition("=")[0] for each in given}
    if wrong := [each for each in FIXED if each in named]:
        raise BadInput(
            f"{wrong[0]}=... cannot be given here: precision.methods=[...] and "
            "precision.tried=[...] say what is compared, on images as they are"
        )
    config, _ = composed("precision", own)
    check_near(given, config)
    usual = [each for each in config.settings if each.partition("=")[0] not in named]
    precisions: Precisions = build(config.precision, "precision")
    screen = Screen()
    try:
        found = compare(precisions, [*usual, *given], screen)
    finally:
        if screen.progress.tasks:
            screen.progress.stop()
    measure = precisions.measure()
    tables = {
        "differences": differences(found.methods, measure),
        "orders": orders(found.methods, measure),
        "speeds": speeds(found.methods, measure),
    }
    facts = _facts(found.cell)
    said = [
        f"{metric}: {measure.reference} moves an image's score by up to {furthest:.2g} when it "
        "scores the same heatmap again"
        for metric, furthest in repeats(found.methods, measure).items()
    ]
    said += sentences(tables["differences"], tables["orders"], tables["speeds"], measure)
    return Comparison(tables, found.left_out, said, measure, facts)


def _facts(cell: Cell) -> dict[str, str]:
    """Say what the numbers depend on; seconds depend on the machine."""
    start = cell.folder.started()
    device = cell.model.device
    machine = device_name(device) if device.type == "cuda" else start["processor"]
    found = facts_of(caption(cell), cell.folder.outcomes()[-1].manifest, start)
    found["device"] += f", {machine}, {start['torch_threads']} threads"
    return found


def main() -> int:
    """Print how precisions differ, write it where asked; return the exit code."""
    parser = argparse.ArgumentParser(prog="benchmark.precision", description=__doc__)
    parser.add_argument("settings", nargs="*", help="group=choice or key=value")
    parser.add_argument(
        "--write",
        type=Path,
        action="append",
        default=[],
        help=f"ends in {', '.join(FORMATS)}; may be repeated",
    )
    add_folder(parser)
    arguments = parser.parse_intermixed_args()
    try:
        check_endings(arguments.write, FORMATS)
        comparison = measured(with_folder(arguments, arguments.settings))
        write_then_show(
            arguments.write,
            lambda file: write_whole(file, rendered(comparison, file.suffix)),
            partial(_show, comparison),
        )
    except (BadInput, UnreadableImage, OSError) as error:
        print(f"benchmark.precision: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


def rendered(comparison: Comparison, suffix: str) -> str:
    """Write a comparison as Markdown, JSON or, its differences only, CSV."""
    if suffix == ".csv":
        return comparison.tables["differences"].to_csv(index=False)
    if suffix == ".json":
        return _json(comparison)
    lines, told = [], notes(comparison.measure)
    for name, frame in texts_of(comparison.tables, comparison.measure).items():
        lines += [f"| {' | '.join(frame.columns)} |", "|---" * frame.shape[1] + "|"]
        lines += [f"| {' | '.join(line)} |" for line in frame.itertuples(index=False)]
        lines += ["", f"{told[name]}.", ""]
    lines += [_depends_on(comparison) + ".", "", *(f"- {each}." for each in _said(comparison))]
    return "\n".join(lines) + "\n"


def _json(comparison: Comparison) -> str:
    tables: dict[str, Any] = {
        name: json.loads(frame.to_json(orient="records", double_precision=15))
        for name, frame in comparison.tables.items()
    }
    told = comparison._asdict() | {"tables": tables, "measure": comparison.measure._asdict()}
    return json.dumps(told, indent=1) + "\n"


def _said(comparison: Comparison) -> list[str]:
    left_out = [f"{name} is left out: {why}" for name, why in comparison.left_out.items()]
    return [*left_out, *comparison.findings]


def _depends_on(comparison: Comparison) -> str:
    return " · ".join(f"{key} {value}" for key, value in comparison.facts.items())


def _show(comparison: Comparison) -> None:
    console = Console(width=None if sys.stdout.isatty() else 150, highlight=False)
    told = notes(comparison.measure)
    for name, frame in texts_of(comparison.tables, comparison.measure).items():
        shown = Table(title=Text(name), title_justify="left", title_style="bold")
        for heading in frame.columns:
            shown.add_column(heading)
        for line in frame.itertuples(index=False):
            shown.add_row(*map(Text, line))
        console.print(shown, Text(told[name], "dim"), "", sep="\n")
    console.print(Text(_depends_on(comparison)), "", *map(Text, _said(comparison)), sep="\n")


if __name__ == "__main__":
    sys.exit(main())

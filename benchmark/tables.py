"""Tables out of stored records: one run's row, all runs below a folder, or an experiment's table.

``python -m benchmark.tables FOLDER [--largest] [--by STRATA] [--adversarial] [--write FILE]`` and
``python -m benchmark.tables table1 [n=100 ...] [--write FILE]``.
Nothing here computes a score or needs torch.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pandas as pd
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from benchmark.errors import BadInput
from benchmark.experiment import read
from benchmark.experiment_table import print_table, write_table
from benchmark.files import write_whole
from benchmark.own_folder import add_folder
from benchmark.progress import unfinished
from benchmark.records import Outcome, finished
from benchmark.stages import Row
from benchmark.stats import Mean
from benchmark.strata import BY, adversarial, excess, strata
from benchmark.summary import per_image, summary

NOTE = "means over images with 95 % bootstrap intervals; passes forward + backward per image"
WIDE = 9  # columns; a run with more is shown in lines


def row(outcome: Outcome, means: Mapping[str, Mean]) -> RenderableType:
    """Render one run for a person: means, intervals, cost, and what they depend on."""
    table = Table(title=Text(outcome.title), title_justify="left", title_style="bold")
    cells = _cells(outcome, means, separator="\n")
    if len(cells) > WIDE:
        table.show_header = False
        for heading, text in cells.items():
            table.add_row(heading, text.replace("\n", " "))
    else:
        for heading in cells:
            table.add_column(heading, justify="right")
        table.add_row(*cells.values())
    warnings = (Text(warning, "red") for warning in outcome.warnings)
    about = [Text(outcome.about)] if outcome.about else []
    return Group(table, *about, Text(_facts(outcome)), Text(NOTE, "dim"), *warnings)


def timed(title: str, entry: Row) -> RenderableType:
    """Render what a run with ``runtime`` has measured, a line for each size of batch."""
    table = Table(title=Text(title), title_justify="left", title_style="bold")
    for heading in ("batch", "s/image", "fastest", "slowest", "timed", "passes", "memory, MiB"):
        table.add_column(heading, justify="right")
    for each in entry["measured"]:
        seconds = sorted(each["seconds"])
        table.add_row(
            str(each["batch"]),
            *(f"{value:.3g}" for value in (median(seconds), seconds[0], seconds[-1])),
            str(len(seconds)),
            f"{each['forward_passes']:.0f} + {each['backward_passes']:.0f}",
            f"{each['memory'] / 2**20:.0f}",
        )
    return Group(table, Text(f"seconds are medians over batches; device {entry['device_name']}"))


class Comparable(NamedTuple):
    """Rows that may be compared with each other."""

    facts: str  # data, model, target, protocol, device and images, in words
    rows: pd.DataFrame  # one line per method and resolution, the finest resolution first
    methods: list[str]  # what each method is
    adversarial: list[str]  # each row's images with an adversarial mask; only where asked for


def overview(
    root: Path, largest: bool = False, *, by: str = "", masks: bool = False
) -> list[Comparable]:
    """Collect every run below a folder into tables of comparable rows.

    Args:
        root: the folder.
        largest: leave out what the same command has measured on more images, too.
        by: of ``benchmark.strata.BY``: a row for each stratum of a run's images, under its name.
        masks: count adversarial masks, and list them.

    Raises:
        BadInput: there is no finished run below the folder.
    """
    groups: dict[str, list[dict[str, str]]] = {}
    methods: dict[str, set[str]] = {}
    listed: dict[str, list[str]] = {}
    runs = [(outcome, per_image(folder, outcome)) for folder, outcome in finished(root)]
    most: dict[tuple[str, str], int] = {}
    for outcome, images in runs:
        run = _facts(outcome), outcome.title
        most[run] = max(most.get(run, 0), len(images))
    for outcome, images in runs:
        if largest and len(images) < most[_facts(outcome), outcome.title]:
            continue
        facts = f"{_facts(outcome)} · images {outcome.manifest.removesuffix('.txt')}"
        for stratum, part in (strata(images, by) if by else {"": images}).items():
            line = {"res": str(outcome.res)}
            line["method"] = "; ".join([outcome.title, *outcome.warnings])
            line |= {"images": stratum} if by else {}
            line |= _cells(outcome, summary(part, list(outcome.stages)), separator=" ")
            if masks and (known := int(excess(part).notna().sum())):
                found = adversarial(part)
                line["adversarial"] = f"{len(found)} of {known}"
                if found:
                    name = " · ".join(each for each in (outcome.title, stratum) if each)
                    listed.setdefault(facts, []).append(f"{name}: {' '.join(found)}")
            groups.setdefault(facts, []).append(line)
        methods.setdefault(facts, set()).update({outcome.about} - {""})
    for lines in groups.values():
        lines.sort(key=_finest_first)
    return [
        Comparable(
            facts,
            pd.DataFrame(lines).fillna("–"),
            sorted(methods[facts]),
            listed.get(facts, []),
        )
        for facts, lines in groups.items()
    ]


def main() -> int:
    """Print every run below a folder, or write them as Markdown or CSV."""
    parser = argparse.ArgumentParser(prog="benchmark.tables", description=__doc__)
    parser.add_argument("what", help="an experiment such as table1, or a folder of results")
    parser.add_argument("overrides", nargs="*", help="what the experiment was run with: n=100 ...")
    parser.add_argument(
        "--largest",
        action="store_true",
        help="of a folder's runs with one title, only the one of most images",
    )
    parser.add_argument("--by", choices=BY, help="of a folder's runs, a row for each stratum")
    parser.add_argument(
        "--adversarial",
        action="store_true",
        help="count and list images whose score falls without what the heatmap marks, but is not "
        "back with it alone: deletion + insertion of at most half of the score on the image",
    )
    parser.add_argument("--plan", action="store_true", help="what is missing, and what it costs")
    add_folder(parser)
    parser.add_argument(
        "--write",
        type=Path,
        help="a file that ends in .md, .csv, .tex or .html; of an experiment, without: all four",
    )
    arguments = parser.parse_intermixed_args()
    console = Console(width=None if sys.stdout.isatty() else 160)
    try:
        if not Path(arguments.what).is_dir():
            if arguments.largest:
                raise BadInput("--largest chooses among a folder's runs; of an experiment give n=")
            if arguments.by or arguments.adversarial:
                raise BadInput("--by and --adversarial read a folder's runs: give their folder")
            composed = read(arguments.what, arguments.overrides, arguments.config_dir)
            if arguments.plan:
                from benchmark.plan import plan  # noqa: PLC0415 - counts passes, with torch

                console.print(plan(composed))
            elif arguments.write:
                for file in write_table(composed, arguments.write):
                    print(f"written to {file}")
            else:
                print_table(composed, console)
            return 0
        if arguments.overrides or arguments.plan:
            lost = [*arguments.overrides, "--plan"][0]
            raise BadInput(
                f"{lost}: of runs one folder is taken, without settings and --plan; compare, "
                "leaderboard, agreement and report take several"
            )
        undone = unfinished(Path(arguments.what))
        try:
            tables = overview(
                Path(arguments.what),
                arguments.largest,
                by=arguments.by or "",
                masks=arguments.adversarial,
            )
        except BadInput as error:
            raise BadInput("; ".join([str(error), *undone])) from error
        if arguments.write:
            write_whole(arguments.write, _rendered(tables, arguments.write.suffix, undone))
            print(f"written to {arguments.write}")
            return 0
    except (BadInput, OSError) as error:
        print(f"benchmark.tables: {error}", file=sys.stderr)
        return 2
    _print(tables, console)
    for line in undone:
        console.print(Text(line, "red"), soft_wrap=True)
    return 0


def _print(tables: Sequence[Comparable], console: Console) -> None:
    for facts, table, methods, listed in tables:
        shown = Table(title=Text(facts), title_justify="left")
        for heading in map(str, table.columns):
            text = heading in ("method", "images")
            shown.add_column(heading, justify="left" if text else "right")
        for line in table.itertuples(index=False):
            shown.add_row(*map(Text, line))
        console.print(shown, *methods, sep="\n")
        for each in listed:
            console.print(Text(f"adversarial masks, {each}"), soft_wrap=True)
    console.print(NOTE)


def _rendered(tables: Sequence[Comparable], suffix: str, undone: Sequence[str]) -> str:
    if suffix == ".csv":
        return pd.concat([table.assign(facts=facts) for facts, table, *_ in tables]).to_csv(
            index=False
        )
    if suffix != ".md":
        raise BadInput(f"--write takes a file that ends in .md or .csv, not in {suffix!r}")
    lines = []
    for facts, table, methods, listed in tables:
        lines += [f"{facts}; {NOTE}.", ""]
        lines += [f"| {' | '.join(table.columns)} |"]
        texts = 3 if "images" in table else 2
        lines += ["|---" * texts + "|" + "---:|" * (table.shape[1] - texts)]
        lines += [f"| {' | '.join(line)} |" for line in table.itertuples(index=False)]
        told = [*methods, *(f"adversarial masks, {each}" for each in listed)]
        lines += ["", *(f"- {each}." for each in told), ""]
    lines += [f"- {each}" for each in undone]
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

"""Compare methods image by image: ``python -m benchmark.compare table1 n=100 [--against I-GOS]``.

Of an experiment, or of all runs below a folder that may be compared: the difference of every two
methods with its interval and tests, the rank of each, and the spread over seeds where runs differ
by nothing else. Nothing here computes a score or needs torch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmark.comparisons import tables
from benchmark.contenders import of_experiment, of_folders
from benchmark.errors import BadInput
from benchmark.experiment import Average, read
from benchmark.files import check_endings, write_then_show, write_whole
from benchmark.own_folder import add_folder

NOTES = {
    "pairs": "difference: first minus second, over the images that both have, with its 95 % "
    "bootstrap interval; p: sign flips of the mean; Wilcoxon: p of the signed ranks; Holm: p "
    "corrected for the number of lines; wins: share of images on which the first is better, equal "
    "ones half; detectable: the smallest difference that so many images show 4 times in 5, by one "
    "test at 5 %; too few images: not even differences of one sign would be told from nothing, "
    "after the correction. Where means are over classes, the interval draws images within them, "
    "and p takes each image's difference for as likely turned round",
    "ranks": "1 is the best, with its 95 % interval over images drawn anew",
    "seeds": "runs that differ by their seed alone: standard deviation of the mean over images, "
    "and of an image's value, between seeds",
}


def main() -> int:
    """Print the comparisons, and write them as Markdown or CSV."""
    parser = argparse.ArgumentParser(prog="benchmark.compare", description=__doc__)
    parser.add_argument("what", help="an experiment such as table1, or folders of results")
    parser.add_argument("overrides", nargs="*", help="what the experiment was run with: n=100 ...")
    parser.add_argument("--against", default="", help="one row, that all others are compared with")
    add_folder(parser)
    parser.add_argument("--write", type=Path, help="a file that ends in .md or .csv")
    arguments = parser.parse_intermixed_args()
    try:
        files = [arguments.write] if arguments.write else []
        check_endings(files, (".md", ".csv"))
        mean = Average.images
        if Path(arguments.what).is_dir():
            contenders = of_folders([arguments.what, *arguments.overrides])
        else:
            composed = read(arguments.what, arguments.overrides, arguments.config_dir)
            contenders, mean = of_experiment(composed), composed.experiment.mean
        found = tables(contenders, arguments.against, mean)
        write_then_show(
            files,
            lambda file: write_whole(file, _rendered(found, file.suffix)),
            partial(_show, found),
        )
    except (BadInput, OSError) as error:
        print(f"benchmark.compare: {error}", file=sys.stderr)
        return 2
    return 0


def _show(found: Mapping[str, pd.DataFrame]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160)
    for name, frame in found.items():
        console.print(*_screens(frame), Text(f"{name}: {NOTES[name]}", "dim"), "")


def _rendered(found: Mapping[str, pd.DataFrame], suffix: str) -> str:
    if suffix == ".csv":
        return pd.concat([frame.assign(table=name) for name, frame in found.items()]).to_csv(
            index=False
        )
    lines = []
    for name, frame in found.items():
        shown = _texts(frame)
        lines += [f"| {' | '.join(shown.columns)} |", "|---" * shown.shape[1] + "|"]
        lines += [f"| {' | '.join(line)} |" for line in shown.itertuples(index=False)]
        lines += ["", f"{name}: {NOTES[name]}.", ""]
    return "\n".join(lines)


def _screens(frame: pd.DataFrame) -> Iterator[Table]:
    """Show each group in a table of its own, with the group as its title."""
    for group, part in frame.groupby("group", sort=False):
        shown = Table(title=Text(str(group)), title_justify="left")
        texts = _texts(part.drop(columns="group"))
        for heading in texts.columns:
            shown.add_column(heading, no_wrap=heading == "difference")
        for line in texts.itertuples(index=False):
            shown.add_row(*map(Text, line))
        yield shown


def _texts(frame: pd.DataFrame) -> pd.DataFrame:
    """Write a frame's numbers as texts, an interval beside its value."""
    shown = frame.copy()
    value = "rank" if "rank" in frame else "difference"
    if "low" in frame:
        form = "{:g} [{:g}, {:g}]" if value == "rank" else "{:+.4f} [{:+.4f}, {:+.4f}]"
        lines = frame[[value, "low", "high"]].itertuples(index=False)
        shown[value] = [form.format(*line) for line in lines]
        shown = shown.drop(columns=["low", "high"])
    forms = {"wins": "{:.0%}"} | dict.fromkeys(("p", "Wilcoxon", "Holm"), "{:.2g}")
    for name in map(str, shown.select_dtypes("number")):
        form = forms.get(name, "{:d}" if shown[name].dtype.kind == "i" else "{:.4f}")
        shown[name] = ["–" if pd.isna(each) else form.format(each) for each in shown[name]]
    return shown


if __name__ == "__main__":
    sys.exit(main())

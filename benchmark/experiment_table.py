"""The table of an experiment: looked up, laid out, captioned, printed or written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.text import Text

from benchmark.collect import Collected, State, collect
from benchmark.errors import BadInput
from benchmark.experiment import Composed
from benchmark.files import write_whole
from benchmark.formats import FORMATS, screen
from benchmark.layout import Entry, entries, order

# Overrides under which published values are of something else.
OTHERS = (
    "model",
    "dataset=",
    "dataset.preprocess",
    "protocol",
    "baseline",
    "target",
    "method.",
    "attack",
)


class Table(NamedTuple):
    """An experiment's table, as far as it is done."""

    cells: list[Collected]
    entries: list[Entry]
    notes: list[str]  # what the numbers depend on, and what is missing

    @classmethod
    def of(cls, composed: Composed) -> Table:
        """Look it up in the records.

        Raises:
            BadInput: a cell cannot be composed, or the published file lacks what is asked of it.
        """
        cells = collect(composed)
        found = entries(composed.experiment, cells)
        return cls(cells, found, caption(composed, cells, found))


def print_table(composed: Composed, console: Console) -> list[Collected]:
    """Print an experiment's table; return its cells.

    Raises:
        BadInput: as ``Table.of``.
    """
    table = Table.of(composed)
    console.print(*screen(composed.experiment, table.entries, console.width))
    for line in table.notes:
        console.print(Text(line))
    return table.cells


def write_table(composed: Composed, target: Path) -> list[Path]:
    """Write the table as the file's suffix says, or, where it has none, in every format.

    Raises:
        BadInput: the suffix is none of the formats, or as ``Table.of``.
    """
    if target.suffix and target.suffix not in FORMATS:
        raise BadInput(f"--write takes a name that ends in {', '.join(FORMATS)}, or in none")
    table = Table.of(composed)
    files = [target] if target.suffix else [Path(f"{target}{suffix}") for suffix in FORMATS]
    for file in files:
        write_whole(file, FORMATS[file.suffix](composed.experiment, table.entries, table.notes))
    return files


def caption(composed: Composed, cells: Sequence[Collected], found: Sequence[Entry]) -> list[str]:
    """Say what the numbers depend on, what is missing, and how far the order is the published."""
    experiment = composed.experiment
    done = [cell for cell in cells if cell.state is State.done]
    undone = [cell for cell in cells if cell.state not in (State.done, State.none)]
    lines = [composed.command("benchmark.tables", composed.name, *composed.given[1:])]
    lines += [*_depends_on(done), experiment.interval]
    if experiment.reference:
        about = experiment.reference_about
        lines.append(f"paper: {about}; in brackets ours minus the paper's")
        if other := [each for each in composed.given if each.startswith(OTHERS)]:
            lines.append(f"The paper's values are of other settings than {', '.join(other)}")
    if any(each.alike for each in found):
        lines.append(
            "≈ not told apart from the best of its column: sign flips of the mean difference over "
            "the same images, p above .05 after Holm's correction for all pairs of the column"
        )
    if undone:
        command = composed.command("benchmark", "--multirun", *composed.given)
        lines.append(f"{len(undone)} of {len(done) + len(undone)} cells are not done: {command}")
    for cell in cells:
        if cell.note:
            state = "" if cell.state is State.done else f"{cell.state.name}, "
            lines.append(f"{cell.row}, {cell.column}: {state}{cell.note}")
    if agreement := order(found):
        lines.append(f"Order of the rows against the paper's: {'; '.join(agreement)}")
    return lines + experiment.notes


def _depends_on(done: Sequence[Collected]) -> list[str]:
    """Say what all cells share in a line, and where they differ, in what."""
    captions = [cell.caption for cell in done]
    shared: list[str] = []
    differing: list[str] = []
    for key in dict.fromkeys(key for each in captions for key in each):
        values = list(dict.fromkeys(each.get(key, "none") for each in captions))
        (shared if len(values) == 1 else differing).append(f"{key} {' / '.join(values)}")
    manifests = sorted({cell.manifest for cell in done} - {""})
    if manifests:
        images = " / ".join(each.removesuffix(".txt") for each in manifests)
        (shared if len(manifests) == 1 else differing).append(f"images {images}")
    commits = sorted({_commit(cell) for cell in done})
    if commits:
        (shared if len(commits) == 1 else differing).append(f"code {' / '.join(commits)}")
    lines = [" · ".join(shared)] if shared else []
    return lines + ([f"The cells differ in: {' · '.join(differing)}"] if differing else [])


def _commit(cell: Collected) -> str:
    git = cell.start.get("git", {})
    return str(git.get("commit") or "unknown")[:10] + (
        " with changes" if git.get("changed") else ""
    )

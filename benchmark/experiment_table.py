"""The table of an experiment: looked up, laid out, captioned, printed or written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.text import Text

from benchmark.collect import Collected, State, collect, undone
from benchmark.contenders import depends_on, facts_of
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
    missing, wanted = undone(cells)
    lines = [composed.command("benchmark.tables", composed.name, *composed.given[1:])]
    facts = [facts_of(cell.caption, cell.manifest, cell.start) for cell in done]
    lines += [*depends_on(facts), experiment.interval]
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
    if missing:
        lines.append(f"{len(missing)} of {wanted} cells are not done: {composed.sweep()}")
    for cell in cells:
        if cell.note:
            state = "" if cell.state is State.done else f"{cell.state.name}, "
            lines.append(f"{cell.row}, {cell.column}: {state}{cell.note}")
    if agreement := order(found):
        lines.append(f"Order of the rows against the paper's: {'; '.join(agreement)}")
    return lines + experiment.notes

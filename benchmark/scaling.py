"""What a large sweep costs, and what it waits for: ``python -m benchmark.scaling [key=value ...]``.

Passes are counted method by method, on the embedded network; all else is arithmetic on the values
of ``conf/scaling.yaml``. ``--measured FOLDER`` compares the sweep with what one has left there,
``--write FILE.md`` keeps the tables.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.table import Table

from benchmark.advice import one_line
from benchmark.building import build
from benchmark.errors import BadInput
from benchmark.files import check_endings, write_whole
from benchmark.resolvers import CONF
from benchmark.scaling_measured import Left, compared
from benchmark.scaling_model import (
    Sweep,
    Total,
    asked_at_each_claim,
    bottleneck,
    count,
    hours,
    total,
    waits,
)
from benchmark.scaling_page import Laid, page


def tables(sweep: Sweep, whole: Total) -> list[Laid]:
    """Lay out what it comes to and, by workers, how long it takes: headings and rows of texts."""
    sums = [
        ["passes forward", f"{whole.forward:,.0f}"],
        ["passes back", f"{whole.backward:,.0f}"],
        ["hours of one worker's passes", f"{whole.hours:,.0f}"],
        ["cells", f"{whole.cells:,}"],
        ["jobs", f"{whole.cells * sweep.shards:,}"],
        ["lines of records", f"{whole.lines:,}"],
        ["bytes", f"{whole.size / 1e12:,.2f} TB"],
        ["files", f"{whole.files:,}"],
        ["appends forced onto the disk", f"{whole.appends:,.0f}"],
        ["questions to the file system", f"{whole.questions:,.0f}"],
        ["minutes to read all lines for tables", f"{whole.lines * sweep.read / 60:,.0f}"],
    ]
    rows = []
    for workers in sweep.workers:
        parts = waits(sweep, whole, workers)
        slowest = bottleneck(parts)
        taken = hours(parts)
        used = whole.hours / workers / taken
        shares = [f"{parts[name]:,.1f}" for name in parts]
        rows.append([str(workers), f"{taken:,.1f}", slowest, f"{used:.0%}", *shares])
    names = list(waits(sweep, whole, 1))
    return [
        (["all of it", ""], sums),
        (["workers", "hours", "bottleneck", "passing", *(f"{name}, h" for name in names)], rows),
    ]


def planned(overrides: Sequence[str], name: str = "scaling") -> Sweep:
    """Read a file of ``conf/`` with a user's overrides.

    Raises:
        BadInput: one of them is wrong.
    """
    try:
        node = OmegaConf.merge(
            OmegaConf.load(CONF / f"{name}.yaml"), OmegaConf.from_dotlist(list(overrides))
        )
    except OmegaConfBaseException as error:
        raise BadInput(one_line(error)) from error
    if not isinstance(node, DictConfig):
        raise BadInput(f"scaling takes key=value, got {' '.join(overrides)}")
    sweep: Sweep = build(node, "")
    return sweep


def main() -> int:
    """Print the tables, or write them as a page."""
    parser = argparse.ArgumentParser(prog="benchmark.scaling", description=__doc__)
    parser.add_argument("overrides", nargs="*", help="key=value, of conf/scaling.yaml")
    parser.add_argument(
        "--measured",
        action="append",
        default=[],
        metavar="FOLDER[=SECONDS]",
        help="what the sweep of conf/scaling_measured.yaml has left; may be given twice",
    )
    parser.add_argument("--write", type=Path, help="a file that ends in .md")
    arguments = parser.parse_intermixed_args()
    try:
        if arguments.write:
            check_endings([arguments.write], [".md"])
        found = {each.rpartition("=")[0] or each: Left.of(each) for each in arguments.measured}
        sweep = planned(arguments.overrides)
        counted = count(sweep)
        whole = total(sweep, counted)
        laid = tables(sweep, whole)
        measured = _measured(found) if found else ([], [])
        if arguments.write:
            facts = (sweep, whole, asked_at_each_claim(sweep, counted))
            write_whole(arguments.write, page(sys.argv[1:], laid, facts, measured))
            print(f"written to {arguments.write}")
            return 0
    except (BadInput, OSError) as error:
        print(f"benchmark.scaling: {error}", file=sys.stderr)
        return 2
    console = Console(width=None if sys.stdout.isatty() else 160)
    for headings, rows in [*laid, measured] if found else laid:
        shown = Table(*headings)
        for row in rows:
            shown.add_row(*row)
        console.print(shown)
    return 0


def _measured(found: dict[str, Left]) -> Laid:
    small = planned([], "scaling_measured")
    return compared(small, total(small, count(small)), found)


if __name__ == "__main__":
    sys.exit(main())

"""Write a report on stored runs: ``python -m benchmark.report results/runs/scenes -o report/``.

Of all finished runs in folders or below them, or of an experiment: a page with warnings, tables and
charts, a gallery of heatmaps, and a page for each image on which deletion and insertion go on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from benchmark.collect import collect
from benchmark.errors import BadInput
from benchmark.experiment import read
from benchmark.own_folder import add_folder
from benchmark.report.pages import IMAGES, write_report
from benchmark.report.sources import Source, of_experiment, of_folders


def main() -> int:
    """Write the pages; say where they are."""
    parser = argparse.ArgumentParser(prog="benchmark.report", description=__doc__)
    parser.add_argument(
        "what", nargs="+", help="folders of results, or an experiment such as table1 n=100"
    )
    parser.add_argument("-o", "--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--images", type=int, default=IMAGES, help="of each group in the gallery")
    add_folder(parser)
    arguments = parser.parse_intermixed_args()
    try:
        if arguments.images < 0:
            raise BadInput(f"--images must be at least 0, got {arguments.images}")
        source = _source(arguments.what, arguments.config_dir)
        with Console(stderr=True).status("") as status:

            def tell(text: str) -> None:
                status.update(Text(text))

            page = write_report(source, arguments.out, arguments.images, tell)
    except (BadInput, OSError) as error:
        print(f"benchmark.report: {error}", file=sys.stderr)
        return 2
    print(f"written to {page}")
    return 0


def _source(what: list[str], config_dir: str) -> Source:
    first, *rest = what
    if Path(first).is_dir():
        if lost := [each for each in rest if not Path(each).is_dir()]:
            raise BadInput(f"{lost[0]} is no folder; folders take no settings")
        return of_folders([Path(each) for each in what])
    composed = read(first, rest, config_dir)
    return of_experiment(composed, collect(composed))


if __name__ == "__main__":
    sys.exit(main())

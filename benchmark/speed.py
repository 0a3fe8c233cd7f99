"""How near to its limit the benchmark runs: ``python -m benchmark.speed [setting=value ...]``.

The limit is what a method's passes through the network would take alone, each as fast as in the
size of pass that suits it best. Settings are those of a run, and ``speed.batches=[20,32]`` and
others of ``conf/speed.yaml``; ``--against ../before`` compares with another checkout instead.
Nothing is kept in the records.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from benchmark.advice import one_line
from benchmark.alternation import by_name, in_turn, run_in
from benchmark.building import build
from benchmark.config import check_names
from benchmark.errors import BadInput, UnreadableImage
from benchmark.files import check_endings, write_then_show, write_whole
from benchmark.own_folder import add_folder, with_folder
from benchmark.resolvers import CONF
from benchmark.speed_formats import (
    Document,
    Shown,
    as_json,
    csv,
    document,
    lines_shown,
    markdown,
    passes_shown,
    ratios_shown,
    screen,
    seconds_of,
    timed_alike,
)
from benchmark.speed_run import Timing
from benchmark.usual_settings import check_near

OWN = "speed."  # settings of this command begin with it
SUFFIXES = (".md", ".json", ".csv")


def settings_of(given: Sequence[str]) -> tuple[Timing, list[str]]:
    """Part what this command is told from the settings of a run, and complete both.

    Raises:
        BadInput: a setting is wrong.
    """
    own = [each for each in given if each.startswith(OWN)]
    rest = [each for each in given if not each.startswith(OWN)]
    named = {each.partition("=")[0] for each in rest}
    if wrong := named & {"method", "metric"}:
        name = wrong.pop()
        raise BadInput(f"{name}=... is of one run: use speed.{name}s=[...]")
    config = cast(DictConfig, OmegaConf.load(CONF / "speed.yaml"))
    check_near(rest, config)
    usual = [each for each in config.settings if each.partition("=")[0] not in named]
    try:
        node: DictConfig = OmegaConf.merge(config, OmegaConf.from_dotlist(own)).speed
    except OmegaConfBaseException as error:
        raise BadInput(one_line(error)) from error
    return build(node, "speed"), [*usual, *rest]


def _in_checkout(given: Sequence[str], checkout: Path) -> Document:
    """Run this command in a checkout and read what it found.

    Raises:
        BadInput: it fails there, or that checkout has no such command.
    """
    with TemporaryDirectory() as place:
        file = Path(place) / "speed.json"
        run_in(checkout, "benchmark.speed", [*given, "--write", str(file)], "--against")
        found: Document = json.loads(file.read_text(encoding="utf-8"))
        return found


def main() -> int:
    """Measure, print and write; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="benchmark.speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("settings", nargs="*", help="speed.methods=[rise], model=squeezenet1_1 ...")
    parser.add_argument(
        "--against",
        type=Path,
        metavar="CHECKOUT",
        help="run there and here in alternation, and print how many times as long it takes here",
    )
    parser.add_argument(
        "--write",
        type=Path,
        action="append",
        default=[],
        help=f"a file that ends in {', '.join(SUFFIXES)}; may be repeated",
    )
    add_folder(parser)
    arguments = parser.parse_intermixed_args()
    try:
        check_endings(arguments.write, SUFFIXES)
        given = with_folder(arguments, arguments.settings)
        if arguments.against and arguments.config_dir:
            check_names(Path(arguments.config_dir), arguments.against.resolve() / "conf")
        tables, content, rows = (
            _compared(given, arguments.against.resolve()) if arguments.against else _measured(given)
        )
        texts = {".md": markdown(tables), ".json": as_json(content), ".csv": csv(rows)}
        write_then_show(
            arguments.write,
            lambda file: write_whole(file, texts[file.suffix]),
            partial(_show, tables),
        )
    except (BadInput, UnreadableImage, OSError) as error:
        print(f"benchmark.speed: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


def _show(tables: Sequence[Shown]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    for shown in tables:
        console.print(*screen(shown), sep="\n")


def _measured(given: Sequence[str]) -> tuple[list[Shown], Document, list[Document]]:
    """Time what the settings ask for: tables, everything, and the lines of a CSV file."""
    timing, settings = settings_of(given)
    found = document(timing.measure(settings, partial(print, file=sys.stderr)))
    rows = [{key: each[key] for key in each if key != "calls"} for each in found["lines"]]
    return [passes_shown(found), lines_shown(found)], found, rows


def _compared(given: Sequence[str], before: Path) -> tuple[list[Shown], Document, list[Document]]:
    """Do so in another checkout and here in alternation, and compare."""
    timing, _ = settings_of(given)
    # As many calls in both, whatever either is used to: of more the fastest is faster.
    same = [*given, f"speed.timed={timing.timed}"]
    rounds = in_turn(partial(_in_checkout, same), before, timing.rounds, "--against")
    passes = all(timed_alike(old, new) for old, new in rounds)
    seconds = partial(seconds_of, passes=passes)
    ratios = by_name([(seconds(old), seconds(new)) for old, new in rounds], "--against")
    rows = [{"what": what, **each._asdict()} for what, each in ratios.items()]
    content = {"ratios": rows, "rounds": [{"before": old, "here": new} for old, new in rounds]}
    return [ratios_shown(ratios, passes=passes)], content, rows


if __name__ == "__main__":
    sys.exit(main())

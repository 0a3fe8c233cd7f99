"""The regression gate: is a method, or the harness, worse than it was?

``python -m benchmark.check candidate=WHAT baseline=NAME`` compares a run, runs or an experiment
with a baseline, image by image;
``python -m benchmark.check --accept WHAT baseline=NAME`` makes one.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmark import baselines, measured
from benchmark.building import build
from benchmark.check_formats import FORMATS, NOTE, headline, lines, notes
from benchmark.config import composed, searching, whole
from benchmark.errors import BadInput
from benchmark.experiment import read
from benchmark.files import check_endings, write_then_show, write_whole
from benchmark.measured import Measured
from benchmark.own_folder import add_folder
from benchmark.pairing import pairs
from benchmark.records import folders, now
from benchmark.regression import Finding, Rules, Verdict, judge
from benchmark.timed_pair import time_pair
from benchmark.usual_settings import check_near

OWN = ("candidate", "baseline", "cell", "check")
CODES = """exit code: 0 nothing is worse; 1 something is; 2 the two cannot be compared, or a
setting is wrong; 3 nothing is worse, but something cannot be told on so few images (0 by
check.unclear=0)"""


class Asked(NamedTuple):
    """The command line."""

    candidate: str
    baseline: str
    cell: str | None
    rules: Rules
    others: list[str]  # settings of the candidate, where it is an experiment
    folder: str  # where its configuration lies
    run: bool  # whether what is missing of it is run first


def main() -> int:
    """Compare, print and write; or accept a baseline."""
    parser = argparse.ArgumentParser(
        prog="benchmark.check",
        description=__doc__,
        epilog=CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "settings",
        nargs="*",
        help="candidate=, baseline=, cell=, check.margins.deletion= ... (conf/check.yaml); what an "
        "experiment is run with: n=16 ...",
    )
    parser.add_argument("--accept", metavar="WHAT", help="make WHAT the baseline instead")
    add_folder(parser)
    parser.add_argument(
        "--stored", action="store_true", help="take an experiment from the records; run nothing"
    )
    parser.add_argument(
        "--time",
        type=Path,
        metavar="CHECKOUT",
        help="also time the candidate's settings here and in another checkout, in alternation",
    )
    parser.add_argument(
        "--write",
        type=Path,
        action="append",
        default=[],
        help="a file that ends in .md, .json or .xml (JUnit); may be given several times",
    )
    arguments = parser.parse_intermixed_args()
    try:
        check_endings(arguments.write, list(FORMATS))
        if arguments.accept and (arguments.write or arguments.time):
            raise BadInput("--accept compares nothing: leave out --write and --time")
        asked = _asked(arguments)
        for file in arguments.write:
            file.unlink(missing_ok=True)  # or an older verdict would stay where this one fails
        candidates = _measured(asked)
        if arguments.accept:
            return _accept(asked, candidates)
        found = pairs(candidates, baselines.read(baselines.file_of(asked.baseline)), asked.cell)
        findings = judge(found, asked.rules)
        if arguments.time:
            findings += time_pair(_command(asked), arguments.time.resolve(), asked.rules)
        _check_all_compared(asked, candidates, [candidate for candidate, _ in found])
        told = notes(found)
        write_then_show(
            arguments.write,
            lambda file: write_whole(file, FORMATS[file.suffix](findings, told)),
            partial(_show, findings, told),
        )
    except (BadInput, OSError) as error:
        print(f"benchmark.check: {error}", file=sys.stderr)
        return 2
    except Exception:  # else Python would exit with 1, which says that something got worse
        traceback.print_exc()
        return 2
    return exit_code(findings, asked.rules)


def _check_all_compared(
    asked: Asked, candidates: Sequence[Measured], compared: Sequence[Measured]
) -> None:
    """Refuse a folder with runs that are left out, as of newer code; tell of an experiment's."""
    known = {each.run for each in compared}
    lost = [each for each in candidates if each.run not in known]
    if lost and Path(asked.candidate).is_dir():
        raise BadInput(
            f"{asked.candidate} also holds {lost[0].run}, which nothing is compared with: name the "
            "folder of one run, or run the candidate into a folder of its own by results=..."
        )
    if lost and asked.cell is None:
        names = "; ".join(each.name for each in lost)
        print(f"benchmark.check: not in the baseline, so not compared: {names}", file=sys.stderr)


def exit_code(findings: Sequence[Finding], rules: Rules) -> int:
    """Return 1 where anything is worse, else the code for what cannot be told, else 0.

    What cannot be told is not let pass where its mean is worse by more than the margin.
    """
    unclear = [each for each in findings if each.verdict is Verdict.unclear]
    if any(each.verdict is Verdict.worse for each in findings):
        return 1
    if any(each.beyond for each in unclear):
        return 3
    return rules.unclear if unclear else 0


def _asked(arguments: argparse.Namespace) -> Asked:
    given: list[str] = arguments.settings
    own = [each for each in given if _key(each) in OWN or _key(each).startswith("check.")]
    if arguments.accept:
        own.append(f"candidate={_quoted(arguments.accept)}")
    config, _ = composed("check", searching(arguments.config_dir, own))
    others = [each for each in given if each not in own]
    check_near(others, config)
    wanted = ("candidate", "baseline")
    if lost := [key for key in wanted if OmegaConf.is_missing(config, key) or not config[key]]:
        raise BadInput(f"{lost[0]}=... is missing")
    return Asked(
        candidate=str(config.candidate),
        baseline=str(config.baseline),
        cell=config.cell and str(config.cell),
        rules=build(config.check, "check"),
        others=others,
        folder=arguments.config_dir,
        run=not arguments.stored,
    )


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _quoted(path: str) -> str:
    escaped = path.replace("'", "\\'")
    return f"'{escaped}'"


def _measured(asked: Asked) -> list[Measured]:
    """Take the candidate out of the records; of an experiment run first what is missing."""
    if Path(asked.candidate).is_dir():
        if asked.others:
            raise BadInput(
                f"{asked.others[0]}: {asked.candidate} is a folder of runs, which takes no settings"
            )
        return measured.below(Path(asked.candidate))
    experiment = read(asked.candidate, asked.others, asked.folder)
    if asked.run:
        command = ["-m", "benchmark", *_command(asked), "report=false"]
        print(f"+ {shlex.join(['python', *command])}", flush=True)
        if ended := subprocess.run([sys.executable, *command], check=False).returncode:
            raise BadInput(f"the candidate could not be run whole: exit code {ended}, see above")
    found = measured.of_experiment(experiment)
    moment = now()
    if later := [each for each in found if each.made["time"] > moment]:
        raise BadInput(
            f"{later[0].run} was run in the future, at {later[0].made['time']}, and would hide "
            "every later run: set the clock right, or give results=... a new folder"
        )
    return found


def _command(asked: Asked) -> list[str]:
    """Return what follows ``python -m benchmark`` to run the candidate.

    Raises:
        BadInput: it is a folder of several runs.
    """
    place = ["--config-dir", str(Path(asked.folder).resolve())] if asked.folder else []
    if not Path(asked.candidate).is_dir():
        return [*place, "--multirun", f"+experiment={asked.candidate}", *asked.others]
    runs = folders(Path(asked.candidate))
    if len(runs) != 1:
        raise BadInput(f"--time takes an experiment or one run; {asked.candidate} has {len(runs)}")
    given = runs[0].started()["settings"]["overrides"]
    return [*place, *whole(given)]


def _accept(asked: Asked, cells: list[Measured]) -> int:
    chosen = [each for each in cells if asked.cell in (None, each.name)]
    if not chosen:
        raise BadInput(f"cell={asked.cell}: there are {'; '.join(each.name for each in cells)}")
    if any(each.made.get("git.changed") for each in chosen):
        print(
            "benchmark.check: made by a checkout with changes, which no commit has", file=sys.stderr
        )
    if len({each.made.get("git.commit") for each in chosen}) > 1:
        print("benchmark.check: made by several commits", file=sys.stderr)
    for each in chosen:
        means = each.images[list(each.higher_is_better)].mean()
        told = ", ".join(f"{name} {mean:.4f}" for name, mean in means.items())
        print(f"{each.name}: {len(each.images)} images, {told}")
    if baselines.file_of(asked.baseline).exists():
        print(f"instead of what {asked.baseline} was")
    command = shlex.join(["python", "-m", "benchmark.check", *sys.argv[1:]])
    for file in baselines.keep(chosen, baselines.file_of(asked.baseline), command):
        print(f"written to {file}")
    return 0


def _show(findings: Sequence[Finding], told: Sequence[str]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160)
    colours = {"worse": "bold red", "unclear": "yellow", "better": "green", "same": "dim"}
    shown = Table(title=headline(findings), title_justify="left")
    rows = lines(findings)
    for heading in rows.columns:
        texts = heading in ("cell", "measure", "note")
        shown.add_column(heading, justify="left" if texts else "right")
    for line, each in zip(rows.itertuples(index=False), findings, strict=True):
        shown.add_row(*map(Text, line), style=colours[each.verdict.name])
    console.print(shown, *map(Text, [*told, NOTE]), sep="\n")


if __name__ == "__main__":
    sys.exit(main())

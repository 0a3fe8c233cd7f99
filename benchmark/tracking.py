"""Results on Weights & Biases: a run for each cell, and one for the table of an experiment.

Everything is read from the records once they are complete; nothing is ever read back. So any
stored run can be logged later, ``python -m benchmark.tracking --sync RUN... [wandb.mode=online]``,
and what could not be logged costs no result.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.building import build
from benchmark.config import load
from benchmark.errors import BadInput
from benchmark.experiment import Composed, read
from benchmark.experiment_table import Table
from benchmark.formats import FORMATS
from benchmark.ledger import Subject, noted, place_of
from benchmark.own_folder import add_folder
from benchmark.records import RunFolder, outcome_of
from benchmark.stages import Row

if TYPE_CHECKING:
    import wandb

Mode = Enum("Mode", "offline online disabled")
LEDGER = "wandb.jsonl"  # in a run's folder: what was logged of it, and what could not be
ANSWER = 30  # seconds to wait for the server at the start of a run
UPLOAD = 600  # seconds to wait for it at the end


@dataclass(frozen=True)
class Tracking:
    """Where and how results are logged."""

    mode: Mode
    project: str
    entity: str | None  # None: the account's own
    group: str | None  # None: the experiment's name, where there is one
    name: str | None  # None: the row's title
    tags: list[str]
    images: int  # shown with heatmap and curves; 0 for none
    folder: str  # where Weights & Biases keeps its files

    def __post_init__(self) -> None:
        if self.images < 0:
            raise BadInput(f"wandb.images must be at least 0, got {self.images}")

    def open(self, identity: str, name: str, kind: str, config: dict[str, Any]) -> wandb.Run:
        """Begin a run, or go on with the one of the same identity.

        Raises:
            Exception: whatever keeps Weights & Biases from it.
        """
        # Read when it is imported: nothing is sent that was not asked for, and what artifacts hold
        # until they are uploaded lies beside the runs, not in the user's home.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        os.environ.setdefault("WANDB_DATA_DIR", str(Path(self.folder, "wandb").resolve()))
        import wandb  # noqa: PLC0415 - slow to import, and not needed when disabled

        mode: Any = self.mode.name  # one of those that wandb's types list
        Path(self.folder).mkdir(parents=True, exist_ok=True)
        return wandb.init(
            project=self.project,
            entity=self.entity,
            group=self.group,
            name=self.name or name,
            job_type=kind,
            tags=self.tags,
            config=config,
            id=identity,
            resume="allow",
            mode=mode,
            dir=self.folder,
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_code=True,
                disable_git=True,
                x_disable_stats=True,
                init_timeout=ANSWER,
                finish_timeout=UPLOAD,
                finish_timeout_raises=True,
            ),
        )


def log_run(tracking: Tracking, folder: RunFolder, start: Row, end: Row) -> str:
    """Log what one start completed, whatever happens; note in the folder how that went.

    Returns:
        A line for people: where it is, or why it is nowhere.
    """
    identity = _identity(folder, start, end)

    def log() -> str:
        from benchmark.tracked import log_cell, log_timing  # noqa: PLC0415 - reads images, with torch

        config = {name: value for name, value in start.items() if name not in ("event", "stages")}
        with tracking.open(identity, end.get("title", folder.path.name), "cell", config) as run:
            if "measured" in end:
                log_timing(run, end)
            else:
                log_cell(run, folder, outcome_of(end), tracking.images)
            return _place(tracking, run)

    subject = _subject(tracking, identity)
    return _logged(tracking, folder.path / LEDGER, subject, log)


def log_table(tracking: Tracking, composed: Composed) -> str:
    """Log an experiment's table and figures, whatever happens, unless it is logged as it is now.

    Returns:
        The line that ``log_run`` gives, or that there is nothing to do.
    """
    tracking = replace(tracking, group=tracking.group or composed.name)
    given = [each for each in composed.given if not each.startswith("wandb.")]
    identity = _short_hash([composed.name, composed.folder, *given])
    ledger = Path(tracking.folder) / LEDGER
    table = Table.of(composed)
    text = FORMATS[".csv"](composed.experiment, table.entries, table.notes)
    subject = _subject(tracking, identity, text)

    def log() -> str:
        from benchmark.tracked import log_experiment  # noqa: PLC0415 - reads images, with torch

        config = {"experiment": composed.name, "overrides": composed.given}
        with tracking.open(identity, composed.experiment.title, "table", config) as run:
            log_experiment(run, composed, table)
            return _place(tracking, run)

    return _unless_standing(
        tracking, ledger, subject, lambda: _logged(tracking, ledger, subject, log)
    )


def is_logged(tracking: Tracking, folder: RunFolder, start: Row, end: Row) -> bool:
    """Whether these very results are logged already, in this mode and project, and so shown."""
    subject = _subject(tracking, _identity(folder, start, end))
    return place_of(folder.path / LEDGER, subject) is not None


def _subject(tracking: Tracking, identity: str, text: str = "") -> Subject:
    """Say what is logged: results of this name, of which what is shown and the text may change.

    Not the group: what was logged on its own is not logged again for an experiment's sake.
    """
    shown = _short_hash([tracking.name or "", *tracking.tags, str(tracking.images), text])
    return Subject(identity, tracking.mode.name, tracking.project, tracking.entity, shown)


def _unless_standing(
    tracking: Tracking, ledger: Path, subject: Subject, log: Callable[[], str]
) -> str:
    """Do nothing where it is logged already, and what was kept here is still here."""
    place = place_of(ledger, subject)
    if place and (tracking.mode is Mode.online or Path(place).is_dir()):
        return f"logged already to {_said(tracking, place)}"
    return log()


def _identity(folder: RunFolder, start: Row, end: Row) -> str:
    """Name these results: the same for every start that completes them; each timing is its own."""
    if "measured" in end:
        return _short_hash([folder.path.name, start["start"]])
    return _short_hash([folder.path.name, end["manifest"], *sorted(end["stages"].values())])


def _short_hash(parts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def _place(tracking: Tracking, run: wandb.Run) -> str:
    """Say where a run is: its page, or the folder that ``wandb sync`` uploads."""
    return str(run.url) if tracking.mode is Mode.online else str(Path(run.dir).parent)


def _logged(tracking: Tracking, ledger: Path, subject: Subject, log: Callable[[], str]) -> str:
    place, error = noted(ledger, subject, log)
    return f"not logged to Weights & Biases: {error}" if error else _said(tracking, place)


def _said(tracking: Tracking, place: str) -> str:
    return f"Weights & Biases{', offline' if tracking.mode is Mode.offline else ''}: {place}"


def main() -> int:
    """Log stored runs, or an experiment's table; 2 for bad input, 1 where something failed."""
    parser = argparse.ArgumentParser(prog="benchmark.tracking", description=__doc__)
    parser.add_argument(
        "--sync",
        nargs="+",
        required=True,
        metavar="WHAT",
        help="folders of runs, or an experiment with what it was run with; and wandb.KEY=VALUE",
    )
    add_folder(parser)
    arguments = parser.parse_args()
    given: list[str] = arguments.sync
    settings = [each for each in given if each.startswith("wandb.")]
    what = [each for each in given if each not in settings]
    try:
        if not what:
            raise BadInput("--sync needs a run's folder or an experiment")
        tracking = tracking_of(load(*settings).wandb)
        if tracking.mode is Mode.disabled:
            raise BadInput("wandb.mode=disabled logs nothing: use offline or online")
        if Path(what[0]).is_dir():
            lines = [line for each in what for line in _sync(tracking, Path(each))]
        else:
            lines = [log_table(tracking, read(what[0], what[1:], arguments.config_dir))]
    except (BadInput, OSError) as error:
        print(f"benchmark.tracking: {error}", file=sys.stderr)
        return 2
    for line in lines:
        print(line)
    return 1 if any(line.startswith("not logged") for line in lines) else 0


def tracking_of(node: Any) -> Tracking:
    """Build the tracking that settings ask for.

    Raises:
        BadInput: one of them is wrong.
    """
    tracking: Tracking = build(node, "wandb")
    return tracking


def _sync(tracking: Tracking, path: Path) -> list[str]:
    folder = RunFolder(path)
    ended = [
        (start, end) for start, end in folder.starts() if end and {"stages", "measured"} & {*end}
    ]
    if not ended:
        raise BadInput(f"{path} is not the folder of a finished run")
    newest = {_identity(folder, *each): each for each in ended}
    return [
        _unless_standing(
            tracking,
            path / LEDGER,
            _subject(tracking, identity),
            partial(log_run, tracking, folder, *each),
        )
        for identity, each in newest.items()
    ]


if __name__ == "__main__":
    from benchmark import tracking  # noqa: PLW0406 - settings are built of its classes, not these

    sys.exit(tracking.main())

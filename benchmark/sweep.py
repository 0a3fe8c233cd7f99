"""What comes after the sweep of an experiment: its table and its report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from benchmark.errors import BadInput
from benchmark.experiment import Composed, swept

if TYPE_CHECKING:
    from benchmark.collect import Collected

unfinished: list[str] = []  # what a sweep of this process has not come to


class JobFailed(Exception):
    """A job that ran in a process of its own has failed, which has said why."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text, code)  # all that is given, or it does not survive the way here
        self.text, self.code = text, code

    def __str__(self) -> str:
        """Return what the job said last."""
        return self.text


def is_away(hydra: Any) -> bool:
    """Whether the launcher in Hydra's own node runs jobs in other processes."""
    return not str(hydra.launcher._target_).endswith(".BasicLauncher")


class ShowTable(Callback):
    """Shows the table and writes the report of every experiment on the command line."""

    begun: ClassVar[DictConfig | None] = None  # the sweep that has not come to its end

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Remember what is swept: a sweep that loses a job comes to no end."""
        del kwargs
        ShowTable.begun = config

    @classmethod
    def is_away(cls) -> bool:
        """Whether a sweep is on whose jobs run in other processes."""
        return cls.begun is not None and is_away(cls.begun.hydra)

    @classmethod
    def end(cls) -> None:
        """Do what comes after the sweep although a job has failed, which Hydra does not."""
        if cls.begun is not None:
            cls().on_multirun_end(cls.begun)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Do so for each combination of what was swept beside the cells."""
        del kwargs
        ShowTable.begun = None
        if "experiment" not in config:
            return
        # Needed after a sweep only, and slow to import.
        from rich.console import Console  # noqa: PLC0415 - after a sweep only

        from benchmark.collect import undone  # noqa: PLC0415 - after a sweep only
        from benchmark.experiment_table import print_table  # noqa: PLC0415 - after a sweep only
        from benchmark.tracking import Mode, log_table, tracking_of  # noqa: PLC0415 - after a sweep only

        try:
            for number, composed in enumerate(swept(config), start=1):
                cells = print_table(composed, Console(width=None if sys.stdout.isatty() else 160))
                missing, _ = undone(cells)
                unfinished.extend(f"{cell.row}, {cell.column}" for cell in missing)
                settings = composed.settings(*next(composed.experiment.cells()))
                if settings.report:
                    name = composed.name if number == 1 else f"{composed.name}-{number}"
                    _report(composed, cells, Path(settings.results) / "reports" / name)
                tracking = tracking_of(settings.wandb)
                if tracking.mode is not Mode.disabled:
                    print(log_table(tracking, composed))
        except BadInput as error:  # Hydra would swallow it
            unfinished.append(str(error))
            print(f"benchmark: no table: {error}", file=sys.stderr)


def _report(composed: Composed, cells: Sequence[Collected], folder: Path) -> None:
    """Write the report and say where it is; whatever goes wrong, the results are there without."""
    try:
        from benchmark.report.pages import write_report  # noqa: PLC0415 - only after a sweep
        from benchmark.report.sources import of_experiment  # noqa: PLC0415 - only after a sweep

        print(f"report: {write_report(of_experiment(composed, cells), folder)}")
    except Exception as error:  # the sweep is done, and a page must not undo its exit code
        reason = str(error) if isinstance(error, BadInput | OSError) else repr(error)
        print(f"benchmark: no report: {reason}", file=sys.stderr)

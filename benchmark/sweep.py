"""What comes after the sweep of an experiment: its table."""

from __future__ import annotations

import sys
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from benchmark.errors import BadInput
from benchmark.experiment import swept

unfinished: list[str] = []  # what a sweep of this process has not come to


class ShowTable(Callback):
    """Shows the table of every experiment that the command line asked for."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print the tables, one for each combination of what was swept beside the cells."""
        del kwargs
        if "experiment" not in config:
            return
        # Needed after a sweep only, and slow to import.
        from rich.console import Console  # noqa: PLC0415 - as said above

        from benchmark.collect import State  # noqa: PLC0415 - as said above
        from benchmark.experiment_table import print_table  # noqa: PLC0415 - as said above
        from benchmark.tracking import Mode, log_table, tracking_of  # noqa: PLC0415 - as said above

        try:
            for composed in swept(config):
                cells = print_table(composed, Console(width=None if sys.stdout.isatty() else 160))
                undone = [cell for cell in cells if cell.state not in (State.done, State.none)]
                unfinished.extend(f"{cell.row}, {cell.column}" for cell in undone)
                tracking = tracking_of(composed.settings(*next(composed.experiment.cells())).wandb)
                if tracking.mode is not Mode.disabled:
                    print(log_table(tracking, composed))
        except BadInput as error:  # Hydra would swallow it
            unfinished.append(str(error))
            print(f"benchmark: no table: {error}", file=sys.stderr)

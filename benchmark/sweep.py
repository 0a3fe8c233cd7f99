"""What comes after the sweep of an experiment: its table."""

from __future__ import annotations

import sys
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from benchmark.errors import BadInput
from benchmark.experiment import swept


class ShowTable(Callback):
    """Shows the table of every experiment that the command line asked for."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print the tables, one for each combination of what was swept beside the cells."""
        del kwargs
        if "experiment" not in config:
            return
        from rich.console import Console  # noqa: PLC0415 - as is all that tables need

        from benchmark.experiment_table import print_table  # noqa: PLC0415

        try:
            for composed in swept(config):
                print_table(composed, Console(width=None if sys.stdout.isatty() else 160))
        except BadInput as error:  # Hydra would swallow it
            print(f"benchmark: no table: {error}", file=sys.stderr)

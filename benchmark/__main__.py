"""``python -m benchmark``: explain images, score the heatmaps, print one row."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from benchmark.config import Settings, one_line, plain, prepare, settings_of
from benchmark.errors import BadInput, UnreadableImage
from benchmark.experiment import cell_of
from benchmark.records import note_failure
from benchmark.resolvers import CONF
from benchmark.sweep import unfinished

refused: list[str] = []  # what was wrong with cells of this start; the others are still run
crashed: list[str] = []  # tracebacks of cells that failed by no fault of the input


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def entry(config: DictConfig) -> None:
    """Run one cell and show its row; under ``--multirun`` Hydra calls this once per cell."""
    settings: Settings | None = None
    many = "experiment" in config
    try:
        node = OmegaConf.structured(HydraConfig.get())
        settings = (cell_of if many else settings_of)(config, node)
        from benchmark.show import Screen  # noqa: PLC0415 - torch is slow: refuse first

        Screen().run(settings)
    except (BadInput, UnreadableImage, OSError) as error:
        refuse(error)
        if settings and many:
            keep(settings, refused[-1])
    except Exception as error:  # ours: of one cell it must not stop the others, else it is raised
        if not (settings and many):
            raise
        keep(settings, f"{type(error).__name__}: {error}")
        crashed.append(traceback.format_exc())  # the other cells are still run
        print(crashed[-1], file=sys.stderr)


def refuse(error: Exception) -> None:
    """Say in one line what was wrong with the input."""
    if isinstance(error, OSError) and not isinstance(error, HydraException):
        # a full disk, a folder that became read-only
        text = f"{error.strerror or error}: {error.filename or 'while writing results'}"
    else:
        text = one_line(error)
    refused.append(text)
    print(f"benchmark: {text}", file=sys.stderr)


def keep(settings: Settings, error: str) -> None:
    """Let an experiment's table know why a cell has failed, where anything can be written."""
    with contextlib.suppress(OSError):
        note_failure(Path(settings.results), plain(settings), error)


def main() -> int:
    """Run the command line; return its exit code: 0, 2 for bad input, 1 for an error of ours."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us instead of being printed by Hydra
    refused.clear()
    crashed.clear()
    unfinished.clear()
    try:
        prepare()
        entry()
    except (BadInput, HydraException, OmegaConfBaseException) as error:
        refuse(error)
    except KeyboardInterrupt:
        print("benchmark: stopped; the same command continues here", file=sys.stderr)
        return 130
    return 1 if crashed else 2 if refused or unfinished else 0


if __name__ == "__main__":
    sys.exit(main())

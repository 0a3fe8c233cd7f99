"""``python -m benchmark``: explain images, score the heatmaps, print one row."""

from __future__ import annotations

import os
import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from benchmark.config import CONF, one_line, prepare, settings_of
from benchmark.errors import BadInput, UnreadableImage

refused: list[str] = []  # what was wrong with cells of this start; the others are still run


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def entry(config: DictConfig) -> None:
    """Run one cell and show its row; under ``--multirun`` Hydra calls this once per cell."""
    try:
        settings = settings_of(config, OmegaConf.structured(HydraConfig.get()))
        # Torch takes seconds to import: a misspelt setting is refused before.
        from benchmark.show import Screen  # noqa: PLC0415

        Screen().run(settings)
    except (BadInput, UnreadableImage) as error:
        refuse(error)
    except OSError as error:  # a full disk, a folder that became read-only
        refuse(BadInput(f"{error.strerror or error}: {error.filename or 'while writing results'}"))


def refuse(error: Exception) -> None:
    """Say in one line what was wrong with the input."""
    refused.append(one_line(error))
    print(f"benchmark: {refused[-1]}", file=sys.stderr)


def main() -> int:
    """Run the command line; return its exit code: 0, or 2 for bad input."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us instead of being printed by Hydra
    refused.clear()
    try:
        prepare()
        entry()
    except (BadInput, HydraException, OmegaConfBaseException) as error:
        refuse(error)
    except KeyboardInterrupt:
        print("benchmark: stopped; the same command continues here", file=sys.stderr)
        return 130
    return 2 if refused else 0


if __name__ == "__main__":
    sys.exit(main())

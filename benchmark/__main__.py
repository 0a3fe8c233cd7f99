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
from benchmark.errors import BadInput


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def entry(config: DictConfig) -> None:
    """Run one cell and show its row; under ``--multirun`` Hydra calls this once per cell."""
    settings = settings_of(config, OmegaConf.structured(HydraConfig.get()))
    # Torch takes seconds to import: a misspelt setting is refused before.
    from benchmark.show import Screen  # noqa: PLC0415

    Screen().run(settings)


def main() -> int:
    """Run the command line; return its exit code: 0, or 2 for bad input."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us instead of being printed by Hydra
    prepare()
    try:
        entry()
    except (BadInput, HydraException, OmegaConfBaseException) as error:
        print(f"benchmark: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("benchmark: stopped; the same command continues here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

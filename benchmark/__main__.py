"""``python -m benchmark``: explain images, score the heatmaps, print one row."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from benchmark.advice import REFUSALS, one_line
from benchmark.config import Settings, plain, prepare, settings_of
from benchmark.errors import BadInput, UnreadableImage
from benchmark.experiment import cell_of
from benchmark.gpus import take_gpu
from benchmark.records import note_failure
from benchmark.resolvers import CONF
from benchmark.stopping import AGAIN, Stopped, stopping
from benchmark.sweep import JobFailed, ShowTable, is_away, unfinished

# Hydra's options that take what follows them.
VALUED = {"--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn"}
VALUED |= {"--config-dir", "-cd", "--experimental-rerun"}
AFTERWARDS = "when the others have ended, give the same command again and it continues"
refused: list[str] = []  # what was wrong with cells of this start; the others are still run
crashed: list[str] = []  # tracebacks of cells that failed by no fault of the input


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def entry(config: DictConfig) -> None:
    """Run one cell and show its row; under ``--multirun`` Hydra calls this once per job.

    Raises:
        JobFailed: in a process of a launcher's, which has no other way to tell the command.
    """
    settings: Settings | None = None
    many = "experiment" in config
    away = is_away(HydraConfig.get())
    try:
        if away:
            prepare()
            take_gpu()
            os.chdir(HydraConfig.get().runtime.cwd)  # where the command was given
        node = OmegaConf.structured(HydraConfig.get())
        settings = (cell_of if many else settings_of)(config, node)
        from benchmark.show import Screen  # noqa: PLC0415 - torch is slow: refuse first

        with stopping():
            Screen().run(settings)
    except (BadInput, UnreadableImage, OSError) as error:
        refuse(error)
        if settings and many:
            keep(settings, refused[-1])
        if away:
            raise JobFailed(refused[-1], 2) from None
    except Exception as error:  # ours: of one cell it must not stop the others, else it is raised
        if not (settings and many) and not away:
            raise
        text = f"{type(error).__name__}: {error}"
        if settings and many:
            keep(settings, text)
        crashed.append(traceback.format_exc())  # the other cells are still run
        print(crashed[-1], file=sys.stderr)
        if away:
            raise JobFailed(text, 1) from None


def refuse(error: Exception) -> None:
    """Say in one line what was wrong with the input; in one process once, though many jobs fail."""
    if isinstance(error, OSError) and not isinstance(error, HydraException):
        # a full disk, a folder that became read-only
        text = f"{error.strerror or error}: {error.filename or 'while writing results'}"
    else:
        text = one_line(error)
    if text not in refused:
        print(f"benchmark: {text}", file=sys.stderr)
    refused.append(text)


def settings_first(given: Sequence[str]) -> list[str]:
    """Put settings before options, for Hydra understands none that stands between two settings."""
    flags: list[str] = []
    settings: list[str] = []
    before = ""
    if "--" in given:  # behind it nothing is an option: whoever writes it knows the order
        return list(given)
    for each in given:
        is_value = _takes_value(before) or (before in ("--info", "-i") and "=" not in each)
        (flags if is_value or each.startswith("-") else settings).append(each)
        before = "" if is_value else each
    return settings + flags


def _takes_value(option: str) -> bool:
    """Whether it is such an option of Hydra's, which may be shortened as ``--config-d``."""
    return option.startswith("-") and any(
        each == option or (option.startswith("--") and each.startswith(option)) for each in VALUED
    )


def keep(settings: Settings, error: str) -> None:
    """Let an experiment's table know why a cell has failed, where anything can be written."""
    with contextlib.suppress(OSError):
        note_failure(Path(settings.results), plain(settings), error)


def main() -> int:
    """Run the command line; return its exit code.

    Returns:
        0; 2 for bad input or cells that are not done; 1 for an error of ours, or of a launcher's;
        ``AGAIN`` where the process was told to stop.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us instead of being printed by Hydra
    refused.clear()
    crashed.clear()
    unfinished.clear()
    ShowTable.begun = None
    sys.argv[1:] = settings_first(sys.argv[1:])  # and so it stands in the log
    try:
        prepare()
        with stopping():
            entry()
    except JobFailed as error:  # the first; the others have run, too
        (refused if error.code == 2 else crashed).append(str(error))
        ShowTable.end()
    except (BadInput, *REFUSALS) as error:
        refuse(error)
    except KeyboardInterrupt:
        print("benchmark: stopped; the same command continues here", file=sys.stderr)
        return 130
    except Stopped as signal:
        print(f"benchmark: stopped by {signal}; the same command continues here", file=sys.stderr)
        return AGAIN
    except ValueError as error:  # Hydra's, of metric=null and the like
        if "Config group override" not in str(error):
            raise
        refuse(error)
    except Exception as error:  # of a lost job a launcher may raise anything; no other is swallowed
        if not ShowTable.is_away():
            raise
        text = (str(error).strip().splitlines() or [""])[0]
        crashed.append(f"{type(error).__name__}: {text}")
        print(f"benchmark: a job was lost; {AFTERWARDS} ({crashed[-1]})", file=sys.stderr)
        ShowTable.end()
    for text, jobs in Counter(refused).items():
        if jobs > 1:  # perhaps far above, and before the table
            print(f"benchmark: so for {jobs} jobs: {text}", file=sys.stderr)
    return 1 if crashed else 2 if refused or unfinished else 0


if __name__ == "__main__":
    sys.exit(main())

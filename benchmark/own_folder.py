"""The option ``--config-dir`` of commands that are not Hydra's, where configuration may lie."""

from __future__ import annotations

import argparse

from benchmark.config import searching


def add_folder(parser: argparse.ArgumentParser) -> None:
    """Let a command be told where configuration files of one's own lie."""
    parser.add_argument(
        "--config-dir",
        default="",
        metavar="FOLDER",
        help="where method/mine.yaml, model/mine.yaml or experiment/mine.yaml of your own lie",
    )


def with_folder(arguments: argparse.Namespace, overrides: list[str]) -> list[str]:
    """Put what makes Hydra search that folder before the overrides of a run.

    Raises:
        BadInput: there is no such folder, a file in it has a name that the project uses, or the
            overrides name folders themselves.
    """
    return searching(arguments.config_dir, overrides)

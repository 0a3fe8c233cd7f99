"""What a command does unless told otherwise, in a YAML of its own beside ``conf/config.yaml``."""

from __future__ import annotations

import argparse
import re
from collections.abc import Container, Sequence
from dataclasses import fields
from pathlib import Path
from typing import cast

from omegaconf import DictConfig, OmegaConf

from benchmark.advice import did_you_mean, near, resolving
from benchmark.config import Settings
from benchmark.errors import BadInput
from benchmark.files import check_endings
from benchmark.own_folder import add_folder, with_folder
from benchmark.resolvers import CONF


def usual(name: str, overrides: Sequence[str]) -> tuple[DictConfig, list[str]]:
    """Read ``conf/<name>.yaml`` and put what was given in the place of what is usual.

    Args:
        name: of the command. Its file has ``settings``, a list of a run's overrides, and nodes of
            its own.
        overrides: as on the command line; those of the file's own nodes, such as ``maps.blur=10``,
            and any of a run.

    Returns:
        The file's own nodes with what was given of them, and a run's overrides, the usual ones
        that nothing was given for first.

    Raises:
        BadInput: as of ``check_near``.
    """
    config = cast(DictConfig, OmegaConf.load(CONF / f"{name}.yaml"))
    nodes = tuple(f"{key!s}." for key in config if key != "settings")
    own = [each for each in overrides if each.startswith(nodes)]
    given = [each for each in overrides if each not in own]
    check_near(given, config)
    named = {each.partition("=")[0] for each in given}
    settings = [each for each in config.settings if each.partition("=")[0] not in named]
    merged = cast(DictConfig, OmegaConf.merge(config, OmegaConf.from_dotlist(own)))
    return merged, [*settings, *given]


def check_near(given: Sequence[str], config: DictConfig) -> None:
    """Refuse a setting that neither a run nor a command has, and whose name is near the command's.

    Args:
        given: overrides that are not the command's.
        config: the command's own nodes, and whatever else its file has.

    Raises:
        BadInput: with the setting that may have been meant.
    """
    own = [str(key) for key in config if isinstance(config._get_node(key), DictConfig)]
    of_run = [field.name for field in fields(Settings)]
    for each in given:
        key = each.partition("=")[0].lstrip("+~")
        top, dot, rest = key.partition(".")
        meant = near(top, [*own, *of_run])[:1]
        if dot and meant and meant[0] in own and meant[0] != top:
            told = resolving(config, meant[0], dot + rest)
            raise BadInput(f"there is no setting {key}: {did_you_mean([told])}")


def not_asked(metrics: Container[str], method: Container[object], whose: str) -> str:
    """Say which metrics of ``conf/metric`` were left out, and how to ask them; empty if none was.

    Args:
        metrics: names of those that were asked.
        method: the settings of the run's method, of which some metrics take values.
        whose: heatmaps are scored, in words.
    """
    can: list[str] = []
    cannot: dict[str, list[str]] = {}
    for file in sorted((CONF / "metric").glob("*.yaml")):
        if file.stem in metrics:
            continue
        taken = re.findall(r"\$\{method\.(\w+)\}", file.read_text(encoding="utf-8"))
        if lacking := [key for key in taken if key not in method]:
            cannot[file.stem] = lacking
        else:
            can.append(file.stem)
    parts = []
    if can:
        parts.append(
            f"not asked: {', '.join(can)} (metric=[{can[0]},...] does, and shows – where no image "
            "has what one needs)"
        )
    if cannot:
        keys = dict.fromkeys(key for each in cannot.values() for key in each)
        parts.append(
            f"{', '.join(cannot)} cannot be asked: they take {' and '.join(keys)} of the method "
            f"that made a heatmap, which {whose} has not"
        )
    return "; ".join(parts)


def asked(prog: str, doc: str | None, kinds: Sequence[str]) -> tuple[list[str], list[Path]]:
    """Read a command line of settings, ``--config-dir`` and ``--write FILE`` (may be repeated).

    Args:
        prog: the command.
        doc: what it does.
        kinds: endings that files may have.

    Raises:
        BadInput: a file has another ending, or the folder cannot be used.
    """
    parser = argparse.ArgumentParser(prog=prog, description=doc)
    parser.add_argument("settings", nargs="*", help="group=choice or key=value, as of a run")
    parser.add_argument(
        "--write",
        type=Path,
        action="append",
        default=[],
        help=f"ends in {' or '.join(kinds)}; may be repeated",
    )
    add_folder(parser)
    arguments = parser.parse_intermixed_args()
    check_endings(arguments.write, kinds)
    return with_folder(arguments, arguments.settings), arguments.write

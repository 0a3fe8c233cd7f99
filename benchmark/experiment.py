"""An experiment: the cells of one table, rows by columns, as ``conf/experiment/`` lists them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from benchmark.advice import one_line
from benchmark.config import Settings, composed, folder_of, searching, settings_of, whole
from benchmark.errors import BadInput

Average = Enum("Average", "images classes")
Layout = Enum("Layout", "wide long")


@dataclass
class Shown:
    """How a metric stands in the table."""

    name: str = ""  # its heading; empty is the metric's own name
    published: str = ""  # its name in the published file; empty where nothing was published
    scale: float = 1.0  # what values are multiplied by to be shown; 100 for percent
    digits: int = 4  # after the decimal point


@dataclass
class Column:
    """What one column of the table, or one group of columns, has in common."""

    set: list[str] = field(default_factory=list)  # overrides, such as res=28
    published: dict[str, str] = field(default_factory=dict)  # what its published values are under


@dataclass
class Row(Column):
    """What one row of the table has in common; without overrides it is of published values only."""

    columns: list[str] | None = None  # those that the method can do; None is all
    reference: str = ""  # the file its published values are in; empty is the experiment's


@dataclass
class Experiment:
    """A table: what its rows and columns set, what is shown, and what was published."""

    title: str
    rows: dict[str, Row]
    columns: dict[str, Column]
    metrics: dict[str, Shown]
    layout: Layout = Layout.wide  # long: a line for each cell, the metrics beside each other
    mean: Average = Average.images  # over images, or over classes of the means of their images
    reference: str = ""  # file of results/published, without .csv; empty where nothing was
    reference_about: str = ""  # what the published values are of
    interval: str = "means over images with 95 % bootstrap intervals"
    published: dict[str, str] = field(default_factory=dict)  # what all published values are under
    only: list[str] = field(default_factory=list)  # rows or columns; those of a kind unnamed: all
    notes: list[str] = field(default_factory=list)  # what a reader of the table has to know

    def cells(self) -> Iterator[tuple[str, str]]:
        """Name the row and the column of every cell that is computed."""
        for title, row in self.rows.items():
            if row.set:
                yield from ((title, column) for column in self.columns if self.has(title, column))

    def has(self, row: str, column: str) -> bool:
        """Whether the row's method can do the column."""
        columns = self.rows[row].columns
        return columns is None or column in columns

    def overrides(self, row: str, column: str) -> list[str]:
        """Return what one cell sets, the row's first."""
        return [*self.rows[row].set, *self.columns[column].set]


class Composed(NamedTuple):
    """An experiment as the command line asked for it."""

    name: str  # the file in conf/experiment
    experiment: Experiment
    given: list[str]  # the overrides of the command line, the experiment's name included
    folder: str = ""  # where else configuration files lie; empty: nowhere

    def settings(self, row: str, column: str) -> Settings:
        """Compose one cell as ``python -m benchmark`` would.

        Raises:
            BadInput: a choice, key or value is wrong.
        """
        cell = self.experiment.overrides(row, column)
        settings = settings_of(*composed("config", searching(self.folder, [*self.given, *cell])))
        settings.wandb.group = settings.wandb.group or self.name
        return replace(settings, again=self._arguments("--multirun", *whole(self.given)))

    def command(self, module: str, *options: str) -> str:
        """Write a command line on this experiment: ``python -m benchmark.tables ...``."""
        return shlex.join(["python", "-m", module, *self._arguments(*options)])

    def sweep(self) -> str:
        """Write the command line that runs this experiment, or what is missing of it."""
        return self.command("benchmark", "--multirun", *self.given)

    def _arguments(self, *options: str) -> list[str]:
        return [*(["--config-dir", self.folder] if self.folder else []), *options]


def read(name: str, overrides: Sequence[str], folder: str = "") -> Composed:
    """Compose the experiment of a name, such as ``table1``, with a user's overrides.

    ``folder`` is that of ``--config-dir``, where an experiment may lie too.

    Raises:
        BadInput: there is none of this name, or something in it is wrong.
    """
    if "/" in name:
        raise BadInput(f"there is no folder {name}, and experiments have names such as table1")
    folder = str(Path(folder).resolve()) if folder else ""
    given = [f"+experiment={name}", *whole(overrides)]
    config, _ = composed("config", searching(folder, given))
    experiment = experiment_of(config)
    check_free(experiment, given)
    return Composed(name, experiment, given, folder)


def cell_of(config: DictConfig, hydra: DictConfig) -> Settings:
    """Compose the cell that a job of a sweep is for; ``cell`` is its number.

    Raises:
        BadInput: this is no job of a sweep, or a choice, key or value is wrong.
    """
    experiment = experiment_of(config)
    if "cell" not in config:
        raise BadInput("an experiment has many cells: add --multirun")
    given = [each for each in hydra.overrides.task if not each.startswith(("+cell=", "shard="))]
    name = str(hydra.runtime.choices["experiment"])
    cells = list(experiment.cells())
    if not isinstance(config.cell, int) or not 0 <= config.cell < len(cells):
        raise BadInput(f"cell={config.cell}: the experiment has the cells 0 to {len(cells) - 1}")
    row, column = cells[config.cell]
    if config.shard is not None:  # once, as the last of those that the sweep has put together
        given.append(f"shard={config.shard}")
    return Composed(name, experiment, given, folder_of(hydra)).settings(row, column)


def swept(config: DictConfig) -> list[Composed]:
    """Read the experiments of a sweep's command line: one, unless it sweeps something itself."""
    hydra = config.hydra
    overrides = [
        _values(each)
        for each in OverridesParser.create().parse_overrides(whole(hydra.overrides.task))
        if each.key_or_group != "experiment"
    ]
    name = str(hydra.runtime.choices["experiment"])
    return [read(name, list(given), folder_of(hydra)) for given in product(*overrides)]


def _values(override: Override) -> list[str]:
    """Return one override for each value that the command line sweeps."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    return [f"{override.get_key_element()}={each}" for each in override.sweep_string_iterator()]


def experiment_of(config: DictConfig) -> Experiment:
    """Check and type the ``experiment`` of a composed configuration.

    Raises:
        BadInput: there is none, or something in it is wrong.
    """
    node = config.get("experiment")
    if node is None:
        raise BadInput("this needs an experiment, such as +experiment=smoke")
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Experiment), node)
        experiment = cast(Experiment, OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        raise BadInput(f"experiment: {one_line(error)}") from error
    if strange := set(experiment.only) - {*experiment.rows, *experiment.columns}:
        raise BadInput(
            f"experiment.only names {sorted(strange)[0]}: the rows are "
            f"{_quoted(experiment.rows)}; the columns are {_quoted(experiment.columns)}"
        )
    for title, row in experiment.rows.items():
        if unknown := set(row.columns or ()) - set(experiment.columns):
            raise BadInput(
                f"experiment.rows.{title}.columns names {unknown.pop()}: the table has the columns "
                f"{', '.join(experiment.columns)}"
            )
        sets = {_key(each) for each in row.set}
        for name, column in experiment.columns.items():
            if both := sets & {_key(each) for each in column.set}:
                raise BadInput(f"experiment: row {title} and column {name} both set {both.pop()}")
    experiment.rows = _only(experiment.rows, experiment.only)
    experiment.columns = _only(experiment.columns, experiment.only)
    return experiment


def _quoted(names: Iterable[str]) -> str:
    """List names as experiment.only takes them, whatever is in them."""
    return ", ".join(f'"{name}"' for name in names)


def _only(lines: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Leave the lines that are named, or all where none is."""
    return {name: line for name, line in lines.items() if name in names} or lines


def check_free(experiment: Experiment, given: Sequence[str]) -> None:
    """Refuse a command line that sets what rows or columns set, which would make them all equal.

    Raises:
        BadInput: with what is set twice.
    """
    lines: list[Any] = [*experiment.rows.values(), *experiment.columns.values()]
    taken = {_key(each) for line in lines for each in line.set}
    for each in given:
        if _key(each) in taken:
            raise BadInput(
                f"{each}: the table's rows and columns set {_key(each)}; choose among them by "
                "'+experiment.only=[TITLE, ...]'"
            )


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]

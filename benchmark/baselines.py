"""Named baselines: what runs came to on each image, small enough to commit. Needs no torch.

``<name>.json`` says what was run and how, with the means; ``<name>.csv`` has a line for each image
of each cell. Both are text, so that a changed baseline shows in a diff.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.errors import BadInput
from benchmark.files import write_whole
from benchmark.measured import PASSES, Measured
from benchmark.resolvers import CONF

FOLDER = CONF.parent / "results" / "baselines"
FORMAT = 1


def file_of(name: str) -> Path:
    """Find the summary of a baseline: a name's in results/baselines, or a file of its own.

    Raises:
        BadInput: it is no name and no file that ends in .json.
    """
    if name.endswith(".json"):
        return Path(name)
    if not name or "/" in name or "." in name:
        raise BadInput(f"baseline={name}: give a name such as mine, or a file such as a/mine.json")
    return FOLDER / f"{name}.json"


def keep(cells: Sequence[Measured], file: Path, command: str) -> list[Path]:
    """Write a baseline; returns its two files.

    Args:
        cells: with names of their own.
        file: the summary, ``.json``; the values go beside it, ``.csv``.
        command: how it was made, for a reader.

    Raises:
        BadInput: two cells have one name.
    """
    names = [cell.name for cell in cells]
    if twice := [name for name in names if names.count(name) > 1]:
        raise BadInput(
            f"there are several runs of {twice[0]}, as on other images or with other settings of a "
            "metric: run it into a folder of its own by results=..."
        )
    table = pd.concat([cell.images.assign(cell=cell.name) for cell in cells])
    text = table.reset_index(names="id").set_index(["cell", "id"]).to_csv(float_format="%.7g")
    common = _common([cell.facts for cell in cells])
    made = _common([cell.made for cell in cells])
    summary = {
        "format": FORMAT,
        "command": command,
        "values_sha256": _digest(text),
        "facts": common,
        "made": made,
        "cells": {
            cell.name: {
                "method": cell.method,
                "images": len(cell.images),
                "means": _means(cell),
                "higher_is_better": cell.higher_is_better,
                "facts": _without(cell.facts, common),
                "made": _without(cell.made, made),
            }
            for cell in cells
        },
    }
    beside = file.with_suffix(".csv")
    # The summary last: one that is there vouches for its values.
    write_whole(beside, text)
    write_whole(file, json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    return [file, beside]


def read(file: Path) -> list[Measured]:
    """Read a baseline back.

    Raises:
        BadInput: there is none, or its files are damaged or do not belong together.
    """
    try:
        summary = json.loads(file.read_text(encoding="utf-8"))
        text = file.with_suffix(".csv").read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise BadInput(_missing(file, error.filename)) from error
    except (OSError, ValueError) as error:
        raise BadInput(f"{file} cannot be read: {error}") from error
    try:
        if summary["format"] != FORMAT:
            raise BadInput(f"{file} has format {summary['format']}; this version reads {FORMAT}")
        if summary["values_sha256"] != _digest(text):
            raise BadInput(f"{file} and its .csv do not belong together: --accept a run anew")
        table = pd.read_csv(
            io.StringIO(text),
            dtype={"cell": str, "id": str, "digest": str},
            keep_default_na=False,  # an image or a cell may be called NA
            na_values=[""],
        )
        return [_cell(name, each, summary, table) for name, each in summary["cells"].items()]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{file} is no baseline: {error!r}") from error


def _cell(
    name: str, entry: Mapping[str, Any], summary: Mapping[str, Any], table: pd.DataFrame
) -> Measured:
    better = dict(entry["higher_is_better"])
    images = table[table["cell"] == name].set_index("id")
    facts, made = summary["facts"] | entry["facts"], summary["made"] | entry["made"]
    kept = images[["digest", "target", *better, *PASSES]].copy()
    kept[[*better, *PASSES]] = kept[[*better, *PASSES]].astype(float)
    if len(kept) != entry["images"] or kept.empty or not kept.index.is_unique or not better:
        raise ValueError(f"{name} has no images or no metrics, or an image twice")
    return Measured(name, "", entry["method"], facts, made, better, kept)


def _means(cell: Measured) -> dict[str, float | None]:
    """Average, for people who read the file; nothing where no image has a value."""
    means = cell.images[[*cell.higher_is_better, *PASSES]].mean()
    return {str(name): None if pd.isna(mean) else round(mean, 6) for name, mean in means.items()}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _common(several: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what all have alike."""
    first = several[0]
    return {
        key: value
        for key, value in first.items()
        if all(key in each and each[key] == value for each in several)
    }


def _without(facts: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if key not in common}


def _missing(file: Path, lost: str) -> str:
    if file.parent == FOLDER and not file.is_file():
        known = ", ".join(sorted(each.stem for each in FOLDER.glob("*.json"))) or "none"
        return f"there is no baseline {file.stem}: there are {known}; --accept makes one"
    return f"there is no {lost}: python -m benchmark.check --accept makes a baseline"

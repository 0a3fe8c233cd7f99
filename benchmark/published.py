"""What papers have published, kept in ``results/published`` and only ever printed beside ours."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import pandas as pd

from benchmark.errors import BadInput
from benchmark.resolvers import CONF

FOLDER = CONF.parent / "results" / "published"


class Published(NamedTuple):
    """One published value."""

    text: str  # as printed, such as 0.0336 or <1
    value: float | None  # None where the text is no number


def published(reference: str, under: Mapping[str, str], metric: str) -> Published | None:
    """Look up the one value that a paper gives.

    Args:
        reference: a file of ``results/published``, without ``.csv``.
        under: what the value is under: columns of that file, and what stands in them.
        metric: as that file calls it.

    Returns:
        The value, or None where the paper has none.

    Raises:
        BadInput: the file lacks a column, or has several such values.
    """
    table = _read(reference)
    if unknown := set(under) - set(table.columns):
        raise BadInput(f"{FOLDER / reference}.csv has no column {unknown.pop()}")
    rows = table[table["metric"] == metric]
    for column, value in under.items():
        rows = rows[rows[column] == value]
    if len(rows) > 1:
        raise BadInput(f"{FOLDER / reference}.csv has {len(rows)} values of {metric} under {under}")
    if rows.empty:
        return None
    text = str(rows["value"].iloc[0])
    try:
        return Published(text, float(text))
    except ValueError:
        return Published(text, None)


@cache
def _read(reference: str) -> pd.DataFrame:
    try:
        return pd.read_csv(FOLDER / f"{reference}.csv", dtype=str, keep_default_na=False)
    except OSError as error:
        raise BadInput(f"there are no published values {reference}: {error.strerror}") from error

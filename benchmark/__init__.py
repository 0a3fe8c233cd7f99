"""Faithfulness benchmark for saliency methods: the harness, which knows no method by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from benchmark.cell import Cell


def load(*overrides: str, folder: str | Path = "") -> Cell:
    """Build what the same words on the command line would run: ``load("method=igos", "res=28")``.

    ``folder`` is that of ``--config-dir``, for a method of your own.

    Raises:
        BadInput: a choice, key or value is wrong; the message says which.
    """
    from benchmark.cell import Cell  # noqa: PLC0415 - views of results need no torch
    from benchmark.config import load as load_settings  # noqa: PLC0415 - likewise

    return Cell.open(load_settings(*overrides, folder=folder))

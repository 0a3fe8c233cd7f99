"""Data for the browser as scripts, since a page opened from a disk may fetch nothing else."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any


def script(name: str, value: Any) -> str:
    """Write a script that hands a value to the page under a name.

    Nothing in it can end a script element, or be read as anything but data.

    Raises:
        ValueError: the value has a number that is not finite.
    """
    text = json.dumps([name, value], allow_nan=False, separators=(",", ":"))
    return "receive(..." + text.replace("<", "\\u003c") + ");\n"


def compact(values: Iterable[float], digits: int = 4) -> list[float | None]:
    """Round numbers to so many significant digits; None where there is none."""
    return [float(f"{each:.{digits}g}") if math.isfinite(each) else None for each in values]

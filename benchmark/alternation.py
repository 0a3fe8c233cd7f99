"""Run the same in another checkout and here, in alternation, on one machine. Needs no torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from benchmark.errors import BadInput
from benchmark.resolvers import CONF

Found = TypeVar("Found")
Seconds = Mapping[str, float]  # per image, by what was run


class Ratio(NamedTuple):
    """How many times as long something takes here as before: medians and range over rounds."""

    before: float  # seconds per image
    here: float
    ratio: float
    least: float
    most: float


def in_turn(
    measure: Callable[[Path], Found], before: Path, rounds: int, option: str
) -> list[tuple[Found, Found]]:
    """Measure in another checkout and in this one, a few times in alternation.

    Args:
        measure: given the folder of a checkout.
        before: the other checkout.
        rounds: how many times.
        option: of the command line that names the other checkout, for messages.

    Raises:
        BadInput: the other folder is no checkout.
    """
    if not (before / "benchmark" / "__main__.py").is_file():
        raise BadInput(f"{option} {before}: there is no checkout of this benchmark")
    return [(measure(before), measure(CONF.parent)) for _ in range(rounds)]


def by_name(rounds: Sequence[tuple[Seconds, Seconds]], option: str) -> dict[str, Ratio]:
    """Compare seconds of several rounds, name by name.

    Raises:
        BadInput: the two checkouts did not run the same.
    """
    names, theirs = rounds[0][1].keys(), rounds[0][0].keys()
    if names != theirs or not names:
        raise BadInput(
            f"{option}: the checkouts do not run the same: {'; '.join(sorted(names ^ theirs))}"
        )
    return {name: _ratio([(old[name], new[name]) for old, new in rounds]) for name in names}


def run_in(checkout: Path, module: str, given: Sequence[str], option: str) -> None:
    """Run ``python -m module`` in a checkout.

    Raises:
        BadInput: it fails; the message is its last line.
    """
    ended = subprocess.run(
        [sys.executable, "-m", module, *given],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        said = ended.stderr.strip().splitlines()
        raise BadInput(f"{option}: {checkout} cannot run it: {said[-1] if said else 'no word'}")


def _ratio(pairs: Sequence[tuple[float, float]]) -> Ratio:
    before, here = np.array(pairs).T
    ratios = here / before
    return Ratio(
        before=float(np.median(before)),
        here=float(np.median(here)),
        ratio=float(np.median(ratios)),
        least=float(ratios.min()),
        most=float(ratios.max()),
    )

"""Is a candidate slower? Two checkouts timed in alternation, on one machine. Needs no torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmark.errors import BadInput
from benchmark.records import folders
from benchmark.regression import Finding, Rules, Verdict
from benchmark.resolvers import CONF
from benchmark.stats import Mean

ROUNDS = 3
IMAGES = 3  # timed one at a time in each round
SHORT = 1e-3  # seconds; what takes less is not judged
PROTOCOL = f"runtime={{_target_:benchmark.runtime.Runtime,batches:[1],images:{IMAGES},repeats:1}}"

Seconds = Mapping[str, float]  # per image, by what was run


def time_pair(command: Sequence[str], before: Path, rules: Rules) -> list[Finding]:
    """Time what a command runs, here and in another checkout, a few times in alternation.

    Args:
        command: what follows ``python -m benchmark``.
        before: the other checkout.
        rules: of them the share by which seconds may grow.

    Returns:
        A finding for each cell: median seconds per image of both, and the difference between its
        least and its most. Worse is what is too slow in every round.

    Raises:
        BadInput: the other folder is no checkout, or the command fails in one of the two.
    """
    if not (before / "benchmark" / "__main__.py").is_file():
        raise BadInput(f"--time {before}: there is no checkout of this benchmark")
    rounds: list[tuple[Seconds, Seconds]] = []
    for _ in range(ROUNDS):
        earlier, later = (_seconds(command, place) for place in (before, CONF.parent))
        rounds.append((earlier, later))
    names, theirs = rounds[0][1].keys(), rounds[0][0].keys()
    if names != theirs or not names:
        raise BadInput(
            f"--time: the checkouts do not run the same: {'; '.join(sorted(names ^ theirs))}"
        )
    return [
        _judged(name, [(earlier[name], later[name]) for earlier, later in rounds], rules.time)
        for name in names
    ]


def _judged(name: str, rounds: Sequence[tuple[float, float]], share: float) -> Finding:
    earlier, later = np.array(rounds).T
    apart = later - earlier
    ratios = later / earlier
    ratio = float(np.median(ratios))
    if np.median(earlier) < SHORT and np.median(later) < SHORT:
        verdict, note = Verdict.same, "too short to judge"
    else:
        note = f"{ratio:.2f} times as long ({ratios.min():.2f} to {ratios.max():.2f})"
        if ratios.min() > 1 + share:
            verdict = Verdict.worse
        elif ratios.max() < 1 / (1 + share):
            verdict = Verdict.better
        else:
            verdict = Verdict.same if ratio <= 1 + share else Verdict.unclear
    return Finding(
        cell=name,
        measure="seconds",
        higher_is_better=False,
        baseline=float(np.median(earlier)),
        candidate=float(np.median(later)),
        difference=Mean(
            float(np.median(apart)), float(apart.min()), float(apart.max()), IMAGES * len(apart)
        ),
        margin=float(share * np.median(earlier)),
        verdict=verdict,
        note=note,
    )


def _seconds(command: Sequence[str], checkout: Path) -> dict[str, float]:
    """Run a command in a checkout with a protocol that times it; read what was measured."""
    with TemporaryDirectory() as results:
        given = [*command, PROTOCOL, f"results={results}", "report=false", "wandb.mode=disabled"]
        ended = subprocess.run(
            [sys.executable, "-m", "benchmark", *given],
            cwd=checkout,
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode:
            said = ended.stderr.strip().splitlines()
            raise BadInput(f"--time: {checkout} cannot run it: {said[-1] if said else 'no word'}")
        found = [
            (list(start["settings"]["overrides"]), end["measured"][0]["seconds"])
            for folder in folders(Path(results))
            for start, end in folder.starts()
            if end
        ]
    shared = set.intersection(*(set(overrides) for overrides, _ in found)) if found else set()
    own = [[each for each in overrides if each not in shared] for overrides, _ in found]
    methods = [[each for each in overrides if each.startswith("method=")] for overrides, _ in found]
    return {
        " ".join(name or method or ["the run"]): float(np.median(seconds))
        for name, method, (_, seconds) in zip(own, methods, found, strict=True)
    }

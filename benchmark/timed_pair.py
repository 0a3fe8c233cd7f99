"""Is a candidate slower? Two checkouts timed in alternation, on one machine. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmark.alternation import Ratio, by_name, in_turn, run_in
from benchmark.records import folders
from benchmark.regression import Finding, Rules, Verdict
from benchmark.stats import Mean

ROUNDS = 3
IMAGES = 3  # timed one at a time in each round
SHORT = 1e-3  # seconds; what takes less is not judged
PROTOCOL = f"runtime={{_target_:benchmark.runtime.Runtime,batches:[1],images:{IMAGES},repeats:1}}"
OPTION = "--time"  # of the command line, for messages


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
    rounds = in_turn(partial(_seconds, command), before, ROUNDS, OPTION)
    return [
        _judged(
            name, ratio, [(earlier[name], later[name]) for earlier, later in rounds], rules.time
        )
        for name, ratio in by_name(rounds, OPTION).items()
    ]


def _judged(
    name: str, found: Ratio, rounds: Sequence[tuple[float, float]], share: float
) -> Finding:
    apart = np.diff(rounds)[:, 0]  # [rounds]
    if max(found.before, found.here) < SHORT:
        verdict, note = Verdict.same, "too short to judge"
    else:
        note = f"{found.ratio:.2f} times as long ({found.least:.2f} to {found.most:.2f})"
        if found.least > 1 + share:
            verdict = Verdict.worse
        elif found.most < 1 / (1 + share):
            verdict = Verdict.better
        else:
            verdict = Verdict.same if found.ratio <= 1 + share else Verdict.unclear
    return Finding(
        cell=name,
        measure="seconds",
        higher_is_better=False,
        baseline=found.before,
        candidate=found.here,
        difference=Mean(
            float(np.median(apart)), float(apart.min()), float(apart.max()), IMAGES * len(apart)
        ),
        margin=share * found.before,
        verdict=verdict,
        note=note,
    )


def _seconds(command: Sequence[str], checkout: Path) -> dict[str, float]:
    """Run a command in a checkout with a protocol that times it; read what was measured."""
    with TemporaryDirectory() as results:
        given = [*command, PROTOCOL, f"results={results}", "report=false", "wandb.mode=disabled"]
        run_in(checkout, "benchmark", given, OPTION)
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

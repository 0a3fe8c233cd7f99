"""Whether classes survive where the whole image is replaced, from a run's lines. Needs no torch."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

ENDS = {"deletion": "all_deleted", "insertion": "none_inserted"}  # curve -> columns of its end
ALIVE = 0.5  # of the score on the image: a class that has more is still seen
OFTEN = 0.1  # share of the images; where the class survives on more, readers are warned


class Left(NamedTuple):
    """What is left of images on a substrate."""

    score: float  # mean score of the class, in [0, 1]
    entropy: float  # mean, in [0, 1]; 1 where all classes are as likely
    survives: int  # images on which the class is still seen
    n: int  # images


def survival(images: pd.DataFrame) -> dict[str, Left]:
    """Sum up the audit of a run: deletion, insertion -> what is left where all is replaced.

    Args:
        images: as of ``benchmark.summary.per_image``; empty where its run has no audit.
    """
    found = {}
    for curve, end in ENDS.items():
        if f"score_{end}" in images:
            score = images[f"score_{end}"]
            alive = score > ALIVE * images["score_on_image"]
            entropy = float(images[f"entropy_{end}"].mean())
            found[curve] = Left(float(score.mean()), entropy, int(alive.sum()), len(images))
    return found


def told(audit: dict[str, Left]) -> str:
    """Say it in a line; empty where nothing is known."""
    if len(set(audit.values())) == 1:
        audit = {"deletion and insertion": next(iter(audit.values()))}
    parts = [
        f"{curve}: score {each.score:.4f}, entropy {each.entropy:.2f}, the class survives on "
        f"{each.survives} of {each.n} images"
        for curve, each in audit.items()
    ]
    return f"all replaced, {'; '.join(parts)}" if parts else ""


def warning(audit: dict[str, Left]) -> str:
    """Say where classes survive often; empty where they do not."""
    often = [
        f"{each.survives} of {each.n} images in {curve}"
        for curve, each in audit.items()
        if each.survives > OFTEN * each.n
    ]
    return f"the class survives where all is replaced: {', '.join(often)}" if often else ""

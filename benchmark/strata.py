"""Strata of a run's images, by what the network made of them, and adversarial masks.

From the lines of ``benchmark.summary.per_image`` alone. Needs no torch.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

BY = ("correct", "confidence")
SURE = (0.5, 0.9)  # where the score on the image divides images into unsure, fairly sure and sure
CURVES = ("deletion", "insertion")
MUCH = 0.5  # an adversarial mask's excess, at least


def strata(images: pd.DataFrame, by: str) -> dict[str, pd.DataFrame]:
    """Split images by one of ``BY``; strata without images are left out.

    ``correct``: whether the network predicts the label. ``confidence``: the score of the explained
    class on the image, divided at ``SURE``; a score on a border belongs to the surer side.
    """
    if by == "correct":
        labelled = images["label"] >= 0
        right = images["correct"].eq(True)
        found = {
            "correct": images[labelled & right],
            "wrong": images[labelled & ~right],
            "no label": images[~labelled],
        }
    else:
        low, high = SURE
        score = images["score_on_image"]
        found = {
            f"score below {low}": images[score < low],
            f"score {low} to {high}": images[(score >= low) & (score < high)],
            f"score from {high}": images[score >= high],
        }
    return {name: part for name, part in found.items() if len(part)}


def excess(images: pd.DataFrame) -> pd.Series:
    """Say how adversarial each mask is: 1 - (deletion + insertion) / score on the image.

    Near 1 where the score is gone soon after what the mask marks is removed, and is not back until
    all of the image is shown; 0 where the two areas make up for each other, as for a heatmap that
    marks what the score is made of. NaN where either area is missing, or the image has no score.
    """
    if not {*CURVES} <= set(images.columns):
        return pd.Series(np.nan, index=images.index)
    score = images["score_on_image"].where(images["score_on_image"] > 0)
    total: pd.Series = 1 - (images["deletion"] + images["insertion"]) / score
    return total


def adversarial(images: pd.DataFrame) -> list[str]:
    """List the ids of images with an adversarial mask, most so first.

    Those are the ones whose ``excess`` is at least ``MUCH``: the two areas together come to at most
    half of the image's score.
    """
    found = excess(images)
    order = found[found >= MUCH].sort_values(ascending=False, kind="stable").index
    return [str(each) for each in images.loc[order, "id"]]

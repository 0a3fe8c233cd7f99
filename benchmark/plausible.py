"""What a self-check found, and whether the accuracy is plausible. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from scipy.stats import binom

SLACK = 0.1  # by which another preprocessing or choice of images may lower a stated accuracy
SURPRISE = 1e-3  # a count of right answers that is less likely than this is not put down to chance
FAVOUR = 0.05  # where nothing is stated: at least as many are as likely as this for a guesser
LEAST = 16  # labelled images, with fewer of which a guesser is not told from a classifier


def warning(checked: Mapping[str, Any]) -> str:
    """Say what is odd about the network on the images of a self-check; empty if nothing is."""
    return _joined(checked, implausible(checked, checked["right"], checked["labelled"]))


def _joined(checked: Mapping[str, Any], accuracy: str) -> str:
    outputs = checked.get("in_unit_range", False) and (
        "all logits are between 0 and 1: if they are probabilities already, leave out the "
        "network's last activation"
    )
    return "; ".join(each for each in (outputs, accuracy) if each)


def implausible(checked: Mapping[str, Any], right: int, labelled: int) -> str:
    """Say that labelled images are classified worse than the weights should; empty if they are not.

    Where the weights state an accuracy, so few right answers must have a chance below ``SURPRISE``
    at ``SLACK`` less than that, by the binomial distribution; where they do not, they must be no
    more than a guesser among all classes may well have.

    Args:
        checked: as of ``benchmark.selfcheck``; empty where nothing was checked.
        right: images whose predicted class is their label.
        labelled: images that have a label.
    """
    if not checked or not checked["judged"] or checked["classes"] < 2:
        return ""
    classes, stated = checked["classes"], checked["stated_accuracy"]
    if stated is not None:
        odd = binom.cdf(right, labelled, max(stated - SLACK, 1 / classes)) < SURPRISE
        expected = f"and the weights state {stated:.1%}"
    else:
        odd = labelled >= LEAST and binom.sf(right - 1, labelled, 1 / classes) > FAVOUR
        expected = f"no more than by guessing among {classes} classes"
    if not odd:
        return ""
    return (
        f"only {right} of {labelled} labelled images are classified right, {expected}: check the "
        "normalisation, the order of the colours and classes, and the labels"
    )


def of_rows(checked: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> str:
    """Say the same with the accuracy of a run's lines, whose classes are those before attacks."""
    seen = [(row.get("clean", row["predicted"]), row["label"]) for row in rows if row["label"] >= 0]
    right = sum(one == label for one, label in seen)
    return _joined(checked, implausible(checked, right, len(seen)))


def told(checked: Mapping[str, Any]) -> str:
    """Say in a line what a self-check found; empty where there was none."""
    if not checked:
        return ""
    stated = checked["stated_accuracy"]
    of_weights = f" (the weights state {stated:.1%})" if stated is not None else ""
    accuracy = f"{checked['right']} of {checked['labelled']} labelled right{of_weights}"
    constant = f"{', '.join(checked['constant'])} exact" if checked["constant"] else "no curves"
    return (
        f"self-check on {checked['images']} images: the same answers twice, "
        f"{accuracy if checked['labelled'] else 'no labels'}{_of_first(checked) or ';'} score "
        f"{_score(checked['score_on_image'])}, on the baseline "
        f"{_score(checked['score_on_baseline'])}; of a constant score: {constant}"
    )


def _of_first(checked: Mapping[str, Any]) -> str:
    """Name the images that the scores are of, where they are not all."""
    shown = checked.get("shown", min(4, checked["images"]))  # of logs that do not say it
    return f"; of the first {shown}:" if shown < checked["images"] else ""


def _score(value: float | None) -> str:
    return "not a number" if value is None else f"{value:.4f}"

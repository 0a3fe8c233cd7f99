"""Is a candidate worse than a baseline? One-sided tests against margins, image by image.

Needs no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from benchmark.errors import BadInput
from benchmark.measured import PASSES, Measured
from benchmark.paired import POWER, holm, sign_flip
from benchmark.stats import Mean, mean_interval

Verdict = Enum("Verdict", "better same worse unclear")
IDENTICAL = 1e-6  # at most; scores this near are the same but for the digits that a baseline keeps


@dataclass(frozen=True)
class Rules:
    """How much worse a candidate may be, and how sure the gate has to be."""

    margins: dict[str, float]  # by metric, in its units: how much worse a mean may be
    passes: float  # by what share passes may grow where they differ from image to image
    time: float  # by what share seconds may grow
    exact: list[str]  # methods whose scores may not move on any image
    tolerance: float  # by more than this
    level: float  # of errors: of all verdicts worse together, likewise better, and of each same
    unclear: int  # exit code where something cannot be told, but no mean is beyond its margin

    def __post_init__(self) -> None:
        if wrong := [name for name, margin in self.margins.items() if not margin > 0]:
            raise BadInput(
                f"check.margins.{wrong[0]} must be above 0: nothing is ever proved equal"
            )
        if min(self.passes, self.time, self.tolerance) < 0:
            raise BadInput("check.passes, check.time and check.tolerance must be at least 0")
        if not 0 < self.level < 1:
            raise BadInput(f"check.level must be between 0 and 1, got {self.level}")
        if self.unclear not in (0, 3):
            raise BadInput(f"check.unclear is an exit code, 0 or 3, got {self.unclear}")

    def margin(self, metric: str) -> float:
        """Return a metric's margin.

        Raises:
            BadInput: there is none.
        """
        if metric not in self.margins:
            raise BadInput(f"there is no margin for {metric}: give +check.margins.{metric}=...")
        return self.margins[metric]


class Finding(NamedTuple):
    """What one measure of one cell came to."""

    cell: str
    measure: str  # a metric, forward_passes, backward_passes or seconds
    higher_is_better: bool
    baseline: float  # means over the images that both have
    candidate: float
    difference: Mean  # candidate minus baseline, paired by image
    margin: float  # by which it may be worse, in the same units
    verdict: Verdict
    note: str = ""  # how it was judged, where not by its mean; what would be needed

    @property
    def beyond(self) -> bool:
        """Whether the mean is worse by more than the margin, sure or not."""
        difference = self.difference.value
        return (-difference if self.higher_is_better else difference) > self.margin


class _Trial(NamedTuple):
    """A measure that waits for its verdict."""

    finding: Finding
    worse_by: NDArray[np.float64]  # [N], above 0 where the candidate is worse
    alike: bool  # whether both had the same method, settings and seed

    @property
    def open(self) -> bool:
        """Whether it still has to be tested."""
        return self.finding.verdict is Verdict.unclear

    @property
    def moves(self) -> NDArray[np.float64]:
        """By how much it is worse on the images that have a value, rounding left out."""
        present = self.worse_by[~np.isnan(self.worse_by)]
        return np.where(np.abs(present) <= min(IDENTICAL, self.finding.margin), 0.0, present)


def judge(found: Sequence[tuple[Measured, Measured]], rules: Rules) -> list[Finding]:
    """Give each measure of each pair, candidate and baseline, its verdict.

    - same: the chance to see so little harm is at most ``level`` were the mean worse by the margin
      (non-inferiority; as all have to pass, each is tested at the whole level);
    - worse: the mean is worse by more than the margin, and so much harm would be seen at most at
      ``level`` were there none, Holm's correction for all measures included;
    - better: the mean is better, and likewise;
    - unclear: none of these.

    Methods in ``exact`` and constant passes are not tested but compared.

    Source: sign flips of paired differences (Fisher 1935), for the margin shifted by it.

    Raises:
        BadInput: a metric has no margin.
    """
    trials = [trial for candidate, base in found for trial in _trials(candidate, base, rules)]
    # Where no signs at all could reach the level, nothing is tested, and nothing to be corrected.
    tested = [
        place
        for place, each in enumerate(trials)
        if each.open and 0.5 ** np.count_nonzero(each.moves) <= rules.level
    ]
    harmed, gained = (
        dict(
            zip(
                tested,
                holm([_p(sign * trials[at].moves, len(tested)) for at in tested]),
                strict=True,
            )
        )
        for sign in (1, -1)
    )
    return [
        _verdict(
            each,
            worse=harmed.get(place, 1.0) <= rules.level,
            better=gained.get(place, 1.0) <= rules.level,
            level=rules.level,
            tests=len(tested),
        )
        if each.open
        else each.finding
        for place, each in enumerate(trials)
    ]


def _p(values: NDArray[np.float64], tests: int = 1) -> float:
    """Return the chance of a mean as high as this, were it as likely below 0 as above."""
    (p,) = sign_flip(values, tests=tests, above=True)
    return p


def _trials(candidate: Measured, base: Measured, rules: Rules) -> list[_Trial]:
    ours, theirs = candidate.images.loc[base.images.index], base.images
    trials = []
    for measure in (*base.higher_is_better, *PASSES):
        passes = measure in PASSES
        better = base.higher_is_better.get(measure, False)
        # Differences that are equal but for rounding are equal: of such there is no skewness.
        apart = (ours[measure] - theirs[measure]).to_numpy(float).round(12)
        margin = rules.passes * theirs[measure].mean() if passes else rules.margin(measure)
        finding = Finding(
            base.name,
            measure,
            better,
            float(theirs[measure].mean()),
            float(ours[measure].mean()),
            mean_interval(apart),
            float(margin),
            Verdict.unclear,
        )
        if passes and theirs[measure].nunique() == 1:
            finding = _counted(finding, ours[measure].nunique() == 1)
        elif (ours[measure].isna() != theirs[measure].isna()).any():
            note = "applies to other images than it did"
            finding = finding._replace(verdict=Verdict.worse, note=note)
        elif not passes and base.method in rules.exact and _same_method(candidate, base):
            finding = _compared(finding, apart, rules.tolerance)
        trials.append(_Trial(finding, -apart if better else apart, _same_method(candidate, base)))
    return trials


def _same_method(candidate: Measured, base: Measured) -> bool:
    ours, theirs = (
        {key: value for key, value in each.made.items() if key.startswith(("method", "seed"))}
        for each in (candidate, base)
    )
    return candidate.method == base.method and ours == theirs


def _counted(finding: Finding, constant: bool) -> Finding:
    """Compare numbers of passes that were the same for every image."""
    more = finding.difference.value
    verdict = Verdict.worse if more > 0 else Verdict.better if more < 0 else Verdict.same
    note = "counted" if constant else "counted; now they differ from image to image"
    return finding._replace(verdict=verdict, margin=0.0, note=note)


def _compared(finding: Finding, apart: NDArray[np.float64], tolerance: float) -> Finding:
    """Compare scores that only a change of the harness itself can move."""
    furthest = float(np.nanmax(np.abs(apart), initial=0.0))
    if furthest <= tolerance:
        return finding._replace(verdict=Verdict.same, margin=tolerance, note="on every image")
    note = f"a control moved, on one image by {furthest:.2g}: the harness measures something else"
    return finding._replace(verdict=Verdict.worse, margin=tolerance, note=note)


def _verdict(trial: _Trial, *, worse: bool, better: bool, level: float, tests: int) -> Finding:
    """Settle a tested measure; worse and better: whether harm or gain is sure at the level."""
    finding, worse_by = trial.finding, trial.moves
    if not len(worse_by):
        return finding._replace(note="applies to no image")
    if not worse_by.any():
        return finding._replace(verdict=Verdict.same, note="identical")
    if better:
        return finding._replace(verdict=Verdict.better)
    if _p(finding.margin - worse_by) <= level:
        moved = np.count_nonzero(worse_by)
        note = f"moved on {moved} images, with the same settings" if trial.alike else ""
        return finding._replace(verdict=Verdict.same, note=note)
    if worse and worse_by.mean() > finding.margin:
        return finding._replace(verdict=Verdict.worse)
    return finding._replace(note=_needed(worse_by, finding.margin, level, tests))


def _needed(worse_by: NDArray[np.float64], margin: float, level: float, tests: int) -> str:
    """Say how many images would tell, were the mean and its scatter what they are here.

    Source: the sample size of a one-sided paired test of this level and power .8.
    """
    mean, scatter = float(worse_by.mean()), float(worse_by.std(ddof=1)) if len(worse_by) > 1 else 0
    # What is beyond the margin has to be told from no difference, what is within from the margin.
    beyond = mean > margin
    nearest, share = (mean, level / max(tests, 1)) if beyond else (margin - mean, level)
    if not scatter or nearest <= 1e-9 * margin:
        return "needs more images"
    count = ((norm.ppf(1 - share) + norm.ppf(POWER)) * scatter / nearest) ** 2
    count = max(count, -np.log2(share))  # fewer have no signs that could be so rare
    return f"needs about {max(int(np.ceil(count)), len(worse_by) + 1)} images"

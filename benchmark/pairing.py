"""Which candidate is compared with which baseline, and what may not be. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmark.errors import BadInput
from benchmark.measured import Measured


def pairs(
    candidates: Sequence[Measured], baselines: Sequence[Measured], cell: str | None
) -> list[tuple[Measured, Measured]]:
    """Find to each cell of the baseline the candidate's.

    Where the baseline has one cell, or one is chosen, a single candidate is compared with it
    whatever its name; else they go by name. Of several runs of one name, as of several choices
    of images or protocols, the one counts that may be compared.

    Raises:
        BadInput: a cell is not there, or none or several of its name may be compared.
    """
    chosen = [each for each in baselines if cell in (None, each.name)]
    if not chosen:
        known = "; ".join(each.name for each in baselines)
        raise BadInput(f"cell={cell}: the baseline has {known}")
    found = []
    names = {each.name for each in candidates}
    for base in chosen:
        own = [each for each in candidates if each.name == base.name]
        if not own and len(chosen) == 1 and len(names) == 1:
            own = list(candidates)
        if not own:
            raise BadInput(
                f"the candidate has no {base.name}, but {'; '.join(sorted(names))}: run it too, or "
                "choose a cell of the baseline by cell=..."
            )
        found.append((_alike(own, base), base))
    return found


def _alike(own: Sequence[Measured], base: Measured) -> Measured:
    """Choose the run that may be compared; refuse where there are none or several."""
    refused: list[BadInput] = []
    alike = []
    for each in own:
        try:
            _refuse_unlike(each, base)
            alike.append(each)
        except BadInput as error:
            refused.append(error)
    if not alike:
        raise refused[-1]
    if len(alike) > 1:
        raise BadInput(
            f"{len(alike)} runs of the candidate may be compared with {base.name}, as of older and "
            f"newer code: name the folder of one, such as {alike[-1].run}"
        )
    return alike[0]


def _refuse_unlike(candidate: Measured, base: Measured) -> None:
    """Refuse two that may not be compared, and say in what they differ."""
    wanted = {f"metric.{name}." for name in base.higher_is_better}
    ours = {key: value for key, value in candidate.facts.items() if _counts(key, wanted)}
    theirs = {key: value for key, value in base.facts.items() if _counts(key, wanted)}
    if unlike := differences(ours, theirs):
        raise BadInput(f"{base.name} cannot be compared: {'; '.join(unlike)}")
    for metric, better in base.higher_is_better.items():
        if candidate.higher_is_better[metric] is not better:
            raise BadInput(f"{base.name} cannot be compared: {metric} has another better end")
    lost = base.images.index.symmetric_difference(candidate.images.index)
    if len(lost):
        raise BadInput(
            f"{base.name} cannot be compared: the baseline has {len(base.images)} images, the "
            f"candidate {len(candidate.images)}, and {lost[0]} is in one only"
        )
    own = candidate.images.loc[base.images.index]
    for column, what in (("digest", "images"), ("target", "targets")):
        if (changed := own.index[own[column] != base.images[column]]).size:
            raise BadInput(
                f"{base.name} cannot be compared: {changed.size} of {len(own)} {what} have "
                f"changed, such as {changed[0]}"
            )


def _counts(key: str, metrics: set[str]) -> bool:
    return not key.startswith("metric.") or any(key.startswith(each) for each in metrics)


def differences(candidate: Mapping[str, object], baseline: Mapping[str, object]) -> list[str]:
    """Name what two have differently, in the order of their names."""
    nothing = "none"
    return [
        f"{key} is {candidate.get(key, nothing)} and was {baseline.get(key, nothing)}"
        for key in sorted({*candidate, *baseline})
        if candidate.get(key, nothing) != baseline.get(key, nothing)
    ]

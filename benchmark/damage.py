"""Results that are not what was written: they are moved out of the way, and computed again."""

from __future__ import annotations

from pathlib import Path

from benchmark.errors import BadInput
from benchmark.writers import OWNER, WRITERS

SCORES = "scores/"  # how the names of stages begin that nothing else is made of
SUFFIXES = (".jsonl", ".f32")
NOTES = ("log.jsonl", "timing.jsonl")  # whose torn lines are left out


class Damaged(BadInput):
    """A file of results holds something else than what was written into it."""

    def __init__(self, what: str, place: Path, stage: str) -> None:
        """Name it.

        Args:
            what: the damage, in words that end with the file's or image's name.
            place: the folder of the process that has written the file.
            stage: the kind of result, such as ``heatmaps`` or ``scores/deletion-0123abcd``.
        """
        super().__init__(f"{what}: {_advice(place)}")
        self.what, self.place, self.stage = what, place, stage


def _advice(place: Path) -> str:
    if place.parent.name == WRITERS:
        return f"remove {place}, and give the command that made it again"
    owners = " and ".join(map(str, sorted(place.glob(f"{OWNER}*"))))
    held = f" once no process writes there and {owners} is removed" if owners else ""
    return f"the command that made it, given again{held}, sets it aside and computes it anew"


def set_aside(damage: Damaged, moment: str) -> Path:
    """Move the files of a stage, and of all that is made of it, out of the way.

    Args:
        damage: where it is; no other process may be writing there.
        moment: the time of day, for a name that was not there before.

    Returns:
        The folder in which they are now.
    """
    place = damage.place
    aside = place / f"damaged-{moment.replace(':', '').replace('+', 'Z')}"
    names = [damage.stage] if damage.stage.startswith(SCORES) else ["*", f"{SCORES}*"]
    for file in [
        each for name in names for suffix in SUFFIXES for each in place.glob(name + suffix)
    ]:
        if file.name not in NOTES:
            there = aside / file.relative_to(place)
            there.parent.mkdir(parents=True, exist_ok=True)
            file.rename(there)
    return aside

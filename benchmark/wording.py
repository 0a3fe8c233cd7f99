"""Numbers and names in sentences. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence


def number_of(count: int, thing: str) -> str:
    """Say how many there are of a thing whose plural ends in s: 1 image, 2 images."""
    return f"{count} {thing}{'s' * (count != 1)}"


def listed(names: Sequence[str]) -> str:
    """Put names, one at least, in a list: a, b and c."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))

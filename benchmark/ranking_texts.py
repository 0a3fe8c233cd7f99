"""What is said of how far rankings agree. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from benchmark.collect import Collected, undone
from benchmark.experiment import Composed

NAMED = 5  # cells that are named; further ones are counted


def sentences(frames: Mapping[str, pd.DataFrame]) -> list[str]:
    """Say in plain English what was found; of many pairs the most and the least alike.

    Where there are several groups, or several bases of protocols, each sentence begins with what
    tells its own from the others.
    """
    return [*_of_images(frames), *_of_pairs(frames), *_of_methods(frames)]


def lacking(composed: Composed, cells: Sequence[Collected]) -> list[str]:
    """Say in a line which cells of an experiment are not done, and what makes them; or nothing."""
    missing, wanted = undone(cells)
    if not missing:
        return []
    names = [f"{cell.row} × {cell.column}" for cell in missing[:NAMED]]
    more = f"; and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
    return [
        f"{len(missing)} of {wanted} cells are not there or not complete: {'; '.join(names)}"
        f"{more}; to go on: {composed.sweep()}"
    ]


def told_apart(titles: Iterable[str]) -> dict[str, str]:
    """Say of each title, facts with `` · `` between them, what others have not, and ``: ``.

    Nothing where there is one title; all of it where what is its own is another's, too.
    """
    parts = {title: title.split(" · ") for title in dict.fromkeys(titles)}
    if len(parts) == 1:
        return dict.fromkeys(parts, "")
    shared = set.intersection(*map(set, parts.values()))
    own = {
        title: " · ".join(each for each in facts if each not in shared)
        for title, facts in parts.items()
    }
    unclear = "" in own.values() or len(set(own.values())) < len(own)
    return {title: f"{title if unclear else own[title]}: " for title in own}


def _of_images(frames: Mapping[str, pd.DataFrame]) -> Iterator[str]:
    where = _apart(frames, "group")
    for line in _lines(frames.get("images")):
        yield where[line["group"]] + (
            f"{line['metric']}: {line['n']} images {_strength(line['alpha'])} on the order of "
            f"{line['methods']} methods (alpha {line['alpha']:.2f})"
            if line["alpha"] == line["alpha"]
            else f"{line['metric']}: all {line['methods']} methods share a place on every image"
        )


def _of_pairs(frames: Mapping[str, pd.DataFrame]) -> Iterator[str]:
    for name, within in (("metrics", ["group"]), ("protocols", ["base", "metric"])):
        where = _apart(frames, within[0])
        if name not in frames:
            continue
        for _, part in frames[name].groupby(within, sort=False):
            ordered = part.dropna(subset=["tau"]).sort_values("tau", kind="stable")
            for line in _lines(ordered.iloc[[-1, 0]] if len(ordered) > 1 else ordered):
                by = f"{line['metric']}: " if "metric" in line else ""
                yield (
                    f"{where[line[within[0]]]}{by}{line['first']} and {line['second']} order "
                    f"{line['methods']} methods with tau {line['tau']:+.2f}; {line['turned']:.0%} "
                    "of their pairs turn round"
                )


def _of_methods(frames: Mapping[str, pd.DataFrame]) -> Iterator[str]:
    if "methods" not in frames:
        return
    where = _apart(frames, "base")
    for _, part in frames["methods"].groupby(["base", "metric"], sort=False):
        far = (part["highest"] - part["lowest"]).to_numpy().argmax()
        (line,) = _lines(part.iloc[[int(far)]])
        yield (
            f"{where[line['base']]}{line['metric']}: {line['method']} moves most, from "
            f"{line['lowest']:.4f} ({line['at lowest']}) to {line['highest']:.4f} "
            f"({line['at highest']}), place {line['best rank']:g} to {line['worst rank']:g} of "
            f"{line['methods']}"
        )


def _apart(frames: Mapping[str, pd.DataFrame], titled: str) -> dict[str, str]:
    """Tell apart all that lines are about, by the column that says it."""
    titles = [title for frame in frames.values() if titled in frame for title in frame[titled]]
    return told_apart(titles) if titles else {}


def _lines(frame: pd.DataFrame | None) -> list[dict[str, Any]]:
    records: list[Any] = [] if frame is None else frame.to_dict("records")
    return records


def _strength(alpha: float) -> str:
    """Put alpha into a word, by the limits of Krippendorff (2004), Content Analysis, chapter 11."""
    if alpha < 0.667:
        return "agree little"
    return "agree" if alpha >= 0.8 else "agree somewhat"

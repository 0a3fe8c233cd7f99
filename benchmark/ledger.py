"""What was logged elsewhere, and what could not be: a line each, in a file beside the results."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from benchmark.lines import append_line, read_lines


class Subject(NamedTuple):
    """What is logged, where to, and as what."""

    id: str  # of the results
    mode: str
    project: str
    entity: str | None
    shown: str  # a hash of what may change about it while it keeps its id


def place_of(ledger: Path, subject: Subject) -> str | None:
    """Find where it was logged last; None where it was not, or not as it is now."""
    places = [
        str(each["place"])
        for each in read_lines(ledger)
        if {name: each.get(name) for name in Subject._fields} == subject._asdict()
        and not each["error"]
    ]
    return places[-1] if places else None


def noted(ledger: Path, subject: Subject, log: Callable[[], str]) -> tuple[str, str]:
    """Log, whatever happens, and write down where, or what went wrong: the place and the error."""
    place, error = "", ""
    try:
        place = log()
    except Exception as failure:  # no result may be lost because it could not be shown
        error = f"{type(failure).__name__}: {failure}".splitlines()[0]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with contextlib.suppress(OSError):  # what is not noted is logged once more
        ledger.parent.mkdir(parents=True, exist_ok=True)
        append_line(ledger, {"time": now, **subject._asdict(), "place": place, "error": error})
    return place, error

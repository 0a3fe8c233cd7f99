"""Which images of a data set a run works on: a seeded subset, or the ids a manifest names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

from benchmark.datasets.photographs import Preprocess
from benchmark.interfaces import BadInput

_NAMED = 3  # how many offending ids a message names before it only counts them


@dataclass(frozen=True)
class OwnCopy:
    """Images on a user's disk, and which of them to take."""

    missing: ClassVar[str]  # what is said where ``root`` is not set

    name: str
    root: str | None  # folder of the data
    preprocess: Preprocess
    limit: int | None  # number of ids, drawn by seed; None takes all
    seed: int
    manifest: str | None  # file with the ids to take, instead of limit and seed

    def __post_init__(self) -> None:
        if not self.root:
            raise BadInput(self.missing)


def choose(ids: Sequence[str], limit: int | None, seed: int, manifest: str | None) -> list[str]:
    """Choose images, in the order they are worked on.

    Without a manifest the order is that of ``sha256(f"{seed}:{id}")``: random, but each id's
    place depends on nothing else, so subsets nest (the first 100 of 500 are the 100) and do
    not depend on the order in which a folder was listed. With a manifest the order is the
    file's and the seed is not used.

    Args:
        ids: every image of the data set, each once.
        limit: how many images at most are wanted, 1 or more; None takes all.
        seed: picks the order.
        manifest: path of a UTF-8 text file with one id per line; blank lines are skipped.

    Raises:
        BadInput: the limit is below 1 or above the number of images, or the manifest is
            missing, not text, empty, repeats an id or names one that the data set lacks.
    """
    if limit is not None and limit < 1:
        raise BadInput(f"dataset.limit={limit} chooses no image; give 1 or more, or null for all")
    if manifest is None:
        ordered = sorted(ids, key=lambda image_id: sha256(f"{seed}:{image_id}".encode()).digest())
        where = "the data set"
    else:
        ordered = _read_manifest(Path(manifest), set(ids))
        where = f"manifest {manifest}"
    if limit is not None and limit > len(ordered):
        raise BadInput(
            f"dataset.limit={limit} is more than the {len(ordered)} images of {where}; "
            f"give 1 to {len(ordered)}, or null for all"
        )
    return ordered[:limit]


def _read_manifest(path: Path, known: set[str]) -> list[str]:
    """Read the ids of a manifest in file order, each checked to be known and named once."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise BadInput(
            f"manifest {path} cannot be read ({error.strerror}); "
            "give a text file with one id per line"
        ) from error
    except UnicodeDecodeError as error:
        raise BadInput(
            f"manifest {path} is not UTF-8 text; give a text file with one id per line"
        ) from error
    named = [line.strip() for line in lines if line.strip()]
    if not named:
        raise BadInput(f"manifest {path} names no image; give one id per line")
    unknown = [image_id for image_id in dict.fromkeys(named) if image_id not in known]
    if unknown:
        example = f", such as {min(known)}" if known else ""
        raise BadInput(
            f"manifest {path} names {_some(unknown)} that the data set lacks; "
            f"give ids among its {len(known)}{example}"
        )
    repeated = [image_id for image_id, count in Counter(named).items() if count > 1]
    if repeated:
        raise BadInput(f"manifest {path} repeats {_some(repeated)}; name each image once")
    return named


def _some(ids: Sequence[str]) -> str:
    """Name the first few ids and count them all: ``5 ids (a, b, c, ...)``."""
    shown = ", ".join(ids[:_NAMED]) + (", ..." if len(ids) > _NAMED else "")
    return f"{len(ids)} {'id' if len(ids) == 1 else 'ids'} ({shown})"

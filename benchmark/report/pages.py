"""Write a report: three pages, their style and scripts, and the images' data."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmark.errors import BadInput
from benchmark.files import write_whole
from benchmark.report.gallery import write_group
from benchmark.report.overview import overview
from benchmark.report.pictures import THUMB, Album, colours
from benchmark.report.sources import Source

HERE = Path(__file__).parent
PAGES = ("index", "gallery", "image")
IMAGES = 100  # of each group in the gallery, unless told otherwise
BESIDE = ("style.css", "report.js", "gallery.js", "image.js")


def write_report(
    source: Source,
    folder: Path,
    images: int = IMAGES,
    tell: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write all of a report into a folder, in place of an earlier one.

    Args:
        source: what it is about.
        folder: where; made where there is none.
        images: of each group that the gallery shows, at most.
        tell: told of what goes on.

    Returns:
        The page to open first.

    Raises:
        BadInput: the folder holds something else than a report.
    """
    _clear(folder)
    data = folder / "data"
    album = Album(data / "pictures")
    notes = [
        note
        for number, group in enumerate(source.groups)
        for note in write_group(group, number, data, images, album=album, tell=tell)
    ]
    tell("tables and charts")
    pages = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters["lines"] = _lines
    known: dict[str, Any] = {"thumb": THUMB, "colours": colours(), **overview(source, notes)}
    for name in BESIDE:
        write_whole(folder / name, (HERE / name).read_text(encoding="utf-8"))
    for name in PAGES[::-1]:  # the first page is there when all else is
        text = pages.get_template(f"{name}.html.jinja").render(known)
        write_whole(folder / f"{name}.html", text)
    return folder / "index.html"


def _clear(folder: Path) -> None:
    """Take away the data of an earlier report, and nothing else."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise BadInput(f"{folder} is a file: a report needs a folder")
    known = {*BESIDE, *(f"{name}.html" for name in PAGES), "data"}
    if strange := sorted({each.name for each in folder.iterdir()} - known):
        raise BadInput(f"{folder} holds {strange[0]}, which is of no report: name another folder")
    if (folder / "data").exists():
        shutil.rmtree(folder / "data")


def _lines(settings: dict[str, Any], above: str = "") -> list[tuple[str, str]]:
    """Write nested settings as one line each, named as on the command line."""
    found = []
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            found += _lines(value, f"{above}{key}.")
        else:
            found.append((f"{above}{key}", str(value)))
    return found

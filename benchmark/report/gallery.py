"""A group's images for the gallery: an index of numbers, and pictures of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmark.errors import BadInput, UnreadableImage
from benchmark.files import write_whole
from benchmark.report.pictures import Album, Painter, write
from benchmark.report.scripts import compact, script
from benchmark.report.sources import Group
from benchmark.strata import excess


def index(group: Group, ids: Sequence[str], pictured: Sequence[bool]) -> dict[str, Any]:
    """Describe images to the gallery: a list for each column, in the order of the images.

    Args:
        group: whose images.
        ids: of the images.
        pictured: which of them have pictures.
    """
    first = group.contestants[0].images.loc[list(ids)]
    columns = {name: [int(each) for each in first[name]] for name in ("target", "predicted")}
    named = {number for column in columns.values() for number in column}
    return {
        "title": group.title,
        "methods": [each.run.label for each in group.contestants],
        "metrics": [{"name": name, "higher": higher} for name, higher in group.metrics.items()],
        "classes": {number: _class_name(group, number) for number in sorted(named)},
        "ids": list(ids),
        **columns,
        "correct": [
            int(right) if label >= 0 else None
            for right, label in zip(first["correct"], first["label"], strict=True)
        ],
        "confidence": compact(first["score_on_image"]),
        "pictured": [int(each) for each in pictured],
        "excess": [compact(excess(each.images.loc[list(ids)])) for each in group.contestants],
        "values": {
            name: [
                compact(each.images[name].loc[list(ids)]) if name in each.images else None
                for each in group.contestants
            ]
            for name in group.metrics
        },
    }


def _class_name(group: Group, number: int) -> str:
    try:
        return group.shared.class_name(number)
    except (BadInput, OSError, ValueError):  # the data set is no longer where it was
        return f"class {number}"


def write_group(
    group: Group, number: int, data: Path, images: int, *, album: Album, tell: Callable[[str], None]
) -> list[str]:
    """Write the index of a group's first images, and their strips and views.

    Args:
        group: whose images.
        number: of the group; its files lie in a folder of this name.
        data: the folder of all groups.
        images: how many at most.
        album: of all groups' pictures.
        tell: told of what goes on.

    Returns:
        What could not be made.
    """
    ids = group.shared.ids[:images]
    painter = Painter(group.shared, album)
    place = data / str(number)
    troubles: dict[str, str] = {}  # by image
    for at, image_id in enumerate(ids):
        tell(f"{group.title}: image {at + 1} of {len(ids)}")
        try:
            item = group.shared.item(group.shared.runs[0], image_id)
            picture = item.image.permute(1, 2, 0).numpy()
            painter.strip(picture, image_id, place / f"{at}.jpg")
            view = painter.view(item, picture)
            write(place / f"{at}.js", script(f"{number}/{at}", view))
        except (BadInput, UnreadableImage, OSError) as error:
            troubles[image_id] = str(error)
    pictured = [each not in troubles for each in ids]
    write_whole(place / "index.js", script(f"{number}/index", index(group, ids, pictured)))
    if not troubles:
        return []
    why = next(iter(troubles.values()))
    return [f"{group.title}: {len(troubles)} of {len(ids)} images have no pictures: {why}"]

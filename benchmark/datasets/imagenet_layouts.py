"""Where ImageNet's validation images, classes and labels lie: both public layouts, by looking.

Kaggle's download has its labels and boxes in ``LOC_val_solution.csv``; the original's has them in
class folders or the development kit ("devkit"), and its boxes in one XML file per image. Images,
classes and labels are looked for independently, so that a mixture of the two works as well.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from scipy.io import loadmat

from benchmark.interfaces import BadInput

IMAGE_FOLDERS = ("ILSVRC/Data/CLS-LOC/val", "Data/CLS-LOC/val", "val", "ILSVRC2012_img_val", ".")
TRAIN_FOLDERS = ("ILSVRC/Data/CLS-LOC/train", "Data/CLS-LOC/train", "train", "ILSVRC2012_img_train")
TEXT_FOLDERS = (".", "ILSVRC2012_devkit_t12/data", "devkit/data", "data")
SYNSET_FILES = ("LOC_synset_mapping.txt", "synset_words.txt")
SOLUTION = "LOC_val_solution.csv"
GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
META = "meta.mat"

CLASS_COUNT = 1000
FIRST_WNID, LAST_WNID = "n01440764", "n15075141"  # ILSVRC2010 has 1,000 classes too, others
OFFICIAL_NAME = re.compile(r"ILSVRC2012_val_(\d{8})")
WNID = re.compile(r"n\d{8}")
SUFFIXES = (".jpeg", ".jpg", ".png")


class Layout(NamedTuple):
    """One copy of the validation set, looked up once; nothing is decoded yet."""

    root: Path
    files: dict[str, str]  # image id -> path of its file; 50,000 Path objects take too long
    labels: dict[str, int]  # image id -> class index, for every image in ``files``
    classes: dict[str, int]  # WordNet id -> class index; position in sorted order, as torchvision
    names: tuple[str, ...]  # [1000], class names; the WordNet ids where no file has any
    solutions: dict[str, str]  # image id -> Kaggle's "wnid xmin ymin xmax ymax ..."; {} without


def find_layout(root: Path) -> Layout:
    """Look up images, classes and labels under ``root``.

    Raises:
        BadInput: a part is missing, unusable or contradicts another; names what was looked for.
    """
    if not root.is_dir():
        raise BadInput(f"dataset.root is {root}, which is not a folder: set it to ImageNet's")
    files, folder_wnids = _images(root)
    solutions = _solutions(root)
    # A solution without any box begins with no class; it then counts as no solution at all.
    solved = {key: row.split(maxsplit=1)[0] for key, row in solutions.items() if row.strip()}
    for key, wnid in folder_wnids.items():
        if solved.get(key, wnid) != wnid:
            raise BadInput(f"{key} lies in class folder {wnid}, but {SOLUTION} says {solved[key]}")
    wnids = folder_wnids | {key: solved[key] for key in files.keys() & solved.keys()}
    if unlabelled := sorted(files.keys() - wnids.keys()):
        wnids |= _ground_truth(root, unlabelled, len(files))
    names = _class_names(root)
    classes = {wnid: index for index, wnid in enumerate(names)}
    for key, wnid in wnids.items():
        if wnid not in classes:
            raise BadInput(f"{key} is labelled {wnid}, which is none of ImageNet's 1000 classes")
    return Layout(
        root=root,
        files=files,
        labels={key: classes[wnid] for key, wnid in wnids.items()},
        classes=classes,
        names=tuple(names.values()),
        solutions=solutions,
    )


def _images(root: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Find the files by image id, and the class folder's name of those that lie in one."""
    for place in IMAGE_FOLDERS:
        files: dict[str, str] = {}
        wnids: dict[str, str] = {}
        for key, path, wnid in _entries(root / place):
            if key in files:
                raise BadInput(f"image id {key} is there twice: {files[key]} and {path}")
            files[key] = path
            if wnid:
                wnids[key] = wnid
        if files:
            return files, wnids
    found = sorted(entry.name for entry in root.iterdir())
    shown = ", ".join(found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "")
    raise BadInput(
        f"no ImageNet validation images in {root}: looked for ILSVRC2012_val_*.JPEG and for class "
        f"folders such as {FIRST_WNID} in {', '.join(IMAGE_FOLDERS)}; found {shown or 'nothing'}"
    )


def _entries(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Yield (image id, file, class folder's name or ""), flat files and those in class folders."""
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:  # several times faster than pathlib over 50,000 names
        for entry in entries:
            stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122 - 50,000 Paths are slow
            if suffix.lower() in SUFFIXES and OFFICIAL_NAME.fullmatch(stem):
                yield stem, entry.path, ""
            elif WNID.fullmatch(entry.name) and entry.is_dir():
                for name in os.listdir(entry.path):  # noqa: PTH208 - 50,000 Paths are slow
                    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - 50,000 Paths are slow
                    if suffix.lower() in SUFFIXES and not stem.startswith("."):
                        yield stem, f"{entry.path}{os.sep}{name}", entry.name


def _text(path: Path) -> str:
    """Read a text file; BadInput where that fails."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read {path}: {error}") from error


def _solutions(root: Path) -> dict[str, str]:
    """Read Kaggle's solution file: image id -> prediction string; {} where there is no file."""
    path = root / SOLUTION
    if not path.is_file():
        return {}
    rows = list(csv.reader(_text(path).splitlines()))
    if not rows or rows[0] != ["ImageId", "PredictionString"]:
        raise BadInput(f"{path} does not begin with the line ImageId,PredictionString")
    for line, row in enumerate(rows, start=1):
        if len(row) != 2:
            raise BadInput(f"{path}, line {line}: {len(row)} columns instead of 2")
    solutions = dict(rows[1:])
    if len(solutions) != len(rows) - 1:
        raise BadInput(f"{path} has two rows for one image")
    return solutions


def _search(root: Path, *names: str) -> Path | None:
    """Find the first of these files in the usual places for texts."""
    paths = (root / place / name for name in names for place in TEXT_FOLDERS)
    return next((path for path in paths if path.is_file()), None)


def _class_names(root: Path) -> dict[str, str]:
    """Find ImageNet's 1000 classes: WordNet id -> name, in the order of the class indices.

    Folder names are taken from a folder with exactly 1000 of them only: a subset's positions would
    be other indices.
    """
    if path := _search(root, *SYNSET_FILES):
        lines = [line.strip().partition(" ") for line in _text(path).splitlines() if line.strip()]
        return _checked([wnid for wnid, _, _ in lines], [name for _, _, name in lines], path)
    if path := _search(root, META):
        pairs = sorted(_meta(path).values())
        return _checked([wnid for wnid, _ in pairs], [name for _, name in pairs], path)
    folders = [root / place for place in (*IMAGE_FOLDERS, *TRAIN_FOLDERS)]
    for folder in filter(Path.is_dir, folders):
        wnids = sorted(entry.name for entry in os.scandir(folder) if WNID.fullmatch(entry.name))
        if len(wnids) == CLASS_COUNT:
            return _checked(wnids, wnids, folder)
    raise BadInput(
        f"cannot tell the order of ImageNet's classes in {root}: looked for "
        f"{', '.join((*SYNSET_FILES, META))} in {', '.join(TEXT_FOLDERS)} and for 1000 class "
        f"folders in {', '.join((*IMAGE_FOLDERS, *TRAIN_FOLDERS))}"
    )


def _checked(wnids: list[str], names: list[str], source: Path) -> dict[str, str]:
    """Refuse classes whose positions are not ImageNet's standard indices."""
    sound = len(wnids) == CLASS_COUNT and wnids == sorted(set(wnids))
    if not sound or (wnids[0], wnids[-1]) != (FIRST_WNID, LAST_WNID):
        raise BadInput(
            f"{source} has {len(wnids)} classes, {len(set(wnids))} of them different, expected "
            f"ImageNet's 1000, sorted, from {FIRST_WNID} to {LAST_WNID}"
        )
    return {wnid: name or wnid for wnid, name in zip(wnids, names, strict=True)}


def _ground_truth(root: Path, keys: list[str], total: int) -> Mapping[str, str]:
    """Label these images (of ``total``) by the devkit: image id -> WordNet id.

    Line k belongs to ILSVRC2012_val_<k>; its number counts the classes in the devkit's own order,
    which is not the sorted one, and which only ``meta.mat`` translates.
    """
    path = _search(root, GROUND_TRUTH)
    if path is None:
        raise BadInput(
            f"{len(keys)} of {total} images in {root} have no label, such as {keys[0]}: looked for "
            f"{SOLUTION}, class folders, and {GROUND_TRUTH} in {', '.join(TEXT_FOLDERS)}"
        )
    meta = _search(root, META)
    if meta is None:
        raise BadInput(
            f"{path.name} counts the classes in the devkit's own order, which needs the devkit's "
            f"{META} beside it: looked in {', '.join(TEXT_FOLDERS)} of {root}"
        )
    wnids = {number: wnid for number, (wnid, _) in _meta(meta).items()}
    lines = _text(path).split()
    labels = {}
    for key in keys:
        match = OFFICIAL_NAME.fullmatch(key)
        line = int(match[1]) if match else 0
        if not 1 <= line <= len(lines):
            raise BadInput(f"{path} has {len(lines)} lines and none for {key}")
        number = lines[line - 1]
        if not number.isdecimal() or int(number) not in wnids:
            raise BadInput(f"{path}, line {line}: {number} is not a class number of {meta}")
        labels[key] = wnids[int(number)]
    return labels


def _meta(path: Path) -> dict[int, tuple[str, str]]:
    """Read the devkit's classes: ILSVRC2012 id, 1 to 1000 -> (WordNet id, name).

    The file lists inner nodes of WordNet's tree as well; the classes are those without children.
    """
    try:
        synsets = loadmat(path, squeeze_me=True)["synsets"]
        columns = [synsets[key] for key in ("ILSVRC2012_ID", "WNID", "words", "num_children")]
        return {
            int(number): (str(wnid), str(words))
            for number, wnid, words, children in zip(*columns, strict=True)
            if int(children) == 0
        }
    except Exception as error:  # on damaged bytes scipy raises anything, down to zlib.error
        raise BadInput(f"cannot read {path} as the devkit's class list: {error!r}") from error

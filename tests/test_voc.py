"""VOC2007's units are read from the development kit's files, and their boxes keep their places."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.datasets.photographs import Preprocess
from benchmark.datasets.voc import VOC
from benchmark.interfaces import BadInput, UnreadableImage


def voc(root, **changes):
    settings = {"preprocess": Preprocess.squash, "limit": None, "seed": 0, "manifest": None}
    return VOC("voc2007", root and str(root), **(settings | changes))


def thing(name, *corners, difficult=0):
    xmin, ymin, xmax, ymax = corners
    box = f"<xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax>"
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin></bndbox></part>"
    return (
        f"<object><name>{name}</name><pose>Left</pose><truncated>0</truncated>"
        f"<difficult>{difficult}</difficult><bndbox>{box}</bndbox>{part}</object>"
    )


def devkit(folder: Path, images: dict, size=(60, 40)) -> Path:
    """Write the devkit's folder VOC2007 with these objects of these images, 60 x 40 of noise."""
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number, (image, objects) in enumerate(images.items()):
        noise = np.random.default_rng(number).integers(0, 256, (*size[::-1], 3), np.uint8)
        Image.fromarray(noise).save(folder / f"JPEGImages/{image}.jpg")
        stated = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
        text = (
            f"<annotation><filename>{image}.jpg</filename>{stated}{''.join(objects)}</annotation>"
        )
        (folder / f"Annotations/{image}.xml").write_text(text)
    (folder / "ImageSets/Main/test.txt").write_text("".join(f"{image}\n" for image in images))
    return folder


TWO = {
    "000001": [
        thing("dog", 11, 6, 30, 15),
        thing("person", 1, 1, 60, 40),
        thing("dog", 41, 21, 50, 30, difficult=1),
    ],
    "000002": [thing("train", 31, 11, 60, 40), thing("car", 1, 1, 60, 40, difficult=1)],
}


@pytest.mark.parametrize("root", [".", "VOCdevkit", "VOCdevkit/VOC2007"])
def test_the_root_is_the_devkit_or_what_is_in_or_around_it(tmp_path, root):
    devkit(tmp_path / "VOCdevkit/VOC2007", TWO)
    data = voc(tmp_path / root)
    assert sorted(data.ids()) == ["000001:dog", "000001:person", "000002:train"]


def test_a_unit_has_the_image_the_label_and_all_boxes_of_its_class_counted_from_zero(tmp_path):
    data = voc(devkit(tmp_path, TWO))
    item = data.load("000001:dog", 20)
    assert (item.id, data.class_names[item.label]) == ("000001:dog", "dog")
    # The second is marked difficult: it makes no unit by itself, but a hit on it is a hit.
    assert item.truth.boxes.tolist() == [[10, 5, 29, 14], [40, 20, 49, 29]]
    assert item.truth.classes.tolist() == [item.label] * 2
    assert (item.truth.scale, item.truth.offset) == ((3.0, 2.0), (0.0, 0.0))
    with Image.open(tmp_path / "JPEGImages/000001.jpg") as image:
        expected = np.array(image.resize((20, 20), Image.Resampling.BILINEAR)) / 255
    assert torch.equal(item.image, torch.from_numpy(expected).permute(2, 0, 1).float())
    other = data.load("000001:person", 20)
    assert torch.equal(item.image, other.image)
    assert other.truth.boxes.tolist() == [[0, 0, 59, 39]]


def test_the_classes_are_the_alphabets_and_labels_count_from_zero(tmp_path):
    data = voc(devkit(tmp_path, TWO))
    assert list(data.class_names) == sorted(data.class_names)
    assert len(data.class_names) == 20
    assert data.load("000002:train", 8).label == 18


def hard(tmp_path, *objects, size=(60, 40)):
    """Name the classes of the difficult units of one image with these objects."""
    data = voc(devkit(tmp_path, {"000001": objects}, size))
    units = {each: data.load(each, 8).truth.difficult for each in data.ids()}
    return {each.partition(":")[2] for each, difficult in units.items() if difficult}


def test_a_unit_is_difficult_below_a_quarter_of_the_image_beside_another_class(tmp_path):
    large = thing("person", 1, 1, 60, 40)
    assert hard(tmp_path, large, thing("dog", 1, 1, 30, 20)) == set()  # 600 of 2,400 pixels
    assert hard(tmp_path, large, thing("dog", 1, 1, 30, 19)) == {"dog"}
    assert hard(tmp_path, thing("dog", 1, 1, 30, 19)) == set()
    assert hard(tmp_path, thing("dog", 1, 1, 9, 9), thing("cat", 1, 1, 9, 9)) == {"dog", "cat"}


def test_areas_are_of_the_boxes_together_where_they_overlap(tmp_path):
    large = thing("person", 1, 1, 60, 40)
    twice = [thing("dog", 1, 1, 20, 20), thing("dog", 1, 1, 20, 20)]
    assert hard(tmp_path, large, *twice) == {"dog"}
    apart = [thing("dog", 1, 1, 20, 20), thing("dog", 31, 1, 50, 20)]
    assert hard(tmp_path, large, *apart) == set()


# Objects of real images, and which classes TorchRay's list of the difficult calls so.
LISTED = {
    "000014": (
        (500, 333),
        [
            thing("bus", 72, 163, 302, 228),
            thing("car", 185, 194, 500, 316),
            thing("car", 416, 180, 500, 222),
            thing("person", 314, 8, 344, 65),
            thing("person", 331, 4, 361, 61),
            thing("person", 357, 8, 401, 61),
            thing("car", 163, 197, 267, 244, difficult=1),
        ],
        {"bus", "car", "person"},
    ),
    "000188": (
        (500, 264),
        [
            thing("bus", 89, 88, 500, 200),
            thing("person", 29, 109, 68, 215),
            thing("car", 406, 146, 500, 216),
            thing("car", 1, 140, 139, 202),
        ],
        {"car", "person"},
    ),
    "000223": (
        (500, 333),
        [thing("train", 156, 85, 341, 290), thing("person", 372, 259, 390, 300, difficult=1)],
        set(),
    ),
    "000342": (
        (500, 375),
        [thing("tvmonitor", 2, 97, 427, 341, difficult=1), thing("person", 95, 136, 328, 319)],
        set(),
    ),
}


@pytest.mark.parametrize("image", LISTED)
def test_the_difficult_units_are_those_of_torchrays_list(tmp_path, image):
    size, objects, expected = LISTED[image]
    assert hard(tmp_path, *objects, size=size) == expected


def test_a_limit_counts_units_and_a_manifest_names_them(tmp_path):
    devkit(tmp_path / "data", TWO)
    data = voc(tmp_path / "data")
    assert voc(tmp_path / "data", limit=2).ids() == data.ids()[:2]
    (tmp_path / "units.txt").write_text("000002:train\n000001:dog\n")
    chosen = voc(tmp_path / "data", manifest=str(tmp_path / "units.txt"))
    assert chosen.ids() == ["000002:train", "000001:dog"]


def test_the_digest_sees_the_file_the_class_and_its_boxes(tmp_path):
    data = voc(devkit(tmp_path, TWO))
    first = data.digest("000001:dog")
    assert first == voc(tmp_path).digest("000001:dog")
    assert first != data.digest("000001:person")
    file = tmp_path / "Annotations/000001.xml"
    text = file.read_text()
    file.write_text(text.replace("<xmin>11</xmin>", "<xmin>12</xmin>"))
    assert voc(tmp_path).digest("000001:dog") != first
    file.write_text(text)
    (tmp_path / "JPEGImages/000001.jpg").write_bytes(b"other")
    assert voc(tmp_path).digest("000001:dog") != first


def test_an_image_that_cannot_be_used_is_unreadable(tmp_path):
    devkit(tmp_path, TWO)
    image = tmp_path / "JPEGImages/000001.jpg"
    Image.new("RGB", (40, 60)).save(image)
    with pytest.raises(UnreadableImage, match=r"000001\.jpg: 40 x 60 pixels, annotated as 60 x 40"):
        voc(tmp_path).load("000001:dog", 8)
    image.unlink()
    for ask in (voc(tmp_path).digest, lambda unit: voc(tmp_path).load(unit, 8)):
        with pytest.raises(UnreadableImage, match=r"000001\.jpg: No such file"):
            ask("000001:dog")
    with pytest.raises(UnreadableImage, match="000001:car: no such unit"):
        voc(tmp_path).load("000001:car", 8)
    with pytest.raises(UnreadableImage, match="too few to crop 224 x 224"):
        dataclasses.replace(voc(tmp_path), preprocess=Preprocess.crop).load("000002:train", 224)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation>", r"000001\.xml is not an annotation of VOC2007: no element found"),
        ("<annotation/>", r"000001\.xml is not an annotation of VOC2007: invalid literal"),
        (thing("unicorn", 1, 1, 9, 9), "'unicorn' is not one of its classes"),
        (thing("dog", 9, 1, 1, 9), "a box of dog has its maximum below its minimum"),
        (thing("dog", "nan", 1, 1, 9), "a box of dog has its maximum below its minimum"),
        (thing("dog", 1, 1, "inf", 9), "a box of dog has an infinite side"),
        (thing("dog", 61, 1, 70, 9), "a box of dog lies outside the 60 x 40 pixels"),
        (thing("dog", 1, -9, 9, 0), "a box of dog lies outside the 60 x 40 pixels"),
        (thing("dog", "", 1, 1, 9), "could not convert string to float"),
    ],
)
def test_a_damaged_annotation_is_refused_by_name(tmp_path, text, message):
    devkit(tmp_path, TWO)
    if text.startswith("<object"):
        size = "<size><width>60</width><height>40</height></size>"
        text = f"<annotation>{size}{text}</annotation>"
    (tmp_path / "Annotations/000001.xml").write_text(text)
    with pytest.raises(BadInput, match=message):
        voc(tmp_path).ids()


def test_data_that_is_not_there_is_refused_with_what_would_be_right(tmp_path):
    with pytest.raises(BadInput, match=r"set dataset\.root or the environment variable VOC_ROOT"):
        voc(None)
    with pytest.raises(
        BadInput, match=r"has no ImageSets/Main/test\.txt.*VOCtest_06-Nov-2007\.tar"
    ):
        voc(tmp_path).ids()
    devkit(tmp_path, TWO)
    (tmp_path / "Annotations/000002.xml").unlink()
    with pytest.raises(BadInput, match=r"000002\.xml cannot be read: No such file"):
        voc(tmp_path).ids()


@pytest.mark.parametrize("name", ["../../000001", "/000001"])
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path, name):
    root = devkit(tmp_path, TWO)
    (root / "ImageSets/Main/test.txt").write_text(f"{name}\n")
    with pytest.raises(BadInput, match=r"000001\.xml', which is not below"):
        voc(root).ids()

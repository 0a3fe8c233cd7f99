"""COCO's units are read from its instances, and their masks are where the annotators drew them."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from benchmark.datasets.coco import CATEGORIES, COCO
from benchmark.datasets.coco_masks import draw, read_segmentation
from benchmark.datasets.photographs import Preprocess
from benchmark.interfaces import BadInput, UnreadableImage

WIDTH, HEIGHT = 12, 8
ONE, TWO = "COCO_val2014_000000000042", "COCO_val2014_000000000073"


def coco(root, **changes):
    settings = {"preprocess": Preprocess.squash, "limit": None, "seed": 0, "manifest": None}
    return COCO("coco2014", root and str(root), **(settings | changes))


def rectangle(left, top, right, bottom):
    """A polygon of COCO's, whose corners are between pixels."""
    return [float(each) for each in (left, top, right, top, right, bottom, left, bottom)]


def instance(image, category, segmentation, crowd=0):
    return {
        "image_id": image,
        "category_id": category,
        "segmentation": segmentation,
        "iscrowd": crowd,
        "bbox": [0, 0, 1, 1],
        "area": 1.0,
    }


def write(root: Path, *objects, images=((42, ONE), (73, TWO))) -> Path:
    """Write val2014's folder and file with these objects of two images of 12 x 8 pixels."""
    (root / "val2014").mkdir(parents=True, exist_ok=True)
    (root / "annotations").mkdir(exist_ok=True)
    for number, name in images:
        noise = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        Image.fromarray(noise).save(root / f"val2014/{name}.jpg")
    listed = [
        {"id": number, "file_name": f"{name}.jpg", "width": WIDTH, "height": HEIGHT}
        for number, name in images
    ]
    numbered = [{"id": 900 + k, **each} for k, each in enumerate(objects)]
    content = {
        "images": listed,
        "annotations": numbered,
        "categories": [{"id": 1, "name": "person"}],
    }
    (root / "annotations/instances_val2014.json").write_text(json.dumps(content))
    return root


DOG, TRAFFIC_LIGHT, PERSON, TOOTHBRUSH = 18, 10, 1, 90


def pixels(mask):
    rows, columns = np.nonzero(np.asarray(mask))
    return set(zip(columns.tolist(), rows.tolist(), strict=True))


def block(left, top, right, bottom):
    return {(x, y) for x in range(left, right) for y in range(top, bottom)}


def test_the_categories_are_the_eighty_that_were_given_out():
    assert len(CATEGORIES) == 80
    assert (CATEGORIES[0], CATEGORIES[11], CATEGORIES[-1]) == (1, 13, 90)
    names = coco("somewhere").class_names
    of = dict(zip(CATEGORIES, names, strict=True))
    known = {
        1: "person",
        13: "stop sign",
        18: "dog",
        44: "bottle",
        67: "diningtable",
        90: "toothbrush",
    }
    assert {number: of[number] for number in known} == known
    assert len(set(names)) == 80


def test_each_class_of_each_image_is_a_unit(tmp_path):
    data = coco(
        write(
            tmp_path,
            instance(73, TRAFFIC_LIGHT, [rectangle(0, 0, 3, 3)]),
            instance(42, DOG, [rectangle(0, 0, 3, 3)]),
            instance(42, PERSON, [rectangle(4, 0, 6, 3)]),
            instance(42, DOG, [rectangle(6, 0, 9, 3)]),
        )
    )
    assert list(data.units) == [f"{ONE}:person", f"{ONE}:dog", f"{TWO}:traffic light"]
    item = data.load(f"{ONE}:dog", 4)
    assert data.class_names[item.label] == "dog"
    assert item.image.shape == (3, 4, 4)
    assert (item.truth.scale, item.truth.offset) == ((3.0, 2.0), (0.0, 0.0))
    assert item.truth.boxes.shape == (0, 4)
    assert item.truth.mask.shape == (HEIGHT, WIDTH)
    assert pixels(item.truth.mask) == block(0, 0, 3, 3) | block(6, 0, 9, 3)
    (tmp_path / "units.txt").write_text(f"{TWO}:traffic light\n")
    assert coco(tmp_path, manifest=str(tmp_path / "units.txt")).ids() == [f"{TWO}:traffic light"]
    assert coco(tmp_path, limit=2).ids() == data.ids()[:2]


def drawn(*segmentations):
    objects = [read_segmentation(each, WIDTH, HEIGHT) for each in segmentations]
    return pixels(draw(objects, WIDTH, HEIGHT))


def test_a_polygon_covers_the_pixels_whose_middle_is_inside():
    assert drawn([rectangle(2, 3, 5, 7)]) == block(2, 3, 5, 7)
    assert drawn([rectangle(2.4, 3.4, 4.6, 6.6)]) == block(2, 3, 5, 7)
    assert drawn([rectangle(2.6, 3.6, 4.4, 6.4)]) == block(3, 4, 4, 6)
    assert drawn([rectangle(-3, -3, 100, 100)]) == block(0, 0, WIDTH, HEIGHT)
    assert drawn([rectangle(0, 0, 2, 2), rectangle(1, 1, 4, 4)], [rectangle(9, 0, 10, 1)]) == (
        block(0, 0, 2, 2) | block(1, 1, 4, 4) | block(9, 0, 10, 1)
    )
    assert drawn([[3.0, 3.0, 4.0, 4.0]]) <= block(2, 2, 5, 5)  # a line has no area
    assert drawn([]) == set()


@given(st.integers(0, 2**32 - 1), st.integers(3, 7))
def test_a_polygon_is_what_a_ray_from_each_middle_crosses_an_odd_number_of_times(seed, corners):
    points = np.random.default_rng(seed).uniform((-2, -2), (WIDTH + 2, HEIGHT + 2), (corners, 2))
    inside = set()
    for x, y in block(0, 0, WIDTH, HEIGHT):
        crossed = 0
        for (ax, ay), (bx, by) in zip(points, np.roll(points, 1, axis=0), strict=True):
            if (ay > y + 0.5) != (by > y + 0.5):
                crossed += x + 0.5 < ax + (y + 0.5 - ay) / (by - ay) * (bx - ax)
        if crossed % 2:
            inside.add((x, y))
    assert drawn([points.flatten().tolist()]) == inside


def test_the_runs_of_a_crowd_go_down_the_columns_and_begin_outside():
    # 9 outside: the first column of 8 and one pixel more; then 3 inside.
    runs = {"counts": [9, 3, 84], "size": [HEIGHT, WIDTH]}
    assert drawn(runs) == {(1, 1), (1, 2), (1, 3)}
    assert drawn({"counts": [0, 8, 88], "size": [HEIGHT, WIDTH]}) == block(0, 0, 1, HEIGHT)


@given(st.integers(0, 2**32 - 1))
def test_runs_are_read_as_they_are_written(seed):
    mask = np.random.default_rng(seed).random((HEIGHT, WIDTH)) > 0.5
    counts, inside = [0], False
    for x in range(WIDTH):
        for y in range(HEIGHT):
            if mask[y, x] != inside:
                counts.append(0)
                inside = not inside
            counts[-1] += 1
    assert drawn({"counts": counts, "size": [HEIGHT, WIDTH]}) == pixels(mask)


def test_a_crowd_belongs_to_its_class_like_any_object(tmp_path):
    crowd = {"counts": [9, 3, 84], "size": [HEIGHT, WIDTH]}
    data = coco(
        write(
            tmp_path,
            instance(42, PERSON, crowd, crowd=1),
            instance(42, PERSON, [rectangle(5, 5, 6, 6)]),
            instance(73, TOOTHBRUSH, crowd, crowd=1),
        )
    )
    assert pixels(data.load(f"{ONE}:person", 4).truth.mask) == {(1, 1), (1, 2), (1, 3), (5, 5)}
    assert data.load(f"{TWO}:toothbrush", 4).label == 79


def test_a_unit_is_difficult_below_a_quarter_of_the_image_beside_another_class(tmp_path):
    quarter, less = [rectangle(0, 0, 6, 4)], [rectangle(0, 0, 6, 3), rectangle(0, 0, 5, 4)]

    def difficult(*objects):
        data = coco(write(tmp_path, *objects))
        units = {each: data.load(each, 4).truth.difficult for each in data.ids()}
        return {each.partition(":")[2] for each, hard in units.items() if hard}

    other = instance(42, PERSON, [rectangle(0, 0, 12, 8)])
    assert difficult(other, instance(42, DOG, quarter)) == set()  # 24 of 96 pixels
    assert difficult(other, instance(42, DOG, less)) == {"dog"}  # 23, where they overlap
    assert difficult(instance(42, DOG, less)) == set()
    assert difficult(instance(42, DOG, less), instance(73, PERSON, less)) == set()


def test_the_digest_sees_the_file_the_class_and_its_objects(tmp_path):
    dog, person = instance(42, DOG, [rectangle(0, 0, 3, 3)]), instance(42, PERSON, [])
    first = coco(write(tmp_path, dog, person)).digest(f"{ONE}:dog")
    assert coco(tmp_path).digest(f"{ONE}:dog") == first
    assert coco(tmp_path).digest(f"{ONE}:person") != first
    assert coco(write(tmp_path, dog)).digest(f"{ONE}:dog") != first  # it is alone now
    moved = instance(42, DOG, [rectangle(0, 0, 3, 4)])
    assert coco(write(tmp_path, moved, person)).digest(f"{ONE}:dog") != first
    data = coco(write(tmp_path, dog, person))
    (tmp_path / f"val2014/{ONE}.jpg").write_bytes(b"other")
    assert data.digest(f"{ONE}:dog") != first


def test_an_image_that_cannot_be_used_is_unreadable(tmp_path):
    data = coco(write(tmp_path, instance(42, DOG, [rectangle(0, 0, 3, 3)])))
    Image.new("RGB", (8, 12)).save(tmp_path / f"val2014/{ONE}.jpg")
    with pytest.raises(UnreadableImage, match=r"42\.jpg: 8 x 12 pixels, annotated as 12 x 8"):
        data.load(f"{ONE}:dog", 4)
    (tmp_path / f"val2014/{ONE}.jpg").unlink()
    with pytest.raises(UnreadableImage, match=r"42\.jpg: No such file"):
        data.digest(f"{ONE}:dog")
    with pytest.raises(UnreadableImage, match="nothing: no such unit"):
        data.load("nothing", 4)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (instance(99, DOG, []), "object 900 is of no image or of no category"),
        (instance(42, 12, []), "object 900 is of no image or of no category"),
        (instance(42, DOG, [[1.0, 2.0, 3.0]]), "object 900: a polygon is a list of corners"),
        (instance(42, DOG, [[]]), "object 900: a polygon is a list of corners"),
        (instance(42, DOG, [[1.0, float("nan")] * 3]), "object 900: .* not a finite number"),
        (instance(42, DOG, {"counts": "aZ09", "size": [8, 12]}), "object 900: .*counts that are a"),
        (instance(42, DOG, {"counts": [5, 5], "size": [8, 12]}), "object 900: .* not of 12 x 8"),
        (instance(42, DOG, {"counts": [96], "size": [12, 8]}), "object 900: .* not of 12 x 8"),
        (
            {"image_id": 42},
            r"instances_val2014\.json is not COCO's instances: it lacks 'category_id'",
        ),
    ],
)
def test_a_damaged_annotation_is_refused_by_its_number(tmp_path, broken, message):
    with pytest.raises(BadInput, match=message):
        coco(write(tmp_path, broken)).ids()


def test_data_that_is_not_there_is_refused_with_what_would_be_right(tmp_path):
    with pytest.raises(BadInput, match=r"set dataset\.root or the environment variable COCO_ROOT"):
        coco(None)
    with pytest.raises(BadInput, match=r"has no val2014: unpack val2014\.zip"):
        coco(tmp_path).ids()
    (tmp_path / "val2014").mkdir()
    with pytest.raises(BadInput, match=r"has no annotations/instances_val2014\.json: unpack"):
        coco(tmp_path).ids()
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/instances_val2014.json").write_text("{")
    with pytest.raises(BadInput, match=r"instances_val2014\.json is not COCO's instances"):
        coco(tmp_path).ids()


@pytest.mark.parametrize("name", ["../../secret", "/etc/secret", "a/../../../secret"])
def test_a_file_name_that_leads_out_of_the_folder_is_refused(tmp_path, name):
    images = ((42, ONE),)
    root = write(tmp_path / "data", instance(42, DOG, [[1.0, 1, 4, 1, 4, 4]]), images=images)
    file = root / "annotations/instances_val2014.json"
    file.write_text(file.read_text().replace(f"{ONE}.jpg", f"{name}.jpg"))
    data = coco(root)
    [unit] = data.ids()
    for read in (data.digest, lambda each: data.load(each, 4)):
        with pytest.raises(BadInput, match=r"secret\.jpg', which is not below"):
            read(unit)

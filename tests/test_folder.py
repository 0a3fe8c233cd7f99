"""A folder of a user's own images."""

import numpy as np
import pytest
from PIL import Image

from benchmark.building import build
from benchmark.config import load
from benchmark.interfaces import BadInput, UnreadableImage


def folder(root, *more):
    return build(load("dataset=folder", f"dataset.root='{root}'", *more).dataset, "dataset")


@pytest.fixture
def images(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    (tmp_path / "deep").mkdir()
    Image.fromarray(pixels).save(tmp_path / "a b.png")
    Image.fromarray(pixels[::-1]).save(tmp_path / "deep" / "c.JPG", quality=95)
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def test_images_are_found_at_any_depth_and_nothing_else(images):
    assert set(folder(images).ids()) == {"a b.png", "deep/c.JPG"}
    assert len(folder(images, "dataset.limit=1").ids()) == 1


def test_an_image_has_no_label_and_no_box_and_the_pixels_of_its_file(images):
    item = folder(images, "dataset.preprocess=crop").load("a b.png", 40)
    assert item.label == -1
    assert len(item.truth.boxes) == 0
    whole = np.asarray(Image.open(images / "a b.png"), dtype=np.float32) / 255
    assert np.array_equal(item.image.permute(1, 2, 0).numpy(), whole[:, 10:50])


def test_a_photograph_is_turned_as_the_camera_was_held(images):
    image = Image.open(images / "a b.png")
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    image.save(images / "turned.png", exif=exif)
    straight = folder(images).load("a b.png", 32).image
    turned = folder(images).load("turned.png", 32).image
    assert abs(turned - straight.rot90(-1, (1, 2))).max() < 0.02  # but for resizing


def test_another_file_under_the_same_name_is_another_image(images):
    before = folder(images).digest("a b.png")
    Image.open(images / "deep" / "c.JPG").save(images / "a b.png")
    assert folder(images).digest("a b.png") != before


def test_classes_have_the_names_of_a_file_or_none(images):
    (images / "names.txt").write_text("cat\ndog\n")
    assert list(folder(images).class_names) == []
    named = folder(images, f"dataset.classes='{images / 'names.txt'}'")
    assert list(named.class_names) == ["cat", "dog"]


def test_what_is_not_there_is_refused(images, tmp_path_factory):
    with pytest.raises(BadInput, match=r"needs dataset\.root=\.\.\., a folder of images"):
        build(load("dataset=folder").dataset, "dataset")
    with pytest.raises(BadInput, match="holds no image"):
        folder(tmp_path_factory.mktemp("empty")).ids()
    with pytest.raises(BadInput, match="nowhere is no folder"):
        folder(images / "nowhere").ids()
    with pytest.raises(BadInput, match="one class name per line"):
        _ = folder(images, "dataset.classes=nowhere.txt").class_names
    with pytest.raises(UnreadableImage, match="no such image"):
        folder(images).load("b.png", 32)

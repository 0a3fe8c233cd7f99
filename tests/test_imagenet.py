"""ImageNet's layouts are found by looking, and its images and boxes keep their places."""

import csv
import os
import shutil
from functools import cache
from io import BytesIO
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from scipy.io import savemat
from torch import Tensor
from torchvision.transforms import v2

from benchmark.datasets.imagenet import ImageNet
from benchmark.datasets.photographs import Preprocess
from benchmark.interfaces import BadInput, UnreadableImage

# As many classes as ImageNet has, with its first and last; those between are made up.
WNIDS = ["n01440764", *(f"n{2_000_000 + 1_000 * k:08d}" for k in range(998)), "n15075141"]
ONE, TWO, THREE = (f"ILSVRC2012_val_{k:08d}" for k in (1, 2, 3))
CLASS_OF = {ONE: 999, TWO: 0, THREE: 7}


def imagenet(root: Path | str | None, preprocess: str = "squash", **changes: object) -> ImageNet:
    settings = {"limit": None, "seed": 0, "manifest": None} | changes
    return ImageNet("imagenet", root and str(root), Preprocess[preprocess], **settings)


def save(path: Path, width: int = 60, height: int = 40, mode: str = "RGB") -> Image.Image:
    """Write noise, without loss where the suffix is png."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(width + height).integers(0, 256, (height, width, 3), np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    image.save(path, "PNG" if path.suffix == ".png" else "JPEG")
    return image


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def synsets(root: Path) -> None:
    lines = (f"{wnid} name {k}, other name {k}\n" for k, wnid in enumerate(WNIDS))
    write(root / "LOC_synset_mapping.txt", "".join(lines))


def solution(root: Path, rows: dict[str, str]) -> None:
    with (root / "LOC_val_solution.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("ImageId", "PredictionString"), *rows.items()])


def kaggle(root: Path, folders: bool = False) -> Path:
    val = root / "ILSVRC/Data/CLS-LOC/val"
    for key, k in CLASS_OF.items():
        save((val / WNIDS[k] if folders else val) / f"{key}.JPEG")
    synsets(root)
    rows = {key: f"{WNIDS[k]} 1 2 30 20 {WNIDS[k]} 5 5 9 9 " for key, k in CLASS_OF.items()}
    solution(root, rows)
    return root


DEVKIT_NUMBER = {wnid: k + 1 for k, wnid in enumerate(reversed(WNIDS))}  # not the sorted order


@cache
def meta_mat() -> bytes:
    """Write the classes as the devkit does, with inner nodes of WordNet's tree after them."""
    fields = "ILSVRC2012_ID WNID words gloss num_children children wordnet_height num_train_images"
    nodes = [(number, wnid, f"words of {wnid}", 0) for wnid, number in DEVKIT_NUMBER.items()]
    nodes += [(1001, "n00001740", "entity", 2), (1002, "n00001930", "physical entity", 2)]
    table = np.empty((len(nodes), 1), dtype=[(field, object) for field in fields.split()])
    for row, (number, wnid, words, children) in enumerate(nodes):
        child = np.zeros((1, children))
        table[row, 0] = (float(number), wnid, words, "gloss", float(children), child, 0.0, 1300.0)
    savemat(file := BytesIO(), {"synsets": table})
    return file.getvalue()


def devkit(folder: Path, meta: bool = True) -> None:
    lines = (f"{DEVKIT_NUMBER[WNIDS[CLASS_OF[key]]]}\n" for key in sorted(CLASS_OF))
    write(folder / "ILSVRC2012_validation_ground_truth.txt", "".join(lines))
    if meta:
        (folder / "meta.mat").write_bytes(meta_mat())


def xml(path: Path, width: int, height: int, *boxes: tuple[str, int, int, int, int]) -> None:
    objects = "".join(
        f"<object><name>{name}</name><pose>Unspecified</pose><bndbox><xmin>{x0}</xmin>"
        f"<ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for name, x0, y0, x1, y1 in boxes
    )
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    write(path, f"<annotation><filename>{path.stem}</filename>{size}{objects}</annotation>")


def original(root: Path, images: str = "val", texts: str = ".", meta: bool = True) -> Path:
    for key in CLASS_OF:
        save(root / images / f"{key}.JPEG")
    devkit(root / texts, meta)
    return root


def check_labels(data: ImageNet) -> None:
    assert sorted(data.ids()) == [ONE, TWO, THREE]
    assert {key: data.load(key, 8).label for key in data.ids()} == CLASS_OF
    assert len(data.class_names) == 1000


# Layouts


@pytest.mark.parametrize("folders", [False, True], ids=["flat", "class folders"])
def test_kaggles_layout_yields_labels_names_and_boxes(tmp_path: Path, folders: bool) -> None:
    data = imagenet(kaggle(tmp_path, folders))
    check_labels(data)
    truth = data.load(ONE, 8).truth
    assert truth.boxes.tolist() == [[1, 2, 30, 20], [5, 5, 9, 9]]
    assert truth.classes.tolist() == [999, 999]
    assert data.class_names[7] == "name 7, other name 7"


@pytest.mark.parametrize("images", ["val", "ILSVRC2012_img_val", "."])
@pytest.mark.parametrize("texts", [".", "ILSVRC2012_devkit_t12/data"])
def test_the_devkits_numbers_are_translated_to_sorted_order(
    tmp_path: Path, images: str, texts: str
) -> None:
    data = imagenet(original(tmp_path, images, texts))
    check_labels(data)
    assert data.class_names[0] == "words of n01440764"


def test_the_devkits_lines_belong_to_image_numbers_and_not_to_positions(tmp_path: Path) -> None:
    original(tmp_path)
    (tmp_path / f"val/{ONE}.JPEG").unlink()
    assert imagenet(tmp_path).load(THREE, 8).label == CLASS_OF[THREE]


def test_a_class_folder_is_its_images_label(tmp_path: Path) -> None:
    for key, k in CLASS_OF.items():
        save(tmp_path / "val" / WNIDS[k] / f"{key}.JPEG")
    synsets(tmp_path)
    check_labels(imagenet(tmp_path))


def test_a_thousand_class_folders_are_enough_to_know_the_classes(tmp_path: Path) -> None:
    for key, k in CLASS_OF.items():
        save(tmp_path / "val" / WNIDS[k] / f"{key}.JPEG")
    for wnid in WNIDS:
        (tmp_path / "val" / wnid).mkdir(exist_ok=True)
    data = imagenet(tmp_path)
    check_labels(data)
    assert data.class_names == tuple(WNIDS)


@pytest.mark.parametrize(
    "place", ["bbox/val", "Annotations/CLS-LOC/val", "ILSVRC/Annotations/CLS-LOC/val", "val"]
)
def test_xml_boxes_are_found_in_the_usual_places(tmp_path: Path, place: str) -> None:
    original(tmp_path)
    xml(tmp_path / place / f"{ONE}.xml", 60, 40, (WNIDS[3], 0, 1, 59, 39), (WNIDS[999], 4, 4, 4, 4))
    truth = imagenet(tmp_path).load(ONE, 8).truth
    assert truth.boxes.tolist() == [[0, 1, 59, 39], [4, 4, 4, 4]]
    assert truth.classes.tolist() == [3, 999]


def test_an_image_without_annotated_boxes_has_none(tmp_path: Path) -> None:
    truth = imagenet(original(tmp_path)).load(ONE, 8).truth
    assert truth.boxes.shape == (0, 4)
    assert truth.classes.shape == (0,)
    assert truth.classes.dtype == torch.int64


def test_boxes_of_an_xml_file_for_twice_the_size_shrink_to_the_pixels_they_cover(
    tmp_path: Path,
) -> None:
    original(tmp_path)
    # Pixels 20 to 59 and 10 to 49 of 120 x 80 are pixels 10 to 29 and 5 to 24 of 60 x 40.
    xml(tmp_path / f"bbox/val/{ONE}.xml", 120, 80, (WNIDS[5], 20, 10, 59, 49))
    assert imagenet(tmp_path).load(ONE, 8).truth.boxes.tolist() == [[10, 5, 29, 24]]


def test_an_xml_file_without_a_size_is_for_the_image_as_it_is(tmp_path: Path) -> None:
    original(tmp_path)
    xml(tmp_path / f"bbox/val/{ONE}.xml", 0, 0, (WNIDS[5], 20, 10, 59, 39))
    assert imagenet(tmp_path).load(ONE, 8).truth.boxes.tolist() == [[20, 10, 59, 39]]


def test_subsets_of_the_images_nest(tmp_path: Path) -> None:
    kaggle(tmp_path)
    everything = imagenet(tmp_path).ids()
    assert imagenet(tmp_path, limit=2).ids() == everything[:2]


def test_a_manifest_chooses_the_images_in_its_order(tmp_path: Path) -> None:
    kaggle(tmp_path)
    write(tmp_path / "manifest.txt", f"{THREE}\n{ONE}\n")
    data = imagenet(tmp_path, manifest=str(tmp_path / "manifest.txt"))
    assert data.ids() == [THREE, ONE]


# Pixels


@pytest.mark.parametrize("preprocess", list(Preprocess))
@pytest.mark.parametrize("shape", [(500, 333), (333, 500), (225, 226), (227, 227), (1200, 230)])
def test_pixels_are_exactly_torchvisions(
    tmp_path: Path, preprocess: Preprocess, shape: tuple[int, int]
) -> None:
    kaggle(tmp_path)
    (tmp_path / f"ILSVRC/Data/CLS-LOC/val/{ONE}.JPEG").unlink()
    picture = save(tmp_path / f"ILSVRC/Data/CLS-LOC/val/{ONE}.png", *shape)
    transform = {
        Preprocess.squash: v2.Resize((224, 224)),
        Preprocess.center_crop: v2.Compose([v2.Resize(256), v2.CenterCrop(224)]),
        Preprocess.crop: v2.CenterCrop(224),
    }[preprocess]
    expected = v2.functional.pil_to_tensor(transform(picture))
    image = imagenet(tmp_path, preprocess.value).load(ONE, 224).image
    assert image.dtype == torch.float32
    assert torch.equal(image, expected / 255)


def find_mark(image: Tensor) -> tuple[float, float]:
    """Centre of gravity (x, y) of the light in an otherwise black image."""
    light = image.mean(0)
    rows, columns = torch.arange(light.shape[0]), torch.arange(light.shape[1])
    total = light.sum()
    return float((light.sum(0) * columns).sum() / total), float((light.sum(1) * rows).sum() / total)


@pytest.mark.parametrize("preprocess", list(Preprocess))
@pytest.mark.parametrize("shape", [(500, 333), (301, 412), (64, 64)])
def test_a_marked_place_is_mapped_back_to_where_it_was(
    tmp_path: Path, preprocess: Preprocess, shape: tuple[int, int]
) -> None:
    kaggle(tmp_path)
    (tmp_path / f"ILSVRC/Data/CLS-LOC/val/{ONE}.JPEG").unlink()
    width, height = shape
    x, y = width // 2 + 9, height // 2 - 7
    # Under crop one pixel can be followed exactly; what is resized has to be smooth for that.
    spread = 1e-3 if preprocess is Preprocess.crop else min(shape) / 20
    rows, columns = np.ogrid[:height, :width]
    light = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * spread**2))
    Image.fromarray((255 * light).round().astype(np.uint8)).save(
        tmp_path / f"ILSVRC/Data/CLS-LOC/val/{ONE}.png"
    )
    item = imagenet(tmp_path, preprocess.value).load(ONE, 56)
    place = item.truth.to_original(*find_mark(item.image))
    # Half a pixel forgotten somewhere would show as 0.07 (64 to 56 pixels) or more.
    assert place == pytest.approx((x, y), abs=0.03)


@pytest.mark.parametrize("preprocess", ["squash", "center_crop"])
def test_the_scale_is_that_of_each_axis(tmp_path: Path, preprocess: str) -> None:
    kaggle(tmp_path)
    save(tmp_path / f"ILSVRC/Data/CLS-LOC/val/{ONE}.JPEG", 500, 333)
    truth = imagenet(tmp_path, preprocess).load(ONE, 224).truth
    if preprocess == "squash":
        assert (truth.scale, truth.offset) == ((500 / 224, 333 / 224), (0, 0))
    else:  # the longer side is rounded down, to 384 of 384.4, so the axes differ a little
        assert truth.scale == (500 / 384, 333 / 256)
        assert truth.offset == pytest.approx((80 * 500 / 384, 16 * 333 / 256))


def test_boxes_outside_the_crop_stay_in_the_truth(tmp_path: Path) -> None:
    kaggle(tmp_path)
    solution(tmp_path, dict.fromkeys(CLASS_OF, f"{WNIDS[0]} 0 0 3 3"))
    truth = imagenet(tmp_path, "crop").load(ONE, 8).truth
    assert truth.boxes.tolist() == [[0, 0, 3, 3]]


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "RGBA", "1"])
def test_every_mode_becomes_rgb_as_pillow_does_it(tmp_path: Path, mode: str) -> None:
    kaggle(tmp_path)
    path = tmp_path / f"ILSVRC/Data/CLS-LOC/val/{ONE}.JPEG"
    path.unlink()
    path = path.with_suffix(".JPEG" if mode == "CMYK" else ".png")
    save(path, mode=mode)
    image = imagenet(tmp_path, "crop").load(ONE, 40).image
    expected = v2.functional.pil_to_tensor(Image.open(path).convert("RGB").crop((10, 0, 50, 40)))
    assert torch.equal(image, expected / 255)


def test_a_png_under_a_jpegs_name_is_read(tmp_path: Path) -> None:
    kaggle(tmp_path)
    Image.new("RGB", (60, 40), "red").save(tmp_path / f"ILSVRC/Data/CLS-LOC/val/{ONE}.JPEG", "PNG")
    assert imagenet(tmp_path).load(ONE, 8).image[0].eq(1).all()


def test_exif_orientation_is_ignored(tmp_path: Path) -> None:
    kaggle(tmp_path)
    path = tmp_path / f"ILSVRC/Data/CLS-LOC/val/{ONE}.JPEG"
    upright = imagenet(tmp_path).load(ONE, 32).image
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    data = path.read_bytes()
    block = exif.tobytes()
    if not block.startswith(b"Exif\0\0"):
        block = b"Exif\0\0" + block
    marker = b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big")
    path.write_bytes(data[:2] + marker + block + data[2:])
    assert Image.open(path).getexif()[0x0112] == 6
    assert torch.equal(imagenet(tmp_path).load(ONE, 32).image, upright)


# Digests


def test_the_digest_changes_with_the_pixels_the_label_and_the_boxes(tmp_path: Path) -> None:
    kaggle(tmp_path)
    first = imagenet(tmp_path).digest(ONE)
    assert len(first) == 16
    assert imagenet(tmp_path, "crop", seed=4).digest(ONE) == first
    digests = {first}
    for row in (f"{WNIDS[999]} 1 2 30 21", f"{WNIDS[998]} 1 2 30 21"):
        solution(tmp_path, dict.fromkeys(CLASS_OF, row))
        digests.add(imagenet(tmp_path).digest(ONE))
    save(tmp_path / f"ILSVRC/Data/CLS-LOC/val/{ONE}.JPEG", 61, 40)
    digests.add(imagenet(tmp_path).digest(ONE))
    assert len(digests) == 4


def test_the_digest_changes_with_the_size_an_xml_file_states(tmp_path: Path) -> None:
    original(tmp_path)
    path = tmp_path / f"bbox/val/{ONE}.xml"
    digests = set()
    for width in (60, 120):
        xml(path, width, 40, (WNIDS[5], 20, 10, 30, 39))
        digests.add(imagenet(tmp_path).digest(ONE))
    assert len(digests) == 2


def test_the_digest_needs_no_decoding(tmp_path: Path) -> None:
    kaggle(tmp_path)
    (tmp_path / f"ILSVRC/Data/CLS-LOC/val/{ONE}.JPEG").write_bytes(b"no image")
    assert imagenet(tmp_path).digest(ONE)


# Wrong settings and wrong folders


@pytest.mark.parametrize("root", [None, ""])
def test_an_unset_root_is_refused_with_the_two_ways_to_set_it(root: str | None) -> None:
    with pytest.raises(BadInput, match=r"set dataset\.root or the environment variable IMAGENET_R"):
        imagenet(root)


def test_settings_are_built_and_checked_by_omegaconf(tmp_path: Path) -> None:
    values = {"name": "imagenet", "root": str(tmp_path), "preprocess": "center_crop"}
    values |= {"limit": None, "seed": 3, "manifest": None}
    built = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(ImageNet), values))
    assert built == imagenet(tmp_path, "center_crop", seed=3)
    with pytest.raises(Exception, match="Invalid value 'stretch'"):
        OmegaConf.merge(OmegaConf.structured(ImageNet), values | {"preprocess": "stretch"})
    unset = OmegaConf.merge(OmegaConf.structured(ImageNet), values | {"root": None})
    with pytest.raises(BadInput, match="IMAGENET_ROOT"):
        OmegaConf.to_object(unset)


def test_a_missing_root_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="which is not a folder"):
        imagenet(tmp_path / "nowhere").ids()


def test_a_root_without_images_is_refused_with_what_was_looked_for_and_found(
    tmp_path: Path,
) -> None:
    write(tmp_path / "val/notes.txt", "")
    save(tmp_path / "val/holiday.jpg")
    message = r"looked for ILSVRC2012_val_\*\.JPEG.*ILSVRC/Data/CLS-LOC/val.*; found val$"
    with pytest.raises(BadInput, match=message):
        imagenet(tmp_path).ids()
    shutil.rmtree(tmp_path / "val")
    with pytest.raises(BadInput, match=r"found nothing$"):
        imagenet(tmp_path).ids()


def test_images_without_labels_are_refused_and_counted(tmp_path: Path) -> None:
    kaggle(tmp_path)
    solution(tmp_path, {TWO: f"{WNIDS[0]} 1 2 3 4"})
    message = f"2 of 3 images in .* have no label, such as {ONE}: looked for LOC_val_solution.csv"
    with pytest.raises(BadInput, match=message):
        imagenet(tmp_path).ids()


def test_the_devkits_numbers_without_their_meaning_are_refused(tmp_path: Path) -> None:
    original(tmp_path, meta=False)
    synsets(tmp_path)
    with pytest.raises(BadInput, match=r"in the devkit's own order, which needs .* meta\.mat"):
        imagenet(tmp_path).ids()


def test_a_damaged_meta_file_is_refused(tmp_path: Path) -> None:
    original(tmp_path)
    (tmp_path / "meta.mat").write_bytes(b"MATLAB 5.0 MAT-file, of which nothing is left")
    with pytest.raises(BadInput, match=r"meta\.mat as the devkit's class list"):
        imagenet(tmp_path).ids()


@pytest.mark.parametrize(
    ("text", "message"),
    [("1\n2\n", f"has 2 lines and none for {THREE}"), ("1\n1001\n3\n", "1001 is not a class numb")],
)
def test_a_ground_truth_that_does_not_fit_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    original(tmp_path)
    write(tmp_path / "ILSVRC2012_validation_ground_truth.txt", text)
    with pytest.raises(BadInput, match=message):
        imagenet(tmp_path).ids()


def test_a_few_class_folders_do_not_tell_the_class_indices(tmp_path: Path) -> None:
    for key, k in CLASS_OF.items():
        save(tmp_path / "val" / WNIDS[k] / f"{key}.JPEG")
    with pytest.raises(BadInput, match="cannot tell the order of ImageNet's classes"):
        imagenet(tmp_path).ids()


@pytest.mark.parametrize(
    "wnids",
    [WNIDS[:999], WNIDS[::-1], [*WNIDS[:1], *WNIDS[:-1]], ["n00000001", *WNIDS[1:]], []],
    ids=["999", "unsorted", "repeated", "others", "none"],
)
def test_classes_that_are_not_imagenets_are_refused(tmp_path: Path, wnids: list[str]) -> None:
    kaggle(tmp_path)
    write(tmp_path / "LOC_synset_mapping.txt", "".join(f"{wnid} name\n" for wnid in wnids))
    with pytest.raises(BadInput, match=r"expected ImageNet's 1000, sorted, from n01440764 to"):
        imagenet(tmp_path).ids()


def test_an_unknown_label_is_refused(tmp_path: Path) -> None:
    kaggle(tmp_path)
    solution(tmp_path, dict.fromkeys(CLASS_OF, "n00000001 1 2 3 4"))
    with pytest.raises(BadInput, match="n00000001, which is none of ImageNet's 1000 classes"):
        imagenet(tmp_path).ids()


def test_a_class_folder_that_contradicts_the_solution_is_refused(tmp_path: Path) -> None:
    kaggle(tmp_path, folders=True)
    solution(tmp_path, dict.fromkeys(CLASS_OF, f"{WNIDS[0]} 1 2 3 4"))
    with pytest.raises(BadInput, match=r"lies in class folder n\d+, but LOC_val_solution.csv says"):
        imagenet(tmp_path).ids()


def test_one_id_for_two_files_is_refused(tmp_path: Path) -> None:
    kaggle(tmp_path)
    save(tmp_path / f"ILSVRC/Data/CLS-LOC/val/{ONE}.png")
    with pytest.raises(BadInput, match=f"image id {ONE} is there twice"):
        imagenet(tmp_path).ids()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not begin with the line ImageId,PredictionString"),
        ("ImageId,PredictionString\nx\n", "line 2: 1 columns instead of 2"),
        ("ImageId,PredictionString\nx,y 1 2 3 4\nx,y 1 2 3 4\n", "has two rows for one image"),
    ],
)
def test_a_solution_in_another_form_is_refused(tmp_path: Path, text: str, message: str) -> None:
    kaggle(tmp_path)
    write(tmp_path / "LOC_val_solution.csv", text)
    with pytest.raises(BadInput, match=message):
        imagenet(tmp_path).ids()


# Single images that cannot be used are skipped by the run, so they raise UnreadableImage


def png(width: int, height: int) -> bytes:
    """Write a PNG of this size whose compressed pixels are damaged."""
    data = b"\x89PNG\r\n\x1a\n"
    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    for name, content in ((b"IHDR", head), (b"IDAT", b"\x01" * 64)):
        checksum = crc32(name + content).to_bytes(4, "big")
        data += len(content).to_bytes(4, "big") + name + content + checksum
    return data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"<html>404</html>", "neither a JPEG nor a PNG image"),
        (b"\xff\xd8\xff\xe0", "neither a JPEG nor a PNG image"),
        (png(60_000, 60_000), "exceeds limit of .* pixels"),
        (png(60, 40), "broken|truncated|unrecognized"),
    ],
    ids=["empty", "text", "head only", "bomb", "damaged"],
)
def test_a_file_that_is_no_image_is_named_with_the_reason(
    tmp_path: Path, data: bytes, message: str
) -> None:
    kaggle(tmp_path)
    (tmp_path / f"ILSVRC/Data/CLS-LOC/val/{ONE}.JPEG").write_bytes(data)
    with pytest.raises(UnreadableImage, match=rf"{ONE}\.JPEG: .*({message})"):
        imagenet(tmp_path).load(ONE, 8)


def test_a_truncated_image_is_named_with_the_reason(tmp_path: Path) -> None:
    kaggle(tmp_path)
    path = tmp_path / f"ILSVRC/Data/CLS-LOC/val/{ONE}.JPEG"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UnreadableImage, match=rf"{ONE}\.JPEG: .*truncated"):
        imagenet(tmp_path).load(ONE, 8)


def test_an_image_that_vanished_since_the_listing_is_named(tmp_path: Path) -> None:
    data = imagenet(kaggle(tmp_path))
    data.ids()
    (tmp_path / f"ILSVRC/Data/CLS-LOC/val/{ONE}.JPEG").unlink()
    with pytest.raises(UnreadableImage, match=rf"{ONE}\.JPEG: No such file"):
        data.load(ONE, 8)
    with pytest.raises(UnreadableImage, match="no such image"):
        data.load("another", 8)


@pytest.mark.parametrize("shape", [(41, 40), (40, 41), (3, 3)])
def test_an_image_too_small_to_crop_is_refused(tmp_path: Path, shape: tuple[int, int]) -> None:
    kaggle(tmp_path)
    solution(tmp_path, dict.fromkeys(CLASS_OF, f"{WNIDS[0]} 1 1 2 2"))
    save(tmp_path / f"ILSVRC/Data/CLS-LOC/val/{ONE}.JPEG", *shape)
    with pytest.raises(UnreadableImage, match="are too few to crop 41 x 41 without resizing"):
        imagenet(tmp_path, "crop").load(ONE, 41)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ("30 20 1 2", "has its maximum below its minimum"),
        ("1 20 30 2", "has its maximum below its minimum"),
        ("1 2 30", "a box needs four finite numbers"),
        ("1 2 30 nan", "a box needs four finite numbers"),
        ("1 2 30 wide", "could not convert string to float: 'wide'"),
        (f"1 2 3 4 {'n00000001'} 1 2 3 4", "'n00000001' in its boxes is not understood"),
        ("70 2 90 20", "a box lies outside its 60 x 40 pixels"),
    ],
)
def test_a_damaged_box_is_named_and_never_mended(tmp_path: Path, boxes: str, message: str) -> None:
    kaggle(tmp_path)
    solution(tmp_path, dict.fromkeys(CLASS_OF, f"{WNIDS[0]} {boxes}"))
    with pytest.raises(UnreadableImage, match=f"{ONE}.*{message}"):
        imagenet(tmp_path).load(ONE, 8)


def test_a_damaged_xml_file_is_named(tmp_path: Path) -> None:
    original(tmp_path)
    write(tmp_path / f"bbox/val/{ONE}.xml", "<annotation><object>")
    with pytest.raises(UnreadableImage, match=rf"{ONE}\.xml: no element found"):
        imagenet(tmp_path).load(ONE, 8)


# Real images


@pytest.fixture
def real_root() -> str:
    root = os.environ.get("IMAGENET_ROOT")
    if not root:
        pytest.skip("IMAGENET_ROOT is not set: no real ImageNet images to look at")
    return root


def test_real_images_have_labels_and_most_have_boxes_of_them(real_root: str) -> None:
    data = imagenet(real_root, limit=50)
    items = [data.load(key, 224) for key in data.ids()]
    assert all(item.image.shape == (3, 224, 224) for item in items)
    assert all(0 <= item.label < 1000 for item in items)
    assert sum(item.label in item.truth.classes.tolist() for item in items) > 25
    assert data.class_names[0] in {"n01440764", "tench, Tinca tinca"}


def test_real_images_are_exactly_torchvisions(real_root: str) -> None:
    data = imagenet(real_root, "center_crop", limit=10)
    transform = v2.Compose([v2.Resize(256), v2.CenterCrop(224)])
    for key in data.ids():
        picture = Image.open(data.layout.files[key]).convert("RGB")
        expected = v2.functional.pil_to_tensor(transform(picture)) / 255
        assert torch.equal(data.load(key, 224).image, expected)

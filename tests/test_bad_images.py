"""Images as people have them: each is read as what it shows, or named with the reason."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from test_folder import folder
from test_imagenet import ONE, imagenet, kaggle

from benchmark.interfaces import BadInput, UnreadableImage

RAMP = np.linspace(0, 255, 64 * 48).reshape(48, 64).round().astype(np.uint8)  # dark to bright
GREY = Image.fromarray(RAMP)
COLOUR = Image.fromarray(np.stack([RAMP, RAMP[::-1], 255 - RAMP], 2))


def data(image, kind="PNG", **more):
    image.save(file := io.BytesIO(), kind, **more)
    return file.getvalue()


def turned(kind):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    return data(COLOUR, kind, exif=exif)


def bomb(side):
    """A PNG of side x side black pixels, in a file of a few hundred bytes that stops early."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 1000)))
    parts = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


SIXTEEN = Image.fromarray(RAMP.astype(np.uint16) * 257)
RED, BLUE = (Image.new("RGB", (64, 48), colour) for colour in ("red", "blue"))

# What is read: the file's name, its bytes, and the image that it shows.
READ = {
    "cmyk": ("a.jpg", data(COLOUR.convert("CMYK"), "JPEG", quality=100), None),
    "palette": ("a.png", data(GREY.convert("P")), GREY),
    "black and white": ("a.png", data(GREY.convert("1")), GREY.convert("1")),
    "grey": ("a.png", data(GREY), GREY),
    "16 bits": ("a.png", data(SIXTEEN), GREY),
    "grey and transparent": ("a.png", data(GREY.convert("LA")), GREY),
    "transparent": ("a.png", data(COLOUR.convert("RGBA")), COLOUR),
    "animated": ("a.png", data(RED, save_all=True, append_images=[BLUE]), RED),
    "a PNG as JPEG": ("a.JPEG", data(COLOUR), COLOUR),
    "a JPEG as PNG": ("a.png", data(COLOUR, "JPEG", quality=100), None),
    "one pixel": ("a.png", data(Image.new("RGB", (1, 1), "red")), Image.new("RGB", (1, 1), "red")),
    "20,000 wide": (
        "a.png",
        data(Image.new("RGB", (20_000, 2), "red")),
        Image.new("RGB", (20_000, 2), "red"),
    ),
}


def pixels(image, size):
    shown = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(shown)).permute(2, 0, 1) / 255


@pytest.mark.parametrize("case", READ)
def test_an_unusual_image_is_read_as_what_it_shows(tmp_path, case):
    name, content, shown = READ[case]
    (tmp_path / name).write_bytes(content)
    image = folder(tmp_path).load(name, 32).image
    assert image.shape == (3, 32, 32)
    if shown is None:  # JPEG loses something
        assert float((image - pixels(COLOUR, 32)).abs().mean()) < 0.05
    else:
        assert torch.equal(image, pixels(shown, 32))


WHOLE = data(COLOUR, "JPEG", quality=90)
REFUSED = {
    "empty": (b"", "the file is empty"),
    "truncated": (WHOLE[: len(WHOLE) // 2], "(?i)truncated"),
    "a header alone": (WHOLE[:20], "a.jpg: "),
    "a text": (b"no image at all", "neither a JPEG nor a PNG"),
    "a GIF": (data(GREY, "GIF"), "neither a JPEG nor a PNG"),
    "a TIFF": (data(GREY, "TIFF"), "neither a JPEG nor a PNG"),
    "damaged inside": (data(COLOUR)[:200] + bytes(50) + data(COLOUR)[250:], "a.jpg: "),
    "more pixels than allowed": (bomb(10_000), r"10000 x 10000 pixels .* decompression bomb"),
    "far more": (bomb(60_000), "decompression bomb"),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_named_in_a_line(tmp_path, case):
    content, message = REFUSED[case]
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UnreadableImage, match=message) as refusal:
        folder(tmp_path).load("a.jpg", 32)
    assert str(refusal.value).startswith("a.jpg: ")
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_turns_a_users_own_photograph_but_no_image_whose_boxes_are_annotated(tmp_path, kind):
    (tmp_path / "a.jpg").write_bytes(turned(kind))
    (tmp_path / "b.jpg").write_bytes(data(COLOUR, kind))
    own = folder(tmp_path)
    upright = own.load("b.jpg", 32).image
    assert not torch.allclose(own.load("a.jpg", 32).image, upright, atol=0.1)
    root = kaggle(tmp_path / "imagenet")
    path = next(root.rglob(f"{ONE}.JPEG"))
    path.write_bytes(turned(kind))
    annotated = imagenet(root).load(ONE, 32)
    assert torch.equal(annotated.image, upright)  # as torchvision has it
    assert annotated.truth.scale == (64 / 32, 48 / 32)


def test_links_that_lead_round_in_circles_are_no_images(tmp_path):
    (tmp_path / "a.png").write_bytes(data(COLOUR))
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "round").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "self.png").symlink_to(tmp_path / "self.png")
    data_set = folder(tmp_path)
    assert sorted(data_set.ids()) == ["a.png", "self.png"]
    for ask in (data_set.digest, lambda each: data_set.load(each, 8)):
        with pytest.raises(UnreadableImage, match=r"self\.png: Too many levels of symbolic links"):
            ask("self.png")


def test_a_folder_under_an_images_name_is_no_image(tmp_path):
    (tmp_path / "a.png").write_bytes(data(COLOUR))
    (tmp_path / "b.png").mkdir()
    assert folder(tmp_path).ids() == ["a.png"]


@pytest.mark.parametrize("limit", ["null", 1])
def test_one_image_is_a_data_set_and_none_is_refused(tmp_path, limit):
    with pytest.raises(BadInput, match="holds no image"):
        folder(tmp_path).ids()
    (tmp_path / "a.png").write_bytes(data(COLOUR))
    assert folder(tmp_path, f"dataset.limit={limit}").ids() == ["a.png"]
    with pytest.raises(BadInput, match="limit=2 is more than the 1 images"):
        folder(tmp_path, "dataset.limit=2").ids()


def test_an_id_twice_in_a_manifest_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(data(COLOUR))
    (tmp_path / "list.txt").write_text("a.png\na.png\n")
    with pytest.raises(BadInput, match=r"repeats 1 id \(a\.png\)"):
        folder(tmp_path, f"dataset.manifest='{tmp_path / 'list.txt'}'").ids()
